"""How patient we are: plain data that the rules of turn-taking read and never change."""

from dataclasses import dataclass

from duologue.core.endpointing import Endpointing

EVIDENCE_MS = 120
"""Beyond a draft, how long the transcript and the acoustic model may take before it is decided without them."""

SURE_OF_WORDS = 0.5
"""A transcript of less confidence is no evidence of how its speaker worded it."""

LEAST_CONFIDENCE = 0.25
MOST_OF_A_HUM = 2
"""So few words of less confidence are what a recogniser makes of a hum; they interrupt nobody."""


@dataclass(frozen=True, slots=True)
class TurnPolicy:
    """When a turn ends, and when an answer gives way.

    Attributes:
        detect: speech is detected on the stream; false means push-to-talk.
        silence_ms: a pause this long ends the turn (the protocol's `silence_duration_ms`), where
            `endpointing` does not judge it.
        endpointing: how an end is judged by more than silence; None for silence only.
        language: ISO-639-1 of what is said, for the wording; empty for English.
        draft_ms: a pause this long has the recogniser finish early, so that the transcript is there when
            the turn ends. Longer than the gaps inside words, shorter than most thinking pauses
            (4 % of real commands pause 200 ms; reference measurements of the embedded engines).
        max_turn_ms: a turn this long is answered even if its speaker goes on.
        breath_ms: so is speech that goes on for so long without a gap of a tenth of a second: nobody's breath
            lasts as long, but a television's does, or a crowd's.
        speculate: begin the answer in a pause that is likely an end, unheard.
        barge_in_ms: speech this long over an answer takes the floor: longer than a cough (a cough's
            voiced part is 100 to 250 ms) and most backchannels ("okay" takes up to 600), for the output is held
            meanwhile and nobody has to shout.
        barge_in_words: so many words of a partial transcript take it sooner; of a final one, a single word does.
        verdict_ms: after shorter speech, how long the output stays held for a transcript to tell
            "stop" from a cough.
        create_response: answer at the end of a turn without being asked.
        interrupt_response: the user's speech stops an answer.
        idle_ms: silence this long after an answer was heard makes us speak again; None for never.
    """

    detect: bool = True
    silence_ms: int = 500
    endpointing: Endpointing | None = None
    language: str = ""
    draft_ms: int = 200
    max_turn_ms: int = 120_000
    breath_ms: int = 20_000
    speculate: bool = True
    barge_in_ms: int = 700
    barge_in_words: int = 2
    verdict_ms: int = 300
    create_response: bool = True
    interrupt_response: bool = True
    idle_ms: int | None = None
