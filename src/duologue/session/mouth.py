"""What goes out: one answer's sound, cut into frames once and sent a little ahead of the listener.

Sound is sent until the listener has `lead_ms` in hand, and then a frame at every tick. So what was sent
and not heard is never more than that, and an answer can be stopped, or held, with so much left to hear.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol

from duologue.core.audio import WIRE, AudioFormat
from duologue.core.playout import PlayoutClock
from duologue.ports import Clock
from duologue.session.pacer import Pacer

FRAME_MS = 20

LEAD_MS = 120
"""Between the 100 ms that jitter of a home network asks for and the 150 ms that a person notices."""

AHEAD_MS = 10_000
"""Sound kept that is not sent yet; a full mouth makes the synthesiser wait."""

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
    ) -> None:
        self.fail = fail
        self._pacer = pacer
        self._now = clock
        self._lead_ms = lead_ms
        self._line: Line | None = None
        self._clock = PlayoutClock()
        self._frames: deque[bytes] = deque()
        self._rest = b""
        self._finished = self._told_sent = self._held = False
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
        self._finished = self._told_sent = self._held = False
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
        """Send nothing for now."""
        self._held = True
        self._settle()

    def resume(self) -> None:
        """Go on from the held frame."""
        self._held = False
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

    def _go_on(self) -> None:
        self._clock.excuse_pause()
        self._settle()
        self._pacer.want(self)

    def _settle(self) -> None:
        """Does the listener stand still?"""
        if self._pauses or (self._held and self.is_obeyed):
            self._clock.stand_still(self._now())
        else:
            self._clock.go_on(self._now())

    def _set_format(self, fmt: AudioFormat) -> None:
        self.format = fmt
        self._frame_bytes = fmt.bytes_for(FRAME_MS)

    def _send(self, now_ms: float) -> None:
        line, frames, clock = self._line, self._frames, self._clock
        if line is None or self._held or self._pauses or self._told_sent:
            return
        while frames and clock.lead_ms(now_ms) < self._lead_ms:
            frame = frames.popleft()
            first = not clock.sent_ms
            clock.sent(len(frame) * 1000 / (2 * self.format.rate_hz), now_ms)
            line.send(frame)
            if first:
                line.audible()
                if self._line is not line:
                    return
        if not self._room.is_set() and len(frames) * FRAME_MS < AHEAD_MS // 2:
            self._room.set()
        if self._finished and not frames:
            self._told_sent = True
            line.all_sent()
