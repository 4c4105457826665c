"""What an engine's author writes, and what finds it.

    class MyRecogniser(BlockingEngine):
        def load(self): ...                       # files, sessions; slow, once
        def warm_up(self): ...                    # run once at real shapes, so that the first turn is fast
        def run(self, options, inbox, emit):      # one stream, in a thread of its own
            for item in inbox: ...

    SPEC = EngineSpec("mine", Role.STT, Capabilities(...), MyRecogniser)

Where it runs (this process, a child, another machine), who restarts it, and what happens to the sound when
it dies is not the author's business. A package adds an engine by naming its `EngineSpec` as an entry point
in the group `duologue.engines`; importing the module must be cheap, so heavy imports go into `load`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from duologue.core.capabilities import Capabilities, Role
from duologue.ports import Event, Offer, StreamOptions


@dataclass(frozen=True, slots=True)
class Flush:
    """In an inbox: finish what came before, and emit `Final(id)`."""

    id: int


Item = Offer | Flush


class Inbox(Protocol):
    """What a stream is given, in order; iteration blocks, and ends when the stream is closed."""

    def __iter__(self) -> Iterator[Item]: ...

    @property
    def cancelled(self) -> bool:
        """Nobody wants the rest: return from `run` within 50 ms."""


Emit = Callable[[Event], None]
"""May block while nobody takes what was emitted; raises `StreamCancelled` when nobody will."""


class StreamCancelled(Exception):
    """Raised into `run` out of `emit`; let it pass."""


class Engine(ABC):
    """Anything that is loaded and run before the server says that it is ready.

    Attributes:
        capabilities: as the spec declares them; `load` may narrow them to what is really there.
    """

    capabilities: Capabilities

    @abstractmethod
    def load(self) -> None:
        """Make ready to run. May take seconds.

        Raises:
            EngineUnavailable: a library or file is missing; the remedy names it.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Run once at real shapes."""

    def close(self) -> None:  # noqa: B027 - most engines have nothing to give back
        """Give everything back."""


class BlockingEngine(Engine):
    """An engine whose streams are plain blocking code, one thread each."""

    @abstractmethod
    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """Serve one stream until its inbox ends.

        Raises:
            EngineError: it cannot go on; the stream ends with it.
        """


class NativeEngine(Engine):
    """An engine that lives on the event loop: it waits for sockets or timers, and computes nothing there."""

    @abstractmethod
    def open(self, key: str, options: StreamOptions) -> Any:
        """A stream; see `ports.EngineStream`."""

    async def aclose(self) -> None:
        """Give everything back, on the event loop; for connections, which `close` cannot end."""
        self.close()


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine that can be had.

    Attributes:
        name: what users write; "name:argument" passes the argument to `make`.
        processes: how many processes to spread it over, where it needs processes; 0 for one a core.
        locate: for engines whose argument may be the bare name of a model: (argument, models folder) -> the
            argument with the model's path written out.
        is_own_process: it must not share the server's process: it holds the GIL, may crash, or its licence asks so.
    """

    name: str
    role: Role
    capabilities: Capabilities
    make: Callable[[str], Any]
    is_own_process: bool = False
    processes: int = 1
    about: str = ""
    locate: Callable[[str, Path], str] | None = None
