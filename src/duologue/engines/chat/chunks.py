"""The pieces of a streamed chat completion, read as an answer. Servers differ: nothing is taken for granted.

Known differences: calls without an id, without an index, or whole in one piece; arguments as an object; a name
repeated in every piece; text as a list of parts; usage in every piece; a whole message instead of a delta; an emoji
in two halves.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from duologue.engines.chat.thoughts import ThoughtFilter
from duologue.ports import CallDelta, CutShort, Delta, Spent, TextDelta

_LIMITS = {"length": "max_output_tokens", "content_filter": "content_filter"}


_HALF, _SECOND_HALF = "\ud800", "\udc00"
"""Where UTF-16's first halves begin, and its second ones: some servers cut an emoji between them."""


class NotAChunk(ValueError):
    """What came is no piece of a chat completion."""


@dataclass(slots=True)
class _Call:
    """A function call that grows. Until its name is known, its arguments wait."""

    index: int | None
    given_id: str
    call_id: str
    name: str = ""
    arguments: str = ""
    is_told: bool = False
    is_empty: bool = True


class ChunkReader:
    """Reads one answer.

    Args:
        thoughts: keeps the model's thoughts out.
        new_id: makes ids for calls of servers that give none.

    Attributes:
        is_finished: the server said why the answer ends: it is whole.
    """

    def __init__(self, thoughts: ThoughtFilter, new_id: Callable[[], str] | None = None) -> None:
        self.is_finished = False
        self._thoughts = thoughts
        self._new_id = new_id or _random_id
        self._calls: list[_Call] = []
        self._spent: Spent | None = None
        self._cut: CutShort | None = None
        self._half = ""  # of a character whose other half comes with the next piece

    def read(self, chunk: object) -> list[Delta]:
        """What a piece adds to the answer.

        Raises:
            NotAChunk: it is not even an object.
        """
        if not isinstance(chunk, Mapping):
            raise NotAChunk("a piece that is no object")
        self._read_usage(chunk.get("usage"))
        choice = _first(chunk.get("choices"))
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            delta = choice.get("message")
        deltas: list[Delta] = []
        if isinstance(delta, Mapping):
            deltas += self._read_text(delta)
            for part in _objects(delta.get("tool_calls")):
                deltas += self._read_call(part)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.is_finished = True
            if reason in _LIMITS:
                self._cut = CutShort(_LIMITS[reason])
        return deltas

    def finish(self) -> list[Delta]:
        """What is left when no more pieces come."""
        deltas: list[Delta] = []
        if rest := self._thoughts.finish():
            deltas.append(TextDelta(rest))
        bare = (call for call in self._calls if call.is_told and call.is_empty)
        deltas += [CallDelta(c.call_id, c.name, "{}") for c in bare]  # clients parse even those
        if self._spent is not None:
            deltas.append(self._spent)
        if self._cut is not None:
            deltas.append(self._cut)
        return deltas

    def _read_text(self, delta: Mapping[str, Any]) -> list[Delta]:
        text = self._half + "".join(_text(delta.get(key)) for key in ("content", "refusal"))
        self._half = text[-1:] if _HALF <= text[-1:] < _SECOND_HALF else ""
        text = _joined(text.removesuffix(self._half))
        spoken = self._thoughts.push(text) if text else ""
        return [TextDelta(spoken)] if spoken else []

    def _read_call(self, part: Mapping[str, Any]) -> list[Delta]:
        function = part.get("function")
        if not isinstance(function, Mapping):
            return []
        name, arguments = _text(function.get("name")), _json(function.get("arguments"))
        call = self._call(part, name)
        call.name = call.name or name
        call.arguments += arguments
        if not call.name or (call.is_told and not call.arguments):
            return []
        told, call.arguments = call.arguments, ""
        call.is_told, call.is_empty = True, call.is_empty and not told
        return [CallDelta(call.call_id, call.name, told)]

    def _call(self, part: Mapping[str, Any], name: str) -> _Call:
        """The call that a piece belongs to: by index and id as far as there are any, else the last or a new one."""
        index = part.get("index") if isinstance(part.get("index"), int) else None
        given_id = _text(part.get("id"))
        for call in reversed(self._calls):
            same_index = index is None or call.index is None or index == call.index
            same_id = given_id in ("", call.given_id) or not call.given_id or not name
            is_new = index is None and not given_id and bool(name) and bool(call.name)
            if same_index and same_id and not is_new:
                return call
            if index is None and not given_id:
                break
        call = _Call(index, given_id, self._own_id(given_id))
        self._calls.append(call)
        return call

    def _own_id(self, given_id: str) -> str:
        taken = {call.call_id for call in self._calls}
        return given_id if given_id and given_id not in taken else self._new_id()

    def _read_usage(self, usage: object) -> None:
        if not isinstance(usage, Mapping):
            return
        details = usage.get("prompt_tokens_details")
        cached = _whole(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
        self._spent = Spent(
            _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens")), cached
        )


def is_bare(chunk: object) -> bool:
    """Whether a piece says no more than that an answer begins: the model may still read the prompt."""
    if not isinstance(chunk, Mapping):
        return False
    choice = _first(chunk.get("choices"))
    delta = choice.get("delta", choice.get("message"))
    said = (
        {key: value for key, value in delta.items() if key != "role"}
        if isinstance(delta, Mapping)
        else {}
    )
    return not any(said.values()) and not choice.get("finish_reason")


def _joined(text: str) -> str:
    """Characters that were sent in two halves, made whole; a half that is alone stands for nothing."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _random_id() -> str:
    return f"call_{secrets.token_hex(8)}"


def _first(choices: object) -> Mapping[str, Any]:
    """The first choice; more are never asked for."""
    for choice in _objects(choices):
        if not choice.get("index"):
            return choice
    return {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    """A string, or the text parts of a list; thoughts come as parts of another type."""
    if isinstance(value, str):
        return value
    parts = (part for part in _objects(value) if part.get("type") == "text")
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _json(value: object) -> str:
    """Arguments as JSON text, which is how most servers send them."""
    return json.dumps(value) if isinstance(value, Mapping | list) else _joined(_text(value))


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
