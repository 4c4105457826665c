"""Sockets of the session API: let in, joined, lost, and let go; behind them is a desk without engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from duologue.core.errors import OurError
from duologue.core.streaming import AudioChunk, Ping, StreamEnded, StreamOptions
from duologue.transports.admission import Visitor
from duologue.transports.reception import Reception
from duologue.transports.streaming import MAX_EARLY, MAX_EARLY_BYTES, PATH, StreamDoor, StreamSocket
from duologue.transports.websocket import Handler, Rejection, UpgradeRequest
from tests.support.stream_desk import FakeDesk, FakeSession, said

PING = json.dumps({"type": "control", "data": {"command": "ping"}}).encode()


class Line:
    """The socket of a client."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None

    def send(self, data: bytes) -> None:
        self.sent.append(json.loads(data))

    def unsent(self) -> int:
        return 0

    def close(self, code: int, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


class Books:
    """Visitors that come and go."""

    def __init__(self) -> None:
        self.here = 0
        self.ends: list[Any] = []

    def enter(self, name: str = "ann") -> Visitor:
        self.here += 1
        return Visitor(name=name, leave=self._leave, on_revoked=self.ends.append)

    def _leave(self) -> None:
        self.here -= 1


class Place:
    """A door, and what is behind it."""

    def __init__(self) -> None:
        self.desk = FakeDesk()
        self.books = Books()
        self.refusal: Rejection | None = None
        self.door = StreamDoor(self.desk.as_desk, lambda _: self.refusal or self.books.enter())

    async def session(self, **options: Any) -> FakeSession:
        session, _ = await self.desk.create("ann", StreamOptions(**options))
        return session

    def ask(self, path: str, **headers: str) -> Handler | Rejection:
        path, _, query = path.partition("?")
        pairs = dict(pair.split("=") for pair in query.split("&") if pair)
        return self.door.accept(UpgradeRequest(f"{PATH}{path}", pairs, headers, "::1"))

    async def connect(self, path: str) -> tuple[StreamSocket, Line]:
        handler = self.ask(path)
        assert isinstance(handler, StreamSocket), handler
        line = Line()
        handler.on_open(line)
        await turns()
        return handler, line


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    there = Place()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(there.door.run())
        await asyncio.sleep(0)
        yield there
        running.cancel()


async def test_a_socket_joins_asks_and_is_told() -> None:
    async with place() as there:
        session = await there.session()
        handler, line = await there.connect(session.id)
        assert line.types == ["connection_established"]
        handler.on_bytes(PING)
        session.tell(said(1, "Hello."))
        assert line.types[1:] == ["pong", "transcription"]
        assert session.asked == [Ping()]
        chunk = {"audio_data": "0102", "is_final": False, "chunk_index": 0}
        handler.on_bytes(json.dumps({"type": "audio_chunk", "data": chunk}).encode())
        taken = session.asked[-1]
        assert isinstance(taken, AudioChunk)
        assert (taken.data, taken.index) == (b"\1\2", 0)


async def test_a_lost_socket_leaves_its_seat_and_nothing_else() -> None:
    async with place() as there:
        session = await there.session()
        handler, _ = await there.connect(session.id)
        assert (len(session.seats), there.books.here) == (1, 1)
        handler.on_close()
        assert (len(session.seats), there.books.here) == (0, 0)
        assert session.id in there.desk.sessions


async def test_who_comes_back_is_told_what_it_missed() -> None:
    async with place() as there:
        session = await there.session(needs_token=True)
        for number in (1, 2, 3):
            session.tell(said(number, f"n{number}"))
        _, line = await there.connect(f"{session.id}?resume_token=rt_good&last_seq=1")
        texts = [message["text"] for message in line.sent[1:]]
        assert texts == ["n2", "n3"]


async def test_what_comes_before_it_has_joined_is_kept() -> None:
    async with place() as there:
        session = await there.session()
        handler = there.ask(session.id)
        assert isinstance(handler, StreamSocket)
        line = Line()
        handler.on_open(line)
        handler.on_bytes(PING)
        assert not line.sent
        await turns()
        assert line.types == ["connection_established", "pong"]


async def test_a_socket_that_is_lost_before_it_has_joined_takes_no_seat() -> None:
    async with place() as there:
        session = await there.session()
        handler = there.ask(session.id)
        assert isinstance(handler, StreamSocket)
        handler.on_open(Line())
        handler.on_close()
        await turns()
        assert (len(session.seats), there.books.here) == (0, 0)


@pytest.mark.parametrize(("size", "count"), [(1, MAX_EARLY + 1), (MAX_EARLY_BYTES // 4, 5)])
async def test_too_much_before_that_is_not(size: int, count: int) -> None:
    async with place() as there:
        session = await there.session()
        handler = there.ask(session.id)
        assert isinstance(handler, StreamSocket)
        line = Line()
        handler.on_open(line)
        for _ in range(count - 1):
            handler.on_binary(bytes(size))
        was_open = line.closed is None
        assert was_open
        handler.on_binary(bytes(size))
        assert line.closed == (1008, "too much, too early")
        await turns()
        handler.on_close()
        assert not session.seats


@pytest.mark.parametrize(
    ("path", "close", "code"),
    [
        ("strm_99", 4404, "session_not_found"),
        ("strm_1?resume_token=rt_bad", 4403, "resume_token_wrong"),
        ("strm_2", 4410, "session_ended"),
    ],
)
async def test_who_cannot_join_is_told_why(path: str, close: int, code: str) -> None:
    async with place() as there:
        await there.session()
        over = await there.session()
        await there.desk.end(over.id, "ann")
        handler, line = await there.connect(path)
        assert line.closed == (close, code)
        assert line.sent[-1]["type"] == "error"
        assert code in json.dumps(line.sent[-1])
        handler.on_close()
        assert there.books.here == 0


async def test_a_store_that_breaks_down_ends_one_socket() -> None:
    async with place() as there:
        session = await there.session()

        async def find(*_: Any) -> Any:
            raise there_is

        there.desk.find = find  # type: ignore[method-assign, assignment]
        there_is: Exception = OurError("store_failed", "The store cannot be read.")
        _, line = await there.connect(session.id)
        assert line.closed == (4500, "store_failed")
        there_is = RuntimeError("a bug")
        _, line = await there.connect(session.id)
        assert line.closed == (1011, "internal error")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("", 404, "session_not_found"),
        ("a/b", 404, "session_not_found"),
        ("%2e", 404, "session_not_found"),
        ("x" * 65, 404, "session_not_found"),
        ("strm_1?last_seq=-1", 400, "invalid_value"),
        ("strm_1?last_seq=9999999999999999", 400, "invalid_value"),
    ],
)
async def test_what_is_known_before_the_upgrade_is_told_by_http(
    path: str, status: int, code: str
) -> None:
    async with place() as there:
        refused = there.ask(path)
        assert isinstance(refused, Rejection)
        assert (refused.status, refused.code, there.books.here) == (status, code, 0)


async def test_nobody_comes_in_while_the_engines_load_or_without_a_key() -> None:
    async with place() as there:
        there.desk.is_open = False
        loading = there.ask("strm_1")
        assert isinstance(loading, Rejection)
        assert (loading.status, loading.retry_after_s) == (503, 2)
        there.refusal = Rejection(401, "missing_api_key", "No.")
        assert there.ask("strm_1") is there.refusal
        assert there.books.here == 0


async def test_a_session_that_ends_closes_its_sockets() -> None:
    async with place() as there:
        session = await there.session()
        _, line = await there.connect(session.id)
        session.tell(StreamEnded("idle"))
        assert line.closed == (1000, "idle")


async def test_a_server_that_goes_down_ends_no_session() -> None:
    async with place() as there:
        session = await there.session()
        handler, line = await there.connect(session.id)
        handler.drain()
        assert line.closed == (1012, "the server is going down")
        assert line.types == ["connection_established"]
        assert session.id in there.desk.sessions


async def test_a_revoked_key_closes_its_sockets_and_ends_its_sessions() -> None:
    async with place() as there:
        session = await there.session()
        there.door.admitted(session, there.books.enter())  # type: ignore[arg-type]
        handler, line = await there.connect(session.id)
        assert there.books.here == 2
        for end in there.books.ends:
            end()
        await turns()
        assert line.closed == (1008, "the API key was revoked")
        assert not there.desk.sessions
        handler.on_close()
        assert there.books.here == 0


async def test_nonsense_is_answered_and_the_socket_lives() -> None:
    async with place() as there:
        session = await there.session()
        handler, line = await there.connect(session.id)
        for data in (b"{", b"[]", b'{"type": "nothing"}', b"\xff"):
            handler.on_bytes(data)
            assert line.types[-1] == "error"
        handler.on_bytes(PING)
        assert line.types[-1] == "pong"
        assert line.closed is None


async def test_a_bug_ends_one_socket() -> None:
    async with place() as there:
        session = await there.session()
        handler, line = await there.connect(session.id)
        session.answers_to = cast(Any, None)  # type: ignore[method-assign]
        handler.on_bytes(PING)
        assert line.closed == (1011, "internal error")
        assert session.id in there.desk.sessions


async def test_a_browsers_subprotocol_comes_back_and_its_key_does_not() -> None:
    async with place() as there:
        session = await there.session()
        offered = "openai-insecure-api-key.K, duologue-stream"
        handler = there.ask(session.id, **{"sec-websocket-protocol": offered})
        assert isinstance(handler, StreamSocket)
        assert handler.subprotocol == "duologue-stream"


def test_other_doors_are_found_by_their_paths() -> None:
    asked: list[str] = []

    def accept(request: UpgradeRequest) -> Rejection:
        asked.append(request.path)
        return Rejection(404, "x", "x")

    reception = Reception(cast(Any, None), cast(Any, None), dialects={}, max_sessions=1)
    reception.doors[PATH] = accept
    for path in (f"{PATH}strm_1", "/v1/other", "/api/v1/audio-streaming"):
        refused = reception.accept(UpgradeRequest(path, {}, {}, "::1"))
        assert isinstance(refused, Rejection)
        assert refused.status == 404
    assert asked == [f"{PATH}strm_1"]
