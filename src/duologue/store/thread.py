"""The one thread that uses the connection: calls in order, each in a commit of its own.

A call that meets a database that is away is tried again, more and more rarely, until `patience_s` after it was asked
for. Those behind it wait with it, each with a deadline of its own: an outage that is shorter loses nothing, and one
that is longer loses what is older.
"""

import logging
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from queue import SimpleQueue
from typing import Any

from duologue.core.errors import DuologueError, OurError, SetupError
from duologue.store.backend import Away, Backend, failed

log = logging.getLogger("duologue.store")

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Between tries; the last again and again."""


@dataclass(slots=True, eq=False)
class Call:
    """Something to be done with the connection, and what came of it.

    Attributes:
        future: done on the loop.
        size: bytes that it holds while it waits.
        is_write: it is done even if nobody waits for it any more.
        asked_s: when, on the monotonic clock.
    """

    work: Callable[[Backend], Any]
    future: "Future[Any]"
    size: int = 0
    is_write: bool = False
    asked_s: float = field(default_factory=time.monotonic)
    result: Any = None
    error: DuologueError | None = None
    took_ms: float = 0.0


class StoreThread:
    """The thread, and the way of its answers to the loop.

    Args:
        on_done: called on the loop with each call that is done.
        patience_s: how long a call is tried again.

    Attributes:
        absences: tries that found the database away.
    """

    def __init__(
        self,
        backend: Backend,
        loop: AbstractEventLoop,
        on_done: Callable[[Call], None],
        patience_s: float,
    ) -> None:
        self._backend = backend
        self._loop = loop
        self._on_done = on_done
        self._patience_s = patience_s
        self._inbox: SimpleQueue[Call | None] = SimpleQueue()
        self._done: deque[Call] = deque()
        self._told = False
        self._given_up = threading.Event()
        self._away = ""
        self.absences = 0
        self.opened: Future[None] = loop.create_future()
        self.ended: Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def put(self, call: Call) -> None:
        """The next call."""
        self._inbox.put(call)

    def stop(self) -> None:
        """End after what waits; `ended` says when."""
        self._inbox.put(None)

    def give_up(self) -> None:
        """What still waits fails; what is under way is broken off."""
        self._given_up.set()
        self._backend.interrupt()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._backend.open()
        except Exception as caught:  # noqa: BLE001 - the thread's outer wall: `start` is told
            error = caught
        self._on_loop(self._settle_future, self.opened, error)
        if error is None:
            while (call := self._inbox.get()) is not None:
                self._do(call)
                self._tell(call)
        try:
            self._backend.close()
        except Exception as caught:  # noqa: BLE001 - the thread's outer wall: it ends anyway
            log.warning("! closing the store failed: %s", type(caught).__name__)
        self._on_loop(self._settle_future, self.ended, None)

    def _do(self, call: Call) -> None:
        for pause_s in chain(PAUSES_S, repeat(PAUSES_S[-1])):
            if self._given_up.is_set():
                call.error = failed("it was closed before")
                return
            if call.future.cancelled() and not call.is_write:
                return
            if self._away and time.monotonic() - call.asked_s >= self._patience_s:
                call.error = failed(f"{self._backend.name} is away: {self._away}")
                return
            try:
                self._try(call)
                self._away = ""
                return
            except Away as away:
                self._away = str(away)
                self.absences += 1
            self._given_up.wait(pause_s)

    def _try(self, call: Call) -> None:
        try:
            self._backend.open()
            began_s = time.perf_counter()
            call.result = call.work(self._backend)
            call.took_ms = (time.perf_counter() - began_s) * 1_000
        except Away:
            raise
        except SetupError as error:
            call.error = failed(error.message.rstrip("."))
        except OurError as error:
            call.error = error
        except Exception as error:  # noqa: BLE001 - the thread's outer wall: one call's bug costs that call
            call.error = failed(type(error).__name__)

    def _tell(self, call: Call) -> None:
        """One wake-up of the loop serves all calls that are done by then."""
        self._done.append(call)
        if not self._told:
            self._told = True
            self._on_loop(self._settle)

    def _settle(self) -> None:
        self._told = False  # before the last look: what is done after it is told again
        while self._done:
            self._on_done(self._done.popleft())

    def _on_loop(self, callback: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop was closed without us
            self._loop.call_soon_threadsafe(callback, *args)

    @staticmethod
    def _settle_future(future: "Future[None]", error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()
