"""Keeps one server running: starts it, waits until it is well, notices when it is not, and starts it again.

One thread owns all of this, from `start` to `close`. Whoever asks the server looks at `trouble` first.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.engines.managed_llm.probe import TIMEOUT_S, get
from duologue.engines.managed_llm.process import GRACE_S, ServerProcess

log = logging.getLogger("duologue.engines")

OK = 200

LATE_S = 2.0
"""A connection is lost before the process that lost it is known to have ended."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, in seconds.

    Attributes:
        start_s: from the start until it is well: large models are read from slow disks, and vLLM compiles.
        poll_s: between two looks at a server that starts.
        progress_s: between two lines in the log while it starts.
        health_s: between two looks at one that is well.
        hung_s: without a good answer about its health for so long it hangs. A busy one answers late, hence not less.
        retry_s: before it is started again, doubled each time it fails, up to `retry_most_s`.
        steady_s: one that was well for so long is started again at once.
        grace_s: see `process.GRACE_S`.
    """

    start_s: float = 900.0
    poll_s: float = 0.25
    progress_s: float = 10.0
    health_s: float = 5.0
    hung_s: float = 30.0
    retry_s: float = 1.0
    retry_most_s: float = 60.0
    steady_s: float = 60.0
    grace_s: float = GRACE_S


class Keeper:
    """One server, over all its runs.

    Args:
        name: for messages.
        launch: starts a run.
        port: where it answers.
        health: the path that is answered with 200 when it is well.
        warm_up: blocks until a server that was started again has answered once; raises `EngineError`.
        on_shortage: called, in the keeper's thread, each time that memory ran out after the start.

    Attributes:
        restarts: runs after the first that became well.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[], ServerProcess],
        port: int,
        health: str,
        *,
        warm_up: Callable[[], None],
        on_shortage: Callable[[], None],
        pace: Pace,
    ) -> None:
        self.restarts = 0
        self._name = name
        self._launch = launch
        self._port = port
        self._health = health
        self._warm_up = warm_up
        self._on_shortage = on_shortage
        self._pace = pace
        self._lock = threading.Lock()
        self._process: ServerProcess | None = None
        self._trouble: EngineError | None = EngineLost(
            "llm_server_starting", f"{name} is starting."
        )
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="llm-server", daemon=True)

    def start(self) -> None:
        """Start it, and return when it is well. Blocks, for minutes perhaps.

        Raises:
            EngineError: it does not become so; nothing runs then.
        """
        self._thread.start()
        self._settled.wait()
        trouble = self._trouble
        if trouble is not None:
            self.close()
            raise trouble

    def close(self) -> None:
        """End it. Blocks for `Pace.grace_s` at most."""
        self._closing.set()
        with self._lock:
            process = self._process
        if process is not None:
            process.close()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def pid(self) -> int | None:
        """The server's, while it runs."""
        process = self._process
        return None if process is None else process.pid

    def trouble(self) -> EngineError | None:
        """Why it cannot be asked now."""
        return self._trouble

    def explain(self, error: EngineError) -> EngineError:
        """What is behind an error that was met while the server was asked: its end, if that comes. Blocks."""
        process = self._process
        wait_s = LATE_S if isinstance(error, EngineLost) else 0.0
        if process is not None and process.ended.wait(wait_s):
            return process.error()
        return error

    # --- the thread ---
    def _keep(self) -> None:
        """One run after another. The first must succeed."""
        wait_s = self._pace.retry_s
        is_first = True
        while not self._closing.is_set():
            try:
                process = self._bring_up(is_first=is_first)
            except EngineError as error:
                if self._closing.is_set():
                    break
                self._lost(error)
                if is_first:
                    self._settled.set()
                    return
                log.warning("! %s again in %g s: %s", self._name, wait_s, error)
            else:
                self._well(is_first=is_first)
                is_first = False
                well_s = self._watch(process)
                if well_s >= self._pace.steady_s:
                    wait_s = 0.0
            if self._closing.wait(wait_s):
                break
            wait_s = min(max(self._pace.retry_s, 2 * wait_s), self._pace.retry_most_s)
        self._lost(EngineLost("llm_closed", f"{self._name} was closed."))
        self._settled.set()

    def _bring_up(self, *, is_first: bool) -> ServerProcess:
        process = self._begin()
        try:
            self._await_health(process)
            if not is_first:
                self._warm_up()
        except EngineError as error:
            reason = self.explain(error)
            process.close()
            raise reason from None
        return process

    def _begin(self) -> ServerProcess:
        with self._lock:
            if self._closing.is_set():
                raise EngineLost("llm_closed", f"{self._name} was closed.")
            self._process = self._launch()
            return self._process

    def _await_health(self, process: ServerProcess) -> None:
        pace = self._pace
        tell_at_s = pace.progress_s
        while not process.ended.wait(pace.poll_s):
            if self._is_well():
                return
            took_s = time.monotonic() - process.began_s
            if took_s > pace.start_s:
                raise EngineUnavailable(
                    "engine_start_timed_out",
                    f"{self._name} was not ready within {pace.start_s:g} s{process.told()}",
                    remedy="Give it longer: ?patience_s=1800.",
                )
            if took_s >= tell_at_s:
                tell_at_s += pace.progress_s
                log.info("~ %s starts since %.0f s: %s", self._name, took_s, process.last_line)
        raise process.error()

    def _watch(self, process: ServerProcess) -> float:
        """Return when it is no longer well, and gone: for so many seconds it was."""
        began_s = well_s = time.monotonic()
        while not process.ended.wait(self._pace.health_s):
            now_s = time.monotonic()
            if self._is_well():
                well_s = now_s
            elif now_s - well_s >= self._pace.hung_s:
                message = f"{self._name} is not well any more{process.told()}"
                self._lost(EngineLost("llm_server_hung", message))
                log.warning("! %s; it is ended", message)
                process.close()
                return now_s - began_s
        lived_s = time.monotonic() - began_s
        if not self._closing.is_set():
            error = process.error()
            if not isinstance(error, EngineOutOfMemory):
                error = EngineLost(error.code, error.message)
            self._lost(error)
            log.warning("! %s It is started again.", error)
        return lived_s

    def _is_well(self) -> bool:
        answer = get(self._port, self._health, min(TIMEOUT_S, self._pace.hung_s))
        return answer is not None and answer.status == OK

    def _well(self, *, is_first: bool) -> None:
        self._trouble = None
        if not is_first:
            self.restarts += 1
            log.warning("= %s is back", self._name)
        self._settled.set()

    def _lost(self, error: EngineError) -> None:
        self._trouble = error
        if isinstance(error, EngineOutOfMemory) and self._settled.is_set():
            self._on_shortage()
