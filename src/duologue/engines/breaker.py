"""Whether an engine is asked, and how long it is waited for, by what its latest work says. Pure."""

from collections import deque

PROBE_FIRST_S = 0.5
"""After its first failure an engine is tried out again so much later; a process that died is then often back."""

PROBE_MOST_S = 30.0
"""The wait doubles with each failure, up to this: an engine that is back is used again within half a minute."""

SAME_S = 0.2
"""Failures so close together are one: a process that dies takes all its streams with it."""

STRIKES = 3
"""Failures in a row after which an engine is passed over even though another place of it lives."""

STALL_LEAST_S = 1.0
"""No engine is given up sooner. Half of it would do for an idle machine; ours shares its cores with its engines."""

STALL_FACTOR = 4.0
"""An engine hangs that takes so many times the longest of its latest answers."""

REMEMBERED = 32
"""Answers by which an engine's pace is known."""


class Breaker:
    """Closed: the engine is asked. Open: it failed, and is passed over until somebody tried it out."""

    def __init__(self) -> None:
        self._probe_at_s: float | None = None
        self._failed_at_s = float("-inf")
        self.failures = 0

    @property
    def is_open(self) -> bool:
        """It is to be passed over, as long as there is another."""
        return self._probe_at_s is not None

    @property
    def probe_at_s(self) -> float | None:
        """When it is to be tried out; None while it is asked anyway."""
        return self._probe_at_s

    def failed(self, now_s: float, *, has_spare: bool = False) -> None:
        """It broke, hung, or a trial of it failed; one with another place to work in is given `STRIKES`."""
        if now_s - self._failed_at_s < SAME_S:
            return
        self._failed_at_s = now_s
        wait_s = min(PROBE_MOST_S, PROBE_FIRST_S * 2.0 ** min(self.failures, 16))
        self.failures += 1
        if not has_spare or self.failures >= STRIKES:
            self._probe_at_s = now_s + wait_s

    def succeeded(self) -> None:
        """It answered."""
        self._probe_at_s, self.failures = None, 0
        self._failed_at_s = float("-inf")


class Pace:
    """How long an engine takes to answer, and hence when it must be taken to hang.

    Args:
        most_s: the limit of one that has not answered yet, and of the slowest.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._took_s: deque[float] = deque(maxlen=REMEMBERED)

    def answered(self, took_s: float) -> None:
        """What was owed came after so long."""
        self._took_s.append(took_s)

    @property
    def limit_s(self) -> float:
        """Longest wait for what is owed."""
        if not self._took_s:
            return self._most_s
        return min(self._most_s, max(STALL_LEAST_S, STALL_FACTOR * max(self._took_s)))
