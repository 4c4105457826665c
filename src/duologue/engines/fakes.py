"""Engines without models, for load, faults and tests; they ship with the product (`serve --engines fake`).

What they say can be traced: the recogniser names each utterance after its sound, the language model echoes
what it was told, and the voice is a tone that follows from the text. So in a crowd of sessions any answer
that reached the wrong one shows. Delays, amounts and failures are set by a policy; nothing else is random.
"""

import asyncio
import math
import random
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from duologue.core.audio import AudioFrame, samples_to_ms
from duologue.core.capabilities import Capabilities, Role
from duologue.core.conversation import FunctionResult, Message, ServerCall
from duologue.core.errors import EngineLost, EngineRefused, SetupError
from duologue.engines.base import EngineSpec, NativeEngine
from duologue.engines.events import EventQueue
from duologue.ports import (
    Audio,
    CallDelta,
    CutShort,
    Delta,
    EngineGone,
    Event,
    Final,
    Offer,
    Partial,
    Prompt,
    Say,
    Spent,
    StreamOptions,
    SttOptions,
    TextDelta,
    Word,
)

RATE_HZ = 24_000
CHUNK_MS = 500
CHARS_PER_S = 14.0

WORD_LOGPROB = -0.1
"""How sure the fake recogniser is of every word."""

_WORDS = (
    "amber birch cedar delta ember flint grove heron iris jade kelp larch maple north ocean pearl "
    "quartz river stone tulip umber violet willow yarrow zinc acorn basil clover daisy fern"
).split()


@dataclass(frozen=True, slots=True)
class FakePolicy:
    """How the fakes behave.

    Attributes:
        stt_ms: from a flush to its transcript.
        stt_partial_ms: a partial for each so many milliseconds of sound; 0 for none.
        llm_tokens: words of an answer; llm_ms: before the first and between them.
        tts_ms: before the first sound of an answer.
        tts_s: seconds of sound of a whole answer; 0 for as long as its text takes to read.
        tts_hz: pitch of every answer, below 12 000; 0 for one that follows from its text.
        fail: share of streams that break off, at random; seed: of that randomness.
    """

    stt_ms: float = 0
    stt_partial_ms: float = 0
    llm_tokens: int = 12
    llm_ms: float = 0
    tts_ms: float = 0
    tts_s: float = 0
    tts_hz: float = 0
    fail: float = 0
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> "FakePolicy":
        """Read "stt_ms=200,fail=0.01".

        Raises:
            SetupError: an unknown name, or no number.
        """
        kinds = {field.name: int if field.type is int else float for field in fields(cls)}
        given: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                given[name.strip()] = kinds[name.strip()](float(value))
            except (KeyError, ValueError) as error:
                raise SetupError(
                    "fake_policy_invalid",
                    f"'{part}' is no setting of the fake engines.",
                    remedy=f"Use name=number of: {', '.join(kinds)}.",
                ) from error
        return cls(**given)  # type: ignore[arg-type]


class _Fake:
    """What the fakes have in common."""

    def __init__(self, argument: str = "") -> None:
        self.policy = FakePolicy.parse(argument)
        self._dice = random.Random(self.policy.seed)

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def fails(self) -> bool:
        """Whether the next piece of work breaks."""
        return self.policy.fail > 0 and self._dice.random() < self.policy.fail


class FakeStream:
    """A stream whose answers come after a delay, in order."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._out = EventQueue()
        self._timers: set[asyncio.TimerHandle] = set()

    async def room(self) -> None:
        """Never full."""

    def events(self) -> EventQueue:
        """See `ports.EngineStream`."""
        return self._out

    async def aclose(self, *, cancel: bool = False) -> None:
        """Nothing more comes, whatever was due."""
        for timer in self._timers:
            timer.cancel()
        self._out.close()

    def after(self, delay_ms: float, act: Callable[[], None]) -> None:
        """Do this so much later, unless the stream is closed by then; at once if there is nothing to wait for."""
        if delay_ms <= 0:
            act()
            return
        loop = asyncio.get_running_loop()
        self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
        self._timers.add(loop.call_later(delay_ms / 1000, act))


# --- the recogniser ---
def name_of(checksum: int) -> str:
    """Three words for a number: what the fake recogniser hears."""
    size = len(_WORDS)
    return " ".join(_WORDS[checksum // size**n % size] for n in range(3))


class FakeStt(_Fake, NativeEngine):
    """Names each utterance after its sound: "amber birch cedar 1920 ms".

    Its words share the utterance's time evenly. A translation begins with "in English".
    """

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.capabilities = STT.capabilities

    def open(self, key: str, options: StreamOptions) -> "_SttStream":
        """A stream for one utterance."""
        assert isinstance(options, SttOptions)
        return _SttStream(self, options)


class _SttStream(FakeStream):
    def __init__(self, engine: FakeStt, options: SttOptions) -> None:
        super().__init__(STT.capabilities.rate_hz)
        self._engine = engine
        self._options = options
        self._sum = 0
        self._samples = 0
        self._upto = 0
        self._partial_at = engine.policy.stt_partial_ms

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._sum = zlib.crc32(item.pcm, self._sum)
        self._samples += item.end - item.start
        self._upto = item.end
        if self._partial_at and samples_to_ms(self._samples) >= self._partial_at:
            self._partial_at += self._engine.policy.stt_partial_ms
            self._out.put(Partial(name_of(self._sum)))
        return True

    def flush(self, flush_id: int) -> None:
        text = f"{name_of(self._sum)} {samples_to_ms(self._samples)} ms" if self._samples else ""
        if text and self._options.task == "translate":
            text = f"in English {text}"
        answer: Event = Final(flush_id, self._upto, text, self._words(text))
        if self._engine.fails():
            answer = EngineGone(
                EngineLost("fake_stt_lost", "The fake recogniser was told to break.")
            )
        self._sum = self._samples = 0
        self.after(self._engine.policy.stt_ms, lambda: self._out.put(answer))

    def _words(self, text: str) -> tuple[Word, ...]:
        words = text.split() if self._options.word_times else []
        start, each = self._upto - self._samples, self._samples / max(1, len(words))
        times = [samples_to_ms(int(start + each * n)) for n in range(len(words) + 1)]
        return tuple(
            Word(word, times[n], times[n + 1], WORD_LOGPROB) for n, word in enumerate(words)
        )


# --- the voice ---
def tone_hz(text: str) -> float:
    """The pitch of the fake voice for a text: one of 64 between 300 and 3 450 Hz."""
    return 300.0 + 50.0 * (zlib.crc32(text.encode()) % 64)


@lru_cache(maxsize=64)
def _tone(hz: float) -> bytes:
    """One second, which repeats without a seam."""
    t = np.arange(RATE_HZ) / RATE_HZ
    return (np.sin(2 * math.pi * hz * t) * 9_000).astype("<i2").tobytes()


class FakeTts(_Fake, NativeEngine):
    """Speaks each answer as one tone, whose pitch is that of its first piece of text."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.capabilities = TTS.capabilities

    def open(self, key: str, options: StreamOptions) -> "_TtsStream":
        """A stream for one answer."""
        return _TtsStream(self)


class _TtsStream(FakeStream):
    def __init__(self, engine: FakeTts) -> None:
        super().__init__(RATE_HZ)
        self._policy = engine.policy
        self._breaks = engine.fails()
        self._hz = engine.policy.tts_hz
        self._said_ms = 0.0
        self._pieces = 0
        self._last = 0
        self._delay_ms = engine.policy.tts_ms

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, Say)
        self._hz = self._hz or tone_hz(item.text.strip())
        self._pieces += 1
        self._last = item.number
        self._speak(item.number, len(item.text) / CHARS_PER_S * 1000)
        return True

    def flush(self, flush_id: int) -> None:
        if self._pieces and self._policy.tts_s:
            self._speak(self._last, math.inf)  # up to the length that was asked for
        pieces = self._pieces
        self.after(self._delay_ms, lambda: self._out.put(Final(flush_id, pieces)))

    def _speak(self, number: int, duration_ms: float) -> None:
        if self._policy.tts_s:
            duration_ms = min(duration_ms, self._policy.tts_s * 1000 - self._said_ms)
        if self._breaks:
            error = EngineLost("fake_tts_lost", "The fake voice was told to break.")
            self.after(self._delay_ms, lambda: self._out.put(EngineGone(error)))
            return
        while duration_ms > 0:
            chunk_ms = min(duration_ms, CHUNK_MS)
            self._put(number, self._said_ms, chunk_ms)
            self._said_ms += chunk_ms
            duration_ms -= chunk_ms

    def _put(self, number: int, start_ms: float, duration_ms: float) -> None:
        offset = int(start_ms * RATE_HZ / 1000) % RATE_HZ * 2
        size = int(duration_ms * RATE_HZ / 1000) * 2
        tone = _tone(self._hz)
        pcm = (tone[offset:] + tone)[:size]
        self.after(self._delay_ms, lambda: self._out.put(Audio(number, pcm)))


# --- the language model ---
class FakeLlm(_Fake):
    """Echoes what it was told: "You said …", up to the number of words that the policy sets.

    Told "call NAME", it calls that function if the client offers it; told a function's result, it says it.
    """

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        await self._pause()
        if prompt.purpose == "summary":
            raise EngineRefused("fake_llm_refused", "The fake language model sums nothing up.")
        if self.fails():
            raise EngineRefused("fake_llm_refused", "The fake language model was told to refuse.")
        said = [i for i in prompt.items if isinstance(i, Message | FunctionResult | ServerCall)]
        last = said[-1] if said else None
        heard = last.text if isinstance(last, Message) else ""
        if isinstance(last, FunctionResult):
            heard = f"the function returned {last.output}"
        elif isinstance(last, ServerCall):
            heard = f"the tool returned {last.output if last.error is None else last.error.message}"
        call = next((t for t in prompt.options.tools if f"call {t.name}" in heard), None)
        if call is not None and prompt.options.tool_choice != "none":
            yield CallDelta(f"call_{zlib.crc32(heard.encode()):08x}", call.name, "")
            yield CallDelta(f"call_{zlib.crc32(heard.encode()):08x}", call.name, '{"said": true}')
            return
        words = f"You said {heard or 'nothing'}".split()
        wanted, limit = self.policy.llm_tokens, prompt.options.max_output_tokens or 1_000_000
        words = (words + ["and", "so", "on"] * wanted)[: min(wanted, limit)]
        for number, word in enumerate(words):
            if number:
                await self._pause()
            yield TextDelta(word + (" " if number + 1 < len(words) else "."))
        yield Spent(sum(len(str(item)) // 4 for item in prompt.items), len(words))
        if limit < wanted:
            yield CutShort("max_output_tokens")

    async def _pause(self) -> None:
        if self.policy.llm_ms > 0:
            await asyncio.sleep(self.policy.llm_ms / 1000)


STT = EngineSpec(
    "fake-stt",
    Role.STT,
    Capabilities(word_times=True, translates=True, max_streams=100_000),
    FakeStt,
    about="fake: names the sound",
)
TTS = EngineSpec(
    "fake-tts",
    Role.TTS,
    Capabilities(rate_hz=RATE_HZ, max_streams=100_000),
    FakeTts,
    about="fake: a tone",
)
LLM = EngineSpec("fake-llm", Role.LLM, Capabilities(), FakeLlm, about="fake: an echo")
