"""The engine's side of `duologue calibrate`: one engine in a fresh process, told in phases (`memory.calibrate`).

    python -m duologue.cli.calibrate_work ROLE ENGINE STREAMS SECONDS CARD

CARD is the index of the card whose context is to be made before anything else; -1 for none. Not for users.
"""

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

from duologue.cli.calibrate import OWN_SERVERS
from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.conversation import Message, Part
from duologue.core.errors import DuologueError, EngineError, EngineUnavailable
from duologue.core.options import ReplyOptions
from duologue.engines import registry
from duologue.engines.base import BlockingEngine, Flush
from duologue.engines.threads import StreamThread, engine_bug
from duologue.memory import calibration_file
from duologue.memory.cuda import Cuda
from duologue.ports import (
    Audio,
    EngineGone,
    Event,
    Final,
    Prompt,
    Responder,
    Say,
    StreamOptions,
    SttOptions,
    TtsOptions,
)

REQUESTS = 6
"""Short requests after warming up: the first by itself, the median of the others."""

SHORT_S = 2.0
FRAME_S = 0.1
SYLLABLES_HZ = 4.0

SENTENCE = "The ferry leaves at half past nine, and it takes about forty minutes to cross the bay. "
CHARS_PER_S = 14.0
"""As people speak English; how much text makes a stretch of speech of so many seconds."""

PATIENCE_S = 600.0
"""For one stream; whoever started us has less patience than that, or more."""

ELSEWHERE = ("openai",)

LIBRARIES = {
    "ctranslate2": ("ctranslate2",),
    "espeakng_loader": ("espeakng-loader",),
    "faster_whisper": ("faster-whisper",),
    "kokoro_onnx": ("kokoro-onnx",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "pocket_tts": ("pocket-tts",),
    "pocketsphinx": ("pocketsphinx",),
    "sherpa_onnx": ("sherpa-onnx",),
    "torch": ("torch",),
    "transformers": ("transformers",),
    "vllm": ("vllm",),
}
"""What engines' memory depends on: packages by the module that they are imported as."""


class Teller:
    """Tells phases, and holds still until the other side has read what we hold."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._since = time.monotonic()

    def tell(self, phase: str, **more: object) -> None:
        """A phase is over; returns when the next may begin."""
        took_ms = round((time.monotonic() - self._since) * 1000, 1)
        print(json.dumps({"phase": phase, "took_ms": took_ms, **more}), file=self._out, flush=True)
        if not sys.stdin.readline():
            raise SystemExit(1)  # nobody listens any more
        self._since = time.monotonic()


def main(argv: list[str]) -> int:
    """Load, warm up, work."""
    role, wanted, streams, seconds, card = argv
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is not ours to tell
    teller = Teller(out)
    try:
        _perform(teller, Role(role), wanted, int(streams), float(seconds), int(card))
    except Exception as error:  # noqa: BLE001 - the outer wall of the process: the other side is told, whatever it is
        known = error if isinstance(error, DuologueError) else engine_bug(error)
        told = {"code": known.code, "message": known.message, "remedy": known.remedy}
        teller.tell("failed", kind=type(known).__name__, **told)
        return 1
    return 0


def _perform(
    teller: Teller, role: Role, wanted: str, streams: int, seconds: float, card: int
) -> None:
    spec, argument = registry.find(wanted, role)
    teller.tell("started")
    if card >= 0:
        _make_context(teller, card, is_ours=spec.name not in OWN_SERVERS)
    engine = spec.make(argument)
    work = _work_of(role, wanted, engine)
    engine.load()
    teller.tell("loaded")
    engine.warm_up()
    teller.tell("warm")
    took_ms = [work(1, min(SHORT_S, seconds)) for _ in range(REQUESTS if work is not _idle else 0)]
    work(1, seconds)
    more = (
        {"first_ms": round(took_ms[0], 1), "p50_ms": round(statistics.median(took_ms[1:]), 1)}
        if took_ms
        else {}
    )
    teller.tell("alone", **more)
    streams = _at_most(streams, role, engine)
    if streams > 1:
        work(streams, seconds)
    teller.tell("crowded", streams=streams, libraries=_libraries())


def _make_context(teller: Teller, card: int, *, is_ours: bool) -> None:
    cuda = Cuda(card)
    place = cuda.bus_id
    if not is_ours:
        cuda.close()
    teller.tell("context", bus_id=place)


Work = Callable[[int, float], float]
"""(streams, seconds of speech) -> milliseconds to the first output, the longest of all streams."""


def _work_of(role: Role, wanted: str, engine: Any) -> Work:
    is_remote = role in (Role.STT, Role.TTS) and not isinstance(engine, BlockingEngine)
    if is_remote or wanted.partition(":")[0] in ELSEWHERE:
        raise EngineUnavailable(
            "calibrate_not_here",
            f"{wanted} runs elsewhere: there is nothing of it to be measured here.",
            remedy="Measure it on the machine where it runs.",
        )
    if role is Role.STT:
        return lambda streams, seconds: _hear(engine, streams, seconds)
    if role is Role.TTS:
        return lambda streams, seconds: _speak(engine, streams, seconds)
    if role is Role.LLM:
        return lambda streams, seconds: asyncio.run(_answer(engine, streams, seconds))
    return _idle


def _idle(streams: int, seconds: float) -> float:
    """Judges of speech and of turns have run as they always will by their warm-up."""
    return 0.0


def _at_most(streams: int, role: Role, engine: Any) -> int:
    if role in (Role.STT, Role.TTS):
        return min(streams, int(engine.capabilities.max_streams))
    return streams if role is Role.LLM else 1


def _libraries() -> dict[str, str]:
    names = [name for module, names in LIBRARIES.items() if module in sys.modules for name in names]
    return calibration_file.installed(names)


# --- work ---
class _Stream:
    """A stream of the engine whose events are taken as they come."""

    def __init__(self, engine: BlockingEngine, options: StreamOptions) -> None:
        self.is_heard = threading.Semaphore(0)
        self.first_at = 0.0
        self._error: EngineError | None = None
        self._over = threading.Event()
        self._thread = StreamThread(
            engine, options, self._take, self.is_heard.release, self._over.set
        )

    def put(self, item: AudioFrame | Say | Flush) -> None:
        self._thread.put(item)

    def finish(self) -> None:
        """Wait for the stream's end.

        Raises:
            EngineError: it failed, or took too long.
        """
        self._thread.close(cancel=False)
        if not self._over.wait(PATIENCE_S):
            raise EngineUnavailable("calibrate_timed_out", f"A stream took over {PATIENCE_S:g} s.")
        if self._error is not None:
            raise self._error

    def _take(self, event: Event) -> None:
        if isinstance(event, EngineGone):
            self._error = event.error
        elif isinstance(event, Audio | Final) and not self.first_at:
            self.first_at = time.monotonic()
        if not isinstance(event, EngineGone):
            self._thread.taken()


def _hear(engine: BlockingEngine, streams: int, seconds: float) -> float:
    """From the end of the speech to the transcript; sound is offered as fast as it is taken."""
    frames = speech_like(seconds, engine.capabilities.rate_hz)
    running = [_Stream(engine, SttOptions()) for _ in range(streams)]
    for frame in frames:
        for stream in running:
            stream.put(frame)
    for stream in running:
        for _ in frames:
            stream.is_heard.acquire(timeout=PATIENCE_S)
    began = time.monotonic()
    for stream in running:
        stream.put(Flush(1))
    return _longest_ms(running, began)


def _speak(engine: BlockingEngine, streams: int, seconds: float) -> float:
    """From the text to the first sound."""
    text = SENTENCE * max(1, round(seconds * CHARS_PER_S / len(SENTENCE)))
    began = time.monotonic()
    running = [_Stream(engine, TtsOptions()) for _ in range(streams)]
    for stream in running:
        stream.put(Say(1, text))
        stream.put(Flush(1))
    return _longest_ms(running, began)


def _longest_ms(running: list[_Stream], began: float) -> float:
    for stream in running:
        stream.finish()
    return max(stream.first_at - began for stream in running) * 1000


async def _answer(engine: Responder, streams: int, seconds: float) -> float:
    """From a question, as long as speech of so many seconds, to the first word."""
    text = "Please continue: " + SENTENCE * max(1, round(seconds * CHARS_PER_S / len(SENTENCE)))
    began, firsts = time.monotonic(), [0.0] * streams

    async def one(number: int) -> None:
        item = Message(f"item_{number}", "user", (Part("input_text", text),))
        async for _ in engine.respond(Prompt((item,), ReplyOptions(), f"calibrate-{number}")):
            firsts[number] = firsts[number] or time.monotonic()

    async with asyncio.TaskGroup() as tasks:
        for number in range(streams):
            tasks.create_task(one(number))
    return (max(firsts) - began) * 1000


def speech_like(seconds: float, rate_hz: int) -> list[AudioFrame]:
    """Noise that swells as syllables do, always the same: no words, but an engine's full work."""
    count = int(seconds * rate_hz)
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * SYLLABLES_HZ * np.arange(count) / rate_hz)
    sound = np.random.default_rng(0).normal(0, 3_000, count) * swell
    pcm = sound.clip(-32_768, 32_767).astype("<i2")
    step = int(FRAME_S * rate_hz)
    return [AudioFrame(pcm[at : at + step].tobytes(), at) for at in range(0, count, step)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
