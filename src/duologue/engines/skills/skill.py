"""What skills have in common: what they are told, and what they make of it.

A skill is a function `(Heard, Scene) -> Understood | None`. It computes nothing that outlives it: only when
its reading is chosen is `Understood.act` called, and that alone may change anything.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from duologue.engines.skills.heard import Heard
from duologue.ports import Delta, TextDelta

MAX_UNKNOWN = 2
"""So many words that a skill does not know make it ask; with more of them it was not meant."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a skill may know beside the words.

    Attributes:
        now: local time, with its zone.
        last_answer: what the user heard last from us; may be empty.
        session_id: whose conversation it is; may be empty.
        may_hang_up: the conversation may be ended, and nothing is promised in it any more.
    """

    now: datetime
    last_answer: str = ""
    session_id: str = ""
    may_hang_up: bool = False


@dataclass(frozen=True, slots=True)
class Understood:
    """A reading of what was heard.

    Attributes:
        act: does it, and says so.
        question: where the reading is in doubt, what to ask instead of acting on it.
    """

    act: Callable[[], Sequence[Delta]]
    question: str = ""


Skill = Callable[[Heard, Scene], Understood | None]


def say(text: str) -> Understood:
    """Understood with certainty, and answered with this; it may be a question for what is still missing."""
    return Understood(lambda: (TextDelta(text),))


def unless_doubtful(
    reading: Understood, heard: Heard, unknown: Sequence[str], meaning: str
) -> Understood | None:
    """The reading; in doubt if words were not understood; None if they were too many.

    Args:
        unknown: words that the skill does not know.
        meaning: the reading in words that the skill understands without doubt.
    """
    if not unknown:
        return reading
    if len(unknown) > MAX_UNKNOWN:
        return None
    return Understood(reading.act, did_you_mean(heard, meaning))


def did_you_mean(heard: Heard, meaning: str) -> str:
    """The question that a "yes" answers; see `meant`."""
    return f"I heard: {heard.quote}. Did you mean: {meaning}?"


def meant(answer: str) -> str:
    """What was asked for in an answer that ends with `did_you_mean`; empty if it does not."""
    _, found, rest = answer.rpartition("Did you mean: ")
    return rest.rstrip().removesuffix("?") if found and rest.rstrip().endswith("?") else ""


def starts_with(words: Sequence[str], at: int, phrases: Iterable[Sequence[str]]) -> int:
    """How many words the first phrase has that stands at this place; 0 if none does."""
    return next((len(p) for p in phrases if tuple(words[at : at + len(p)]) == tuple(p)), 0)


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
