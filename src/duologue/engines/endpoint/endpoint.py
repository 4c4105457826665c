"""One of the engine servers behind the URLs: connected or not, and when it may be asked again."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal, Protocol

from duologue.core.capabilities import Role
from duologue.core.errors import EngineError
from duologue.engines.endpoint.link import Address, Link

log = logging.getLogger("duologue.engines")

BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)
"""How long a server that could not be reached is not asked, by how often in a row."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """One server, for the metrics.

    Attributes:
        state: "up"; "down": not connected, `error` says why.
        streams: ours; others may have more there.
    """

    url: str
    address: str
    state: Literal["up", "down"]
    streams: int
    max_streams: int
    error: str


class Owner(Protocol):
    """The pool, as its endpoints see it."""

    role: Role

    def clock(self) -> float:
        """Seconds."""

    async def join(self, address: Address) -> Link:
        """Connect, and look after the connection until it is lost."""


class Endpoint:
    """One server.

    Attributes:
        failures: in a row.
        error: why it is not connected.
    """

    def __init__(self, pool: Owner, address: Address) -> None:
        self.address = address
        self.link: Link | None = None
        self.failures = 0
        self.error: EngineError | None = None
        self.full_until = float("-inf")
        self._pool = pool
        self._retry_at = float("-inf")
        self._connecting = asyncio.Lock()

    @property
    def may_be_asked(self) -> bool:
        """It is connected, or may be tried again."""
        if self.link is not None:
            return self.link.is_open and self.link.is_ready
        return self._pool.clock() >= self._retry_at

    @property
    def streams(self) -> int:
        """Ours."""
        return len(self.link.streams) if self.link is not None else 0

    @property
    def load(self) -> float:
        """Share of its streams that we have; a server that is not connected yet has none."""
        return self.streams / max(1, self.link.capabilities.max_streams) if self.link else 0.0

    async def connected(self) -> Link:
        """Its connection.

        Raises:
            EngineError: there is none to be had.
        """
        async with self._connecting:
            if self.link is None:
                if self.error is not None and not self.may_be_asked:
                    raise self.error  # somebody else has just tried
                try:
                    self.link = await self._pool.join(self.address)
                except EngineError as error:
                    self._failed(error)
                    raise
                if self.failures:
                    log.info("= %s: the engine at %s is back", self._pool.role, self.address)
                self.failures, self.error = 0, None
            return self.link

    def lost(self, error: EngineError) -> None:
        """Its connection is gone. Whoever needs it may try at once: it may have been started again."""
        log.warning("! %s: %s", self._pool.role, error)
        self.link, self.error = None, error
        self.failures = max(1, self.failures)

    def _failed(self, error: EngineError) -> None:
        if self.error is None or self.error.code != error.code:
            log.warning("! %s: %s", self._pool.role, error)
        self.error = error
        self._retry_at = self._pool.clock() + BACKOFF_S[min(self.failures, len(BACKOFF_S) - 1)]
        self.failures += 1

    def state(self) -> EndpointState:
        """For the metrics."""
        return EndpointState(
            url=self.address.url,
            address=self.address.host,
            state="up" if self.link is not None and self.link.is_open else "down",
            streams=self.streams,
            max_streams=self.link.capabilities.max_streams if self.link is not None else 0,
            error=str(self.error) if self.error is not None else "",
        )
