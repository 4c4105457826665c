"""What an engine server makes of clients that are none of ours, or gone astray."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineRefused
from duologue.engines import pipe
from duologue.engines.endpoint import served, wire
from duologue.engines.endpoint.wire import PATH, SUBPROTOCOL
from duologue.engines.fakes import FakeTts
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.threads import MAX_WAITING
from duologue.ports import EngineGone, Final, SttOptions, TtsOptions
from tests.engines.endpoint.lent import borrowed, lent
from tests.engines.endpoint.test_endpoints import first, frame, heard, opened, until
from tests.engines.probe import Probe

SOUND = pipe.Sound(1, bytes(1024), 0)
HANG = pipe.Sound(1, b"h".ljust(1024, b"\0"), 0)


@asynccontextmanager
async def raw(port: int, role: str = "stt") -> AsyncIterator[Any]:
    """A client of the library's, which may say anything; it has heard `Ready`."""
    url = f"ws://127.0.0.1:{port}{PATH}{role}"
    async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as socket:
        assert isinstance(pipe.decode(await socket.recv(decode=False)), pipe.Ready)
        yield socket


async def say(socket: Any, *messages: pipe.Message | bytes | str) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, bytes | str) else pipe.encode(message))


async def is_cut_off(socket: Any) -> int:
    async with asyncio.timeout(5):
        await socket.wait_closed()
    code: int = socket.protocol.close_code
    return code


OPEN = pipe.Open(1, "s", SttOptions(), None)


@pytest.mark.parametrize(
    "said",
    [
        [b"\xc1"],
        [b""],
        ["text"],
        [b"\x93\xa4Open\x01\xa1s"],
        [pipe.Open(0, "s", SttOptions(), None)],
        [pipe.Open(1, "s", None, TtsOptions())],
        [OPEN, OPEN],
        [OPEN, pipe.Text(1, 0, "for a voice")],
        [OPEN, pipe.Ready(1, Capabilities())],
        [OPEN, HANG, *[SOUND] * (MAX_WAITING + 200)],
        [OPEN, HANG, *[pipe.Finish(1, 1)] * (MAX_WAITING + 200)],
    ],
)
async def test_who_does_not_keep_to_the_wire_is_cut_off_and_others_go_on(said: Any) -> None:
    async with lent() as (server, port), borrowed(port) as pool:
        beside = await opened(pool)
        async with raw(port) as socket:
            await say(socket, *said)
            assert await is_cut_off(socket) == 1008
        await until(lambda: server.streams == 1)
        assert server.counts["garbled"] == 1
        beside.flush(1)
        assert await first(beside, Final)
        await beside.aclose()


async def test_a_message_that_is_too_long_is_not_read() -> None:
    async with lent() as (_, port), raw(port) as socket:
        await say(socket, OPEN, pipe.Sound(1, bytes(2 * 1024 * 1024), 0))
        assert await is_cut_off(socket) == 1009


async def test_what_is_said_of_streams_that_are_none_is_passed_over() -> None:
    async with lent() as (server, port), raw(port) as socket:
        await say(socket, pipe.Sound(7, b"", 0), pipe.Shut(7, True), pipe.Taken(7, 1 << 60))
        await say(socket, OPEN, pipe.Taken(1, -(1 << 60)), pipe.Taken(1, 1 << 60), SOUND)
        await say(socket, pipe.Finish(1, 5))
        async with asyncio.timeout(5):
            told = [pipe.decode(await socket.recv()) for _ in range(2)]
        assert isinstance(told[0], pipe.Opened)
        assert isinstance(told[1], pipe.Finished)
        assert server.streams == 1


async def test_a_client_that_vanishes_gives_its_places_back() -> None:
    async with lent() as (server, port):
        async with raw(port) as socket:
            await say(socket, OPEN, HANG)
            await until(lambda: server.streams == 1)
            socket.transport.abort()
            await until(lambda: server.streams == 0)
        await until(lambda: server.connections == 0)


async def test_a_client_that_hangs_loses_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PING_S", 0.05)
    monkeypatch.setattr(served, "SILENT_S", 0.05)
    async with lent() as (server, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"GET {PATH}stt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
        writer.write(head.encode())
        assert b"101" in await reader.readline()
        await until(lambda: server.connections == 1)
        await until(lambda: server.connections == 0)  # it never answers a ping
        writer.close()


class Stuck:
    """A connection whose buffer is full: nothing can be written, not even a ping."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = asyncio.Event()

    async def send(self, message: bytes) -> None:
        await self.aborted.wait()

    async def ping(self) -> Any:
        await self.aborted.wait()

    def abort(self) -> None:
        self.aborted.set()


async def test_a_connection_whose_buffer_is_full_is_found_out_too() -> None:
    stuck = Stuck()
    async with asyncio.timeout(5):
        await wire.watch(stuck, 0.01, 0.02)
    assert stuck.aborted.is_set()


async def test_an_engine_waits_while_its_sound_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "MAX_UNSENT_BYTES", 1_000)
    outbox, stuck = wire.Outbox(), Stuck()
    for _ in range(3):
        outbox.put(pipe.Speech(1, 0, bytes(1_000), ()))
    waiting = asyncio.ensure_future(outbox.room())
    writing = asyncio.ensure_future(outbox.run(stuck))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    stuck.abort()
    async with asyncio.timeout(5):
        await waiting
    writing.cancel()


async def test_an_engines_bug_costs_its_stream_only() -> None:
    class Broken(FakeTts):
        def open(self, key: str, options: Any) -> Any:
            raise ZeroDivisionError("a bug")

    async with lent(Broken(), Role.TTS) as (server, port), raw(port, "tts") as socket:
        for number in (1, 2):
            await say(socket, pipe.Open(number, "s", None, TtsOptions()))
            failed = pipe.decode(await socket.recv())
            assert isinstance(failed, pipe.Failed)
            assert failed.code == "engine_broke"
            assert pipe.decode(await socket.recv()) == pipe.Ended(number)
        assert server.streams == 0


class Reloading(InProcessPool):
    """An engine that is being started again now and then."""

    is_there = True
    noted: EngineError | None = None

    @property
    def ready(self) -> bool:
        return self.is_there

    def note(self, error: EngineError) -> None:
        self.noted = error


async def test_an_engine_that_is_started_again_is_waited_for_where_there_is_no_other() -> None:
    reloading = Reloading(Probe())
    async with lent(pool=reloading) as (server, port), borrowed(port) as pool:
        reloading.is_there = False  # told with the first refusal, or soon by itself
        at_once = asyncio.ensure_future(heard(pool))
        await until(lambda: not pool.ready)
        assert (await asyncio.to_thread(get, port, "/ready"))[0] == 503
        waiting = asyncio.ensure_future(heard(pool))
        async with lent() as (other, beside), borrowed(port, beside, patience_s=1) as both:
            assert (await heard(both)).startswith("512 samples")
            assert (server.counts["opened"], other.counts["opened"]) == (0, 1)
            assert both.spares == 1
        assert not waiting.done()
        assert not at_once.done()
        reloading.is_there = True
        assert (await at_once).startswith("512 samples")
        assert (await waiting).startswith("512 samples")
        assert pool.ready
        stream = await opened(pool)
        stream.offer(frame(b"e"))
        await first(stream, EngineGone)
        await stream.aclose(cancel=True)
        assert isinstance(reloading.noted, EngineRefused)  # who holds it must know how it ended


# --- HTTP ---
def get(port: int, path: str, token: str = "") -> tuple[int, str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


async def test_health_and_readiness_are_told_to_everybody() -> None:
    async with lent(token="secret", ready=False) as (server, port):
        status, kind, body = await asyncio.to_thread(get, port, "/health")
        assert (status, kind, json.loads(body)["status"]) == (200, "application/json", "ok")
        status, _, body = await asyncio.to_thread(get, port, "/ready")
        assert (status, json.loads(body)["ready"]) == (503, False)
        server.is_ready = True
        status, _, body = await asyncio.to_thread(get, port, "/ready")
        assert status == 200
        assert json.loads(body) == {
            "ready": True,
            "role": "stt",
            "engine": "probe",
            "streams": 0,
            "max_streams": 3,
        }
        server.drain()
        assert (await asyncio.to_thread(get, port, "/ready"))[0] == 503
        assert (await asyncio.to_thread(get, port, "/health"))[0] == 200
        assert (await asyncio.to_thread(get, port, "/elsewhere"))[0] == 404


async def test_metrics_are_for_those_with_the_token() -> None:
    async with lent(token="secret") as (server, port), borrowed(port, token="secret") as pool:
        for token in ("", "wrong", "sécret"):
            status, _, body = await asyncio.to_thread(get, port, "/metrics", token)
            assert status == 401
            assert json.loads(body)["error"]["code"] == "endpoint_token_wrong"
        await heard(pool)
        status, kind, body = await asyncio.to_thread(get, port, "/metrics", "secret")
        assert status == 200
        assert kind.startswith("text/plain; version=0.0.4")
        for line in (
            'duologue_engine_max_streams{engine="stt:probe"} 3.0',
            'duologue_engine_clients{engine="stt:probe"} 1.0',
            'duologue_engine_ready{engine="stt:probe"} 1.0',
            'duologue_engine_opened_total{engine="stt:probe"} 1.0',
            'duologue_engine_unauthorized_total{engine="stt:probe"} 3.0',
            'duologue_engine_answer_seconds_count{engine="stt:probe"} 1.0',
        ):
            assert line in body
        assert "process_resident_memory_bytes" in body
        assert server.counts["unauthorized"] == 3


async def test_refusals_of_streams_come_at_once() -> None:
    async with lent() as (_, port), raw(port) as socket:
        began = time.perf_counter()
        for number in range(1, 40):
            await say(socket, pipe.Open(number, "s", SttOptions(), None))
        told: list[pipe.Message] = []
        async with asyncio.timeout(5):
            while sum(isinstance(m, pipe.Failed) for m in told) < 36:
                told.append(pipe.decode(await socket.recv()))
        assert time.perf_counter() - began < 1
        assert {m.kind for m in told if isinstance(m, pipe.Failed)} == {"AtCapacity"}
