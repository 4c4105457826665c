"""The engines of one role in order of preference, each with what is known of its health."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.core.languages import knows
from duologue.engines.breaker import Breaker
from duologue.ports import EnginePool, EngineStream, StreamOptions

log = logging.getLogger("duologue.engines")

OPEN_PATIENCE_S = 15.0
"""Longest wait for a stream: an engine that is being started again loads its model first. Later nobody waits."""


class LivePool(EnginePool, Protocol):
    """A pool as a chain needs it: one that may lose its engine and get it back."""

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do; known once it is loaded."""

    @property
    def streams(self) -> int:
        """Open ones."""

    @property
    def ready(self) -> bool:
        """`open` need not wait for an engine to be started again."""

    @property
    def spares(self) -> int:
        """Places in which the engine lives and does not hang, beside the only one; 0 where there is but one."""

    @property
    def attempts(self) -> int:
        """How often one stream may be opened on it: again where it may have changed in between."""

    def note(self, error: EngineError) -> None:
        """A stream of it ended so."""


class Link:
    """One engine of a chain.

    Attributes:
        lost: streams that it broke off or hung on; refused: those that it had no room for.
    """

    def __init__(self, name: str, pool: LivePool) -> None:
        self.name = name
        self.pool = pool
        self.breaker = Breaker()
        self.lost = 0
        self.refused = 0
        self.watchers: set[Callable[[], None]] = set()

    @property
    def rests(self) -> bool:
        """It is passed over while there is another: it failed, or is being started again."""
        return self.breaker.is_open or not self.pool.ready

    def worked(self) -> None:
        """It gave what it owed."""
        if self.breaker.is_open:
            log.info("= %s works again", self.name)
        self.breaker.succeeded()

    def failed(self, error: EngineError, now_s: float) -> None:
        """It gave an error instead. One that has no room, or refuses this request, is as good as before."""
        if isinstance(error, AtCapacity):
            self.refused += 1
            return
        if isinstance(error, EngineRefused):
            return
        self.pool.note(error)
        self.lost += 1
        self.breaker.failed(now_s, has_spare=self.pool.spares > 0)

    def failed_trial(self, error: EngineError, now_s: float) -> None:
        """It was tried out in vain, for whatever reason."""
        self.pool.note(error)
        self.breaker.failed(now_s)


class Search:
    """Who is asked next for one stream: those that rest after the others, and last those that lack its language.

    Attributes:
        current: whose stream it is.
        preferred: who would have it if all were well; None if there is nobody to ask.
    """

    def __init__(self, role: Role, chain: Sequence[Link], language: str = "") -> None:
        self._role = role
        able = sorted(chain, key=lambda link: not knows(link.pool.capabilities, language))
        self.preferred = able[0] if able else None
        self._untried = sorted(
            able, key=lambda link: (not knows(link.pool.capabilities, language), link.rests)
        )
        self._lost: Counter[Link] = Counter()
        self.current: Link | None = None

    def __bool__(self) -> bool:
        """There is somebody to ask."""
        return bool(self._untried)

    async def open(
        self, key: str, options: StreamOptions, failed: Callable[[Link, EngineError], None]
    ) -> EngineStream:
        """The next engine's stream; `failed` is told of each that has none.

        Raises:
            EngineError: none is left; the last one's reason.
        """
        while True:
            link = self.current = self._untried.pop(0)
            try:
                async with asyncio.timeout(OPEN_PATIENCE_S):
                    return await link.pool.open(self._role, key, options)
            except TimeoutError:
                error: EngineError = _starting(self._role, link.name)
            except EngineError as refused:
                error = refused
            failed(link, error)
            if not self._untried:
                raise error
            log.warning("! %s %s: %s The next engine is asked.", self._role, link.name, error)

    def lost(self, *, has_hung: bool) -> None:
        """The current one broke off. It is asked again as often as it may: first of all where another place of it is
        live; last of all where it must be started again, unless it hung, as it then will again."""
        link = self.current
        assert link is not None
        self._lost[link] += 1
        if self._lost[link] >= link.pool.attempts:
            return
        if link.pool.spares:
            self._untried.insert(0, link)
        elif not (has_hung or self._untried):
            self._untried.append(link)


def _starting(role: Role, name: str) -> EngineLost:
    return EngineLost(
        f"{role}_starting",
        f"{name} has not started again within {OPEN_PATIENCE_S:g} s.",
        remedy="See the log for what it says; another engine behind it in the list would take over meanwhile.",
    )
