"""One Realtime connection: a socket on one side, a session on the other, the protocol machine between."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from duologue.core.commands import SetOptions
from duologue.core.errors import ClientError
from duologue.core.notices import Committed, Notice, ReplyEnded, TranscriptGrew
from duologue.core.turn import Floor
from duologue.ports import Archive
from duologue.session.keeping import REFRESH_S, Keeper
from duologue.session.kept_items import Place
from duologue.session.session import Session
from duologue.session.watching import Watch
from duologue.session.world import World
from duologue.transports.admission import Visitor
from duologue.transports.gate import Gate
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


FORERUNNERS = (Committed, TranscriptGrew)
"""What is told of an item a moment before the item, or its transcript, is there to be stored: it waits for that."""


def is_added(message: bytes) -> bool:
    """It says that an item is there."""
    return message.startswith(b'{"type":"conversation.item.added"')


class RealtimeConnection:
    """Bytes to commands, notices to bytes. Owned by the socket; its session is a task of the reception's.

    Attributes:
        extension: the extension channel, somewhere within its dialect, where the client negotiated it.
        visitor: whose it is; leaves when the conversation is over.
        about: what kind of session it is, for the store.
        keeper: writes the session down, where it is kept.
    """

    def __init__(self, wire: Dialect, world: World, session_id: str) -> None:
        self.subprotocol: str | None = None
        self.session: Session | None = None
        self.extension: Extended | None = None
        self.visitor = Visitor()
        self.about: Mapping[str, Any] = {}
        self.keeper: Keeper | None = None
        self._wire = wire
        self._world = world
        self._id = session_id
        self._socket: Socket | None = None
        self._gone = asyncio.Event()
        self._early: list[tuple[bool, bytes]] = []
        self._draining = False
        self._gate: Gate | None = None
        self._forerunners: list[bytes] = []

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
        if self.keeper is None:
            self._send(self._wire.encode(notice))
        else:
            self._tell_what_is_kept(self.keeper, notice)
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

    # --- what is kept of it: see `keeping.Owner` ---
    @property
    def key_name(self) -> str:
        """Whose it is."""
        return self.visitor.name

    @property
    def is_watched(self) -> bool:
        """The client is told which words were heard."""
        return self.extension is not None

    def settings(self) -> Mapping[str, Any]:
        """What it is made from."""
        return {**self.about, **(self.extension.settings() if self.extension is not None else {})}

    def token_hashes(self) -> tuple[str, ...]:
        """It cannot be gone on with."""
        return ()

    def state(self) -> Mapping[str, Any]:
        """So there is nothing to be known for that."""
        return {}

    def _tell_what_is_kept(self, keeper: Keeper, notice: Notice) -> None:
        """A client that speaks the extension is told nothing that is not stored."""
        messages = [*self._forerunners, *self._wire.encode(notice)]
        if self._gate is not None and isinstance(notice, FORERUNNERS):
            self._forerunners = messages
            return
        self._forerunners = []
        self._await(keeper.noticed(notice, self._place_of(messages)))
        self._send(messages)

    def _place_of(self, messages: list[bytes]) -> Place:
        """Where they will be among all messages."""
        added = [n for n, data in enumerate(messages, 1) if is_added(data)]
        before, count = self._numbered, len(messages)
        return Place(before + (added[0] if added else count), before + count)

    @property
    def _numbered(self) -> int:
        """Messages that were sent, or will be; counted where that matters."""
        return 0

    def _await(self, written: "asyncio.Future[None] | None") -> None:
        """Say nothing more before this is stored."""
        if written is not None and self._gate is not None:
            self._gate.hold(written)

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
                    if self.keeper is not None:
                        tasks.create_task(self._stay_active(self.keeper), name="active")
                    self._greet()
                    self._begin(session)
                    await self._until_over(session)
                finally:
                    is_over = self._is_over_for_good
                    session.close()
                    if self.keeper is not None:
                        self.keeper.close(for_good=is_over)
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
        """What the extension channel needs of a session, where it was negotiated; and the store."""
        if self.extension is not None:
            session.watch = Watch(session, self._world.pacer)
        if self._world.archive is not None:
            self.keeper = self._hire(self._world.archive, session)
            if self.extension is not None:
                self._gate = Gate(self._id, self._store_is_late)

    def _hire(self, archive: Archive, session: Session) -> Keeper:
        return Keeper(archive, session, self)

    def _store_is_late(self) -> None:
        self._world.meters.counts["store_late"] += 1

    @staticmethod
    async def _stay_active(keeper: Keeper) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            keeper.refresh()

    @property
    def _is_over_for_good(self) -> bool:
        """Nobody may go on with it; asked when it is over here."""
        return True

    def _begin(self, session: Session) -> None:
        self.session = session
        early, self._early = self._early, []
        for binary, data in early:
            self._receive(data, binary=binary)

    def _greet(self) -> None:
        greeting = list(self._wire.greet())
        if self.keeper is not None:
            self._await(self.keeper.write_session())
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
                continue
            session.ask(step)
            if isinstance(step, SetOptions) and self.keeper is not None:
                self._await(self.keeper.write_session())

    def _keep(self, data: bytes, *, binary: bool) -> None:
        if len(self._early) < MAX_EARLY:
            self._early.append((binary, data))
        else:
            self._close(POLICY_VIOLATION, "too much, too early")

    def _send(self, messages: Iterable[bytes]) -> None:
        gate = self._gate
        for data in messages:
            if gate is None or gate.is_open:
                self._say(data)
            else:
                gate.put(partial(self._say, data), len(data))

    def _say(self, data: bytes) -> None:
        """The next message goes out."""
        if self._socket is not None:
            self._socket.send(data)

    def _close(self, code: int, reason: str) -> None:
        """After what waits to be said."""
        if self._socket is None:
            return
        close = partial(self._socket.close, code, reason)
        if self._gate is None:
            close()
        else:
            self._gate.put(close, is_message=False)


class _Over(Exception):
    """Leaves the session's task group, and whatever still waits in it."""
