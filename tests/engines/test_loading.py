"""Engines on their way up: whatever their libraries raise is told in our words."""

import asyncio
import threading

import pytest

from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    SetupError,
)
from duologue.engines.loading import bring_up, bring_up_apart
from duologue.engines.threads import engine_bug


class Library:
    """An engine whose load, or first run, raises this."""

    def __init__(self, load: Exception | None = None, run: Exception | None = None) -> None:
        self._load, self._run = load, run
        self.done: list[str] = []

    def load(self) -> None:
        if self._load is not None:
            raise self._load
        self.done.append("loaded")

    def warm_up(self) -> None:
        if self._run is not None:
            raise self._run
        self.done.append("run")


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (MemoryError(), EngineOutOfMemory, "engine_out_of_memory"),
        (RuntimeError("CUDA failed with error out of memory"), EngineOutOfMemory, None),
        (RuntimeError("cuDNN is not there"), EngineLost, "engine_broke"),
        (SetupError("wrong", "Wrong.", remedy="Right it."), EngineUnavailable, "wrong"),
        (EngineUnavailable("missing", "A file is missing."), EngineUnavailable, "missing"),
    ],
)
def test_errors_at_load_and_at_the_first_run_say_whose_move_it_is(
    raised: Exception, kind: type[EngineError], code: str | None
) -> None:
    for library in (Library(load=raised), Library(run=raised)):
        with pytest.raises(EngineError) as told:
            bring_up(library)
        assert type(told.value) is kind
        assert code in (None, told.value.code)


def test_memory_that_runs_out_at_work_is_told_with_what_helps() -> None:
    error = engine_bug(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nand a traceback"))
    assert isinstance(error, EngineOutOfMemory)
    assert "traceback" not in error.message
    assert "duologue plan" in error.remedy


async def test_it_is_brought_up_beside_the_loop_and_its_error_comes_back() -> None:
    library = Library()
    await bring_up_apart(library)
    assert library.done == ["loaded", "run"]
    with pytest.raises(EngineOutOfMemory):
        await bring_up_apart(Library(load=MemoryError()))


async def test_whoever_is_cancelled_meanwhile_need_not_wait_for_the_load() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Library):
        def load(self) -> None:
            begun.set()
            go_on.wait(10)

    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(bring_up_apart(Slow()))
        await asyncio.to_thread(begun.wait, 10)
        loading.cancel()
    assert loading.cancelled()
    go_on.set()
