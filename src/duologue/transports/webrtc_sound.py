"""The two audio tracks of a WebRTC call, as RTP wants them: packets in order to samples, frames to packets.

Neither has a timer for each frame. A call's microphone is heard as its packets come in, without a buffer that
waits for playback: nobody listens to it but the recogniser. A call's loudspeaker gets each frame when the
mouth sends it; the browser's own jitter buffer, which adapts, plays them evenly.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Protocol

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.errors import MalformedEvent
from duologue.wire.opus import CODED_HZ, FRAME_MS, OpusDecoder, OpusEncoder
from duologue.wire.realtime_webrtc import LOUDSPEAKER, MICROPHONE

MAX_HELD = 4
"""Packets that came too early and wait for a missing one, 80 ms; then it is lost. What Wi-Fi reorders comes
within a few milliseconds."""

MAX_FILL_MS = 200
"""A longer gap on the line is not filled: the session lets time pass by itself then (`ears.SILENT_LINE_MS`)."""

MAX_JUMP = 256
"""A sequence number further off than this is a new count, not a late packet."""

REST_MS = 60
"""So long after the last frame of an answer, the line is said to be silent. Above the pacer's usual lag."""

REST_FRAMES = 5
"""Frames of silence then: the encoder fades out in the first, and receivers that hold four packets back are
given the sound before them."""

KEEP_ALIVE_MS = 400
"""What an Opus encoder leaves between two packets of silence (RFC 6716, section 2.1.9)."""

MAX_QUEUED = 64
"""Packets that the network task has not taken, more than a second. Beyond it the oldest is dropped."""

_SILENCE = b"\xd8"
"""A packet of no sound (RFC 6716, section 3.1): 20 ms of superwideband CELT, mono, one frame of no bytes."""

_TICKS = CODED_HZ * FRAME_MS // 1000
_CLOCK = Fraction(1, CODED_HZ)


class InOrder:
    """Packets as they come -> packets as they were sent, with the gaps where some are lost."""

    def __init__(self) -> None:
        self._expected: int | None = None
        self._held: dict[int, tuple[int, bytes]] = {}

    def add(self, sequence: int, timestamp: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """Timestamp and payload of each packet whose turn has come."""
        if self._expected is None or _distance(self._expected, sequence) not in range(
            -MAX_JUMP, MAX_JUMP
        ):
            yield from self._give_up()
            self._expected = sequence
        if _distance(self._expected, sequence) < 0:
            return  # a duplicate, or too late
        self._held[sequence] = (timestamp, payload)
        yield from self._next()
        if len(self._held) > MAX_HELD:
            self._expected = self._first()
            yield from self._next()

    def _next(self) -> Iterator[tuple[int, bytes]]:
        while self._expected is not None and (packet := self._held.pop(self._expected, None)):
            self._expected = (self._expected + 1) & 0xFFFF
            yield packet

    def _give_up(self) -> Iterator[tuple[int, bytes]]:
        while self._held:
            yield self._held.pop(self._first())

    def _first(self) -> int:
        expected = self._expected or 0
        return min(self._held, key=lambda sequence: _distance(expected, sequence))


class Microphone:
    """The track that comes in, decoded. Has the shape of aiortc's jitter buffer, in whose place it is put.

    Args:
        hear: given the samples, in the format `MICROPHONE`; must not raise.
    """

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self._hear = hear
        self._decoder = OpusDecoder(MICROPHONE.rate_hz)
        self._order = InOrder()
        self._source: int | None = None
        self._due: int | None = None  # the timestamp that the next packet ought to have

    def add(self, packet: Any) -> tuple[bool, None]:
        """For aiortc: an RTP packet came. There is no picture to ask for again, and no frame for its decoder."""
        if packet.ssrc != self._source:
            self._source, self._due, self._order = packet.ssrc, None, InOrder()
        for timestamp, payload in self._order.add(
            packet.sequence_number, packet.timestamp, packet.payload
        ):
            self._take(timestamp, payload)
        return False, None

    def _take(self, timestamp: int, payload: bytes) -> None:
        try:
            pcm = self._decoder.decode(payload)
        except MalformedEvent:
            return  # what is missing is filled with silence when the next packet comes
        due, self._due = self._due, (timestamp + len(pcm) // SAMPLE_BYTES) & 0xFFFFFFFF
        if due is not None:
            missing = (timestamp - due) & 0xFFFFFFFF
            if 0 < missing <= CODED_HZ * MAX_FILL_MS // 1000:
                pcm = bytes(missing * SAMPLE_BYTES) + pcm
        if pcm:
            self._hear(pcm)


class Timers(Protocol):
    """What an event loop has to do with time."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        """Call, so many seconds from now."""


class Loudspeaker:
    """The track that goes out. Has the shape of aiortc's `MediaStreamTrack`, as far as a sender needs one.

    Args:
        timers: whose time it keeps; the running event loop's, if none.
    """

    kind = "audio"
    readyState = "live"  # noqa: N815 - the browser's name for it

    def __init__(self, timers: Timers | None = None) -> None:
        self.id = str(uuid.uuid4())
        self._encoder = OpusEncoder(LOUDSPEAKER.rate_hz)
        self._queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(MAX_QUEUED)
        self._timers: Timers = timers or asyncio.get_running_loop()
        self._began = self._played = self._timers.time()
        self._next = 0  # the timestamp of the next packet
        self._is_resting = True
        self._timer: asyncio.TimerHandle | None = None

    @property
    def queued(self) -> int:
        """Packets that the network has not been given."""
        return self._queue.qsize()

    def play(self, frame: bytes) -> None:
        """A frame of sound in the format `LOUDSPEAKER`, at most 20 ms; goes out at once."""
        self._played = self._timers.time()
        self._keep_time()
        if self._is_resting:
            self._is_resting = False
            self._call_later(REST_MS / 1000, self._look)
        self._put(self._encoder.encode(frame))

    async def recv(self) -> Any:
        """For aiortc: the next packet, once there is one. The first ones come at once: the track works."""
        import av

        if self._timer is None:
            self._rest()
        timestamp, payload = await self._queue.get()
        packet = av.Packet(payload)
        packet.pts = timestamp
        packet.time_base = _CLOCK
        return packet

    def stop(self) -> None:
        """For aiortc: nothing goes out any more."""
        self.readyState = "ended"
        self._call_later(0, None)

    def _look(self) -> None:
        """While something is said: has it ended?"""
        quiet_s = self._timers.time() - self._played
        if quiet_s * 1000 < REST_MS:
            self._call_later(REST_MS / 1000 - quiet_s, self._look)
        else:
            self._rest()

    def _rest(self) -> None:
        self._is_resting = True
        self._keep_time()
        for _ in range(REST_FRAMES):
            self._put(self._encoder.encode(b""))
        self._call_later(KEEP_ALIVE_MS / 1000, self._keep_alive)

    def _keep_alive(self) -> None:
        self._keep_time()
        self._put(_SILENCE)
        self._call_later(KEEP_ALIVE_MS / 1000, self._keep_alive)

    def _call_later(self, after_s: float, call: Callable[[], None] | None) -> None:
        """The one timer of this track; none once it has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if call is not None and self.readyState == "live":
            self._timer = self._timers.call_later(after_s, call)

    def _keep_time(self) -> None:
        """Timestamps follow the wall clock over a pause, and count frames while something is said."""
        now = int((self._timers.time() - self._began) * CODED_HZ)
        if self._is_resting or now - self._next > CODED_HZ * REST_MS // 1000:
            self._next = max(self._next, now)

    def _put(self, payload: bytes) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait((self._next, payload))
        self._next += _TICKS


def _distance(start: int, sequence: int) -> int:
    """How far a 16-bit count has gone on since; negative if it lies behind."""
    return (sequence - start + 0x8000 & 0xFFFF) - 0x8000
