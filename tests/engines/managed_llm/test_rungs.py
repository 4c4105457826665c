"""The way down: real servers, and for what time decides a responder without one."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.engines.managed_llm.kinds import LLAMA_SERVER
from duologue.engines.managed_llm.rungs import Rung, RungResponder
from duologue.ports import Delta, Prompt, TextDelta
from tests.engines.managed_llm.bench import Bench, gone, hearing, words


def full() -> EngineOutOfMemory:
    return EngineOutOfMemory("full", "There is no room.")


class Scripted:
    """Fails as it is told: at its load, or with each of its answers."""

    def __init__(self, at_load: EngineError | None = None, *, is_full: bool = False) -> None:
        self.at_load = at_load
        self.is_full = is_full
        self.is_open = False

    def load(self) -> None:
        self.is_open = True
        if self.at_load is not None:
            raise self.at_load

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        self.is_open = False

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        if self.is_full:
            raise full()
        yield TextDelta("well")


class Slow(Scripted):
    """Loads when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def load(self) -> None:
        assert self.may.wait(10)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _itself(it: Any) -> Any:
    return it


def over(*responders: Any, clock: Clock | None = None) -> RungResponder:
    rungs = [Rung(f"rung {n}", partial(_itself, it)) for n, it in enumerate(responders)]
    return RungResponder(rungs, clock_s=clock or Clock())


async def test_what_does_not_fit_gives_way_to_a_smaller_one(bench: Bench) -> None:
    bench.behave("full", "serve")
    it = RungResponder(
        [
            Rung("vllm:tiny", bench.vllm),
            Rung("llama-server:small", lambda: bench.make(LLAMA_SERVER, str(bench.gguf))),
        ]
    )
    await asyncio.to_thread(it.load)
    assert (it.rung, it.name, it.shortages) == (1, "llama-server:small", 1)
    assert await words(it, "hello") == "hello"
    assert it.pids == (bench.starts()[1]["pid"],)
    it.close()
    assert all(gone(start["pid"]) for start in bench.starts())


async def test_the_second_death_for_want_of_memory_gives_a_rung_up(bench: Bench) -> None:
    it = RungResponder(
        [
            Rung("vllm:tiny", bench.vllm),
            Rung("llama-server:small", lambda: bench.make(LLAMA_SERVER, str(bench.gguf))),
        ]
    )
    await asyncio.to_thread(it.load)
    with hearing("is used from now on") as down:
        with hearing("is back") as back:
            with pytest.raises(EngineLost):
                await words(it, "fill")
            assert await asyncio.to_thread(back.wait, 10)
        assert it.rung == 0
        with pytest.raises(EngineLost):
            await words(it, "fill")
        assert await asyncio.to_thread(down.wait, 20)
    assert it.shortages == 2
    assert await words(it, "hello") == "hello"
    assert it.name == "llama-server:small"
    it.close()


def test_what_is_no_want_of_memory_is_no_reason_to_go_down() -> None:
    broken, lower = Scripted(EngineUnavailable("gone", "It is gone.")), Scripted()
    with pytest.raises(EngineUnavailable):
        over(broken, lower).load()
    assert not broken.is_open
    assert not lower.is_open


async def test_where_nothing_fits_the_last_error_is_told() -> None:
    first, last = Scripted(full()), Scripted(EngineOutOfMemory("fuller", "None at all."))
    it = over(first, last)
    with pytest.raises(EngineOutOfMemory, match="None at all"):
        it.load()
    with pytest.raises(EngineOutOfMemory, match="None at all"):
        await words(it, "hello")
    assert not first.is_open
    assert not last.is_open


async def test_two_shortages_an_hour_apart_are_somebody_elses_doing() -> None:
    clock = Clock()
    top = Scripted(is_full=True)
    it = over(top, Scripted(), clock=clock)
    it.load()
    for clock.now_s in (0.0, 61.0, 122.0):
        with pytest.raises(EngineOutOfMemory):
            await words(it, "hello")
    assert (it.rung, it.shortages) == (0, 3)
    assert top.is_open


async def test_while_the_next_is_loaded_it_is_told_at_once() -> None:
    top, slow = Scripted(is_full=True), Slow()
    it = over(top, slow)
    it.load()
    with hearing("rung 1 is used") as down:
        for _ in range(2):
            with pytest.raises(EngineOutOfMemory):
                await words(it, "hello")
        with pytest.raises(EngineLost, match="rung 1 is loaded"):
            await words(it, "hello")
        slow.may.set()
        assert await asyncio.to_thread(down.wait, 10)
    assert await words(it, "hello") == "well"
    assert not top.is_open
    it.close()


async def test_the_lowest_rung_is_kept_whatever_it_says() -> None:
    it = over(Scripted(full()), Scripted(is_full=True))
    it.load()
    for _ in range(4):
        with pytest.raises(EngineOutOfMemory):
            await words(it, "hello")
    assert it.rung == 1
