"""Between sherpa-onnx's tokens and our words."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from duologue.core.audio import STREAM
from duologue.engines.sherpa.files import is_character
from duologue.engines.timeline import Timeline
from duologue.ports import Word

HINT_CHARS = 60
MAX_HINTS = 100
"""Longer phrases are no names of things, and more of them bias everything."""

LAST_TOKEN_MS = 200
"""A token has a beginning only: the last of a word is taken to last so long, or until the next word."""


def words_of(result: Any, timeline: Timeline, text: str) -> Iterator[Word]:
    """The words of a result, by the tokens that begin with a space; none where the tokens do not spell the text.

    Args:
        text: as it is told, in its case.
    """
    tokens, times = list(result.tokens), list(result.timestamps)
    spelt = " ".join("".join(tokens).split())
    if len(tokens) != len(times) or spelt.lower() != text.lower():
        return
    sure = list(result.ys_probs)
    begins = [n for n, token in enumerate(tokens) if _begins_word(tokens, n) and token]
    at = 0
    for first, behind in pairwise([*begins, len(tokens)]):
        word = "".join(tokens[first:behind]).strip()
        if not word:
            continue
        at = text.lower().index(word.lower(), at)
        next_s = times[behind] if behind < len(times) else float("inf")
        end_s = min(times[behind - 1] + LAST_TOKEN_MS / 1000, next_s)
        logprob = min(0.0, sum(sure[first:behind])) if len(sure) == len(tokens) else None
        yield Word(
            text[at : at + len(word)],
            timeline.ms(round(times[first] * STREAM.rate_hz)),
            timeline.ms(round(end_s * STREAM.rate_hz)),
            logprob,
        )
        at += len(word)


def _begins_word(tokens: list[str], n: int) -> bool:
    token = tokens[n]
    return n == 0 or token.startswith(" ") or is_character(token) or is_character(tokens[n - 1])


def hotwords(hints: tuple[str, ...], *, upper: bool) -> str:
    """Hints as sherpa-onnx takes them: phrases between slashes, and no mark that it has a meaning for."""
    phrases = (" ".join(re.sub(r"[^\w' ]|_", " ", hint).split()) for hint in hints[:MAX_HINTS])
    line = "/".join(phrase for phrase in phrases if 0 < len(phrase) <= HINT_CHARS)
    return line.upper() if upper else line.lower()
