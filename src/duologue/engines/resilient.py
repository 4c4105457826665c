"""Above every pool: a stream that stops answering is taken up by the next engine, with nothing lost.

The simplest form: a time limit on what is owed, and fallbacks in order; the last engine, if it broke, is asked once
more, for a process that died is started again. What was offered since the last `Final` is kept and offered
again. Once sound was given out no second engine continues it, for a sentence said half by one voice and
half by another is worse than one broken off.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, EngineLost
from duologue.ports import (
    Audio,
    EngineGone,
    EnginePool,
    EngineStream,
    Event,
    Final,
    Offer,
    StreamOptions,
)

log = logging.getLogger("duologue.engines")

OWED_TIMEOUT_S = 5.0
"""Longest wait for an engine that owes something: a transcript after a flush, the next sound of an answer.
Recognition of a long utterance on a small machine takes a second or two; beyond five nobody still waits."""

MAX_KEPT_FRAMES = 4_000
"""Sound kept for a second attempt, about two minutes of one utterance; older sound is given up first."""


class ResilientPool:
    """An ordered choice of pools for each role."""

    def __init__(
        self, chains: Mapping[Role, Sequence[EnginePool]], *, owed_timeout_s: float = OWED_TIMEOUT_S
    ) -> None:
        self._chains = chains
        self._timeout_s = owed_timeout_s
        self.fallbacks = 0

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """A stream of the first engine that takes it; see `ports.EnginePool.open`."""
        stream = ResilientStream(self, self._chains[role], role, key, options, self._timeout_s)
        await stream.connect()
        return stream


class ResilientStream:
    """One utterance or answer, whoever works on it."""

    def __init__(
        self,
        pool: ResilientPool,
        chain: Sequence[EnginePool],
        role: Role,
        key: str,
        options: StreamOptions,
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._untried = list(chain)
        self._last: EnginePool | None = None  # whose stream it is
        self._has_second_try = True
        self._role, self._key, self._options = role, key, options
        self._timeout_s = timeout_s
        self._stream: EngineStream | None = None
        self._kept: list[Offer | int] = []  # offers, and flushes by id, since the last Final
        self._owed = 0
        self._owed_since = 0.0
        self._sounded = False
        self.rate_hz = 0

    async def connect(self) -> None:
        """Open the first engine that can be had.

        Raises:
            EngineError: none can; the last one's reason.
        """
        self._stream = await self._open()
        self.rate_hz = self._stream.rate_hz

    async def _open(self) -> EngineStream:
        while True:
            pool = self._last = self._untried.pop(0)
            try:
                return await pool.open(self._role, self._key, self._options)
            except EngineError as error:
                if not self._untried:
                    raise
                log.warning("! %s: %s The next engine is asked.", self._role, error)
                self._pool.fallbacks += 1

    def offer(self, item: Offer) -> bool:
        """See `ports.EngineStream.offer`."""
        if self._stream is not None and not self._stream.offer(item):
            return False
        self._kept.append(item)
        if len(self._kept) > MAX_KEPT_FRAMES:
            del self._kept[: MAX_KEPT_FRAMES // 4]
        if not isinstance(item, AudioFrame):
            self._owe()
        return True

    async def room(self) -> None:
        """See `ports.EngineStream.room`."""
        if self._stream is not None:
            await self._stream.room()

    def flush(self, flush_id: int) -> None:
        """See `ports.EngineStream.flush`."""
        self._kept.append(flush_id)
        self._owe()
        if self._stream is not None:
            self._stream.flush(flush_id)

    async def events(self) -> AsyncIterator[Event]:
        """See `ports.EngineStream.events`."""
        while self._stream is not None:
            source = aiter(self._stream.events())
            while True:
                event = await self._event(source)
                if event is None:
                    return
                if isinstance(event, EngineGone):
                    break
                self._settle(event)
                yield event
            if not await self._fall_back(event.error):
                yield event
                return

    async def aclose(self, *, cancel: bool = False) -> None:
        """See `ports.EngineStream.aclose`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose(cancel=cancel)

    async def _event(self, source: AsyncIterator[Event]) -> Event | None:
        """The next event; `EngineGone` where one is owed and does not come; None at the end."""
        loop = asyncio.get_running_loop()
        while True:
            waited_from = self._owed_since if self._owed else loop.time()
            try:
                async with asyncio.timeout_at(waited_from + self._timeout_s):
                    event = await anext(source)
            except StopAsyncIteration:
                return None
            except TimeoutError:
                if self._owed and loop.time() >= self._owed_since + self._timeout_s:
                    return EngineGone(self._timed_out())
            else:
                self._owed_since = loop.time()
                return event

    def _settle(self, event: Event) -> None:
        if isinstance(event, Final):
            at = self._kept.index(event.id) if event.id in self._kept else -1
            done, self._kept = self._kept[: at + 1], self._kept[at + 1 :]
            self._owed -= sum(1 for item in done if not isinstance(item, AudioFrame))
            self._sounded = False
        elif isinstance(event, Audio):
            self._sounded = True

    async def _fall_back(self, error: EngineError) -> bool:
        """Take the work up elsewhere; False if nobody is left, or it cannot be continued."""
        broken, self._stream = self._stream, None
        log.warning("! %s: %s", self._role, error)
        if broken is not None:
            await broken.aclose(cancel=True)
        if self._sounded or not (self._untried or self._may_try_again(error)):
            return False
        try:
            stream = await self._open()
        except EngineError:
            return False
        await self._offer_again(stream)
        self._stream, self.rate_hz = stream, stream.rate_hz
        self._pool.fallbacks += 1
        log.info("= %s: another has taken over, with nothing lost", self._role)
        self._owed_since = asyncio.get_running_loop().time()
        return True

    def _may_try_again(self, error: EngineError) -> bool:
        """Ask the same engine, once, where there is no other and it broke (rather than hung or refused)."""
        has_broken = isinstance(error, EngineLost) and error.code != self._timed_out().code
        if not (has_broken and self._has_second_try and self._last is not None):
            return False
        self._has_second_try = False
        self._untried = [self._last]
        return True

    async def _offer_again(self, stream: EngineStream) -> None:
        """Everything kept, and what is kept meanwhile; between the last and its return nothing can be."""
        at = 0
        while at < len(self._kept):
            item = self._kept[at]
            if isinstance(item, int):
                stream.flush(item)
            elif not stream.offer(item):
                await stream.room()
                continue
            at += 1

    def _owe(self) -> None:
        if not self._owed:
            self._owed_since = asyncio.get_running_loop().time()
        self._owed += 1

    def _timed_out(self) -> EngineLost:
        return EngineLost(
            f"{self._role}_timed_out",
            f"The {self._role} engine has not answered for {self._timeout_s:g} s.",
            remedy="The machine is too slow for it, or it hangs: see /v1/turns and the log.",
        )
