"""A client of one whole connection (wire, session, fake engines) in scripted time."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import numpy as np

from duologue.core.audio import AudioFrame, samples_to_ms
from duologue.engines.base import NativeEngine
from duologue.engines.fakes import STT, FakeStream, _Fake
from duologue.ports import Final, Offer, StreamOptions
from duologue.session.world import World
from duologue.transports.realtime import RealtimeConnection
from duologue.wire.dialect import Binary, Dialect
from tests.support.judge import Referee
from tests.support.stage import FRAME_MS, HandClock, LoudnessVad, scripted_world

Event = dict[str, Any]
ITEM_IDS = ["a", "b", "root", "item_unknown"]
LOUD = (np.random.default_rng(5).standard_normal(24_000) * 12_000).clip(-32768, 32767)


class End(Protocol):
    """A socket's other end, which remembers what a client can be asked about."""

    items: list[str]
    responses: list[str]
    closed: list[tuple[int, str]]

    def send(self, data: bytes) -> None: ...

    def unsent(self) -> int: ...

    def close(self, code: int, reason: str = "") -> None: ...


class Wire:
    """The socket's other end: judges all that comes, and remembers ids to be asked about."""

    def __init__(self) -> None:
        self.referee = Referee()
        self.binary: list[bytes] = []
        self.closed: list[tuple[int, str]] = []
        self.items: list[str] = []
        self.responses: list[str] = []

    def send(self, data: bytes) -> None:
        if type(data) is Binary:
            self.binary.append(bytes(data))
            return
        event = self.referee.see(data)
        if event["type"] == "conversation.item.added":
            self.items.append(event["item"]["id"])
        elif event["type"] == "response.created":
            self.responses.append(event["response"]["id"])

    def close(self, code: int, reason: str = "") -> None:
        self.closed.append((code, reason))

    def unsent(self) -> int:
        return 0


class Client:
    """Sends what it is told to, in scripted time."""

    def __init__(self, clock: HandClock, connection: RealtimeConnection, wire: End) -> None:
        self._clock = clock
        self._connection = connection
        self._wire = wire
        self._said = 0

    async def act(self, kind: str, what: Any) -> None:
        match kind:
            case "ask":
                await self._send(what)
            case "ask all":
                for event in what:
                    await self._send(event)
            case "speak":
                await self._stream(what, loud=True)
            case "quiet":
                await self._stream(what, loud=False)
            case "muted":
                for _ in range(what // FRAME_MS):
                    await self._pass(FRAME_MS)
            case "about":
                verb, which, ms = what
                extra = {"content_index": 0, "audio_end_ms": ms} if verb == "truncate" else {}
                item_id = self._pick(self._wire.items[-3:], which)
                about = {"type": f"conversation.item.{verb}", "item_id": item_id}
                await self._send({**about, **extra})
            case "cancel":
                cancel: Event = {"type": "response.cancel"}
                if what:
                    cancel["response_id"] = self._pick(self._wire.responses, what)
                await self._send(cancel)
            case "nonsense":
                self._connection.on_bytes(what)
            case "binary":
                self._connection.on_binary(what)
            case _:
                raise ValueError(kind)
        await self._pass(0)

    async def _send(self, event: Event) -> None:
        self._connection.on_bytes(json.dumps(event).encode())
        await self._pass(0)

    async def _stream(self, ms: int, *, loud: bool) -> None:
        for _ in range(ms // FRAME_MS):
            sound = LOUD[self._said % 20_000 :][:480] if loud else np.zeros(480)
            self._said += 480
            audio = base64.b64encode(sound.astype("<i2").tobytes()).decode()
            await self._send({"type": "input_audio_buffer.append", "audio": audio})
            await self._pass(FRAME_MS)

    async def _pass(self, ms: int) -> None:
        world = self._connection._world
        self._clock.now += ms
        while not world.hearing.judge_waiting():
            pass
        for _ in range(12):
            await asyncio.sleep(0)
        if ms:
            world.pacer.tick(self._clock.now)

    @staticmethod
    def _pick(known: list[str], which: int) -> str:
        return known[which % len(known)] if known and which >= 0 else ITEM_IDS[which]


@asynccontextmanager
async def connected(dialect: Dialect, **engines: Any) -> AsyncIterator[tuple[Client, Wire]]:
    """A client of the GA protocol and what it is sent, judged; see `connected_by`."""
    wire = Wire()
    async with connected_by(wire, dialect, **engines) as client:
        yield client, wire


@asynccontextmanager
async def connected_by(wire: End, dialect: Dialect, **engines: Any) -> AsyncIterator[Client]:
    """A client on this end of a socket; when it goes, the session must still have been well."""
    clock, vad = HandClock(), LoudnessVad()
    world: World = scripted_world(clock, vad, **engines)
    connection = RealtimeConnection(dialect, world, "sess_test")
    connection.on_open(wire)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(connection.converse())
            await asyncio.sleep(0)
            yield Client(clock, connection, wire)
            assert not wire.closed
            assert connection.session is not None
            assert connection.session.error is None
            connection.on_close()
    finally:
        world.hearing.close()
    assert not vad.slots, "a slot of the voice-activity model was not given back"


class TimingStt(_Fake, NativeEngine):
    """Says how long it was spoken to; what is shorter than `MIN_MS` has no words in it: a cough."""

    MIN_MS = 600
    capabilities = STT.capabilities

    def open(self, key: str, options: StreamOptions) -> "_TimingStream":
        return _TimingStream(16_000)


class _TimingStream(FakeStream):
    def __init__(self, rate_hz: int) -> None:
        super().__init__(rate_hz)
        self._samples = self._upto = 0

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._samples += item.end - item.start
        self._upto = item.end
        return True

    def flush(self, flush_id: int) -> None:
        ms = samples_to_ms(self._samples)
        text = f"{ms} milliseconds" if ms >= TimingStt.MIN_MS else ""
        self._samples = 0
        self.after(0, lambda: self._out.put(Final(flush_id, self._upto, text)))
