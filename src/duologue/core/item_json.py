"""Conversation items as plain values that JSON has, and back: for whoever keeps them longer than a process lasts."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from duologue.core.conversation import (
    ApprovalAnswer,
    ApprovalRequest,
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    Part,
    ServerCall,
    ToolList,
)
from duologue.core.playout import SpokenText
from duologue.core.tool_servers import CallError, ListedTool

Json = dict[str, Any]

KINDS: Mapping[str, type[Item]] = {
    "message": Message,
    "function_call": FunctionCall,
    "function_call_output": FunctionResult,
    "mcp_list_tools": ToolList,
    "mcp_call": ServerCall,
    "mcp_approval_request": ApprovalRequest,
    "mcp_approval_response": ApprovalAnswer,
}
"""By the protocol's name of the kind."""

_NAMES = {made: name for name, made in KINDS.items()}


def kind_of(item: Item) -> str:
    """What the protocol calls this kind of item."""
    return _NAMES[type(item)]


def text_of(item: Item) -> str:
    """What a search for words looks at: what was said, called or returned."""
    match item:
        case Message():
            return item.text
        case FunctionCall(name=name, arguments=arguments):
            return f"{name} {arguments}".strip()
        case ServerCall(name=name, arguments=arguments):
            return f"{name} {arguments} {item.output or ''}".strip()
        case FunctionResult(output=output):
            return output
        case _:
            return ""


def to_json(item: Item) -> Json:
    """All of an item. Of where its words lie on its sound, times are kept to the millisecond."""
    return {"type": kind_of(item), **_plain(item)}


def from_json(doc: Mapping[str, Any]) -> Item:
    """The item that `to_json` was given.

    Raises:
        ValueError: it is none that this version knows.
    """
    try:
        values = {name: value for name, value in doc.items() if name != "type"}
        if "parts" in values:
            values["parts"] = tuple(map(_part, values["parts"]))
        if "tools" in values:
            values["tools"] = tuple(ListedTool(**tool) for tool in values["tools"])
        if values.get("error") is not None:
            values["error"] = CallError(**values["error"])
        return KINDS[doc["type"]](**values)
    except (KeyError, TypeError) as error:
        raise ValueError(f"This is no item of a conversation: {error!r}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, SpokenText):
        return _spoken_json(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _part(doc: Mapping[str, Any]) -> Part:
    spoken = doc["spoken"]
    return Part(**{**doc, "spoken": None if spoken is None else _spoken(spoken)})


def _spoken_json(spoken: SpokenText) -> Json:
    text = spoken.text
    words = spoken.words_between(0, len(text))
    placed = [[word.start_ms, word.end_ms, word.text] for word in words]
    return {"text": text, "duration_ms": round(spoken.duration_ms, 3), "words": placed}


def _spoken(doc: Mapping[str, Any]) -> SpokenText:
    """One piece, with the places that were known or estimated of its words."""
    spoken, text, at = SpokenText(), doc["text"], 0
    starts: list[tuple[float, int]] = []
    for start_ms, _, word in doc["words"]:
        at = text.index(word, at)
        starts.append((float(start_ms), at))
        at += len(word)
    spoken.add_sound(spoken.add_piece(text), doc["duration_ms"], tuple(starts))
    spoken.finish()
    return spoken
