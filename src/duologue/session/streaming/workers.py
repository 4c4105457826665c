"""So many pieces of work at a time, over all sessions: first come, first served.

A session stands in the queue once, however much it has to do; when its turn comes it takes all that it has
(`core.longform`). So nobody starves, and the longer the queue, the more is done at a turn.
"""

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from duologue.core.errors import StateConflict
from duologue.ports import Clock

MOST = 64
"""More than any machine has use for."""

KEPT_WAITS = 512


@dataclass(frozen=True, slots=True)
class Load:
    """How busy they are. Waits are those of the latest turns."""

    number: int
    busy: int
    waiting: int
    turns: int
    wait_median_ms: float
    wait_max_ms: float


class Workers:
    """The turns of one kind of work.

    Args:
        number: how many at a time, 1 to `MOST`.
    """

    def __init__(self, number: int, clock: Clock) -> None:
        self._clock = clock
        self._number = number
        self._busy = 0
        self._turns = 0
        self._queue: deque[asyncio.Event] = deque()
        self._waits_ms: deque[float] = deque(maxlen=KEPT_WAITS)

    @property
    def number(self) -> int:
        """How many at a time."""
        return self._number

    def set_number(self, number: int) -> None:
        """So many from now on; what is being done is finished.

        Raises:
            StateConflict: it cannot be.
        """
        if not 1 <= number <= MOST:
            raise StateConflict(
                "invalid_value", f"There can be 1 to {MOST} workers, not {number}.", param="workers"
            )
        self._number = number
        self._admit()

    @property
    def load(self) -> Load:
        """How busy they are."""
        waits = self._waits_ms or (0.0,)
        return Load(
            self._number,
            self._busy,
            len(self._queue),
            self._turns,
            statistics.median(waits),
            max(waits),
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until this is left."""
        began_ms = self._clock()
        admitted = asyncio.Event()
        self._queue.append(admitted)
        self._admit()
        try:
            await admitted.wait()
        except asyncio.CancelledError:
            self._leave(admitted)
            raise
        self._waits_ms.append(self._clock() - began_ms)
        self._turns += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._admit()

    def _admit(self) -> None:
        while self._queue and self._busy < self._number:
            self._busy += 1
            self._queue.popleft().set()

    def _leave(self, admitted: asyncio.Event) -> None:
        """Who waited goes, admitted or not."""
        if admitted.is_set():
            self._busy -= 1
            self._admit()
        else:
            self._queue.remove(admitted)
