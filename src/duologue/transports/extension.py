"""A conversation over the extension channel: its sound in frames, and a session that outlives its socket.

When a socket breaks, the session waits for its client in the lobby: output stands still, and what the client sends
no more is silence. Each socket is a leg of the connection; a client that comes back walks on with another.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from duologue.core.audio import samples_to_ms
from duologue.core.errors import MalformedEvent
from duologue.core.notices import Notice
from duologue.session.keeping import RESUMABLE_S
from duologue.session.reply import Reply
from duologue.session.session import Session
from duologue.session.world import World
from duologue.transports.lobby import RESUME_MS, Lobby
from duologue.transports.realtime import RealtimeConnection
from duologue.transports.replay import ReplayBuffer
from duologue.transports.unsettled import Unsettled
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

SEQUENCES = 1 << 32
"""Frames are counted modulo this."""

FULL = 1 << 30
"""Nobody reads: whoever waits for the client to read, waits."""


class Leg:
    """One socket of a connection. See `websocket.Handler`.

    Args:
        token: what the session was found by; None for its first leg.
        received: how many of the server's messages the client has.

    Attributes:
        is_open: there was a socket.
    """

    def __init__(
        self, connection: "ResumableConnection", token: str | None = None, received: int = 0
    ) -> None:
        self.subprotocol: str | None = EXTENSION_PROTOCOL
        self.token = token
        self.received = received
        self.is_open = False
        self._connection = connection
        self._is_silent = token is not None
        self._said_goodbye = False

    def on_open(self, socket: Socket) -> None:
        """See `websocket.Handler`."""
        self.is_open = True
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
        self._is_mute = (
            False  # there is a socket, and what it is to be told first is not stored yet
        )
        self._is_torn = False  # messages were lost with a server, and the client does not know
        self._unsettled = Unsettled()
        self._last_hashes: tuple[str, ...] = ()
        wire.has_frames = True
        wire.lead_ms = world.lead_ms
        wire.resume_ms = RESUME_MS
        wire.resume_token = lobby.issue(self)
        wire.on_ack = self._acknowledged
        if world.archive is not None:
            wire.restart_ms = int(RESUMABLE_S * 1000)
            wire.settled = self._settled

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
        self._take_over(leg, socket)
        self._lobby.back(self)
        if self._timer is not None:
            self._timer.cancel()
        self._world.meters.counts["sessions_resumed"] += 1
        log.info("< %s: is back", self._id)
        self._lobby.came_by(self, leg.token)
        self.extended.resume_token = self._lobby.issue(self)
        if self.keeper is None or self._gate is None:
            self._say_again(session, leg, socket)
            return
        self._is_mute = True
        self._gate.hold(self.keeper.write_session())
        self._gate.put(partial(self._say_again, session, leg, socket), is_message=False)

    def _take_over(self, leg: Leg, socket: Socket) -> None:
        old, self._socket, self.leg = self._socket, socket, leg
        if old is not None:
            old.close(POLICY_VIOLATION, "the session goes on over another connection")

    def detach(self, leg: Leg, *, for_good: bool) -> None:
        """A socket is gone."""
        if leg is not self.leg:
            return
        self._socket = self.leg = None
        session = self.session
        is_over = for_good or self._is_over or self._draining or not leg.is_open
        if is_over or session is None or session.ended.is_set():
            self.give_up()
        else:
            self._wait_for_client(session)

    def _wait_for_client(self, session: Session) -> None:
        log.info("~ %s: lost its client; it is kept for %d s", self._id, RESUME_MS // 1000)
        session.mouth.pause("line")
        self._world.meters.counts["sessions_kept"] += 1
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(RESUME_MS / 1000, self.give_up)
        self._lobby.wait(self)

    def confirm(self) -> None:
        """The client has its new token."""
        self._is_torn = False
        self._lobby.confirm(self)
        if self.keeper is not None:
            self.keeper.write_session()

    def may_resume_after(self, received: int | None) -> bool:
        """A client can have received so many messages."""
        return received is not None and received <= self._replay.sent

    def give_up(self) -> None:
        """The session ends, whether somebody is there or not."""
        self._is_over = True
        self._last_hashes = self.token_hashes()
        self._lobby.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        self._gone.set()

    def drain(self) -> None:
        """Nobody hears the rest of an answer where nobody is."""
        if self._socket is None:
            self._draining = True
            self.give_up()
        else:
            super().drain()

    def _close(self, code: int, reason: str) -> None:
        self._is_over = True
        if self._socket is None:
            self.give_up()
        super()._close(code, reason)

    def _say_again(self, session: Session, leg: Leg, socket: Socket) -> None:
        """Tell where we are, send what did not arrive, and go on."""
        if self.leg is not leg:
            return
        self._is_mute = False
        complete = self._replay.is_complete_after(leg.received) and not self._is_torn
        self._replay.received(leg.received)
        rest = self._replay.rest()
        wire = self.extended
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
            latest = (self.extended.input.received - 1) % SEQUENCES
            self._unsettled.took(latest, _ms_of(pcm, session))
            session.hear(pcm)
        self._silence_ms = _deemed_ms(session)
        self._send(self.extended.acknowledge())

    def _fill(self, session: Session, gap_ms: float) -> None:
        """What was left out is silence; as much of it as has passed for silence already does not pass twice."""
        missing_ms = min(gap_ms, MAX_GAP_MS) - (_deemed_ms(session) - self._silence_ms)
        if missing_ms > 0:
            self._unsettled.filled(missing_ms)
            session.hear(bytes(session.options.input_format.bytes_for(int(missing_ms))))

    # --- what is kept of it ---
    def token_hashes(self) -> tuple[str, ...]:
        """See `keeping.Owner`."""
        return self._lobby.hashes(self) or self._last_hashes

    def state(self) -> Mapping[str, Any]:
        """See `keeping.Owner`."""
        return {"input_sequence": self._unsettled.sequence}

    @property
    def _numbered(self) -> int:
        return self._replay.sent + (self._gate.waiting if self._gate is not None else 0)

    @property
    def _is_over_for_good(self) -> bool:
        """Not where it is the server that goes: the session may go on with the next."""
        is_over = self._is_over or (self.session is not None and self.session.ended.is_set())
        return is_over and not self._draining

    def _settled(self) -> int:
        return (
            self._unsettled.sequence if self.session is None else self._unsettled.look(self.session)
        )

    # --- out ---
    def tell(self, notice: Notice) -> None:
        """See `ports.Listener`."""
        if self.keeper is not None and self.session is not None:
            self._unsettled.noticed(notice, self.session)
        super().tell(notice)

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        """See `ports.Listener`."""
        session = self.session
        assert session is not None
        sound_ms = len(pcm) * 500 / session.mouth.format.rate_hz
        gate = self._gate
        for data in self.extended.encode_sound(reply_id, index, item_id, pcm):
            if gate is None or gate.is_open:
                self._say(data, item_id, sound_ms)
            else:
                gate.put(partial(self._say, data, item_id, sound_ms), len(data))

    def unsent(self) -> int:
        """See `ports.Listener`."""
        if self._socket is None or self._is_mute:
            return FULL
        return self._socket.unsent() + (self._gate.waiting_bytes if self._gate is not None else 0)

    def _say(self, data: bytes, item_id: str = "", sound_ms: float = 0.0) -> None:
        self._replay.keep(data, self._world.clock(), item_id, sound_ms)
        if self._socket is not None and not self._is_mute:
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


def _ms_of(pcm: bytes, session: Session) -> float:
    return len(pcm) * 500 / session.options.input_format.rate_hz


def _deemed_ms(session: Session) -> float:
    """Silence that passed because nothing came."""
    at = samples_to_ms(session.ears.position)
    return at - session.ears.client_ms(at)
