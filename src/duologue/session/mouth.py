"""What goes out: one answer's sound, cut into frames once and sent a little ahead of the listener.

Sound is sent until the listener has `lead_ms` in hand, and then a frame at every tick. So what was sent
and not heard is never more than that, and an answer can be stopped, or held, with so much left to hear.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from duologue.core.audio import SAMPLE_BYTES, WIRE, AudioFormat
from duologue.core.playout import PlayoutClock
from duologue.ports import Clock
from duologue.session.echo import Echo
from duologue.session.pacer import Pacer

FRAME_MS = 20

LEAD_MS = 80
"""Four frames, and up to a fifth: for a home network's jitter. Who interrupts us must hear the rest of it, and is to
have silence within 200 ms; where a line runs dry (`underruns`), more is set by `lead_ms`."""

AHEAD_MS = 10_000
"""Sound kept that is not sent yet; a full mouth makes the synthesiser wait."""

FADE_MS = FRAME_MS
"""A held answer fades over the whole of its last frame: nothing of it is left out, and nothing clicks."""

HUSH_MS = 400.0
"""A doubt is over sooner, unless the microphone falls silent in the middle of it."""

Pause = Literal["client", "line"]
"""Why nothing is sent beside the turn machine's order: the client has paused its playback, or is not there."""


class Line(Protocol):
    """One answer, as the mouth sees it."""

    def send(self, pcm: bytes) -> None:
        """A frame goes out."""

    def audible(self) -> None:
        """The first one did."""

    def all_sent(self) -> None:
        """The last one did, and no more comes."""

    def all_heard(self) -> None:
        """The listener has heard the last one."""


class Output(Protocol):
    """Where the sound of an answer goes: a `Mouth`, or an `aside.Spout`."""

    @property
    def sent_ms(self) -> float:
        """How much of it was sent."""

    def begin(self, line: Line, fmt: AudioFormat) -> None:
        """The next answer, in this format."""

    def push(self, pcm: bytes) -> None:
        """More of its sound, any size."""

    async def room(self) -> None:
        """Wait until there is room for more."""

    def finish(self) -> None:
        """No more of it comes."""

    def stop(self) -> None:
        """Drop what is not sent."""

    def heard_ms(self) -> float:
        """How much of it was heard."""


class Mouth:
    """The output of one session; speaks one line at a time.

    Args:
        fail: told of an error that comes while it sends at the pacer's tick.
        echo: told what goes out, where the ears are to know it.

    Attributes:
        underruns: times a listener ran dry in the middle of an answer.
        is_obeyed: the listener stops playing while the output is held; others play what they have in hand.
    """

    def __init__(
        self,
        pacer: Pacer,
        clock: Clock,
        fail: Callable[[BaseException], None],
        *,
        lead_ms: float = LEAD_MS,
        echo: Echo | None = None,
    ) -> None:
        self.fail = fail
        self._echo = echo
        self._pacer = pacer
        self._now = clock
        self._lead_ms = lead_ms
        self._line: Line | None = None
        self._clock = PlayoutClock()
        self._frames: deque[bytes] = deque()
        self._rest = b""
        self._finished = self._told_sent = self._held = self._has_faded = False
        self._hushed_until_ms = 0.0
        self._pauses: set[Pause] = set()
        self.is_obeyed = False
        self._room = asyncio.Event()
        self._room.set()
        self._past_underruns = 0
        self._set_format(WIRE)

    @property
    def underruns(self) -> int:
        """Times that the listener ran dry although more was to come."""
        return self._past_underruns + self._clock.underruns

    @property
    def line(self) -> Line | None:
        """The answer that is being sent or still heard."""
        return self._line

    @property
    def is_held(self) -> bool:
        """The turn machine holds the present answer."""
        return self._held and self._line is not None

    @property
    def waiting_ms(self) -> int:
        """Sound that is here and not sent."""
        return len(self._frames) * FRAME_MS + self.format.ms(len(self._rest))

    def begin(self, line: Line, fmt: AudioFormat = WIRE) -> None:
        """The next answer, in this format. What the last one had to send is gone; what was sent, will be heard."""
        if self._line is not None and self._told_sent:
            self._line.all_heard()
        self._past_underruns += self._clock.underruns
        self._line, self._clock = line, PlayoutClock()
        self._set_format(fmt)
        self._frames.clear()
        self._rest = b""
        self._finished = self._told_sent = self._held = self._has_faded = False
        self._pauses.discard("client")
        self._settle()
        self._room.set()

    def push(self, pcm: bytes) -> None:
        """More sound of the present answer, any size."""
        data = self._rest + pcm
        size = self._frame_bytes
        whole = len(data) - len(data) % size
        self._frames.extend(data[at : at + size] for at in range(0, whole, size))
        self._rest = data[whole:]
        if len(self._frames) * FRAME_MS >= AHEAD_MS:
            self._room.clear()
        self._send(self._now())
        self._pacer.want(self)

    async def room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    def finish(self) -> None:
        """No more sound of the present answer comes."""
        if self._rest:
            self._frames.append(self._rest)
            self._rest = b""
        self._finished = True
        self._send(self._now())
        self._pacer.want(self)

    def hold(self) -> None:
        """Send nothing for now. What is heard fades in one more frame; a listener that obeys fades by itself."""
        now_ms = self._now()
        if not (self._held or now_ms < self._hushed_until_ms):
            self._fade_out(now_ms)
        self._held = True
        self._settle()

    def resume(self) -> None:
        """Go on from the held frame."""
        self._held = False
        self._go_on()

    def hush(self, is_hushed: bool) -> None:  # noqa: FBT001 - told by the ears, as they doubt
        """Send nothing while it is not known whether somebody interrupts, for `HUSH_MS` at most.

        It fades like a hold, and nobody is told.
        """
        now_ms = self._now()
        if is_hushed and not (self._held or now_ms < self._hushed_until_ms):
            self._fade_out(now_ms)
        self._hushed_until_ms = now_ms + HUSH_MS if is_hushed else 0.0
        self._go_on()

    def pause(self, why: Pause) -> None:
        """The listener stands still, and is sent nothing; what the turn machine holds or resumes does not matter.

        A client's own pause ends where the next answer begins.
        """
        self._pauses.add(why)
        self._settle()

    def unpause(self, why: Pause) -> None:
        """The reason is gone."""
        if why in self._pauses:
            self._pauses.remove(why)
            self._go_on()

    def correct(self, heard_ms: float) -> None:
        """The listener says how far it is in the present answer."""
        self._clock.correct(heard_ms, self._now())

    def take_back(self, lost_ms: float) -> None:
        """The last of what was sent of the present answer did not arrive, and is being sent again."""
        self._clock.take_back(lost_ms, self._now())

    def stop(self) -> None:
        """Drop what is not sent; nothing more of this answer goes out or is reported."""
        self._line = None
        self._frames.clear()
        self._rest = b""
        self._room.set()
        self._pacer.forget(self)

    def heard_ms(self) -> float:
        """How much of the present (or last) answer the listener has heard."""
        return self._clock.heard_ms(self._now())

    @property
    def sent_ms(self) -> float:
        """How much of it was sent."""
        return self._clock.sent_ms

    def tick(self, now_ms: float) -> bool:
        """For the pacer: send what is due, and report the end."""
        line = self._line
        if line is None:
            return False
        self._send(now_ms)
        if not self._told_sent or self._line is not line:
            return self._line is not None
        if self._clock.unheard_ms(now_ms) > 0:
            return True
        self._line = None
        line.all_heard()
        return self._line is not None

    def _fade_out(self, now_ms: float) -> None:
        """One more frame, unless nothing can be heard, or nothing more was to come."""
        line, clock = self._line, self._clock
        if line is None or not self._frames or self.is_obeyed or self._pauses:
            return
        if clock.lead_ms(now_ms) > 0:
            self._has_faded = True
            self._send_frame(
                line, _faded(self._frames.popleft(), self.format, into_silence=True), now_ms
            )

    def _go_on(self) -> None:
        self._clock.excuse_pause()
        self._settle()
        self._pacer.want(self)

    def _settle(self) -> None:
        """Does the listener stand still?"""
        now_ms = self._now()
        if self._pauses or (self._held and self.is_obeyed):
            self._clock.stand_still(now_ms)
            if self._echo is not None:
                self._echo.stands_still(now_ms)
        else:
            self._clock.go_on(now_ms)
            if self._echo is not None:
                self._echo.goes_on(self._clock.unheard_ms(now_ms), now_ms)

    def _set_format(self, fmt: AudioFormat) -> None:
        self.format = fmt
        self._frame_bytes = fmt.bytes_for(FRAME_MS)

    def _send(self, now_ms: float) -> None:
        line, frames, clock = self._line, self._frames, self._clock
        is_stopped = self._held or now_ms < self._hushed_until_ms or bool(self._pauses)
        if line is None or is_stopped or self._told_sent:
            return
        while frames and clock.lead_ms(now_ms) < self._lead_ms:
            frame = frames.popleft()
            if self._has_faded:
                self._has_faded = False
                frame = _faded(frame, self.format, into_silence=False)
            first = not clock.sent_ms
            self._send_frame(line, frame, now_ms)
            if first:
                line.audible()
                if self._line is not line:
                    return
        if not self._room.is_set() and len(frames) * FRAME_MS < AHEAD_MS // 2:
            self._room.set()
        if self._finished and not frames:
            self._told_sent = True
            line.all_sent()

    def _send_frame(self, line: Line, frame: bytes, now_ms: float) -> None:
        if self._echo is not None:
            lead_ms = self._clock.lead_ms(now_ms)
            self._echo.sent(frame, self.format.rate_hz, lead_ms, now_ms)
        self._clock.sent(len(frame) * 500 / self.format.rate_hz, now_ms)
        line.send(frame)


def _faded(frame: bytes, fmt: AudioFormat, *, into_silence: bool) -> bytes:
    """A frame that falls into silence within `FADE_MS`, or rises out of it."""
    sound = np.frombuffer(frame, np.int16).astype(np.float32)
    size = min(fmt.bytes_for(FADE_MS) // SAMPLE_BYTES, len(sound))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(size, dtype=np.float32) + 0.5) / size)
    if into_silence:
        sound[:size] *= rise[::-1]
        sound[size:] = 0.0
    else:
        sound[:size] *= rise
    return sound.astype(np.int16).tobytes()
