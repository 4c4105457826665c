"""One 20 ms tick for all sessions: it paces their output, notices silence on the line, and measures its own lag."""

import asyncio
from collections import deque
from typing import Protocol

from duologue.ports import Clock

TICK_MS = 20
"""One frame of output. A timer per session at this rate would cost 1.8 ms of CPU per session-second."""

LAG_SAMPLES = 512
"""About ten seconds of ticks."""


class Ticked(Protocol):
    """Something that wants the tick."""

    def tick(self, now_ms: float) -> bool:
        """Do what is due; False when no further tick is wanted."""

    def fail(self, error: BaseException) -> None:
        """Its tick raised: whatever it belongs to cannot go on. Must not raise."""


class Pacer:
    """Calls whoever asked for it every 20 ms. Sleeps while nobody does.

    Attributes:
        lag_ms: how late the last ticks came, newest last: the lag of the event loop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: dict[Ticked, None] = {}
        self._wanted = asyncio.Event()
        self.lag_ms: deque[float] = deque(maxlen=LAG_SAMPLES)

    def want(self, member: Ticked) -> None:
        """Tick this from now on, until its `tick` says that it is enough."""
        self._members[member] = None
        self._wanted.set()

    def forget(self, member: Ticked) -> None:
        """No more ticks for this."""
        self._members.pop(member, None)

    def tick(self, now_ms: float) -> None:
        """One round."""
        for member in list(self._members):
            try:
                is_wanted = member.tick(now_ms)
            except Exception as error:  # noqa: BLE001 - the outer wall of a member: the others live on
                is_wanted = False
                member.fail(error)
            if not is_wanted:
                self._members.pop(member, None)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._wanted.wait()
            due = self._clock() + TICK_MS
            while self._members:
                await asyncio.sleep(max(0.0, due - self._clock()) / 1000)
                now = self._clock()
                self.lag_ms.append(now - due)
                self.tick(now)
                due = max(due + TICK_MS, now)  # after a stall, go on from here: no burst of ticks
            self._wanted.clear()
