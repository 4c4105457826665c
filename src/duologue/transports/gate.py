"""Holds messages back until what they tell of is stored: what a client was told, it can rely on.

Messages go out in order. While a commit is awaited, they wait behind it; for so long and for so many at most, for a
conversation is more than its history. A store that was too late is not waited for again until it has caught up.
"""

import asyncio
import logging
from asyncio import Future
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("duologue.realtime")

PATIENCE_MS = 500
"""A commit takes about a millisecond; a listener has this much sound in hand at the very most."""

MAX_BYTES = 1024 * 1024
"""Of messages that wait; more than an answer's sound within the patience."""


@dataclass(slots=True, eq=False)
class _Barrier:
    """What follows waits for this."""

    written: "Future[None]"
    timer: asyncio.TimerHandle


@dataclass(slots=True, eq=False)
class _Waiting:
    send: Callable[[], None]
    size: int
    is_message: bool


class Gate:
    """The way out of one connection.

    Args:
        name: whose it is, for the log.
        on_late: called whenever it opens although something is not stored.

    Attributes:
        waiting: messages that wait; `waiting_bytes` of them.
    """

    def __init__(self, name: str, on_late: Callable[[], None]) -> None:
        self.waiting = 0
        self.waiting_bytes = 0
        self._name = name
        self._on_late = on_late
        self._queue: deque[_Barrier | _Waiting] = deque()
        self._behind: Future[None] | None = None  # was too late, and is not done yet
        self._is_logged = False

    @property
    def is_open(self) -> bool:
        """Nothing waits."""
        return not self._queue

    def hold(self, written: "Future[None]") -> None:
        """What is put from here on waits for this, however it ends."""
        if written.done() or (self._behind is not None and not self._behind.done()):
            return
        loop = asyncio.get_running_loop()
        barrier = _Barrier(written, loop.call_later(PATIENCE_MS / 1000, self._too_late))
        self._queue.append(barrier)
        written.add_done_callback(self._go_on)

    def put(self, send: Callable[[], None], size: int = 0, *, is_message: bool = True) -> None:
        """Do this in its turn: at once, if nothing waits. `size`: bytes that it holds."""
        if not self._queue:
            send()
            return
        self._queue.append(_Waiting(send, size, is_message))
        self.waiting += is_message
        self.waiting_bytes += size
        if self.waiting_bytes > MAX_BYTES:
            self._too_late()

    def _go_on(self, written: "Future[None]") -> None:
        """Something is stored, or will never be: the store has counted and told that."""
        if not written.cancelled():
            written.exception()
        self._advance(is_forced=False)

    def _too_late(self) -> None:
        barriers = [waiting for waiting in self._queue if isinstance(waiting, _Barrier)]
        self._behind = barriers[-1].written if barriers else None
        self._on_late()
        if not self._is_logged:
            self._is_logged = True
            log.warning(
                "! %s: the store is late; the client is told what is not stored yet", self._name
            )
        self._advance(is_forced=True)

    def _advance(self, *, is_forced: bool) -> None:
        while self._queue:
            first = self._queue[0]
            if isinstance(first, _Barrier):
                if not (is_forced or first.written.done()):
                    return
                first.timer.cancel()
            self._queue.popleft()
            if isinstance(first, _Waiting):
                self.waiting -= first.is_message
                self.waiting_bytes -= first.size
                first.send()
