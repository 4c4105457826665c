"""One contract for every place where an engine can live; the same tests in a thread, a process, and over a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineLost, EngineUnavailable
from duologue.engines import piped
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.threads import MAX_WAITING
from duologue.ports import EngineGone, EngineStream, Event, Final, Partial, SttOptions
from tests.engines.endpoint.lent import lent_and_borrowed
from tests.engines.probe import SPEC, Probe
from tests.support.workers import workers

PLACES = ["thread", "process", "endpoint"]


@asynccontextmanager
async def pool_in(place: str, **options: Any) -> AsyncIterator[Any]:
    if place == "thread":
        pool = InProcessPool(Probe())
        await pool.start()
        yield pool
        await pool.aclose()
        return
    if place == "endpoint":
        async with lent_and_borrowed() as endpoints:
            yield endpoints
        return
    spec = SPEC.__class__(
        **{
            **{f: getattr(SPEC, f) for f in SPEC.__dataclass_fields__},
            "name": "tests.engines.probe.SPEC",
        }
    )
    async with SubprocessPool(spec, **options) as processes:
        await processes.start()
        yield processes


def frame(start: int = 0, what: bytes = b"\0") -> AudioFrame:
    return AudioFrame(what.ljust(1024, b"\0"), start)


async def opened(pool: Any, key: str = "s", language: str = "") -> EngineStream:
    stream: EngineStream = await pool.open(Role.STT, key, SttOptions(language))
    return stream


async def first(stream: EngineStream, kind: type[Event]) -> Any:
    async with asyncio.timeout(10):
        async for event in stream.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the stream ended without {kind}")


@pytest.mark.parametrize("place", PLACES)
async def test_flushes_are_answered_in_order_and_input_goes_on(place: str) -> None:
    async with pool_in(place) as pool:
        stream = await opened(pool, language="de")
        for number in range(3):
            for n in range(number + 1):
                assert stream.offer(frame(512 * n))
            stream.flush(number)
        finals: list[Any] = []
        async with asyncio.timeout(10):
            async for event in stream.events():
                finals.append(event)
                if len(finals) == 3:
                    break
        assert [f.id for f in finals] == [0, 1, 2]
        assert [f.text.split()[0] for f in finals] == ["512", "1024", "1536"]
        assert [f.upto for f in finals] == [512, 1024, 1536]
        assert all(f.text.endswith("de") for f in finals)
        await stream.aclose()
        assert pool.streams == 0


@pytest.mark.parametrize("place", PLACES)
async def test_a_full_pool_refuses_at_once_and_a_place_comes_back(place: str) -> None:
    async with pool_in(place) as pool:
        streams = [await opened(pool, str(n)) for n in range(6 if place == "process" else 3)]
        with pytest.raises(AtCapacity) as refused:
            await opened(pool)
        assert refused.value.retryable
        await streams[0].aclose(cancel=True)
        async with asyncio.timeout(5):
            while True:
                try:
                    streams[0] = await opened(pool, "again")
                    break
                except AtCapacity:
                    await asyncio.sleep(0.005)
        for stream in streams:
            await stream.aclose(cancel=True)


@pytest.mark.parametrize("place", PLACES)
async def test_errors_and_bugs_end_their_stream_only(place: str) -> None:
    async with pool_in(place) as pool:
        other = await opened(pool, "other")
        for what, code in ((b"e", "probe_refused"), (b"b", "engine_broke")):
            stream = await opened(pool)
            stream.offer(frame(what=what))
            gone = await first(stream, EngineGone)
            assert gone.error.code == code
            await stream.aclose(cancel=True)
        other.flush(1)
        assert (await first(other, Final)).text.startswith("0 samples")
        await other.aclose()


@pytest.mark.parametrize("place", PLACES)
async def test_cancel_ends_a_stream_that_hangs(place: str) -> None:
    async with pool_in(place) as pool:
        stream = await opened(pool)
        stream.offer(frame(what=b"h"))
        stream.flush(1)
        async with asyncio.timeout(5):
            await stream.aclose(cancel=True)
            while pool.streams:  # noqa: ASYNC110 - the other side's end is nobody's event here
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("place", PLACES)
async def test_a_stream_that_takes_nothing_refuses_and_takes_again(place: str) -> None:
    async with pool_in(place) as pool:
        stream = await opened(pool)
        stream.offer(frame(what=b"p"))  # a thousand events that nobody takes: it stands still
        taken = 1
        while stream.offer(frame()):
            taken += 1
            assert taken <= MAX_WAITING + 64
        await asyncio.sleep(0.05)
        more = 0
        while stream.offer(frame()):
            more += 1
        assert more < 32
        waiting = asyncio.ensure_future(stream.room())
        stream.flush(5)
        partials = 0
        async with asyncio.timeout(10):
            async for event in stream.events():
                partials += isinstance(event, Partial)
                if isinstance(event, Final):
                    break
            await waiting
        assert partials == 1000
        assert stream.offer(frame())
        await stream.aclose(cancel=True)


# --- processes ---
async def test_a_session_keeps_to_one_process_and_others_are_used_too() -> None:
    async with pool_in("process") as pool:
        homes = {}
        for key in "abcdefgh":
            pids = set()
            for _ in range(2):
                stream = await opened(pool, key)
                stream.flush(1)
                pids.add((await first(stream, Final)).text.split()[2])
                await stream.aclose()
            assert len(pids) == 1
            homes[key] = pids.pop()
        assert len(set(homes.values())) == 2


async def test_a_process_that_dies_costs_its_streams_and_is_started_again() -> None:
    async with pool_in("process", processes=1) as pool:
        victim, beside = await opened(pool, "a"), await opened(pool, "b")
        victim.offer(frame(what=b"c"))
        for stream in (victim, beside):
            gone = await first(stream, EngineGone)
            assert isinstance(gone.error, EngineLost)
            assert "exit code 7" in gone.error.message
            assert stream.offer(frame())  # taken, and lost: whoever keeps it offers it elsewhere
            await stream.aclose(cancel=True)
        again = await opened(pool, "a")
        again.flush(1)
        assert (await first(again, Final)).text.startswith("0 samples")
        await again.aclose()
        assert pool.restarts == 1


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("absent", "probe_missing"),
        ("misnamed", "probe_misnamed"),
        ("bug", "engine_broke"),
        ("die", "engine_start_failed"),
    ],
)
async def test_an_engine_that_cannot_start_says_why(argument: str, code: str) -> None:
    spec = SPEC.__class__("tests.engines.probe.SPEC", Role.STT, SPEC.capabilities, Probe)
    async with SubprocessPool(spec, argument, processes=1) as pool:
        with pytest.raises((EngineUnavailable, EngineLost)) as failed:
            await pool.start()
        assert failed.value.code == code
    if (
        argument == "misnamed"
    ):  # the operator's mistake: it cannot run as it is set up, and did not break
        assert isinstance(failed.value, EngineUnavailable)
        assert failed.value.remedy == "Name one."
    if argument == "absent":
        assert failed.value.remedy == "Put it here."


async def test_what_an_engine_prints_does_not_garble_the_wire() -> None:
    spec = SPEC.__class__("tests.engines.probe.SPEC", Role.STT, SPEC.capabilities, Probe)
    async with SubprocessPool(spec, "noisy", processes=1) as pool:
        await pool.start()
        stream = await opened(pool)
        stream.flush(1)
        assert await first(stream, Final)
        await stream.aclose()


async def test_a_process_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piped, "HUNG_S", 0.05)
    async with pool_in("process", processes=1) as pool:
        stuck, beside = await opened(pool, "a"), await opened(pool, "b")
        (child,) = workers()
        child.suspend()
        await stuck.aclose(cancel=True)
        gone = await first(beside, EngineGone)
        assert gone.error.code == "engine_process_lost"
        again = await opened(pool, "a")
        again.flush(1)
        assert (await first(again, Final)).text.startswith("0 samples")
        assert pool.restarts == 1


async def test_no_process_is_left_behind() -> None:
    async with pool_in("process") as pool:
        stream = await opened(pool)
        stream.offer(frame(what=b"h"))
        children = workers()
        assert len(children) == 2
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone), alive) == (2, [])
