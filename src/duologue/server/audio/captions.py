"""What was heard, as documents: OpenAI's JSON. Captions are made in the core. Pure."""

import zlib
from collections.abc import Sequence
from typing import Any

from duologue.core.captions import MAX_CHARS as MAX_CHARS
from duologue.core.captions import MAX_MS as MAX_MS
from duologue.core.captions import Segment as Segment
from duologue.core.captions import segments as segments
from duologue.core.captions import srt as srt
from duologue.core.captions import text_of as text_of
from duologue.core.captions import vtt as vtt
from duologue.core.words import Word
from duologue.server.audio.listening import Heard

Json = dict[str, Any]


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
