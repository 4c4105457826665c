"""The process of a language model, seen from the server: started, asked, and started again where it died."""

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import KILLED
from duologue.engines.local_llm import wire
from duologue.engines.pipe import Failed, revive

log = logging.getLogger("duologue.engines")

START_TIMEOUT_S = 600.0
"""Loading from a slow disk, a minute of timing, and warming up."""

STOP_TIMEOUT_S = 2.0

News = wire.Piece | wire.Over | EngineError


class ModelProcess:
    """One process, from its start to its end.

    Args:
        command: its program and arguments; it speaks `wire`.
        on_news: called in a thread of the process's own with what comes of each question, and its number.

    Attributes:
        window: tokens of prompt and answer together.
        heard_at: when it last said anything; `time.monotonic`.
    """

    def __init__(self, command: Sequence[str], on_news: Callable[[int, News], None]) -> None:
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._on_news = on_news
        self._ready: Future[int] = Future()
        self._open: set[int] = set()
        self._lock = threading.Lock()
        self._end: EngineError | None = None
        self._is_ours = False  # its end
        self._writer = ThreadPoolExecutor(
            1, "llm-orders"
        )  # a full pipe must not hold up the event loop
        self._reader = threading.Thread(target=self._read, name="llm-news", daemon=True)
        self._reader.start()
        self.window = 0
        self.heard_at = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """It has not ended."""
        return self._end is None

    def wait_until_ready(self) -> None:
        """Return once it is loaded and warm.

        Raises:
            EngineError: it cannot run here.
        """
        try:
            self.window = self._ready.result(START_TIMEOUT_S)
        except TimeoutError:
            self.close()
            raise EngineUnavailable(
                "engine_start_timed_out",
                f"The language model was not ready within {START_TIMEOUT_S:g} s.",
            ) from None
        except EngineError:
            self.close()
            raise

    def ask(self, ask: wire.Ask) -> None:
        """Ask a question. It is answered by news in any case, and be it that the process is gone."""
        with self._lock:
            if self._end is None:
                self._open.add(ask.number)
                self._writer.submit(self._write, ask)
                return
            end = self._end
        self._on_news(ask.number, end)

    def drop(self, number: int) -> None:
        """Nobody wants an answer any more."""
        with self._lock:
            if number in self._open and self._end is None:
                self._writer.submit(self._write, wire.Drop(number))

    def kill(self) -> None:
        """End it at once: it hangs."""
        self._is_ours = True
        self._child.kill()

    def close(self) -> None:
        """End it, and wait for its end. Blocks for seconds at most."""
        with self._lock:
            self._end = self._end or EngineLost("llm_closed", "The language model was closed.")
        self._writer.shutdown(wait=False, cancel_futures=True)
        self._hang_up()
        self._reader.join()

    def _hang_up(self) -> None:
        """Its input ends, and so does it; or it is killed."""
        assert self._child.stdin is not None
        with suppress(OSError):  # it has died with something unread
            self._child.stdin.close()
        try:
            self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def _write(self, message: wire.Message) -> None:
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):  # it is gone, which the reader tells
            wire.write(self._child.stdin, message)

    def _read(self) -> None:
        assert self._child.stdout is not None
        reason = ""
        with self._child.stdout as source:
            try:
                while (message := wire.read(source)) is not None:
                    self.heard_at = time.monotonic()
                    self._hear(message)
            except EngineError as error:
                reason = error.message
                self.kill()
        self._over(reason, self._child.wait())

    def _hear(self, message: wire.Message) -> None:
        match message:
            case wire.Ready(window=window):
                self._ready.set_result(window)
            case wire.Note(level=level, text=text):
                log.log(level, "%s", text)
            case Failed(stream=0):
                self._ready.set_exception(revive(message))
            case Failed(stream=number):
                self._answered(number)
                self._on_news(number, revive(message))
            case wire.Over(number=number):
                self._answered(number)
                self._on_news(number, self._end or message)  # closed: it was not let finish
            case wire.Piece(number=number):
                self._on_news(number, message)
            case _:
                pass

    def _answered(self, number: int) -> None:
        with self._lock:
            self._open.discard(number)

    def _over(self, reason: str, code: int) -> None:
        reason = reason or f"Its process ended with exit code {code}."
        error: EngineError
        if code in KILLED and not self._is_ours:
            error = EngineOutOfMemory(
                "llm_process_killed",
                "The language model's process was killed, as a system does whose memory is full.",
                remedy="Use a smaller model or a lower precision, if it was not a person.",
            )
        else:
            error = EngineLost("llm_process_lost", f"The language model broke off. {reason}")
        with self._lock:
            self._end = self._end or error
            open_, self._open = self._open, set()
            end = self._end
        if not self._ready.done():
            self._ready.set_exception(EngineUnavailable("engine_start_failed", end.message))
        for number in open_:
            self._on_news(number, end)
