"""What of a long conversation the language model is shown: the newest part that fits, and what the system said.

Sizes are estimates (`CHARS_PER_TOKEN`); no tokeniser is loaded for them, and what a model really counts is
its server's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from duologue.core.conversation import (
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    characters,
)
from duologue.core.errors import EngineRefused

CHARS_PER_TOKEN = 4
"""English prose, as OpenAI's own rule of thumb has it."""

ITEM_TOKENS = 4
"""What a message costs beside its words: role and separators."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """What happens when a conversation outgrows the language model.

    Attributes:
        kind: "auto" drops the oldest items, "disabled" refuses to answer.
        keep: of what fits, the share that is kept when something has to go. Less than 1 drops more at a time,
            and so less often: a model's cache of the beginning stays good for longer.
        limit_tokens: what the items may take; None for what the server was set up with.
    """

    kind: Literal["auto", "disabled"] = "auto"
    keep: float = 1.0
    limit_tokens: int | None = None


def tokens(item: Item) -> int:
    """About how much of a model's context an item takes."""
    return ITEM_TOKENS + characters(item) // CHARS_PER_TOKEN


class Window:
    """Which items of one session's conversation are shown. Remembers where it cut, so that it cuts seldom."""

    def __init__(self) -> None:
        self._first: str | None = None  # the oldest item shown since the last cut

    def fit(
        self, items: Sequence[Item], truncation: Truncation, limit_tokens: int
    ) -> tuple[Item, ...]:
        """The newest items that fit, and all of the system's; a result is never shown without its call.

        Raises:
            EngineRefused: not all fit, and none may be dropped.
        """
        limit = min(limit_tokens, truncation.limit_tokens or limit_tokens)
        shown = self._since_last_cut(items)
        if sum(map(tokens, shown)) <= limit:
            return _with_the_systems(items, shown)
        if truncation.kind == "disabled":
            raise EngineRefused(
                "context_length_exceeded",
                f"The conversation takes more than the {limit} tokens that the language model is given.",
                remedy="Delete items, or set session.truncation to 'auto'.",
            )
        kept = _newest(shown, int(limit * truncation.keep))
        self._first = kept[0].id
        return _with_the_systems(items, kept)

    def _since_last_cut(self, items: Sequence[Item]) -> Sequence[Item]:
        for at, item in enumerate(items):
            if item.id == self._first:
                return items[at:]
        return items


def _with_the_systems(items: Sequence[Item], kept: Sequence[Item]) -> tuple[Item, ...]:
    before = items[: len(items) - len(kept)]
    pinned = [item for item in before if isinstance(item, Message) and item.role == "system"]
    return (*pinned, *kept)


def _newest(items: Sequence[Item], limit: int) -> list[Item]:
    """As many of the newest as fit, and at least the very last."""
    kept: list[Item] = []
    room = limit
    for item in reversed(items):
        room -= tokens(item)
        if room < 0 and kept:
            break
        kept.append(item)
    kept.reverse()
    calls = {item.call_id for item in kept if isinstance(item, FunctionCall)}
    while isinstance(kept[0], FunctionResult) and kept[0].call_id not in calls and len(kept) > 1:
        del kept[0]
    return kept
