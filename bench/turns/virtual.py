"""An event loop whose time jumps to the next thing that is due, so that a minute of conversation takes as long as
what is computed in it. Nothing else about it differs: sleeps, timeouts and timers mean what they always do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

START_S = 1_000.0
"""Where time begins: no code may take the clock's zero for the conversation's."""


class _Jump(selectors.SelectSelector):
    """Waiting costs virtual time only."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is due any more: virtual time stands still for ever")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Its time does not pass while something is computed, and threads cannot wake it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now_s


def now_ms() -> float:
    """The running loop's time, as sessions count it."""
    return asyncio.get_running_loop().time() * 1000


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
