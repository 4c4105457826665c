"""How far a download is, told while it lasts: a line that is rewritten at a terminal, one per tenth elsewhere."""

import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

REDRAW_S = 0.1
"""At a terminal: as often as somebody can read."""

WINDOW_S = 5.0
"""The speed is that of the last seconds: a resumed or a slowed download has no other."""

STEP_BYTES = 100_000_000
"""Elsewhere, where the whole is not known."""


class Progress:
    """Is told how far one thing after the other has come; this one keeps it to itself."""

    def begin(self, what: str, total: int | None, have: int = 0) -> None:
        """Something starts.

        Args:
            total: bytes of the whole; None if nobody knows.
            have: bytes that were there before.
        """

    def reach(self, have: int) -> None:
        """So many bytes are there now; fewer than before, if it had to start anew."""

    def end(self) -> None:
        """It is over: done, or broken off."""

    def note(self, text: str) -> None:
        """Something is to be said while nothing comes."""


class Line(Progress):
    """Tells it on a stream.

    Args:
        is_tty: whether a line can be rewritten there.
        clock: seconds.
        columns: width of the terminal; asked at each line if None.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        is_tty: bool,
        clock: Callable[[], float] = time.monotonic,
        columns: int | None = None,
    ) -> None:
        self._out = out
        self._is_tty = is_tty
        self._clock = clock
        self._columns = columns
        self._what = ""
        self._total: int | None = None
        self._have = 0
        self._told: float | int = 0
        self._seen: deque[tuple[float, int]] = deque(maxlen=round(WINDOW_S / REDRAW_S))

    def begin(self, what: str, total: int | None, have: int = 0) -> None:
        """See `Progress`."""
        self._what, self._total, self._have = what, total, have
        now = self._clock()
        self._seen.clear()
        self._seen.append((now, have))
        self._told = now - REDRAW_S if self._is_tty else self._step(have)
        if self._is_tty:
            self._draw(now)

    def reach(self, have: int) -> None:
        """See `Progress`."""
        now = self._clock()
        if have < self._have:
            self._seen.clear()
        self._have = have
        if not self._seen or now - self._seen[-1][0] >= REDRAW_S:
            self._seen.append((now, have))
        if self._is_tty:
            if now - self._told >= REDRAW_S:
                self._draw(now)
        elif self._step(have) > self._told:
            self._told = self._step(have)
            self._out.write(self._text() + "\n")
            self._out.flush()

    def end(self) -> None:
        """See `Progress`."""
        if self._is_tty and self._what:
            self._draw(self._clock())
            self._out.write("\n")
            self._out.flush()
        self._what = ""

    def note(self, text: str) -> None:
        """See `Progress`."""
        self._out.write(text + "\n")
        self._out.flush()

    def _step(self, have: int) -> int:
        return have * 10 // self._total if self._total else have // STEP_BYTES

    def _draw(self, now: float) -> None:
        self._told = now
        room = (self._columns or shutil.get_terminal_size().columns) - 1
        self._out.write("\r" + self._text()[:room].ljust(room))
        self._out.flush()

    def _text(self) -> str:
        (then, before), (now, have) = self._seen[0], self._seen[-1]
        rate = (have - before) / (now - then) if now > then else 0.0
        speed = f"{rate / 1e6:7.1f} MB/s" if rate >= 1e5 else f"{rate / 1e3:7.1f} kB/s"
        speed = speed if rate > 0 else ""
        if not self._total:
            return f"{self._what}  {self._have / 1e6:.1f} MB  {speed}".rstrip()
        percent = min(100, self._have * 100 // self._total)
        left = f"  {_clock((self._total - self._have) / rate)} left" if rate > 0 else ""
        amount = f"{self._have / 1e6:.1f} of {self._total / 1e6:.1f} MB"
        return f"{self._what}  {amount}  {percent:3} %  {speed}{left}".rstrip()


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3_600)
    text = f"{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
    return f"{hours}:{text}" if hours else text
