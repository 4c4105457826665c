"""Bringing an engine up: whatever its library raises comes out as an error that says whose move it is."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from duologue.core.errors import DuologueError, EngineError, EngineUnavailable
from duologue.engines.threads import engine_bug

T = TypeVar("T")


class Loadable(Protocol):
    """What is loaded, and then run once."""

    def load(self) -> None:
        """Make ready to run."""

    def warm_up(self) -> None:
        """Run once at real shapes."""


def bring_up(engine: Loadable) -> None:
    """Load it and run it once.

    Raises:
        EngineError: it cannot run here: `EngineOutOfMemory` where a smaller one could.
    """
    try:
        engine.load()
        engine.warm_up()
    except Exception as error:  # the outer wall of a library: its kinds of error are its own
        raise as_engine_error(error) from error


async def bring_up_apart(engine: Loadable) -> None:
    """The same in a thread of its own, which ends with the process: whoever is cancelled meanwhile need not wait.

    Raises:
        EngineError: as `bring_up`.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[EngineError | None] = loop.create_future()

    def tell(error: EngineError | None) -> None:
        if not done.done():
            done.set_result(error)

    def work() -> None:
        error = None
        try:
            bring_up(engine)
        except EngineError as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody asks any more
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=work, name="engine-load", daemon=True).start()
    error = await done
    if error is not None:
        raise error


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Run in a loop of its own, in a thread of its own: whether or not the caller's thread has a loop. Blocks."""
    with ThreadPoolExecutor(1, "engine-start") as threads:
        return threads.submit(asyncio.run, work).result()


def as_engine_error(error: BaseException) -> EngineError:
    """What is told of an error on an engine's way up."""
    known = error if isinstance(error, DuologueError) else engine_bug(error)
    if isinstance(known, EngineError):
        return known
    return EngineUnavailable(known.code, known.message, remedy=known.remedy)
