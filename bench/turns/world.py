"""What conversations in virtual time share, and how one is held: the real session, ears, Silero, pacer, mouth and
turn table, with the recogniser, the acoustic model and the answers as fast as is stated."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.turns import answers, virtual
from bench.turns.clients import Client
from bench.turns.recogniser import FINAL_MS, Anything, Recogniser, Sphinx, SttStream
from bench.turns.store import Store, digest
from duologue.core.audio import STREAM, WINDOW_SAMPLES, samples_to_ms
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError
from duologue.core.facts import SpeechStopped
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.speech import SpeechPolicy, SpeechSegmenter
from duologue.engines.vad_silero import Silero
from duologue.ports import EngineStream, Responder, StreamOptions, VoiceActivity
from duologue.session.hearing import Hearing
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.session import Session
from duologue.session.world import World

FRAME_MS = 20

TURN_END_MS = 60.0
"""The acoustic model's answer, after it was asked: 46 ms on one quiet thread (its features 2, the model 44)."""

Sound = NDArray[np.int16]


class Microphone(Protocol):
    """Where a conversation's sound comes from."""

    def frame(self, at_ms: int) -> Sound | None:
        """The `FRAME_MS` of 16 kHz sound that begin there; empty where none comes in, None when all is over."""


@dataclass(frozen=True)
class Setup:
    """How engines behave; plain values, to be sent to another process.

    Attributes:
        stt: "real" for the embedded recogniser, "none" for one that takes any sound for words.
        cache: a folder for what engines found; None for none.
        turn_end_model: the acoustic model's file; None for none.
    """

    stt: str = "real"
    final_ms: float = FINAL_MS
    turn_end_ms: float = TURN_END_MS
    delays: answers.Delays = field(default_factory=answers.Delays)
    cache: Path | None = None
    turn_end_model: Path | None = None

    def store(self, name: str) -> Store:
        """What an engine found before."""
        return Store(self.cache / f"{name}.sqlite" if self.cache is not None else None)


class Pool:
    """Where streams come from; see `ports.EnginePool`."""

    def __init__(self, recogniser: Recogniser, setup: Setup, answer: bytes) -> None:
        self._recogniser = recogniser
        self._setup = setup
        self._answer = answer

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """See `ports.EnginePool.open`."""
        if role is Role.STT:
            return SttStream(self._recogniser.open(), self._setup.final_ms)
        return answers.Speaker(self._answer, self._setup.delays.tts_ms)


class TurnEndInTime:
    """The acoustic end-of-turn model in virtual time; see `ports.TurnEnd`."""

    def __init__(self, model: Any, name: str, store: Store, answers_ms: float) -> None:
        self._model = model
        self._name = name
        self._store = store
        self._answers_ms = answers_ms

    async def judge(self, pcm: bytes) -> float | None:
        """How likely it is that the speaker has finished."""
        key = digest(self._name, pcm)
        text = self._store.get(key)
        if text is None:
            text = f"{float(self._model.probability(pcm)):.6f}"
            self._store.put(key, text)
        await asyncio.sleep(self._answers_ms / 1000)
        return float(text)


class Engines:
    """Loaded once for a process; each policy's conversations use them in turn."""

    def __init__(self, setup: Setup, vad: VoiceActivity | None = None) -> None:
        self.setup = setup
        self.stores = {name: setup.store(name) for name in ("stt", "turn-end", "vad")}
        self.recogniser: Recogniser = (
            Anything() if setup.stt == "none" else Sphinx(self.stores["stt"])
        )
        self.answer, self.answer_voice = answers.answer()
        self.responder: Responder = answers.Answerer(setup.delays.llm_ms)
        self.turn_end, self.turn_end_name = _turn_end(setup, self.stores["turn-end"])
        self._vad = vad

    def vad(self) -> VoiceActivity:
        """Silero, unless another was given."""
        if self._vad is None:
            silero = Silero()
            silero.load()
            silero.warm_up()
            self._vad = silero
        return self._vad

    def speech_until_ms(self, pcm: Sound) -> int:
        """Where the detector alone, with its usual settings, hears speech end for the last time; 0 for no speech."""
        store = self.stores["vad"]
        key = digest("last speech", pcm.tobytes())
        if (known := store.get(key)) is not None:
            return int(known)
        vad, segmenter, ended_ms = self.vad(), SpeechSegmenter(SpeechPolicy()), 0
        slot = vad.open()
        for window in pcm[: len(pcm) // WINDOW_SAMPLES * WINDOW_SAMPLES].reshape(
            -1, WINDOW_SAMPLES
        ):
            sound = (window[None] / 32_768).astype(np.float32)
            fact = segmenter.feed(vad.judge([slot], sound)[0])
            if isinstance(fact, SpeechStopped):
                ended_ms = fact.at
        vad.close_slot(slot)
        if segmenter.speaking:
            ended_ms = samples_to_ms(len(pcm))
        store.put(key, str(ended_ms))
        return ended_ms

    def save(self) -> None:
        """Keep what was found."""
        for store in self.stores.values():
            store.save()


def _turn_end(setup: Setup, store: Store) -> tuple[TurnEndInTime | None, str]:
    """The acoustic model where it is wanted, its file is there and sessions can ask one; and what to call it."""
    if setup.turn_end_model is None:
        return None, "none"
    if "turn_end" not in {f.name for f in fields(World)}:
        return None, "none: sessions cannot ask one"
    from duologue.engines.turn_end.smart_turn import SmartTurn

    model = SmartTurn(str(setup.turn_end_model))
    try:
        model.load()
    except EngineError as error:
        return None, f"none: {error}"
    name = f"{setup.turn_end_model.name} {digest(setup.turn_end_model.read_bytes()).hex()[:8]}"
    return TurnEndInTime(model, name, store, setup.turn_end_ms), name


@asynccontextmanager
async def world(engines: Engines) -> AsyncIterator[World]:
    """The surroundings of sessions, for the running virtual loop."""
    clock = virtual.now_ms
    surroundings: dict[str, Any] = {"turn_end": engines.turn_end} if engines.turn_end else {}
    made = World(
        pool=Pool(engines.recogniser, engines.setup, engines.answer),
        responder=engines.responder,
        hearing=Hearing(engines.vad(), clock),
        pacer=Pacer(clock),
        meters=Meters(clock),
        clock=clock,
        **surroundings,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(made.pacer.run())
            yield made
            ticking.cancel()
    finally:
        made.hearing.close()


class _Over(Exception):
    """Ends a session's tasks."""


class Conversation:
    """One session with its client, from the first frame of a microphone to the last.

    Attributes:
        began_ms: when it began; the clock of `client` counts from there.
        session: while it lasts, and after it.
        duration_ms: of its sound.
    """

    def __init__(self, kind: type[Client]) -> None:
        self.began_ms = 0.0
        self.client = kind(self.clock)
        self.session: Session | None = None
        self.duration_ms = 0

    def clock(self) -> float:
        """Milliseconds since it began."""
        return virtual.now_ms() - self.began_ms

    async def hold(
        self,
        surroundings: World,
        options: SessionOptions,
        microphone: Microphone,
        name: str = "sess_bench",
    ) -> None:
        """Speak and listen until the microphone is switched off.

        Raises:
            RuntimeError: the session failed.
        """
        loop = asyncio.get_running_loop()
        at_home = replace(surroundings, lead_ms=self.client.lead_ms)
        start_s = loop.time()
        self.began_ms = start_s * 1000
        try:
            async with asyncio.TaskGroup() as tasks:
                session = self.session = Session(at_home, name, self.client, options, tasks)
                self.client.furnish(session, at_home)
                try:
                    for number in itertools.count():
                        due_s = start_s + (number + 1) * FRAME_MS / 1000
                        await asyncio.sleep(due_s - loop.time())
                        frame = microphone.frame(number * FRAME_MS)
                        if frame is None or session.ended.is_set():
                            break
                        if len(frame):
                            session.hear(frame.tobytes())
                        self.duration_ms += FRAME_MS
                finally:
                    session.close()
                    self.client.over()
                raise _Over
        except* _Over:
            pass
        if self.session is not None and self.session.error is not None:
            raise RuntimeError(f"the session {name} failed") from self.session.error


def options(turn: Any, **more: Any) -> SessionOptions:
    """A session's, with sound at 16 kHz both ways so that nothing is resampled on the way."""
    return SessionOptions(input_format=STREAM, turn=turn, reply=ReplyOptions(format=STREAM), **more)


async def side_by_side(
    jobs: list[Callable[[World], Any]], engines: Engines, *, at_a_time: int
) -> list[Any]:
    """Run conversations in one world, so many at a time; what each returned, in order."""
    results: list[Any] = [None] * len(jobs)
    waiting = iter(enumerate(jobs))

    async def work(surroundings: World) -> None:
        for number, job in waiting:
            results[number] = await job(surroundings)

    async with world(engines) as surroundings, asyncio.TaskGroup() as tasks:
        for _ in range(min(at_a_time, len(jobs))):
            tasks.create_task(work(surroundings))
    return results
