"""Streams of blocking engines, one thread each: the common ground of the in-process pool and the child process."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from duologue.core.errors import DuologueError, EngineError, EngineLost, EngineOutOfMemory
from duologue.core.oom import is_out_of_memory
from duologue.engines.base import BlockingEngine, Flush, Item, StreamCancelled
from duologue.ports import EngineGone, Event, StreamOptions

MAX_WAITING = 512
"""Items that a stream has been offered and has not taken: sixteen seconds of windows."""

MAX_UNTAKEN = 256
"""Events that a stream emitted and nobody has taken; then the engine waits."""

SMALLER = (
    "Use a smaller model, a lower precision or another device: `duologue plan` says what fits."
)
"""The remedy where memory ran out."""


class ThreadInbox:
    """What a stream's thread iterates over."""

    def __init__(self, on_taken: Callable[[], None]) -> None:
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.cancelled = False
        self._on_taken = on_taken

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """The next item."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def close(self, *, cancel: bool) -> None:
        """No more items; with `cancel`, those waiting are dropped."""
        with self._changed:
            self._closed = True
            if cancel:
                self.cancelled = True
                self._items.clear()
            self._changed.notify()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                while not self._items and not self._closed:
                    self._changed.wait()
                if not self._items:
                    return
                item = self._items.popleft()
            self._on_taken()
            yield item


class StreamThread:
    """One stream of a blocking engine, in a thread that ends with it.

    Args:
        emit: called in the stream's thread with each event, `EngineGone` last if the engine failed.
        on_taken: called in the stream's thread whenever an item was taken.
        on_done: called in the stream's thread when it has ended, whatever happened.
    """

    def __init__(
        self,
        engine: BlockingEngine,
        options: StreamOptions,
        emit: Callable[[Event], None],
        on_taken: Callable[[], None],
        on_done: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._options = options
        self._out = emit
        self._on_done = on_done
        self.inbox = ThreadInbox(on_taken)
        self._untaken = threading.Semaphore(MAX_UNTAKEN)
        self._thread = threading.Thread(target=self._run, name="engine-stream", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> bool:
        """Give the stream an item; False if too many wait. A flush is always taken."""
        if len(self.inbox) >= MAX_WAITING and not isinstance(item, Flush):
            return False
        self.inbox.put(item)
        return True

    def taken(self) -> None:
        """An event was taken; the engine may emit another."""
        self._untaken.release()

    def close(self, *, cancel: bool) -> None:
        """End the stream; see `ports.EngineStream.aclose`."""
        self.inbox.close(cancel=cancel)
        if cancel:
            self._untaken.release()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def _emit(self, event: Event) -> None:
        self._untaken.acquire()
        if self.inbox.cancelled:
            self._untaken.release()
            raise StreamCancelled
        self._out(event)

    def _run(self) -> None:
        try:
            self._engine.run(self._options, self.inbox, self._emit)
        except StreamCancelled:
            pass
        except EngineError as error:
            self._out(EngineGone(error))
        except Exception as error:  # noqa: BLE001 - the outer wall of an engine: its bug costs its stream only
            self._out(EngineGone(engine_bug(error)))
        finally:
            self._on_done()


def engine_bug(error: BaseException) -> EngineError:
    """What a session is told of an engine's unexpected exception; of memory that ran out, that it did."""
    if isinstance(error, EngineError):
        return error
    text = error.message if isinstance(error, DuologueError) else f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        first = (text.splitlines() or [""])[0].rstrip(".")
        return EngineOutOfMemory(
            "engine_out_of_memory", f"The engine ran out of memory: {first}.", remedy=SMALLER
        )
    return EngineLost("engine_broke", f"The engine failed: {text}.")
