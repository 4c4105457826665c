"""Engine servers in processes of their own: killed, stopped, sent away, and what their clients see of it."""

import asyncio
import signal
import time
from typing import Any

import psutil

from duologue.core.errors import EngineLost
from duologue.ports import EngineGone, Final
from tests.engines.endpoint import probes
from tests.engines.endpoint.lent import RunningEngine, borrowed, engine_server
from tests.engines.endpoint.test_endpoints import first, frame, heard, opened, until

FAKE = ("--role", "stt", "--engine", "fake-stt:stt_ms=10000", "--port", "0")
PROBE = ("--role", "stt", "--port", "0", "--engine", probes.IN_A_THREAD.name)
PROBES = ("--role", "stt", "--port", "0", "--engine", probes.IN_PROCESSES.name)

KILLED_MS = 50.0
"""From kill -9 to `EngineGone`; the best of `TRIES` counts, for the machine has other things to do."""

TRIES = 5

HANG_S = 1.5


async def lost_after(stream: Any, running: RunningEngine, number: signal.Signals) -> float:
    """Send the signal in the middle of an utterance; seconds until the stream knows, and knows why."""
    for n in range(8):
        assert stream.offer(frame(start=512 * n))
    stream.flush(1)
    began = time.perf_counter()
    running.signal(number)
    gone = await first(stream, EngineGone)
    took_s = time.perf_counter() - began
    assert isinstance(gone.error, EngineLost)
    assert gone.error.code == "endpoint_lost"
    why = "no sign of life" if number is signal.SIGSTOP else "broke off"
    assert why in gone.error.message
    await stream.aclose(cancel=True)
    return took_s


async def test_a_server_that_is_killed_is_missed_at_once() -> None:
    took_ms: list[float] = []
    while not took_ms or (min(took_ms) > KILLED_MS and len(took_ms) < TRIES):
        with engine_server(*FAKE) as running:
            async with borrowed(running.port) as pool:
                stream = await opened(pool)
                took_ms.append(await lost_after(stream, running, signal.SIGKILL) * 1000)
    assert min(took_ms) < KILLED_MS, took_ms


async def test_a_server_that_hangs_is_missed_and_found_again_when_it_goes_on() -> None:
    with engine_server(*FAKE) as running:
        async with borrowed(running.port) as pool:
            stream = await opened(pool)
            assert await lost_after(stream, running, signal.SIGSTOP) < HANG_S
            await until(lambda: pool.states()[0].error)
            running.signal(signal.SIGCONT)
            await until(lambda: pool.ready)
            await (await opened(pool)).aclose(cancel=True)


async def test_sigterm_finishes_what_is_open_and_ends_well() -> None:
    with engine_server(*PROBE) as running:
        async with borrowed(running.port) as pool:
            stream = await opened(pool)
            stream.offer(frame())
            running.signal(signal.SIGTERM)
            await until(lambda: not pool.ready)
            assert running.process.poll() is None
            stream.flush(1)
            assert (await first(stream, Final)).text.startswith("512 samples")
            await stream.aclose()
            assert await asyncio.to_thread(running.process.wait, 10) == 0
    assert "has stopped." in running.output


async def test_an_engine_in_a_process_behind_the_server_may_die_alone() -> None:
    """The probe lives in two child processes of the engine server, with three streams each."""
    with engine_server(*PROBES) as running:
        async with borrowed(running.port) as pool:
            assert pool.capabilities.max_streams == 6
            victim = await opened(pool)
            victim.offer(frame(b"c"))
            gone = await first(victim, EngineGone)
            assert gone.error.code == "engine_process_lost"
            assert "exit code 7" in gone.error.message
            await victim.aclose(cancel=True)
            assert (await heard(pool)).startswith("512 samples")
            assert pool.losses == 0
            children = psutil.Process(running.process.pid).children()
            assert len(children) >= 1
            running.process.terminate()
            await asyncio.to_thread(running.process.wait, 10)
    gone_by_now, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    assert gone_by_now
