"""Above every pool: a stream whose engine breaks or hangs is taken up by another, with nothing lost.

What was offered since the last `Final` is kept, and offered again. An engine that owes something and gives
nothing for several times its usual pace hangs; one that failed is passed over until it was tried out in the
background. Once sound was given out no second engine continues it, for a sentence said half by one voice and
half by another is worse than one broken off.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.engines.breaker import Pace
from duologue.engines.chain import Link, Search
from duologue.engines.threads import engine_bug
from duologue.engines.trial import try_out
from duologue.ports import (
    Audio,
    EngineGone,
    EngineStream,
    Event,
    Final,
    Offer,
    Say,
    StreamOptions,
)

log = logging.getLogger("duologue.engines")

OWED_TIMEOUT_S = 5.0
"""Longest wait for an engine that owes something, however slow it is known to be: a transcript after a flush, the
next sound of an answer. Beyond five seconds nobody still waits."""

GRACE_S = 0.05
"""A second look, after which an engine hangs: a loop that was held up sees an answer and the end of its time at once.
Also how long the close of a lost stream is waited for; the engines' contract says the same. Its place comes back
when the engine has noticed, which may take seconds if it hangs."""

MAX_KEPT_FRAMES = 4_000
"""Sound kept for a second attempt, about two minutes of one utterance; older sound is given up first."""

NOT_READY_S = 0.5
"""How often it is seen whether an engine that is being started again, or is elsewhere, has come back."""

REMEMBERED_DELAYS = 512
"""Takeovers whose delay is remembered."""


class ResilientPool:
    """An ordered choice of engines for each role. Without `run`, what failed is asked again only as a last resort.

    Args:
        chains: may grow while engines come up.
        owed_timeout_s: longest wait for what is owed.
        keeps_pace: an engine known to be quick is given less time; off where work comes in sizes, as files do.

    Attributes:
        fallbacks: streams taken up by another engine, or refused by one and opened on another.
        broken: streams that ended with an error all the same.
        delays_s: of the latest takeovers, from the engine's loss to the other's answer.
    """

    def __init__(
        self,
        chains: Mapping[Role, Sequence[Link]],
        *,
        owed_timeout_s: float = OWED_TIMEOUT_S,
        keeps_pace: bool = True,
    ) -> None:
        self.chains = chains
        self.fallbacks = 0
        self.broken = 0
        self.delays_s: deque[float] = deque(maxlen=REMEMBERED_DELAYS)
        self._timeout_s = owed_timeout_s
        self._keeps_pace = keeps_pace
        self._paces: dict[Link, Pace] = {}
        self._last_answer_s: dict[Link, float] = {}
        self._trials: set[Link] = set()
        self._used: dict[Link, Link] = {}
        self._looking = asyncio.Event()

    def last_answer_s(self, link: Link) -> float:
        """When any stream of it last got something: a queue moves on, and is no hang."""
        return self._last_answer_s.get(link, 0.0)

    def moved(self, link: Link) -> None:
        """It gave something to somebody."""
        self._last_answer_s[link] = _now_s()

    @property
    def patience_s(self) -> float:
        """Longest wait however much an engine gives others."""
        return self._timeout_s

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """A stream of the first engine that takes it; see `ports.EnginePool.open`."""
        search = Search(role, self.chains[role], options.language)
        if not search:
            raise EngineLost(f"{role}_missing", f"No {role} engine is up.")
        stream = ResilientStream(self, search, role, key, options)
        await stream.connect()
        return stream

    # --- what streams tell ---
    def limit_s(self, link: Link) -> float:
        """Longest wait for what this engine owes."""
        return self._pace(link).limit_s if self._keeps_pace else self._timeout_s

    def opened(self, role: Role, link: Link, preferred: Link) -> None:
        """A stream begins on it, in place of the preferred one of its language: it is said when that changes."""
        if link is not preferred:
            self.fallbacks += 1
        if link is not self._used.get(preferred, preferred):
            log.warning("= %s: %s is used from now on", role, link.name)
        self._used[preferred] = link

    def answered(self, link: Link, took_s: float) -> None:
        """It gave what it owed."""
        self._pace(link).answered(took_s)
        link.worked()

    def failed(self, link: Link, error: EngineError) -> None:
        """It broke, hung or refused."""
        link.failed(error, asyncio.get_running_loop().time())
        for wake in link.watchers:
            wake()

    def _pace(self, link: Link) -> Pace:
        if link not in self._paces:
            self._paces[link] = Pace(self._timeout_s)
        return self._paces[link]

    # --- bringing engines back ---
    async def introduce(self) -> None:
        """Try out every engine once, so that the pace of each is known, also of those behind the first."""
        for role, chain in self.chains.items():
            for link in chain:
                await self._try_out(role, link)

    async def run(self) -> None:
        """Try out engines that failed, each at its time and none twice at once, until cancelled."""
        now_s = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._looking.clear()
                for (
                    chain
                ) in self.chains.values():  # others may share the engines: the audio routes do
                    for link in chain:
                        link.watchers.add(self._looking.set)
                waits_until = None
                for role, link in self._resting():
                    at_s = link.breaker.probe_at_s or 0.0
                    if not link.pool.ready:  # there is nothing to try out yet
                        at_s = now_s() + NOT_READY_S
                    if at_s <= now_s():
                        self._trials.add(link)
                        tasks.create_task(self._try_out(role, link), name=f"trial-{link.name}")
                    else:
                        waits_until = min(at_s, waits_until or at_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(waits_until):
                        await self._looking.wait()

    def _resting(self) -> list[tuple[Role, Link]]:
        return [
            (role, link)
            for role, chain in self.chains.items()
            for link in chain
            if len(chain) > 1 and link.breaker.is_open and link not in self._trials
        ]

    async def _try_out(self, role: Role, link: Link) -> None:
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        try:
            await try_out(link.pool, role, self._timeout_s)
        except AtCapacity:  # it is at work: as good as before
            link.worked()
        except Exception as error:  # noqa: BLE001 - the outer wall of a trial: the server goes on without the engine
            known = engine_bug(error)
            log.info("~ %s %s still fails: %s", role, link.name, known)
            link.failed_trial(known, now_s())
        else:
            self.answered(link, now_s() - began_s)
        finally:
            self._trials.discard(link)
            self._looking.set()


class ResilientStream:
    """One utterance or answer, whoever works on it."""

    def __init__(
        self, pool: ResilientPool, search: Search, role: Role, key: str, options: StreamOptions
    ) -> None:
        self._pool = pool
        self._search = search
        self._role, self._key, self._options = role, key, options
        self._stream: EngineStream | None = None
        self._kept: list[Offer | int] = []  # offers, and flushes by id, since the last Final
        self._flushes = 0  # that are not answered
        self._silent: set[int] = set()  # pieces of which nothing was heard yet
        self._owed_since = 0.0
        self._sounded = False
        self._is_full = False  # it had no room for the last offer
        self._again: deque[Offer | int] = deque()  # what another engine must still be offered again
        self._lost_at: float | None = None
        self.rate_hz = 0

    async def connect(self) -> None:
        """Open the first engine that can be had.

        Raises:
            EngineError: none can; the last one's reason.
        """
        self._stream = await self._open()
        self.rate_hz = self._stream.rate_hz
        assert self._search.preferred is not None
        self._pool.opened(self._role, self._link, self._search.preferred)

    async def _open(self) -> EngineStream:
        return await self._search.open(self._key, self._options, self._pool.failed)

    @property
    def _link(self) -> Link:
        assert self._search.current is not None
        return self._search.current

    def offer(self, item: Offer) -> bool:
        """See `ports.EngineStream.offer`."""
        if self._again:
            self._again.append(item)
        elif self._stream is not None and not self._stream.offer(item):
            if not self._is_full:
                self._owe()
                self._is_full = True
            return False
        self._is_full = False
        self._kept.append(item)
        if len(self._kept) > MAX_KEPT_FRAMES:
            del self._kept[: MAX_KEPT_FRAMES // 4]
        if isinstance(item, Say) and any(map(str.isalnum, item.text)):
            self._owe()
            self._silent.add(item.number)
        return True

    async def room(self) -> None:
        """See `ports.EngineStream.room`."""
        if self._stream is not None:
            await self._stream.room()

    def flush(self, flush_id: int) -> None:
        """See `ports.EngineStream.flush`."""
        self._kept.append(flush_id)
        self._owe()
        self._flushes += 1
        if self._again:
            self._again.append(flush_id)
        elif self._stream is not None:
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
                self._pool.broken += 1
                yield event
                return

    async def aclose(self, *, cancel: bool = False) -> None:
        """See `ports.EngineStream.aclose`."""
        stream, self._stream = self._stream, None
        self._again.clear()
        if stream is not None:
            await stream.aclose(cancel=cancel)

    async def _event(self, source: AsyncIterator[Event]) -> Event | None:
        """The next event; `EngineGone` where one is owed and does not come; None at the end.

        Time counts only while it is waited for: whoever takes events slowly makes no engine hang.
        """
        loop = asyncio.get_running_loop()
        limit_s, asked_s, is_late = self._pool.limit_s(self._link), loop.time(), False
        while True:
            self._offer_again()
            since_s = max(self._owed_since, asked_s) if self._is_owed else loop.time()
            until_s = loop.time() + GRACE_S if is_late else self._until_s(since_s, limit_s)
            if self._again:
                until_s = min(until_s, loop.time() + GRACE_S)
            try:
                async with asyncio.timeout_at(until_s):
                    event = await anext(source)
            except StopAsyncIteration:
                if self._stream is not None:  # nobody has closed it
                    return EngineGone(_ended_early(self._role, self._link.name))
                return None
            except TimeoutError:
                if is_late and self._is_owed:
                    return EngineGone(_timed_out(self._role, self._link.name, limit_s))
                since_s = max(self._owed_since, asked_s)  # it may have begun to owe only now
                is_late = self._is_owed and loop.time() >= self._until_s(since_s, limit_s)
            else:
                self._came(event, loop.time(), since_s)
                return event

    def _until_s(self, since_s: float, limit_s: float) -> float:
        """When it hangs: it gave nobody anything for its limit, or us nothing for the longest."""
        moved_s = max(since_s, self._pool.last_answer_s(self._link))
        return min(moved_s + limit_s, since_s + self._pool.patience_s)

    def _came(self, event: Event, now_s: float, since_s: float) -> None:
        self._pool.moved(self._link)
        if isinstance(event, Final | Audio):
            if self._is_owed:
                self._pool.answered(self._link, now_s - since_s)
            if self._lost_at is not None:
                self._pool.delays_s.append(now_s - self._lost_at)
                self._lost_at = None
        self._owed_since = now_s

    def _settle(self, event: Event) -> None:
        if isinstance(event, Final):
            at = self._kept.index(event.id) if event.id in self._kept else -1
            done, self._kept = self._kept[: at + 1], self._kept[at + 1 :]
            self._flushes -= sum(isinstance(item, int) for item in done)
            self._silent -= {item.number for item in done if isinstance(item, Say)}
            self._sounded = False
        elif isinstance(event, Audio):
            self._silent = {number for number in self._silent if number > event.number}
            self._sounded = True

    async def _fall_back(self, error: EngineError) -> bool:
        """Take the work up elsewhere; False if nobody is left, or it cannot be continued."""
        broken, self._stream = self._stream, None
        self._again.clear()
        link, self._lost_at = self._link, _now_s()
        log.warning("! %s %s: %s", self._role, link.name, error)
        if broken is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await broken.aclose(cancel=True)
        self._pool.failed(link, error)
        if not isinstance(error, EngineRefused):
            self._search.lost(has_hung=error.code == timed_out_code(self._role))
        if self._sounded or not self._search:
            return False
        try:
            stream = await self._open()
        except EngineError:
            return False
        self._stream, self.rate_hz = stream, stream.rate_hz
        self._again, self._is_full = deque(self._kept), False
        self._offer_again()
        self._pool.fallbacks += 1
        log.info("= %s: %s has taken over, with nothing lost", self._role, self._link.name)
        self._owed_since = _now_s()
        return True

    def _offer_again(self) -> None:
        """As much of what was kept as the engine takes now: it takes no more while nobody takes what it says."""
        stream = self._stream
        while self._again and stream is not None:
            item = self._again[0]
            if isinstance(item, int):
                stream.flush(item)
            elif not stream.offer(item):
                return
            self._again.popleft()
            self._owed_since = _now_s()

    @property
    def _is_owed(self) -> bool:
        """Something must come: a piece's first sound, or the answer to a flush. A piece that sounds may be all there
        is, until the language model has more."""
        return bool(self._flushes or self._silent or self._is_full or self._again)

    def _owe(self) -> None:
        if not self._is_owed:
            self._owed_since = _now_s()


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def timed_out_code(role: Role) -> str:
    """The code of an engine that hangs."""
    return f"{role}_timed_out"


def _ended_early(role: Role, name: str) -> EngineLost:
    return EngineLost(f"{role}_ended_early", f"{name} ended its stream and owed an answer.")


def _timed_out(role: Role, name: str, limit_s: float) -> EngineLost:
    return EngineLost(
        timed_out_code(role),
        f"The {role} engine {name} has not answered for {limit_s:.1f} s.",
        remedy="The machine is too slow for it, or it hangs: see /v1/turns and the log.",
    )
