"""What recognisers understand, word by word."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a transcript, and when it was said.

    Attributes:
        start_ms: on the clock that `AudioFrame.start` counts; `end_ms` likewise.
        logprob: natural logarithm of how sure the engine is of the word, at most 0; None if it does not know.
    """

    text: str
    start_ms: int
    end_ms: int
    logprob: float | None = None
