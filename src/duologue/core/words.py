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


def spread(text: str, start_ms: int, end_ms: int) -> tuple[Word, ...]:
    """Words whose times nobody told: each as long as its share of the characters."""
    words = text.split()
    total = sum(len(word) for word in words)
    at, out = 0, []
    for word in words:
        begin = start_ms + (end_ms - start_ms) * at // total
        at += len(word)
        out.append(Word(word, begin, start_ms + (end_ms - start_ms) * at // total))
    return tuple(out)
