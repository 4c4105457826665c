"""Answers beside the conversation: they take no floor, join no history, and are sent as fast as they are made."""

import asyncio
from collections.abc import Callable

from duologue.core.audio import WIRE, AudioFormat, Ms
from duologue.core.conversation import Conversation
from duologue.core.facts import Fact
from duologue.ports import Listener
from duologue.session.meters import Meters
from duologue.session.mouth import Line
from duologue.session.pacer import Pacer

FRAME_MS = 100
"""Longer than the frames of what is listened to while it comes: fewer events for the same sound."""

PACKET_MS = 20
"""One packet is one frame."""

MAX_UNSENT_BYTES = 512 * 1024
"""What the client has not read; above it the synthesiser waits, so that a slow client is not given up."""


class Spout:
    """Where sound goes that nobody hears in step: sent at once, as long as the client reads.

    Has the shape of a `Mouth`, as far as an answer needs one.
    """

    def __init__(
        self, listener: Listener, pacer: Pacer, fail: Callable[[BaseException], None]
    ) -> None:
        self.fail = fail
        self._listener = listener
        self._pacer = pacer
        self._line: Line | None = None
        self._rest = b""
        self._frame_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self.format = WIRE
        self._sent_ms = 0.0

    @property
    def sent_ms(self) -> float:
        """How much was sent."""
        return self._sent_ms

    def begin(self, line: Line, fmt: AudioFormat = WIRE) -> None:
        """The one answer."""
        self._line, self.format = line, fmt
        self._frame_bytes = fmt.bytes_for(PACKET_MS if fmt.codec == "opus" else FRAME_MS)

    def push(self, pcm: bytes) -> None:
        """More of its sound, any size."""
        data = self._rest + pcm
        size = self._frame_bytes
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        for at in range(0, whole, size):
            self._send(data[at : at + size])
        if self._listener.unsent() > MAX_UNSENT_BYTES:
            self._room.clear()
            self._pacer.want(self)

    async def room(self) -> None:
        """Wait until the client has read."""
        await self._room.wait()

    def tick(self, now_ms: float) -> bool:
        """For the pacer: look whether the client reads."""
        if self._listener.unsent() <= MAX_UNSENT_BYTES // 2:
            self._room.set()
        return not self._room.is_set()

    def finish(self) -> None:
        """No more of it comes."""
        if self._rest:
            self._send(self._rest)
        line, self._line = self._line, None
        if line is not None:
            line.all_sent()

    def stop(self) -> None:
        """Nothing more goes out."""
        self._line = None
        self._room.set()
        self._pacer.forget(self)

    def heard_ms(self) -> float:
        """Whoever asked for it has all that was sent."""
        return self._sent_ms

    def _send(self, frame: bytes) -> None:
        if self._line is not None:
            self._sent_ms += len(frame) * 1000 / (2 * self.format.rate_hz)
            self._line.send(frame)


class AsideDesk:
    """What an answer out of band is given in place of its session: a history of its own, and a spout."""

    def __init__(
        self,
        listener: Listener,
        pacer: Pacer,
        meters: Meters,
        new_id: Callable[[str], str],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.listener = listener
        self.meters = meters
        self.conversation = Conversation()
        self.mouth = Spout(listener, pacer, fail)
        self.new_id = new_id
        self.now = Ms(0)

    def tell(self, fact: Fact) -> None:
        """The turn machine knows nothing of this answer."""
