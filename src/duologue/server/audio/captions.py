"""What was heard, as documents: segments, SubRip, WebVTT, OpenAI's JSON. Pure."""

import html
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from duologue.ports import Word
from duologue.server.audio.listening import Heard

MAX_MS = 7_000
"""Longest caption, as subtitlers have it; a sentence that is said in one breath may be longer than it by a word."""

MAX_CHARS = 84
"""Two lines of 42, likewise."""

PAUSE_MS = 700
"""A pause between words that ends a caption."""

SENTENCE_MS = 1_500
"""A caption of at least this length ends with its sentence."""

_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Segment:
    """A caption."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...]
    no_speech: float


def text_of(heard: Sequence[Heard]) -> str:
    """All that was said."""
    return " ".join(each.text for each in heard)


def segments(heard: Sequence[Heard]) -> list[Segment]:
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


def segment_json(number: int, segment: Segment) -> Json:
    """One of `verbose_json`. What belongs to Whisper's inside and is unknown here is empty or 0."""
    known = [word.logprob for word in segment.words if word.logprob is not None]
    data = segment.text.encode()
    return {
        "id": number,
        "seek": segment.start_ms // 10,  # Whisper counts its spectra, a hundred a second
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(sum(known) / len(known), 4) if known else 0.0,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": round(segment.no_speech, 4),
    }


def word_json(word: Word) -> Json:
    """One word of `verbose_json`."""
    return {"word": word.text, "start": word.start_ms / 1000, "end": word.end_ms / 1000}


def logprobs_json(heard: Sequence[Heard]) -> list[Json]:
    """How sure the recogniser is, word by word: a word is our token. One that it does not know of is left out."""
    return [
        {"token": word.text, "bytes": list(word.text.encode()), "logprob": word.logprob}
        for each in heard
        for word in each.words
        if word.logprob is not None
    ]


def _split(heard: Heard) -> Iterator[Segment]:
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


def _ends(heard: Heard, places: Sequence[int], first: int, last: int) -> bool:
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
