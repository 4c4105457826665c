"""What was sent and may not have arrived: kept for a client that comes back, until it says that it has it."""

from collections import deque
from dataclasses import dataclass

MAX_BYTES = 1024 * 1024
"""Twenty seconds of answers in PCM, four minutes in Opus: longer than a line is dead before the client knows."""

MAX_AGE_MS = 60_000
"""Twice as long as a session is kept."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message; where it carried sound, of which item and how much."""

    data: bytes
    at_ms: float
    item_id: str
    sound_ms: float


class ReplayBuffer:
    """The last messages of one connection. When it is full, the oldest leave.

    Attributes:
        sent: how many messages there were; the first has the number 1.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.bytes = 0
        self._kept: deque[Sent] = deque()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, data: bytes, now_ms: float, item_id: str = "", sound_ms: float = 0.0) -> None:
        """The next message."""
        self.sent += 1
        self.bytes += len(data)
        self._kept.append(Sent(data, now_ms, item_id, sound_ms))
        while self._kept and (self.bytes > MAX_BYTES or now_ms - self._kept[0].at_ms > MAX_AGE_MS):
            self._drop()

    def received(self, number: int) -> bool:
        """The client has all messages up to this; False if there never were so many."""
        if number > self.sent:
            return False
        while self._kept and self._oldest <= number:
            self._drop()
        return True

    def rest(self) -> tuple[Sent, ...]:
        """What is kept, in order; all that follows the last `received`, or as much of it as there was room for."""
        return tuple(self._kept)

    def is_complete_after(self, number: int) -> bool:
        """Nothing that follows this message has left."""
        return self._oldest <= number + 1

    @property
    def _oldest(self) -> int:
        """The number of the oldest message that is kept, or of the next one."""
        return self.sent - len(self._kept) + 1

    def _drop(self) -> None:
        self.bytes -= len(self._kept.popleft().data)
