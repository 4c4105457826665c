"""What was said, in order: items that a client can see, and the view of them that goes into a prompt.

Only what was *heard* counts: an answer that was cut off keeps the words up to the cut, and the rest was
never said. The owner (one session) is the only writer; items are values and are replaced, not changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from duologue.core.errors import StateConflict
from duologue.core.playout import SpokenText
from duologue.core.segments import joined
from duologue.core.tool_servers import CallError, ListedTool

ROOT = "root"
"""As `after`: before everything."""

MAX_CHARS = 4_000_000
"""Text kept, hours of talk; beyond it the oldest items leave."""

MAX_ITEM_CHARS = 1_000_000
"""Text of one item."""

MAX_ITEMS = 1_000
"""Items kept; beyond it the oldest leave. An hour of brisk talk is about 400."""

PartKind = Literal["input_text", "input_audio", "output_text", "output_audio"]
Role = Literal["system", "user", "assistant"]
Status = Literal["in_progress", "completed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Part:
    """One content part of a message.

    Attributes:
        text: its text, or the transcript of its sound; None while the transcript is not known.
        spoken: where the words lie on the sound, for an answer of ours.
        sent_ms: how much of that sound was sent.
    """

    kind: PartKind
    text: str | None
    spoken: SpokenText | None = None
    sent_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """Something said by somebody."""

    id: str
    role: Role
    parts: tuple[Part, ...]
    status: Status = "completed"

    @property
    def text(self) -> str:
        """All its words."""
        return joined([part.text for part in self.parts if part.text])


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The language model wants a function of the client's called; `arguments` is JSON text."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What the client's function returned."""

    id: str
    call_id: str
    output: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class ToolList:
    """What a tool server has to offer; empty until it has said so, and if it never does."""

    id: str
    server: str
    tools: tuple[ListedTool, ...] = ()
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class ServerCall:
    """The language model wants a tool of a server's called, which we do.

    Attributes:
        server: the server's label; `name` is the tool's own name there.
        arguments: JSON text.
        output: what the tool returned; None while it has not, and where `error` says why it never will.
        approval_id: the request to the client that was answered before it ran.
        status: "in_progress" until the tool is done with it; "incomplete" if it was broken off and never ran.
    """

    id: str
    server: str
    name: str
    arguments: str
    output: str | None = None
    error: CallError | None = None
    approval_id: str | None = None
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """The client is asked whether a server's tool may be called so."""

    id: str
    server: str
    name: str
    arguments: str
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """What the client says to that, and why."""

    id: str
    request_id: str
    approved: bool
    reason: str = ""
    status: Status = "completed"


@dataclass(frozen=True, slots=True)
class ItemReference:
    """In the context of one answer: the item of the conversation that has this id."""

    id: str


OutputItem = Message | FunctionCall | ServerCall | ApprovalRequest
"""What answers are made of."""

Item = OutputItem | FunctionResult | ToolList | ApprovalAnswer


def characters(item: Item) -> int:
    """The text in an item, whoever wrote it; its names not counted."""
    if isinstance(item, Message):
        return len(item.text)
    if isinstance(item, FunctionCall):
        return len(item.name) + len(item.arguments)
    if isinstance(item, ServerCall):
        result = item.output or (item.error.message if item.error is not None else "")
        return len(item.name) + len(item.arguments) + len(result)
    return len(item.output) if isinstance(item, FunctionResult) else 0


class Conversation:
    """The items of one session."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._characters = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Item]:
        return (self._items[item_id] for item_id in self._order)

    def get(self, item_id: str) -> Item | None:
        """The item, if it is there."""
        return self._items.get(item_id)

    def last_id(self) -> str | None:
        """The last item's id."""
        return self._order[-1] if self._order else None

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item after another (None: at the end), and return the id of the one before it.

        Raises:
            StateConflict: the id is taken, or `after` is not there.
        """
        if item.id in self._items:
            raise StateConflict(
                "item_create_duplicate_item_id",
                f"There is an item '{item.id}' already.",
                param="item.id",
            )
        if characters(item) + len(item.id) > MAX_ITEM_CHARS:
            raise StateConflict(
                "item_too_long",
                f"An item may hold {MAX_ITEM_CHARS} characters of text.",
                remedy="Split it, or leave out what the language model need not know.",
                param="item",
            )
        at = len(self._order) if after is None else self._place_after(after)
        self._order.insert(at, item.id)
        self._items[item.id] = item
        previous = self._order[at - 1] if at else None
        self._characters += characters(item)
        while len(self._order) > MAX_ITEMS or self._characters > MAX_CHARS:
            self._forget(self._order[0])
        return previous

    def put(self, item: Item) -> None:
        """Replace an item by its successor of the same id; one that was deleted stays deleted."""
        if item.id in self._items:
            self._replace(item)

    def delete(self, item_id: str) -> None:
        """Take an item out.

        Raises:
            StateConflict: it is not there.
        """
        if item_id not in self._items:
            raise self._unknown("delete", item_id)
        self._forget(item_id)

    def retrieve(self, item_id: str) -> Item:
        """The item.

        Raises:
            StateConflict: it is not there.
        """
        if (item := self._items.get(item_id)) is None:
            raise self._unknown("retrieve", item_id)
        return item

    def transcribe(self, item_id: str, text: str) -> None:
        """Fill in what was understood of the user's sound."""
        item = self._items.get(item_id)
        if isinstance(item, Message):
            parts = tuple(
                replace(part, text=text) if part.kind == "input_audio" else part
                for part in item.parts
            )
            self._replace(replace(item, parts=parts))

    def truncate(self, item_id: str, content_index: int, heard_ms: int) -> int:
        """Keep of an answer what was heard; returns the milliseconds kept, at most what was sent.

        Raises:
            StateConflict: no such item, or it is not an answer that was spoken.
        """
        item = self._items.get(item_id)
        if item is None:
            raise self._unknown("truncate", item_id)
        part = None
        if isinstance(item, Message) and 0 <= content_index < len(item.parts):
            part = item.parts[content_index]
        if not isinstance(item, Message) or part is None or part.spoken is None:
            raise StateConflict(
                "unsupported_content_type",
                "Only model output audio messages can be truncated.",
                param="item_id",
            )
        kept = min(heard_ms, int(part.sent_ms))
        shorter = replace(part, text=part.spoken.heard_until(kept), sent_ms=float(kept))
        parts = (*item.parts[:content_index], shorter, *item.parts[content_index + 1 :])
        status: Status = "incomplete" if shorter.text != part.text else item.status
        self._replace(replace(item, parts=parts, status=status))
        return kept

    def _replace(self, item: Item) -> None:
        self._characters += characters(item) - characters(self._items[item.id])
        self._items[item.id] = item

    def _forget(self, item_id: str) -> None:
        self._characters -= characters(self._items.pop(item_id))
        self._order.remove(item_id)

    def _place_after(self, item_id: str) -> int:
        if item_id == ROOT:
            return 0
        if item_id not in self._items:
            raise self._unknown("create", item_id, param="previous_item_id")
        return self._order.index(item_id) + 1

    @staticmethod
    def _unknown(verb: str, item_id: str, param: str = "item_id") -> StateConflict:
        return StateConflict(
            f"item_{verb}_invalid_item_id",
            f"There is no item '{item_id}' in the conversation.",
            param=param,
        )
