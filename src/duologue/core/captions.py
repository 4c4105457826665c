"""What was said, as captions: segments, SubRip, WebVTT."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from duologue.core.segments import joined
from duologue.core.words import Word

MAX_MS = 7_000
"""Longest caption, as subtitlers have it; a sentence that is said in one breath may be longer than it by a word."""

MAX_CHARS = 84
"""Two lines of 42, likewise."""

PAUSE_MS = 700
"""A pause between words that ends a caption."""

SENTENCE_MS = 1_500
"""A caption of at least this length ends with its sentence."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")


class Said(Protocol):
    """What was said in one stretch. Without the times of its words it is one caption."""

    @property
    def start_ms(self) -> int:
        """Where it begins; `end_ms` likewise where it ends."""

    @property
    def end_ms(self) -> int: ...  # noqa: D102

    @property
    def text(self) -> str:
        """All of it."""

    @property
    def words(self) -> tuple[Word, ...]:
        """Those of the text, in order; empty if their times are not known."""

    @property
    def no_speech(self) -> float:
        """How likely it is no speech at all."""


@dataclass(frozen=True, slots=True)
class Heard:
    """See `Said`."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    no_speech: float = 0.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A caption."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...]
    no_speech: float


def text_of(heard: Sequence[Said]) -> str:
    """All that was said."""
    return joined([each.text for each in heard])


def segments(heard: Sequence[Said]) -> list[Segment]:
    """Captions: a stretch each, or where the times of its words are known, as many as its length asks for."""
    return [segment for each in heard for segment in _split(each)]


def srt(found: Sequence[Segment]) -> str:
    """SubRip."""
    return "".join(
        f"{number}\n{_clock(s.start_ms, ',')} --> {_clock(s.end_ms, ',')}\n{_line(s.text)}\n\n"
        for number, s in enumerate(found, 1)
    )


def vtt(found: Sequence[Segment]) -> str:
    """WebVTT, whose text is marked up."""
    cues = (
        f"{_clock(s.start_ms, '.')} --> {_clock(s.end_ms, '.')}\n"
        f"{html.escape(_line(s.text), quote=False)}\n\n"
        for s in found
    )
    return "WEBVTT\n\n" + "".join(cues)


def _split(heard: Said) -> Iterator[Segment]:
    places = _places(heard.text, heard.words)
    if not places:
        yield Segment(heard.start_ms, heard.end_ms, heard.text, heard.words, heard.no_speech)
        return
    first = 0
    for last in range(len(places)):
        if last + 1 < len(places) and not _ends(heard, places, first, last):
            continue
        words = heard.words[first : last + 1]
        begin = places[first] if first else 0
        end = places[last + 1] if last + 1 < len(places) else len(heard.text)
        text = heard.text[begin:end].strip()
        yield Segment(words[0].start_ms, words[-1].end_ms, text, words, heard.no_speech)
        first = last + 1


def _ends(heard: Said, places: Sequence[int], first: int, last: int) -> bool:
    """Whether a caption of the words first to last ends before the next one."""
    word, following = heard.words[last], heard.words[last + 1]
    start_ms = heard.words[first].start_ms
    text = heard.text[places[first] : places[last + 1]].rstrip()
    with_next = len(text) + 1 + len(following.text)
    return (
        following.start_ms - word.end_ms >= PAUSE_MS
        or following.end_ms - start_ms > MAX_MS
        or with_next > MAX_CHARS
        or (word.end_ms - start_ms >= SENTENCE_MS and text.endswith(_SENTENCE_ENDS))
    )


def _places(text: str, words: Sequence[Word]) -> list[int]:
    """Where each word stands in the text; nothing if one is not found, for then none can be trusted."""
    found, at = [], 0
    for word in words:
        place = text.find(word.text, at)
        if place < 0:
            return []
        found.append(place)
        at = place + len(word.text)
    return found


def _clock(ms: int, point: str) -> str:
    seconds, rest = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _line(text: str) -> str:
    """An empty line would end a caption, and an arrow begin one."""
    return " ".join(text.split()).replace("-->", "->")
