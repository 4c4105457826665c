"""Speaking to the recogniser: recorded clips and a synthetic voice, as frames; and what came of them."""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import soxr

from duologue.core.audio import AudioFrame
from duologue.engines.base import Flush, Item
from duologue.engines.pocketsphinx.engine import Pocketsphinx
from duologue.engines.voices.espeak import Espeak
from duologue.ports import Event, Final, Partial, SttOptions
from tests.engines.voices.narrated import say
from tests.support.clips import clip, manifest

RATE = 16_000
FRAME = 512

SOMETHING = "commands-something.flac"  # "go somewhere and do something", a word of which is missed
DIGITS = "commands-vosk_digits.flac"  # fifteen digits with long pauses between
CLUBS = "commands-cards_003.flac"  # "seven of clubs", "clubs" being no word of ours
AUSTEN = "librivox_ps-sense_and_sensibility_01_austen_64kb-0890.flac"

LOUD = (b"\xff\x7f" * 50 + b"\x00\x80" * 50) * (RATE // 100)
"""A second of a full-scale square wave."""


def speech(name: str) -> bytes:
    return clip(name, RATE)


@cache
def transcript(name: str) -> tuple[str, ...]:
    said = next(entry["transcript"] for entry in manifest() if entry["file"] == name)
    return tuple(said.rstrip(".").split())


@cache
def _voice() -> Espeak:
    voice = Espeak()
    voice.load()
    return voice


@cache
def synthetic(text: str) -> bytes:
    """A text as the embedded voice speaks it, with some silence around."""
    spoken = say(_voice(), text)
    sound = soxr.resample(spoken.sound().astype(np.float32), spoken.rate_hz, RATE)
    pause = np.zeros(RATE // 4, np.float32)
    return np.concatenate([pause, sound, pause]).astype("<i2").tobytes()


def frames(pcm: bytes, start: int = 0, size: int = FRAME) -> list[AudioFrame]:
    step = 2 * size
    return [AudioFrame(pcm[at : at + step], start + at // 2) for at in range(0, len(pcm), step)]


class Inbox:
    """Gives its items, counts them, and may be cancelled after some."""

    def __init__(self, items: Iterable[Item], cancel_after: int | None = None) -> None:
        self._items = list(items)
        self._cancel_after = cancel_after
        self.cancelled = False
        self.given = 0

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            self.given += 1
            self.cancelled = self.given == self._cancel_after or self.cancelled
            yield item


def events_of(engine: Pocketsphinx, *items: Item, hints: tuple[str, ...] = ()) -> list[Event]:
    return events_with(engine, SttOptions("en", hints), *items)


def events_with(engine: Pocketsphinx, options: SttOptions, *items: Item) -> list[Event]:
    events: list[Event] = []
    engine.run(options, Inbox(items), events.append)
    return events


def heard(engine: Pocketsphinx, pcm: bytes, *hints: str) -> str:
    """The final of one utterance."""
    final = events_of(engine, *frames(pcm), Flush(1), hints=hints)[-1]
    assert isinstance(final, Final)
    return final.text


def finals(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


def partials(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Partial)]


def right_words(said: Iterable[str], text: str) -> int:
    """Words that were heard in their order: the longest common subsequence."""
    best = [0] * (len(text.split()) + 1)
    for word in said:
        before = list(best)
        for at, other in enumerate(text.split(), 1):
            best[at] = before[at - 1] + 1 if word == other else max(before[at], best[at - 1])
    return best[-1]
