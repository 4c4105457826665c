"""When each word of a part begins in its sound, for voices that make the sound of a part at once.

Where the model says how long each of its symbols is, the times are its own, as far as the spoken words can be told
apart in them; espeak-ng writes "of the" as one. Otherwise they are shared out by letters, over what is audible.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\S+")

PAUSES = {",": 3, ";": 3, ":": 3, ".": 6, "!": 6, "?": 6, "…": 6, "\n": 6}
"""Letters that the pause behind a mark is worth: a reader makes about 15 letters a second, and is silent for two
to four tenths of one there."""

AUDIBLE = 0.01
"""Share of the loudest sample."""

Places = list[tuple[int, int]]
"""(sample of the part, character of the part), in order."""


def by_letters(text: str, sound: NDArray[np.float32]) -> Places:
    """Words of a text, by the share of its letters in what is audible of the sound."""
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE * np.max(np.abs(sound), initial=0.0))
    if not len(loud):
        return []
    first, last = int(loud[0]), int(loud[-1])
    starts, shares = _shares(text)
    return [
        (first + int((last - first) * share), at) for at, share in zip(starts, shares, strict=True)
    ]


def by_symbols(text: str, groups: Sequence[int], edges: Sequence[int]) -> Places:
    """Words of a text, by what the model says of its symbols.

    Args:
        groups: which symbols begin a group that stands alone among spaces.
        edges: the sample where each symbol begins.
    """
    starts, shares = _shares(text)
    if not groups or not starts:
        return []
    if len(groups) == len(starts):
        return [(int(edges[group]), at) for at, group in zip(starts, groups, strict=True)]
    first = groups[0]
    places = first + np.asarray(shares) * (len(edges) - 1 - first)
    samples = np.interp(places, np.arange(len(edges)), np.asarray(edges, np.float64))
    return [(int(sample), at) for sample, at in zip(samples, starts, strict=True)]


def letters_before(text: str) -> list[tuple[int, int]]:
    """(letters and pauses before it, character where it begins) of each word."""
    words, _ = _weights(text)
    return words


def _shares(text: str) -> tuple[list[int], list[float]]:
    words, total = _weights(text)
    return [at for _, at in words], [before / max(1, total) for before, _ in words]


def _weights(text: str) -> tuple[list[tuple[int, int]], int]:
    words, total = [], 0
    for match in _WORD.finditer(text):
        if not any(char.isalnum() for char in match.group()):
            continue
        skipped = next(n for n, char in enumerate(match.group()) if char.isalnum())
        words.append((total, match.start() + skipped))
        total += sum(PAUSES.get(char, 1) for char in match.group()) + 1
    return words, total
