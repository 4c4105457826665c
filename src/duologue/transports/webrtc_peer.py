"""One WebRTC connection: aiortc, hidden behind a few calls. Nothing beside this file knows the library.

It asks nobody outside: no STUN or TURN server, so its addresses are this machine's own, and the answer carries
them all (no trickling). aiortc runs tasks of its own for ICE, DTLS and RTP; `aclose` returns when they are done.
"""

import asyncio
import importlib
import logging
from typing import Any, Protocol

from duologue.core.errors import OurError
from duologue.transports.webrtc_offer import check_offer, prepared, wrong
from duologue.transports.webrtc_sound import Loudspeaker, Microphone
from duologue.transports.websocket import MAX_UNSENT_BYTES
from duologue.wire.dialect import Binary
from duologue.wire.realtime_webrtc import CHANNEL

log = logging.getLogger("duologue.webrtc")
for _name in ("aioice", "aiortc"):
    logging.getLogger(_name).setLevel(
        logging.WARNING
    )  # each check of each pair of addresses, otherwise

FLUSH_S = 0.5
"""How long a closing connection still waits for its last events to be taken."""

CLOSE_S = 5.0
"""How long aiortc may take to let go of everything."""

ICE_STEP_S = 0.03
"""aioice, looking for a way, notices so late that it has been closed."""

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"


async def load_library() -> Any:
    """aiortc, imported beside the event loop: it takes half a second.

    Raises:
        ImportError: it is not installed.
    """
    return await asyncio.to_thread(importlib.import_module, "aiortc")


class Ear(Protocol):
    """What the other end does. None of these may raise."""

    def on_sound(self, pcm: bytes) -> None:
        """Sound came, in the format `realtime_webrtc.MICROPHONE`."""

    def on_bytes(self, data: bytes) -> None:
        """A text message came."""

    def on_binary(self, data: bytes) -> None:
        """A binary message came."""

    def on_close(self) -> None:
        """The connection is gone."""

    def on_too_large(self, size: int) -> None:
        """A message was not sent: the other end takes none of this size."""


class Peer:
    """One connection. Made on the event loop; `aclose` must be awaited, whatever else happens.

    Attributes:
        loudspeaker: where sound goes that the other end shall hear.
        ready: whether the other end can talk and be talked to, once that is known.
    """

    def __init__(self, library: Any, ear: Ear) -> None:
        self.loudspeaker = Loudspeaker()
        self.ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._library = library
        self._ear = ear
        self._channel: Any = None
        self._has_channel = True
        self._drained = asyncio.Event()
        self._closed = asyncio.Event()
        self._is_over = False
        # Of ICE servers, None would be one of Google's; of several transports, aiortc may leave a task behind.
        policy = library.RTCBundlePolicy.MAX_BUNDLE
        configuration = library.RTCConfiguration(iceServers=[], bundlePolicy=policy)
        self._connection = library.RTCPeerConnection(configuration)
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("datachannel", self._on_channel)

    async def answer(self, offer: str) -> str:
        """The answer to an SDP offer, all our addresses in it.

        Raises:
            MalformedEvent: it is none, or not one that can be served.
            OurError: aiortc is not built as this file expects.
        """
        self._has_channel = check_offer(offer, self._library.sdp)
        rtc = self._connection
        line = rtc.addTransceiver("audio", direction="sendrecv")
        capabilities = self._library.RTCRtpSender.getCapabilities("audio").codecs
        line.setCodecPreferences([c for c in capabilities if c.mimeType.lower() == "audio/opus"])
        line.sender.replaceTrack(self.loudspeaker)
        self._listen_at(line.receiver)
        try:
            description = self._library.RTCSessionDescription(sdp=prepared(offer), type="offer")
            await rtc.setRemoteDescription(description)
            for other in rtc.getTransceivers():
                if other is not line:
                    other.direction = "inactive"
            await rtc.setLocalDescription()
        except (
            Exception
        ) as error:  # aiortc reads foreign text, and raises whatever it stumbles over
            raise wrong(f"It cannot be answered: {str(error) or type(error).__name__}") from error
        return str(rtc.localDescription.sdp)

    def _listen_at(self, receiver: Any) -> None:
        """Take packets where aiortc would keep back four of them, and decode them in a thread to 48 kHz stereo."""
        if not hasattr(receiver, _JITTER_BUFFER):
            raise OurError(
                "webrtc_library_changed",
                f"aiortc {self._library.__version__} is not built as this server expects.",
                remedy="Install the release that requirements/webrtc.txt names.",
            )
        setattr(receiver, _JITTER_BUFFER, Microphone(self._ear.on_sound))

    # --- the way out; see `websocket.Socket` ---
    def send(self, data: bytes) -> None:
        """Send one message; dropped if there is no channel for it."""
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        try:
            channel.send(data if type(data) is Binary else data.decode())
        except ValueError:
            self._ear.on_too_large(len(data))
        if channel.bufferedAmount > MAX_UNSENT_BYTES:
            log.warning("! a client reads too slowly, %d bytes are unsent", channel.bufferedAmount)
            self.close()

    def unsent(self) -> int:
        """Bytes that the other end has not taken."""
        return int(self._channel.bufferedAmount) if self._channel is not None else 0

    def close(self, code: int = 0, reason: str = "") -> None:
        """End the conversation; `aclose` does the rest. There is nothing on the wire that could say why."""
        if self._is_over:
            return
        self._is_over = True
        if not self.ready.done():
            self.ready.set_result(False)
        self._ear.on_close()

    async def aclose(self) -> None:
        """Send what is left to be sent, and let go of every socket, thread and task."""
        self._is_over = True
        try:
            if self.unsent() and self._connection.connectionState == "connected":
                async with asyncio.timeout(FLUSH_S):
                    await self._drained.wait()
        except TimeoutError:
            pass
        finally:
            self.loudspeaker.stop()
            await self._let_go()

    async def _let_go(self) -> None:
        rtc = self._connection
        was_connected = rtc.connectionState == "connected"
        try:
            async with asyncio.timeout(CLOSE_S):
                if rtc.signalingState != "closed":
                    await rtc.close()
                else:  # the other end hung up, and aiortc closes in a task of its own
                    await _surely(self._closed)
        except TimeoutError:
            log.warning("! a WebRTC connection did not close within %.0f s", CLOSE_S)
        except Exception:
            log.warning("! a WebRTC connection could not be closed", exc_info=True)
        if not was_connected:
            await asyncio.sleep(ICE_STEP_S)

    # --- what aiortc calls ---
    def _on_state(self) -> None:
        state = self._connection.connectionState
        if state == "closed":
            self._closed.set()
        if state in ("failed", "closed"):
            self.close()
        elif state == "connected" and not self._has_channel:
            self._is_ready()

    def _on_channel(self, channel: Any) -> None:
        if channel.label != CHANNEL or self._channel is not None:
            log.info("a data channel %r is not used; events go over '%s'", channel.label, CHANNEL)
            return
        self._channel = channel
        channel.on("message", self._on_message)
        channel.on("close", self.close)
        channel.on("bufferedamountlow", self._drained.set)
        self._is_ready()

    def _on_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._ear.on_bytes(message.encode())
        else:
            self._ear.on_binary(message)

    def _is_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(True)


async def _surely(event: asyncio.Event) -> None:
    """Wait, and be cancelled only afterwards, once."""
    try:
        await event.wait()
    except asyncio.CancelledError:
        await event.wait()
        raise
