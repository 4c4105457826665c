"""Who listens to a session: each hears what was missed, then what is new."""

import logging
from collections.abc import Callable
from typing import Protocol

from duologue.core.errors import StateConflict
from duologue.core.streaming import Lasting, StreamCommand, StreamNotice

log = logging.getLogger("duologue.streaming")

MAX_WAITING = 1_024
"""Notices that wait for a seat to be told what it missed; then it is given up."""

Tell = Callable[[StreamNotice], None]


class Host(Protocol):
    """Who answers commands."""

    def answer(self, command: StreamCommand, tell: Tell) -> None:
        """Deal with a command; what concerns only its sender is told to it."""


class Seat:
    """One listener. Nothing here blocks."""

    def __init__(self, host: Host, tell: Tell, leave: "Callable[[Seat], None]") -> None:
        self._host = host
        self._tell = tell
        self._leave = leave
        self._waiting: list[StreamNotice] | None = []

    def ask(self, command: StreamCommand) -> None:
        """What concerns only this listener is told to it; the rest to all."""
        self._host.answer(command, self.hear)

    def leave(self) -> None:
        """Hear no more. The session goes on."""
        self._leave(self)

    def hear(self, notice: StreamNotice) -> None:
        """For the session: something is told."""
        if self._waiting is None:
            self._tell(notice)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(notice)
        else:
            self.leave()

    def catch_up(self, first: StreamNotice, missed: list[Lasting]) -> None:
        """For the session: tell this, and what was missed, then what came meanwhile, each once."""
        told = {notice.number for notice in missed}
        waiting, self._waiting = self._waiting or [], None
        self._tell(first)
        for notice in missed:
            self._tell(notice)
        for later in waiting:
            if getattr(later, "number", None) not in told:
                self._tell(later)


class Seats:
    """All of a session's."""

    def __init__(self, host: Host, most: int) -> None:
        self._host = host
        self._most = most
        self._seats: dict[Seat, None] = {}

    def __len__(self) -> int:
        return len(self._seats)

    def take(self, tell: Tell) -> Seat:
        """One more listener; it hears nothing until it is caught up.

        Raises:
            StateConflict: there are too many.
        """
        if len(self._seats) >= self._most:
            raise StateConflict(
                "too_many_listeners", f"{self._most} listeners of this session are connected."
            )
        seat = Seat(self._host, tell, self._forget)
        self._seats[seat] = None
        return seat

    def tell(self, notice: StreamNotice) -> None:
        """Tell all."""
        for seat in list(self._seats):
            try:
                seat.hear(notice)
            except Exception:  # the outer wall of a listener: the session and the others live on
                log.exception("! a listener broke down, and is told no more")
                self._forget(seat)

    def __contains__(self, seat: Seat) -> bool:
        return seat in self._seats

    def _forget(self, seat: Seat) -> None:
        self._seats.pop(seat, None)
