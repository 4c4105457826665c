"""One language model on the highest rung that memory bears: what to fall back to when it runs out.

    vllm:llama-3.2-3b@cuda:0 > llama-server:llama-3.2-3b-q4@cuda:0 > llama-server:llama-3.2-1b-q4@cpu

Only one rung is loaded at a time. The second time that memory runs out within a minute, it is closed and the next is
loaded; who asks meanwhile is told so at once. There is no way up but a new start, as with `engines.pool_ladder`.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from duologue.core.capabilities import Capabilities
from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, OurError
from duologue.engines.loading import bring_up
from duologue.engines.shortages import Shortages
from duologue.ports import Delta, Prompt

log = logging.getLogger("duologue.engines")


@dataclass(frozen=True, slots=True)
class Rung:
    """One form of the model; `make` gives a responder that is not loaded, with `load`, `warm_up` and `close`.

    Where it has `on_shortage`, that is how it tells that memory ran out, beside its errors.
    """

    name: str
    make: Callable[[], Any]


class RungResponder:
    """See `ports.Responder`.

    Args:
        rungs: the best first; at least one.
        clock_s: monotonic seconds.

    Attributes:
        rung: the number of the one that is loaded, or being loaded.
    """

    def __init__(
        self, rungs: Sequence[Rung], *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.rung = 0
        self._rungs = rungs
        self._clock_s = clock_s
        self._shortages = Shortages()
        self._lock = threading.Lock()
        self._current: Any = None
        self._loading: Any = None
        self._error: EngineError | None = None
        self._mover: threading.Thread | None = None
        self._is_closed = False

    @property
    def name(self) -> str:
        """The rung's."""
        return self._rungs[self.rung].name

    @property
    def shortages(self) -> int:
        """How often memory ran out."""
        return self._shortages.count

    @property
    def capabilities(self) -> Capabilities:
        """The rung's."""
        found: Capabilities | None = getattr(self._current, "capabilities", None)
        return found or Capabilities()

    @property
    def pids(self) -> tuple[int, ...]:
        """The rung's processes, where it has any."""
        return getattr(self._current, "pids", ())

    @property
    def restarts(self) -> int:
        """How often the rung's process had to be started again."""
        return getattr(self._current, "restarts", 0)

    def load(self) -> None:
        """Load the highest rung that fits, and have it say a word: memory may run out only then. Blocks.

        Raises:
            EngineError: the last one's, if none does; the first that has nothing to do with memory.
        """
        self._descend(self.rung, is_falling=False)

    def warm_up(self) -> None:
        """It is warm when it is loaded."""

    def close(self) -> None:
        """End it. Blocks for seconds at most."""
        with self._lock:
            self._is_closed = True
            mover = self._mover
            open_ = [each for each in (self._current, self._loading) if each is not None]
        for each in open_:
            _close(each)
        if mover is not None:
            mover.join()

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        current = self._current
        if current is None:
            raise self._error or OurError(
                "llm_not_loaded", "The language model was asked before it was loaded."
            )
        answer: Any = current.respond(prompt)
        try:
            async with aclosing(answer):
                async for delta in answer:
                    yield delta
        except EngineOutOfMemory:
            if not hasattr(current, "on_shortage"):
                self._note(current)
            raise

    # --- on the way down ---
    def _note(self, which: Any) -> None:
        """Memory ran out on this rung: the second time within a minute it is given up."""
        now_s = self._clock_s()
        with self._lock:
            if which is not self._current or self._is_closed:
                return  # it failed on its way up, or has been given up
            is_often = self._shortages.note(now_s)
            if not is_often or self.rung + 1 == len(self._rungs):
                return
            self._current = None
            self._error = EngineLost(
                "llm_rung_changes",
                f"{self.name} ran out of memory twice; {self._rungs[self.rung + 1].name} is loaded.",
            )
            self._mover = threading.Thread(
                target=self._move, args=(which,), name="llm-rungs", daemon=True
            )
            self._mover.start()

    def _move(self, given_up: Any) -> None:
        log.warning("! %s: memory ran out twice; it is given up", self.name)
        _close(given_up)
        try:
            self._descend(self.rung + 1, is_falling=True)
        except EngineError as error:
            log.warning("! no language model fits any more: %s", error)

    def _descend(self, first: int, *, is_falling: bool) -> None:
        """Load the first rung from this one on that works; once one has worked, whatever keeps the next from it."""
        for number in range(first, len(self._rungs)):
            rung = self._rungs[number]
            responder = rung.make()
            with self._lock:
                if self._is_closed:
                    raise EngineLost("llm_closed", f"{rung.name} was closed.")
                self.rung, self._loading = number, responder
            if hasattr(responder, "on_shortage"):
                responder.on_shortage = partial(self._note, responder)
            try:
                bring_up(responder)
            except EngineError as error:
                _close(responder)
                log.warning("! %s cannot be loaded: %s", rung.name, error)
                may_fit = isinstance(error, EngineOutOfMemory) or is_falling
                self._shortages.count += isinstance(error, EngineOutOfMemory)
                if number + 1 == len(self._rungs) or not may_fit or self._is_closed:
                    self._error = error
                    raise
                continue
            with self._lock:
                self._shortages.begin_anew()
                self._current, self._loading, self._error = responder, None, None
            if number:
                log.warning("= %s is used from now on", rung.name)
            return


def _close(responder: Any) -> None:
    close = getattr(responder, "close", None)
    if close is not None:
        close()
    elif hasattr(responder, "aclose"):
        with ThreadPoolExecutor(1, "llm-close") as threads:  # the caller's thread may have a loop
            threads.submit(asyncio.run, responder.aclose()).result()
