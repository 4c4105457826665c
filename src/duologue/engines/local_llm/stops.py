"""Where an answer ends that its model does not end: it goes on to speak for the user."""

from collections.abc import Sequence


class StopFinder:
    """Takes an answer's text in pieces and gives back what is certainly before any stop.

    Args:
        stops: texts that end the answer and do not belong to it.

    Attributes:
        is_found: the answer is over; what is pushed after it is not given back.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self._has_begun = False
        self.is_found = False

    def push(self, text: str) -> str:
        """More text; returns what may be spoken now. White space at the very beginning is left out."""
        if self.is_found:
            return ""
        self._held += text
        if not self._has_begun:
            self._held = self._held.lstrip()
            self._has_begun = bool(self._held)
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.is_found = True
            said, self._held = self._held[: min(ends)], ""
            return said
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        said, self._held = self._held[:cut], self._held[cut:]
        return said

    def finish(self) -> str:
        """The text is over: what was held back in case it became a stop."""
        held, self._held = self._held, ""
        return held

    def _overlap(self, stop: str) -> int:
        """How much of the end may be the beginning of a stop."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)
