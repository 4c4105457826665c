"""A client of `duologue.v1` in scripted time, and the reception that it comes to."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from duologue.core.audio import WIRE
from duologue.engines.fakes import FakeLlm, FakeTts
from duologue.ports import Archive
from duologue.session.session import Session
from duologue.transports.admission import Visitor
from duologue.transports.extension import Leg, ResumableConnection
from duologue.transports.reception import Reception
from duologue.transports.websocket import Handler, Rejection, UpgradeRequest
from duologue.wire.choosing import GA
from duologue.wire.dialect import Binary
from duologue.wire.extension_frames import DISCONTINUITY, Frame, unpack
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.judge import Referee
from tests.support.scripted import LOUD, TimingStt
from tests.support.stage import FRAME_MS, HandClock, LoudnessVad, scripted_world

Event = dict[str, Any]
TALK: dict[str, Any] = {
    "stt": TimingStt(),
    "tts": FakeTts("tts_s=6"),
    "llm": FakeLlm("llm_tokens=24"),
}
"""Engines that answer for six seconds, and hear no words in a cough."""

WHOLE = 6 * WIRE.rate_hz - 1
"""Samples of such an answer; the fake voice rounds down in the middle of it."""

FRAME = WIRE.rate_hz * FRAME_MS // 1000


class Heard:
    """Everything that a client has received, over however many sockets."""

    def __init__(self) -> None:
        self.referee = Referee()
        self.order: list[Event | Frame] = []
        self.events: list[Event] = []
        self.frames: list[Frame] = []
        self.count = 0
        self.resumed: list[Event] = []
        self.is_judged = True

    def take(self, data: bytes) -> None:
        if type(data) is Binary:
            frame = unpack(data)
            self.frames.append(frame)
            self.order.append(frame)
            self.count += 1
            return
        event = json.loads(data)
        if event["type"] == "duologue.resumed":
            self.resumed.append(event)
            self.count = event["sequence"]
            return
        self.count += 1
        self.order.append(event)
        self.events.append(event)
        if self.is_judged and not event["type"].startswith("duologue."):
            self.referee.see(data)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def token(self) -> str:
        told = self.resumed or self.of("duologue.welcome")
        return str(told[-1]["resume_token"])

    def floors(self) -> list[str]:
        return [event["floor"] for event in self.of("duologue.floor")]


class Wire:
    """One socket. When the line is dead, what is sent is lost and nobody notices."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.is_dead = False
        self.closed: list[tuple[int, str]] = []

    def send(self, data: bytes) -> None:
        if not self.is_dead:
            self.heard.take(data)

    def close(self, code: int, reason: str = "") -> None:
        self.closed.append((code, reason))

    def unsent(self) -> int:
        return 0


class Device:
    """The client; `wire` is its present socket."""

    def __init__(self, house: "House", heard: Heard, handler: Handler) -> None:
        self.house = house
        self.heard = heard
        self.wire = Wire(heard)
        self.handler = handler
        self.sequence = 0
        self.position = 0

    @property
    def connection(self) -> ResumableConnection:
        assert isinstance(self.handler, Leg)
        return self.handler._connection

    @property
    def session(self) -> Session:
        assert self.connection.session is not None
        return self.connection.session

    async def open(self) -> None:
        self.handler.on_open(self.wire)
        await self.house.settle()

    async def ask(self, kind: str, **fields: Any) -> None:
        self.handler.on_bytes(json.dumps({"type": kind, **fields}).encode())
        await self.house.settle()

    async def frame(self, sound: bytes, flags: int = 0) -> None:
        self.handler.on_binary(Frame(flags, self.sequence, self.position, sound).pack())
        self.sequence += 1
        self.position += len(sound) // 2
        await self.house.settle()

    async def speak(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            sound = LOUD[self.position % 20_000 :][:FRAME].astype("<i2").tobytes()
            await self.frame(sound)
            await self.house.pass_time(FRAME_MS)

    async def quiet(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            await self.frame(bytes(FRAME * 2))
            await self.house.pass_time(FRAME_MS)

    async def skip(self, ms: int) -> None:
        """Send nothing for so long, for it is silence; the next frame must say so."""
        self.position += ms * WIRE.rate_hz // 1000
        await self.house.pass_time(ms)

    async def after_skip(self) -> None:
        await self.frame(bytes(FRAME * 2), DISCONTINUITY)

    async def turn(self) -> None:
        await self.speak(800)
        await self.quiet(700)

    async def drop(self) -> None:
        """The line breaks, and the server notices."""
        self.wire.is_dead = True
        self.handler.on_close()
        await self.house.settle()

    async def move_to(self, other: "House", **knock: Any) -> Rejection | None:
        """The server was killed: come to the next one. What was lost with it, nobody can judge."""
        self.house, self.heard.is_judged = other, False
        return await self.resume(**knock)

    async def close(self, code: int = 1000) -> None:
        assert isinstance(self.handler, Leg)
        self.handler.on_goodbye(code)
        self.handler.on_close()
        await self.house.settle()

    async def resume(self, **knock: Any) -> Rejection | None:
        """Come back with another socket."""
        token, received = (
            knock.pop("token", self.heard.token),
            knock.pop("received", self.heard.count),
        )
        offered = ["duologue.v1", f"duologue-resume.{token}.{received}"]
        handler = self.house.knock(offered, **knock)
        if isinstance(handler, Rejection):
            return handler
        self.handler, self.wire = handler, Wire(self.heard)
        await self.open()
        return None

    def positions(self) -> list[tuple[int, int]]:
        """Start and end of each frame of an answer's sound, in samples."""
        return [(f.position, f.position + len(f.sound) // 2) for f in self.heard.frames if f.sound]

    def assert_gapless(self) -> int:
        """No sample is missing and none came twice; returns how many came."""
        at = 0
        for start, end in self.positions():
            assert start == at
            at = end
        return at


class House:
    """A reception, its world, and the hand that moves the clock."""

    def __init__(self, archive: Archive | None = None, **engines: Any) -> None:
        self.clock, self.vad = HandClock(), LoudnessVad()
        self.world = scripted_world(self.clock, self.vad, **engines)
        self.world.archive = archive
        self.name = "kitchen"
        self.here = 0
        self.revoke: list[Any] = []
        self.max_sessions_per_key = 10
        self.reception = Reception(
            self.world, self._authorise, dialects={GA: self._dialect}, max_sessions=10
        )
        self.reception.is_open = True

    def knock(self, offered: Iterable[str], name: str = "kitchen") -> Handler | Rejection:
        self.name = name
        headers = {"sec-websocket-protocol": ", ".join(offered), "authorization": "Bearer x"}
        return self.reception.accept(UpgradeRequest("/v1/realtime", {}, headers, "::1"))

    async def device(self, *others: str) -> Device:
        handler = self.knock(("duologue.v1", *others))
        assert not isinstance(handler, Rejection)
        device = Device(self, Heard(), handler)
        await device.open()
        return device

    async def settle(self) -> None:
        while not self.world.hearing.judge_waiting():
            pass
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            self.clock.now += FRAME_MS
            await self.settle()
            self.world.pacer.tick(self.clock.now)
            await self.settle()

    def _authorise(self, request: UpgradeRequest) -> Visitor | Rejection:
        if self.here >= self.max_sessions_per_key:
            return Rejection(429, "rate_limit_exceeded", "Too many sessions.", 1)
        self.here += 1
        left: list[bool] = []

        def leave() -> None:
            assert not left, "left twice"
            left.append(True)
            self.here -= 1

        return Visitor(self.name, leave=leave, on_revoked=self.revoke.append)

    @staticmethod
    def _dialect(session_id: str, choice: Any, visitor: Visitor) -> RealtimeWire:
        return RealtimeWire(SessionDocument(session_id, "any", ""), visitor.rate_limits)


@asynccontextmanager
async def house(archive: Archive | None = None, **engines: Any) -> AsyncIterator[House]:
    """A house that is left tidy, and knows what is in its archive."""
    made = House(archive, **engines)
    await made.reception.remember()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.reception.run())
            await asyncio.sleep(0)
            yield made
            running.cancel()
    finally:
        made.world.hearing.close()
    assert made.here == 0, "somebody did not leave"
    assert not made.vad.slots, "a slot of the voice-activity model was not given back"
    assert made.world.meters.live == 0
    assert len(made.reception.lobby) == 0
