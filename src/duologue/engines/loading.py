"""Bringing an engine up: whatever its library raises comes out as an error that says whose move it is."""

from typing import Protocol

from duologue.core.errors import DuologueError, EngineError, EngineUnavailable
from duologue.engines.threads import engine_bug


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


def as_engine_error(error: BaseException) -> EngineError:
    """What is told of an error on an engine's way up."""
    known = error if isinstance(error, DuologueError) else engine_bug(error)
    if isinstance(known, EngineError):
        return known
    return EngineUnavailable(known.code, known.message, remedy=known.remedy)
