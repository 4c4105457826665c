"""When memory has run out too often on a rung of an engine, so that a smaller one must do."""

from collections import deque

SHORTAGES = 2
"""So many within `WITHIN_S` make a rung too high; a single one may be somebody else's doing, and costs streams."""

WITHIN_S = 60.0


class Shortages:
    """The latest ones, on one rung.

    Attributes:
        count: of all, on every rung.
    """

    def __init__(self) -> None:
        self.count = 0
        self._recent_s: deque[float] = deque(maxlen=SHORTAGES)

    def note(self, now_s: float) -> bool:
        """Memory ran out; whether that is too often."""
        self.count += 1
        self._recent_s.append(now_s)
        return len(self._recent_s) == SHORTAGES and now_s - self._recent_s[0] <= WITHIN_S

    def begin_anew(self) -> None:
        """Another rung is loaded."""
        self._recent_s.clear()
