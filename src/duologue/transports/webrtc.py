"""WebRTC calls: a Realtime conversation whose events come over a data channel, and its sound over RTP.

A call is owned like any conversation, by the reception's task group; its peer connection lives and ends within
that one task. The switchboard knows the calls by name, for those who come back to hang up.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from duologue.core.errors import ClientError, DuologueError, OurError, StateConflict
from duologue.session.world import World
from duologue.transports.admission import Visitor
from duologue.transports.realtime import RealtimeConnection
from duologue.transports.reception import Reception
from duologue.transports.webrtc_peer import Peer, load_library
from duologue.transports.websocket import Rejection
from duologue.wire.choosing import Choice
from duologue.wire.dialect import Dialect
from duologue.wire.realtime_webrtc import OverWebRtc

log = logging.getLogger("duologue.webrtc")

LEAD_MS = 40.0
"""How far ahead of the listener sound is sent. The listener has a jitter buffer of its own, so it is only
for our own unevenness; what was sent cannot be taken back, so the less the better."""

CONNECT_S = 30.0
"""From the answer to an open data channel; ICE and DTLS take well under a second where a way exists."""

NOT_INSTALLED = Rejection(
    501,
    "webrtc_not_installed",
    'WebRTC is not installed on this server. Install it with: pip install "duologue[webrtc]"',
)


class Call(RealtimeConnection):
    """One call: the conversation, and the connection that it runs over.

    Args:
        library: aiortc.
        over: told when nothing of it is left.

    Attributes:
        id: its name in the API.
        owner: the name of the key that it was begun with.
        answer: the SDP answer, or why there is none.
    """

    def __init__(
        self,
        wire: Dialect,
        world: World,
        session_id: str,
        *,
        offer: str,
        library: Any,
        over: Callable[["Call"], None],
    ) -> None:
        self.id = f"rtc_{secrets.token_hex(12)}"
        self.owner = ""
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._dialect = OverWebRtc(wire)
        self._offer = offer
        self._on_over = over
        self._peer = Peer(library, self)
        super().__init__(self._dialect, replace(world, lead_ms=LEAD_MS), session_id)

    async def converse(self) -> None:
        """Answer the offer, wait for the channel, hold the conversation, and let go of everything."""
        try:
            self.answer.set_result(await self._peer.answer(self._offer))
            if await self._is_reached():
                self.on_open(self._peer)
                await super().converse()
        except DuologueError as error:
            self.answer.set_exception(error)
        finally:
            if not self.answer.done():
                ended = OurError("call_ended", "The call ended before it was answered.")
                self.answer.set_exception(ended)
            try:
                await self._peer.aclose()
            finally:
                self._on_over(self)

    async def _is_reached(self) -> bool:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._peer.ready
        except TimeoutError:
            log.warning("! %s: no connection came about within %.0f s", self.id, CONNECT_S)
            return False

    def hang_up(self) -> None:
        """End it now."""
        self._peer.close()

    def revoked(self) -> None:
        """The visitor's key is no more."""
        self.hang_up()

    def shutdown(self) -> None:
        """The server goes down (uvicorn's name for it): finish what is being said, and close."""
        if self.session is None:
            self.hang_up()
        else:
            self.drain()

    # --- the peer's side, beside messages ---
    def on_sound(self, pcm: bytes) -> None:
        """The microphone's sound goes straight to the session's ears; before there is one, to nobody's."""
        session = self.session
        if session is None:
            return
        try:
            session.hear(pcm)
        except ClientError as error:
            self._peer.send(self._dialect.error(error))
        except Exception as error:  # noqa: BLE001 - the outer wall of a connection: the others live on
            session.fail(error)

    def on_too_large(self, size: int) -> None:
        """An event is lost, and the client is told so."""
        error = StateConflict(
            "event_too_large",
            f"An event of {size} bytes was not sent: this data channel takes none of that size.",
            remedy="Use a WebSocket where large items are to be retrieved.",
        )
        self._peer.send(self._dialect.error(error))

    # --- the session's side ---
    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        """See `ports.Listener`."""
        if reply_id in self._dialect.asides:
            super().sound(reply_id, index, item_id, pcm)
        else:
            self._peer.loudspeaker.play(pcm)


class Switchboard:
    """The calls of this server.

    Attributes:
        connections: where a server that goes down looks for whom to tell (uvicorn's set, once there is one).
    """

    def __init__(self, reception: Reception) -> None:
        self.connections: set[Any] = set()
        self._reception = reception
        self._calls: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def begin(
        self,
        visitor: Visitor,
        choice: Choice,
        offer: str,
        session: Mapping[str, Any] | None = None,
    ) -> Call | Rejection:
        """Take a call.

        Args:
            offer: the SDP.
            session: settings to begin with, as in a `session.update`; those of the visitor's key prevail.

        Returns:
            The call, whose answer is there; or why there is none. The visitor has left then.
        """
        try:
            library = await load_library()
        except ImportError:
            visitor.leave()
            return NOT_INSTALLED
        if session is not None:
            visitor = replace(visitor, session={**session, **(visitor.session or {})})

        def connect(wire: Dialect, world: World, session_id: str) -> Call:
            call = Call(wire, world, session_id, offer=offer, library=library, over=self._remove)
            call.owner = visitor.name
            return call

        call = self._reception.admit(visitor, choice, connect)
        if isinstance(call, Rejection):
            return call
        assert isinstance(call, Call)
        self._calls[call.id] = call
        self.connections.add(call)
        try:
            await asyncio.shield(call.answer)
        except ClientError as error:
            return Rejection(400, error.code, str(error))
        except DuologueError as error:
            return Rejection(500, error.code, str(error))
        return call

    def hang_up(self, call_id: str, owner: str) -> bool:
        """End a call that was begun with the same key; False if there is none."""
        call = self._calls.get(call_id)
        if call is None or call.owner != owner:
            return False
        call.hang_up()
        return True

    def _remove(self, call: Call) -> None:
        self._calls.pop(call.id, None)
        self.connections.discard(call)
