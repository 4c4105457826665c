"""One Realtime connection: a socket on one side, a session on the other, the protocol machine between."""

import asyncio
import logging
from collections.abc import Iterable

from duologue.core.errors import ClientError
from duologue.core.notices import Notice, ReplyEnded
from duologue.core.turn import Floor
from duologue.session.session import Session
from duologue.session.watching import Watch
from duologue.session.world import World
from duologue.transports.admission import Visitor
from duologue.transports.websocket import (
    GOING_AWAY,
    INTERNAL_ERROR,
    NORMAL,
    POLICY_VIOLATION,
    Handler,
    Socket,
)
from duologue.wire.dialect import Dialect
from duologue.wire.extension import Extended

log = logging.getLogger("duologue.realtime")

DRAIN_S = 5.0
"""How long an answer may still be spoken when the server goes down."""

FAREWELL_S = 0.3
"""From an answer's last event to the close of a draining connection: what is sent ahead is still played."""

MAX_EARLY = 64
"""Messages that may come before the session has been set up; it is within the same turn of the loop."""

HUNG_UP = "hang_up"
"""Why a connection is closed that the language model ended."""

HESITATION_S = 0.5
"""A client whose dialect its first message will tell may stay silent this long, until it is greeted after all."""


class RealtimeConnection:
    """Bytes to commands, notices to bytes. Owned by the socket; its session is a task of the reception's.

    Attributes:
        extension: the extension channel, somewhere within its dialect, where the client negotiated it.
        visitor: whose it is; leaves when the conversation is over.
    """

    def __init__(self, wire: Dialect, world: World, session_id: str) -> None:
        self.subprotocol: str | None = None
        self.session: Session | None = None
        self.extension: Extended | None = None
        self.visitor = Visitor()
        self._wire = wire
        self._world = world
        self._id = session_id
        self._socket: Socket | None = None
        self._gone = asyncio.Event()
        self._early: list[tuple[bool, bytes]] = []
        self._draining = False

    @property
    def handler(self) -> Handler:
        """Who is told of its socket."""
        return self

    # --- the socket's side ---
    def on_open(self, socket: Socket) -> None:
        """See `websocket.Handler`."""
        self._socket = socket

    def on_bytes(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        self._receive(data, binary=False)

    def on_binary(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        self._receive(data, binary=True)

    def on_goodbye(self, code: int) -> None:
        """The client closes properly; `on_close` follows."""

    def on_close(self) -> None:
        """See `websocket.Handler`."""
        self._socket = None
        self._gone.set()

    def revoked(self) -> None:
        """The visitor's key is no more."""
        self._close(POLICY_VIOLATION, "the API key was revoked")

    def drain(self) -> None:
        """Say what is being said to its end, then close."""
        self._draining = True
        loop = asyncio.get_running_loop()
        floor = self.session.floor if self.session is not None else Floor.OPEN
        wait_s = DRAIN_S if floor in (Floor.THINKING, Floor.AGENT, Floor.OVERLAP) else 0.0
        loop.call_later(wait_s, self._close, GOING_AWAY, "the server is going down")

    # --- the session's side ---
    def tell(self, notice: Notice) -> None:
        """See `ports.Listener`."""
        self._send(self._wire.encode(notice))
        if self.session is not None and self.session.watch is not None:
            self.session.watch.noticed(notice)
        if self._draining and isinstance(notice, ReplyEnded):
            loop = asyncio.get_running_loop()
            loop.call_later(FAREWELL_S, self._close, GOING_AWAY, "the server is going down")

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        """See `ports.Listener`."""
        if self._socket is not None:
            self._send(self._wire.encode_sound(reply_id, index, item_id, pcm))

    def unsent(self) -> int:
        """See `ports.Listener`."""
        return self._socket.unsent() if self._socket is not None else 0

    # --- the conversation ---
    async def converse(self) -> None:
        """Hold the conversation until one side ends it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                options = self._wire.options()
                session = Session(self._world, self._id, self, options, tasks)
                try:
                    log.info("< %s: connected", self._id)
                    self._furnish(session)
                    self._greet()
                    self._begin(session)
                    await self._until_over(session)
                finally:
                    session.close()
                    if session.watch is not None:
                        session.watch.close()
                    log.info("< %s: disconnected", self._id)
                raise _Over
        except* _Over:
            pass
        except* Exception as errors:
            log.exception("! %s: a task of the session failed", self._id, exc_info=errors)
            self._world.meters.counts["sessions_failed"] += 1
        if self.session is not None and self.session.hung_up:
            self._say_goodbye()
        else:
            self._close(INTERNAL_ERROR, "internal error")

    def _say_goodbye(self) -> None:
        """The model ended the conversation, and its goodbye was heard."""
        if self.extension is not None:
            self._send((self.extension.goodbye(HUNG_UP),))
        self._close(NORMAL, HUNG_UP)

    async def _until_over(self, session: Session) -> None:
        """Return when the client is gone or the session cannot go on, whichever comes first."""
        async with asyncio.TaskGroup() as waits:
            gone = waits.create_task(self._gone.wait())
            ended = waits.create_task(session.ended.wait())
            await asyncio.wait((gone, ended), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            ended.cancel()

    def _furnish(self, session: Session) -> None:
        """What the extension channel needs of a session, where it was negotiated."""
        if self.extension is not None:
            session.watch = Watch(session, self._world.pacer)

    def _begin(self, session: Session) -> None:
        self.session = session
        early, self._early = self._early, []
        for binary, data in early:
            self._receive(data, binary=binary)

    def _greet(self) -> None:
        greeting = list(self._wire.greet())
        self._send(greeting)
        if not greeting:
            loop = asyncio.get_running_loop()
            loop.call_later(HESITATION_S, lambda: self._send(self._wire.greet_late()))

    def _receive(self, data: bytes, *, binary: bool) -> None:
        session = self.session
        if session is None:
            self._keep(data, binary=binary)
            return
        try:
            if binary:
                self._take_binary(session, data)
            else:
                self._take_text(session, data)
        except ClientError as error:
            self._send((self._wire.error(error),))
        except Exception as error:  # noqa: BLE001 - the outer wall of a connection: the others live on
            session.fail(error)

    def _take_text(self, session: Session, data: bytes) -> None:
        """The hot path: sound goes straight to the session's ears."""
        pcm = self._wire.sound(data)
        if pcm is None:
            self._read(session, data)
        elif pcm:
            session.hear(pcm)

    def _take_binary(self, session: Session, data: bytes) -> None:
        if pcm := self._wire.binary(data):
            session.hear(pcm)

    def _read(self, session: Session, data: bytes) -> None:
        for step in self._wire.receive(data):
            if isinstance(step, bytes):
                self._send((step,))
            else:
                session.ask(step)

    def _keep(self, data: bytes, *, binary: bool) -> None:
        if len(self._early) < MAX_EARLY:
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


class _Over(Exception):
    """Leaves the session's task group, and whatever still waits in it."""
