"""What is kept for how long, and the task that erases the rest."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from duologue.core.errors import OurError
from duologue.store.archive import Erased, Store

log = logging.getLogger("duologue.store")

DAY_S = 86_400.0
EVERY_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept.

    Attributes:
        sounds_s: seconds after it was recorded; None for as long as its session.
        sessions_s: seconds after it ended or expired, with all of it; None for ever.
    """

    sounds_s: float | None = 7 * DAY_S
    sessions_s: float | None = 30 * DAY_S

    def sounds_before_s(self, now_s: float) -> float | None:
        """Sound that was recorded before this is erased."""
        return None if self.sounds_s is None else now_s - self.sounds_s

    def sessions_before_s(self, now_s: float) -> float | None:
        """Sessions that ended or expired before this are erased."""
        return None if self.sessions_s is None else now_s - self.sessions_s


class Housekeeper:
    """Keeps a store tidy.

    Args:
        now_s: seconds since 1970.
        pause: waits for so many seconds.
    """

    def __init__(
        self,
        store: Store,
        retention: Retention,
        now_s: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._retention = retention
        self._now_s = now_s
        self._pause = pause

    async def tidy(self, now_s: float) -> Erased:
        """Erase what is older than it may be at this time.

        Raises:
            OurError: the store failed; what is left is erased the next time.
        """
        erased = await self._store.erase_old(
            sounds_before_s=self._retention.sounds_before_s(now_s),
            sessions_before_s=self._retention.sessions_before_s(now_s),
        )
        if erased.sounds or erased.sessions:
            log.info("~ erased %d sounds, %d sessions", erased.sounds, erased.sessions)
        return erased

    async def run(self) -> None:
        """At once and every hour, until it is cancelled."""
        while True:
            try:
                await self.tidy(self._now_s())
            except OurError as error:
                log.warning("! old conversations could not be erased: %s", error.message)
            await self._pause(EVERY_S)
