"""The other half of the conversation: a language model and a voice that are as fast as is stated, and what they say.

By default they take no time at all, so that a cut-off cannot hide behind slowness: the moment a turn is decided to be
over is the moment the answer is heard. The answer is some seconds of English by the embedded voice where one is on
the machine (it is talked over, and it comes back as echo), otherwise noise with the loudness of speech.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from duologue.core.capabilities import Role
from duologue.core.errors import EngineError
from duologue.engines import registry
from duologue.engines.base import BlockingEngine, Flush, Item
from duologue.engines.fakes import FakeStream
from duologue.ports import Audio, Delta, Event, Final, Offer, Prompt, Say, TextDelta, TtsOptions

RATE_HZ = 16_000
CHUNK = RATE_HZ // 2

ANSWER = (
    "Well, that is a good question, and I have looked it up for you. The first train leaves at a quarter past "
    "seven, and the second one an hour later. Both of them stop at the harbour on the way, so you could have "
    "breakfast there."
)

VOICES = (("flite", ("rms", "slt", "awb")), ("espeak", ("en-us", "en-gb")))
"""Engines and voices that are asked, in order."""

Sound = NDArray[np.int16]


@dataclass(frozen=True)
class Delays:
    """Virtual milliseconds: to the language model's first word, to the voice's first sound."""

    llm_ms: float = 0.0
    tts_ms: float = 0.0


class _Given:
    """An inbox that holds everything from the start."""

    cancelled = False

    def __init__(self, *items: Item) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)


@lru_cache(maxsize=4)
def _engine(name: str) -> BlockingEngine | None:
    try:
        spec, argument = registry.find(name, Role.TTS)
        engine = spec.make(argument)
        engine.load()
    except EngineError:
        return None
    return engine if isinstance(engine, BlockingEngine) else None


@lru_cache(maxsize=256)
def spoken(text: str, engine: str, voice: str) -> bytes:
    """A text by an embedded voice, 16 kHz; empty if it is not on this machine."""
    speaker = _engine(engine)
    if speaker is None:
        return b""
    out = bytearray()

    def take(event: Event) -> None:
        if isinstance(event, Audio):
            out.extend(event.pcm)

    speaker.run(TtsOptions(voice=voice), _Given(Say(1, text), Flush(1)), take)
    sound = np.frombuffer(bytes(out), np.int16)
    if speaker.capabilities.rate_hz != RATE_HZ:
        sound = soxr.resample(sound, speaker.capabilities.rate_hz, RATE_HZ)
    return np.asarray(sound, np.int16).tobytes()


def voices() -> list[tuple[str, str]]:
    """Engines and voices that are on this machine."""
    return [(name, voice) for name, some in VOICES if _engine(name) is not None for voice in some]


@lru_cache(maxsize=1)
def answer() -> tuple[bytes, str]:
    """What every answer sounds like, and what that is."""
    for engine, voice in voices():
        if sound := spoken(ANSWER, engine, voice):
            return sound, f"{engine} ({voice})"
    return _babbled(7_000).tobytes(), "shaped noise"


def _babbled(ms: int) -> Sound:
    """Noise with formant-like colour and the rhythm of syllables."""
    random = np.random.default_rng(7)
    noise = random.standard_normal(ms * RATE_HZ // 1000)
    coloured = np.convolve(noise, np.hanning(12), mode="same")
    t = np.arange(len(coloured)) / RATE_HZ
    rhythm = np.clip(np.sin(2 * np.pi * 4.2 * t) + 0.4 * np.sin(2 * np.pi * 1.1 * t), 0, None)
    loud = coloured * rhythm
    return np.asarray(loud / (np.abs(loud).max() + 1e-9) * 12_000, np.int16)


class Speaker(FakeStream):
    """The voice's stream; see `ports.EngineStream`. Says the answer, whatever it is told to say."""

    def __init__(self, sound: bytes, delay_ms: float) -> None:
        super().__init__(RATE_HZ)
        self._sound = sound
        self._delay_ms = delay_ms
        self._pieces = 0

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, Say)
        self._pieces += 1
        if self._pieces == 1:
            for at in range(0, len(self._sound), CHUNK * 2):
                self._put(Audio(item.number, self._sound[at : at + CHUNK * 2]))
        return True

    def flush(self, flush_id: int) -> None:
        self._put(Final(flush_id, self._pieces))

    def _put(self, event: Event) -> None:
        self.after(self._delay_ms, lambda: self._out.put(event))


@dataclass(frozen=True)
class Answerer:
    """The language model; see `ports.Responder`. It has one answer to everything."""

    delay_ms: float = 0.0
    text: str = ANSWER

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        if self.delay_ms > 0:
            await asyncio.sleep(self.delay_ms / 1000)
        yield TextDelta(self.text)
