"""Keeps a model's thoughts out of its answer, where the server leaves them in the text.

Thoughts stand at the beginning, between `<think>` and `</think>`, and come in any pieces. Some models' chat
templates open the thoughts in the prompt, so that only the end is in the text: that cannot be known before
the end comes. So what was learned from one answer is used for the next (`is_opened_unsaid`).
"""

import re

_TAGS = ("think", "thinking", "thought", "reasoning")
_OPENINGS = tuple(f"<{tag}>" for tag in _TAGS)
_END = re.compile(rf"</(?:{'|'.join(_TAGS)})>")
_LONGEST_END = max(len(tag) for tag in _TAGS) + 3


class ThoughtFilter:
    """Takes an answer's text in pieces and gives back what may be spoken of it.

    Args:
        is_opened_unsaid: expect thoughts without an opening tag. If there turn out to be none, all of the
            text is given back at the end.

    Attributes:
        ended_unopened: there was an end of thoughts without a beginning.
    """

    def __init__(self, *, is_opened_unsaid: bool = False) -> None:
        self.ended_unopened = False
        self._held = ""
        self._is_thinking = is_opened_unsaid
        self._is_unsaid = is_opened_unsaid
        self._has_begun = False  # the answer proper
        self._tail = ""

    def push(self, text: str) -> str:
        """More text; returns what may be spoken now."""
        if self._has_begun:
            self._watch(text)
            return text
        self._held += text
        return self._think() if self._is_thinking else self._begin()

    def finish(self) -> str:
        """The text is over; returns what was held back and is no thought."""
        held, self._held = self._held, ""
        if self._is_thinking and not self._is_unsaid:
            return ""
        return held.lstrip() if not self._has_begun else ""

    def _begin(self) -> str:
        """Nothing but white space and perhaps a part of a tag has come so far."""
        start = self._held.lstrip()
        if not start:
            return ""
        for opening in _OPENINGS:
            if start.startswith(opening):
                self._held = start[len(opening) :]
                self._is_thinking = True
                return self._think()
        if any(opening.startswith(start) for opening in _OPENINGS):
            return ""
        self._held, self._has_begun = "", True
        self._watch(start)
        return start

    def _think(self) -> str:
        end = _END.search(self._held)
        if end is None:
            if not self._is_unsaid:
                self._held = self._held[-_LONGEST_END:]  # thoughts can be long
            return ""
        self.ended_unopened = self._is_unsaid and not self._held.lstrip().startswith(_OPENINGS)
        self._held = self._held[end.end() :]
        self._is_thinking = self._is_unsaid = False
        return self._begin()

    def _watch(self, text: str) -> None:
        """Notices an end of thoughts that had no beginning."""
        seen = self._tail + text
        self.ended_unopened = self.ended_unopened or _END.search(seen) is not None
        self._tail = seen[-_LONGEST_END:]
