"""How patient we are: plain data that the rules of turn-taking read and never change."""

from dataclasses import dataclass

_GO_ON = "ah aha hm hmm huh mhm mm mmm oh ok okay right sure uh uhhuh um yeah yep yes"
BACKCHANNELS = frozenset(_GO_ON.split())
"""English words that say "go on", not "stop". Compared one by one, lower case, without punctuation."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """When a turn ends, and when an answer gives way.

    Attributes:
        detect: speech is detected on the stream; false means push-to-talk.
        silence_ms: a pause this long ends the turn (the protocol's `silence_duration_ms`).
        draft_ms: a pause this long has the recogniser finish early, so that the transcript is there when
            the turn ends. Longer than the gaps inside words, shorter than most thinking pauses
            (4 % of real commands pause 200 ms; reference measurements of the embedded engines).
        barge_in_ms: speech this long over an answer takes the floor: longer than a cough (a cough's
            voiced part is 100 to 250 ms), shorter than "wait a moment".
        verdict_ms: after shorter speech, how long the output stays held for a transcript to tell
            "stop" from a cough.
        create_response: answer at the end of a turn without being asked.
        interrupt_response: the user's speech stops an answer.
        idle_ms: silence this long after an answer was heard makes us speak again; None for never.
    """

    detect: bool = True
    silence_ms: int = 500
    draft_ms: int = 200
    barge_in_ms: int = 300
    verdict_ms: int = 300
    create_response: bool = True
    interrupt_response: bool = True
    idle_ms: int | None = None


def says_something(text: str) -> bool:
    """Whether there is a word in it that asks for the floor: not only "mhm", not nothing."""
    words = ("".join(c for c in word if c.isalnum()) for word in text.lower().split())
    return any(word and word not in BACKCHANNELS for word in words)
