"""The WebSocket of the session API: a way to a session, which goes on without it.

A session is made and ended over REST (`server.streaming_api`). A socket is one listener of it: when it is lost, its
seat is given up and nothing else; whoever comes back is told what it missed. What a session is to its key is kept
here, too: it counts as one of the key's sessions until it is over, however many sockets come and go.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from duologue.core.errors import AtCapacity, ClientError, DuologueError, MalformedEvent
from duologue.core.streaming import StreamEnded, StreamNotice
from duologue.session.streaming.desk import StreamDesk
from duologue.session.streaming.seats import Seat
from duologue.session.streaming.session import StreamSession
from duologue.transports.admission import Visitor
from duologue.transports.reception import NOT_READY
from duologue.transports.websocket import (
    INTERNAL_ERROR,
    NORMAL,
    POLICY_VIOLATION,
    Handler,
    Rejection,
    Socket,
    UpgradeRequest,
)
from duologue.wire.streaming import StreamWire

log = logging.getLogger("duologue.streaming")

PATH = "/api/v1/audio-streaming/ws/"
"""Below it, by their ids, sessions."""

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

SERVICE_RESTART = 1012
"""The server goes down; the session can be resumed."""

CLOSE_CODES = {
    "session_not_found": 4404,
    "session_ended": 4410,
    "resume_token_wrong": 4403,
    "resume_token_required": 4403,
    "too_many_listeners": 4429,
    "session_limit_reached": 4503,
    "not_ready": 4503,
}
"""Why a socket is closed that could not join; 4000 and the status that HTTP has for it."""

MAX_EARLY = 64
MAX_EARLY_BYTES = 8 * 1024 * 1024
"""What may come before the session has been found, which takes a look into the store at most."""

MAX_DIGITS = 15

SWEEP_S = 1.0
"""How soon the place of a session that is over is free for another of the same key."""

Subprotocol = str | None
_KEY_PROTOCOL = "openai-insecure-api-key."


class StreamDoor:
    """Takes sockets in, and keeps the books of sessions.

    Args:
        authorise: who a request comes from, or why it may not come in; the visit counts as no session.

    Attributes:
        connections: where a server that goes down looks for whom to tell (uvicorn's set, once there is one).
    """

    def __init__(
        self, desk: StreamDesk, authorise: Callable[[UpgradeRequest], Visitor | Rejection]
    ) -> None:
        self.connections: set[Any] = set()
        self._desk = desk
        self._authorise = authorise
        self._counted: list[tuple[StreamSession, Visitor]] = []
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own what waits for the desk until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                while True:
                    await asyncio.sleep(SWEEP_S)
                    self.sweep()
            finally:
                self._tasks = None

    def accept(self, request: UpgradeRequest) -> Handler | Rejection:
        """See `websocket.Accept`; for paths below `PATH`."""
        visitor = self._authorise(request)
        if isinstance(visitor, Rejection):
            return visitor
        answer = self._handler(request, visitor)
        if isinstance(answer, Rejection):
            visitor.leave()
        return answer

    def admitted(self, session: StreamSession, visitor: Visitor) -> None:
        """A session was made: it is one of the visitor's until it is over, and ends if their key is revoked."""
        self._counted.append((session, visitor))
        visitor.on_revoked(lambda: self._spawn(self._end(session)))

    def sweep(self) -> None:
        """Sessions that are over count no more."""
        over = [entry for entry in self._counted if entry[0].ended is not None]
        if over:
            self._counted = [entry for entry in self._counted if entry[0].ended is None]
        for _, visitor in over:
            visitor.leave()

    def _handler(self, request: UpgradeRequest, visitor: Visitor) -> "Handler | Rejection":
        if self._tasks is None or not self._desk.is_open:
            return NOT_READY
        session_id = request.path.removeprefix(PATH)
        if not SESSION_ID.fullmatch(session_id):
            return Rejection(404, "session_not_found", "There is no session of this name.")
        try:
            most = self._desk.shared.bounds.chunk_bytes
            wire = StreamWire.of(request.query, max_chunk_bytes=most)
            after = number(request.query.get("last_seq", ""), "last_seq")
        except MalformedEvent as error:
            return Rejection(400, error.code, str(error))
        token = request.query.get("resume_token", "")

        async def join(socket: "StreamSocket") -> Seat:
            session = await self._desk.find(session_id, visitor.name)
            return await session.join(socket.tell, token=token, after=after)

        handler = StreamSocket(wire, visitor, lambda each: self._spawn(_bring_in(each, join)))
        handler.subprotocol = _chosen(request.subprotocols)
        visitor.on_revoked(handler.revoked)
        return handler

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(work)

    async def _end(self, session: StreamSession) -> None:
        try:
            await self._desk.end(session.id, session.owner)
        except DuologueError as error:
            log.info("= %s was over before its key was revoked: %s", session.id, error.code)
        self.sweep()


class StreamSocket:
    """One socket of a session. See `websocket.Handler`.

    Args:
        begin: told when the socket is ready; has it join its session.
    """

    max_unsent_bytes = 16 * 1024 * 1024
    """An answer's sound may come in one message, and takes its time on a slow line."""

    def __init__(
        self, wire: StreamWire, visitor: Visitor, begin: "Callable[[StreamSocket], None]"
    ) -> None:
        self.subprotocol: Subprotocol = None
        self._wire = wire
        self._visitor = visitor
        self._begin = begin
        self._socket: Socket | None = None
        self._seat: Seat | None = None
        self._early: list[tuple[bool, bytes]] = []
        self._early_bytes = 0

    # --- the socket's side ---
    def on_open(self, socket: Socket) -> None:
        """See `websocket.Handler`."""
        self._socket = socket
        self._begin(self)

    def on_bytes(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        self._receive(data, binary=False)

    def on_binary(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        self._receive(data, binary=True)

    def on_goodbye(self, code: int) -> None:
        """The client closes properly; its session goes on all the same."""

    def on_close(self) -> None:
        """See `websocket.Handler`."""
        self._socket = None
        self._early.clear()
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()
        self._visitor.leave()

    def drain(self) -> None:
        """The session is not over: its client may come back when the server does."""
        self._close(SERVICE_RESTART, "the server is going down")

    def revoked(self) -> None:
        """The visitor's key is no more."""
        self._close(POLICY_VIOLATION, "the API key was revoked")

    # --- the session's side ---
    def tell(self, notice: StreamNotice) -> None:
        """The session has something to say."""
        self._send(self._wire.encode(notice))
        if isinstance(notice, StreamEnded):
            self._close(NORMAL, notice.reason)

    def seated(self, seat: Seat) -> None:
        """It has joined; what came too early is dealt with now."""
        if self._socket is None:
            seat.leave()
            return
        self._seat = seat
        early, self._early = self._early, []
        for binary, data in early:
            self._receive(data, binary=binary)

    def turned_away(self, error: DuologueError) -> None:
        """It could not join."""
        self._send((self._wire.error(error),))
        usual = 4429 if isinstance(error, AtCapacity) else 4400
        code = CLOSE_CODES.get(error.code, usual if isinstance(error, ClientError) else 4500)
        self._close(code, error.code)

    def fail(self) -> None:
        """Something broke here."""
        self._close(INTERNAL_ERROR, "internal error")

    # --- what comes in ---
    def _receive(self, data: bytes, *, binary: bool) -> None:
        if self._seat is None:
            self._keep(data, binary=binary)
            return
        try:
            steps = (self._wire.binary(data),) if binary else self._wire.receive(data)
            for step in steps:
                if isinstance(step, bytes):
                    self._send((step,))
                elif self._seat is not None:
                    self._seat.ask(step)
        except ClientError as error:
            self._send((self._wire.error(error),))
        except Exception:  # the outer wall of a connection: the others live on
            log.exception("! a socket of the session API broke down")
            self.fail()

    def _keep(self, data: bytes, *, binary: bool) -> None:
        self._early_bytes += len(data)
        if len(self._early) < MAX_EARLY and self._early_bytes <= MAX_EARLY_BYTES:
            self._early.append((binary, data))
        else:
            self._close(POLICY_VIOLATION, "too much, too early")

    def _send(self, messages: Iterable[bytes]) -> None:
        for data in messages:
            if self._socket is not None:
                self._socket.send(data)

    def _close(self, code: int, reason: str) -> None:
        if self._socket is not None:
            self._socket.close(code, reason)


async def _bring_in(
    socket: StreamSocket, join: "Callable[[StreamSocket], Coroutine[Any, Any, Seat]]"
) -> None:
    """Have a socket join; whatever happens, nobody else's task is harmed."""
    try:
        socket.seated(await join(socket))
    except DuologueError as error:
        socket.turned_away(error)
    except Exception:  # the outer wall of a connection: the others live on
        log.exception("! a socket could not join its session")
        socket.fail()


def number(text: str, name: str) -> int | None:
    """A number of items that a client says it has; None if it says nothing.

    Raises:
        MalformedEvent: it is none.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        message = f"'{name}' is the number of the last item that you have, or 0."
        raise MalformedEvent("invalid_value", message, param=name)
    return int(text)


def _chosen(offered: Iterable[str]) -> Subprotocol:
    """A browser breaks off if none of those comes back that it offered; its key is not one to send back."""
    return next((name for name in offered if not name.startswith(_KEY_PROTOCOL)), None)
