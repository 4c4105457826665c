"""A conversation over the extension channel: its sound in frames, and a session that outlives its socket.

When a socket breaks, the session waits for its client in the lobby: output stands still, and what the client sends
no more is silence. Each socket is a leg of the connection; a client that comes back walks on with another.
"""

import asyncio
import logging
from collections.abc import Iterable

from duologue.core.audio import samples_to_ms
from duologue.core.errors import MalformedEvent
from duologue.session.reply import Reply
from duologue.session.session import Session
from duologue.session.world import World
from duologue.transports.lobby import RESUME_MS, Lobby
from duologue.transports.realtime import RealtimeConnection
from duologue.transports.replay import ReplayBuffer
from duologue.transports.websocket import POLICY_VIOLATION, Handler, Socket
from duologue.wire.choosing import EXTENSION_PROTOCOL
from duologue.wire.dialect import Binary, Dialect
from duologue.wire.extension import Extended
from duologue.wire.extension_frames import with_gap

log = logging.getLogger("duologue.realtime")

GOODBYES = (0, 1000, 1005)
"""WebSocket close codes by which a client says that it is done: "normal", and none given (0 or 1005, by library).
A page that is reloaded says 1001, and may be back."""

MAX_GAP_MS = 5_000
"""Silence that a client may leave out before one frame; what lasts longer, the clock on the wall counts."""

FULL = 1 << 30
"""Nobody reads: whoever waits for the client to read, waits."""


class Leg:
    """One socket of a connection. See `websocket.Handler`.

    Args:
        token: what the session was found by; None for its first leg.
        received: how many of the server's messages the client has.
    """

    def __init__(
        self, connection: "ResumableConnection", token: str | None = None, received: int = 0
    ) -> None:
        self.subprotocol: str | None = EXTENSION_PROTOCOL
        self.token = token
        self.received = received
        self._connection = connection
        self._is_silent = token is not None
        self._said_goodbye = False

    def on_open(self, socket: Socket) -> None:
        """See `websocket.Handler`."""
        self._connection.attach(self, socket)

    def on_bytes(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        if self._connection.leg is self:
            if self._is_silent:
                self._speak()
            self._connection.on_bytes(data)

    def on_binary(self, data: bytes) -> None:
        """See `websocket.Handler`."""
        if self._connection.leg is self:
            if self._is_silent:
                self._speak()
            self._connection.on_binary(data)

    def on_goodbye(self, code: int) -> None:
        """See `websocket.Handler`."""
        self._said_goodbye = code in GOODBYES

    def on_close(self) -> None:
        """See `websocket.Handler`."""
        self._connection.detach(self, for_good=self._said_goodbye)

    def drain(self) -> None:
        """See `websocket.Handler`."""
        if self._connection.leg is self:
            self._connection.drain()

    def _speak(self) -> None:
        self._is_silent = False
        self._connection.confirm()


class ResumableConnection(RealtimeConnection):
    """A connection that may lose its socket and go on with another.

    Args:
        wire: the extension's wrapper.

    Attributes:
        leg: the present socket's.
    """

    def __init__(
        self, wire: Dialect, world: World, session_id: str, lobby: "Lobby[ResumableConnection]"
    ) -> None:
        super().__init__(wire, world, session_id)
        assert isinstance(wire, Extended)
        self.extended = wire
        self.leg: Leg | None = Leg(self)
        self._lobby = lobby
        self._replay = ReplayBuffer()
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._silence_ms = 0.0  # deemed by the session, up to the client's last frame
        wire.has_frames = True
        wire.lead_ms = world.lead_ms
        wire.resume_ms = RESUME_MS
        wire.resume_token = lobby.issue(self)
        wire.on_ack = self._acknowledged

    @property
    def handler(self) -> Handler:
        """Its first leg."""
        assert self.leg is not None
        return self.leg

    # --- its sockets ---
    def attach(self, leg: Leg, socket: Socket) -> None:
        """A socket is ready."""
        if leg.token is None:
            self.on_open(socket)
            return
        session = self.session
        if self._is_over or session is None or self._lobby.find(leg.token) is not self:
            socket.close(POLICY_VIOLATION, "the session is gone")
            return
        old, self._socket, self.leg = self._socket, socket, leg
        if old is not None:
            old.close(POLICY_VIOLATION, "the session goes on over another connection")
        self._lobby.back(self)
        if self._timer is not None:
            self._timer.cancel()
        self._world.meters.counts["sessions_resumed"] += 1
        log.info("< %s: is back", self._id)
        self._say_again(session, socket, leg.received)

    def detach(self, leg: Leg, *, for_good: bool) -> None:
        """A socket is gone."""
        if leg is not self.leg:
            return
        was_open, self._socket, self.leg = self._socket is not None, None, None
        session = self.session
        is_over = for_good or self._is_over or self._draining or not was_open
        if is_over or session is None or session.ended.is_set():
            self.give_up()
        else:
            log.info("~ %s: lost its client; it is kept for %d s", self._id, RESUME_MS // 1000)
            session.mouth.pause("line")
            self._world.meters.counts["sessions_kept"] += 1
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(RESUME_MS / 1000, self.give_up)
            self._lobby.wait(self)

    def confirm(self) -> None:
        """The client has its new token."""
        self._lobby.confirm(self)

    def may_resume_after(self, received: int | None) -> bool:
        """A client can have received so many messages."""
        return received is not None and received <= self._replay.sent

    def give_up(self) -> None:
        """The session ends, whether somebody is there or not."""
        self._is_over = True
        self._lobby.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        self._gone.set()

    def drain(self) -> None:
        """Nobody hears the rest of an answer where nobody is."""
        if self._socket is None:
            self.give_up()
        else:
            super().drain()

    def _close(self, code: int, reason: str) -> None:
        self._is_over = True
        if self._socket is None:
            self.give_up()
        super()._close(code, reason)

    def _say_again(self, session: Session, socket: Socket, received: int) -> None:
        """Tell where we are, send what did not arrive, and go on."""
        complete = self._replay.is_complete_after(received)
        self._replay.received(received)
        rest = self._replay.rest()
        wire = self.extended
        wire.resume_token = self._lobby.issue(self)
        from_here = self._replay.sent - len(rest)
        floor = session.floor.name.lower()
        socket.send(wire.resumed(self._id, floor, from_here, complete=complete))
        is_marked = complete
        for sent in rest:
            data = sent.data
            if not is_marked and isinstance(data, Binary):
                data, is_marked = with_gap(data), True
            socket.send(data)
        line = session.mouth.line
        if isinstance(line, Reply):
            lost_ms = sum(sent.sound_ms for sent in rest if sent.item_id == line.item_id)
            session.mouth.take_back(lost_ms)
        session.mouth.unpause("line")

    # --- in ---
    def _take_binary(self, session: Session, data: bytes) -> None:
        """A frame of the client's sound, and the silence that it left out before it."""
        pcm = self.extended.binary(data)
        if gap_ms := self.extended.take_gap_ms():
            self._fill(session, gap_ms)
        if pcm:
            session.hear(pcm)
        self._silence_ms = _deemed_ms(session)
        self._send(self.extended.acknowledge())

    def _fill(self, session: Session, gap_ms: float) -> None:
        """What was left out is silence; as much of it as has passed for silence already does not pass twice."""
        missing_ms = min(gap_ms, MAX_GAP_MS) - (_deemed_ms(session) - self._silence_ms)
        if missing_ms > 0:
            session.hear(bytes(session.options.input_format.bytes_for(int(missing_ms))))

    # --- out ---
    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        """See `ports.Listener`."""
        session = self.session
        assert session is not None
        sound_ms = len(pcm) * 500 / session.mouth.format.rate_hz
        for data in self.extended.encode_sound(reply_id, index, item_id, pcm):
            self._replay.keep(data, self._world.clock(), item_id, sound_ms)
            if self._socket is not None:
                self._socket.send(data)

    def unsent(self) -> int:
        """See `ports.Listener`."""
        return FULL if self._socket is None else self._socket.unsent()

    def _send(self, messages: Iterable[bytes]) -> None:
        now_ms = self._world.clock()
        for data in messages:
            self._replay.keep(data, now_ms)
            if self._socket is not None:
                self._socket.send(data)

    def _furnish(self, session: Session) -> None:
        super()._furnish(session)
        session.mouth.is_obeyed = True

    def _acknowledged(self, sequence: int) -> None:
        if not self._replay.received(sequence):
            message = f"Only {self._replay.sent} messages were sent; {sequence} cannot have come."
            raise MalformedEvent("invalid_value", message, param="sequence")

    async def converse(self) -> None:
        """Hold the conversation until one side ends it for good."""
        try:
            await super().converse()
        finally:
            self._is_over = True
            self.give_up()
            counts, frames = self._world.meters.counts, self.extended.input
            counts["input_frames_lost"] += frames.lost
            counts["input_frames_late"] += frames.late


def _deemed_ms(session: Session) -> float:
    """Silence that passed because nothing came."""
    at = samples_to_ms(session.ears.position)
    return at - session.ears.client_ms(at)
