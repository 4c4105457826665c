"""Conversation items: between the protocol's objects and ours."""

from collections.abc import Callable
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
    Status,
    ToolList,
)
from duologue.core.errors import MalformedEvent
from duologue.core.tool_servers import CallError, ListedTool

_TEXT_KINDS = {"system": ("input_text",), "user": ("input_text", "input_audio")}


def item_json(item: Item) -> dict[str, Any]:
    """As the protocol shows it. Events never carry an item's sound."""
    head: dict[str, Any] = {"id": item.id, "object": "realtime.item", "status": item.status}
    match item:
        case Message(role=role, parts=parts):
            content = [_part_json(part) for part in parts]
            return {**head, "type": "message", "role": role, "content": content}
        case FunctionCall():
            call = {"name": item.name, "call_id": item.call_id, "arguments": item.arguments}
            return {**head, "type": "function_call", **call}
        case FunctionResult():
            result = {"call_id": item.call_id, "output": item.output}
            return {**head, "type": "function_call_output", **result}
        case ToolList() | ServerCall() | ApprovalRequest() | ApprovalAnswer():
            return {**head, **_server_item_json(item)}


def _server_item_json(
    item: ToolList | ServerCall | ApprovalRequest | ApprovalAnswer,
) -> dict[str, Any]:
    match item:
        case ToolList(server=label, tools=tools):
            listed = [_tool_json(tool) for tool in tools]
            return {"type": "mcp_list_tools", "server_label": label, "tools": listed}
        case ServerCall():
            return {
                "type": "mcp_call",
                **_named(item),
                "approval_request_id": item.approval_id,
                "output": item.output,
                "error": None if item.error is None else _error_json(item.error),
            }
        case ApprovalRequest():
            return {"type": "mcp_approval_request", **_named(item)}
        case ApprovalAnswer(request_id=request_id, approved=approved, reason=reason):
            said = {"approval_request_id": request_id, "approve": approved}
            return {"type": "mcp_approval_response", **said, "reason": reason or None}


def _named(item: ServerCall | ApprovalRequest) -> dict[str, Any]:
    return {"server_label": item.server, "name": item.name, "arguments": item.arguments}


def _tool_json(tool: ListedTool) -> dict[str, Any]:
    about = {"name": tool.name, "description": tool.description}
    return {**about, "input_schema": tool.schema, "annotations": tool.annotations}


def _error_json(error: CallError) -> dict[str, Any]:
    said: dict[str, Any] = {"type": error.kind, "message": error.message}
    return said if error.kind == "tool_execution_error" else {**said, "code": error.code}


def _part_json(part: Part) -> dict[str, Any]:
    if part.kind in ("input_audio", "output_audio"):
        return {"type": part.kind, "transcript": part.text}
    return {"type": part.kind, "text": part.text or ""}


def lenient_item(data: dict[str, Any]) -> dict[str, Any]:
    """A client's item in the form that the SDK's types judge: agents-js approves without an id of its own."""
    if data.get("type") == "mcp_approval_response" and data.get("id") is None:
        return {**data, "id": "item"}
    return data


def read_item(data: dict[str, Any], new_id: Callable[[str], str], where: str = "item") -> Item:
    """A client's item, which the SDK's types have let through; ids may be any string.

    Raises:
        MalformedEvent: a kind of item or content that a client cannot create, or that is not served.
    """
    item_id = data.get("id") or new_id("item")
    status: Status = data.get("status") or "completed"
    match data.get("type"):
        case "message":
            return Message(item_id, data["role"], _read_parts(data, where), status)
        case "function_call":
            call_id = data.get("call_id") or new_id("call")
            return FunctionCall(item_id, call_id, data["name"], data["arguments"], status)
        case "function_call_output":
            return FunctionResult(item_id, data["call_id"], data["output"], status)
        case "mcp_approval_response":
            reason = data.get("reason") or ""
            return ApprovalAnswer(item_id, data["approval_request_id"], data["approve"], reason)
        case kind:
            raise MalformedEvent(
                "invalid_value",
                f"Items of type '{kind}' cannot be created.",
                remedy="Supported: message, function_call, function_call_output, mcp_approval_response.",
                param=f"{where}.type",
            )


def _read_parts(data: dict[str, Any], where: str) -> tuple[Part, ...]:
    return tuple(
        _read_part(data["role"], part, f"{where}.content[{number}]")
        for number, part in enumerate(data.get("content") or [])
    )


def _read_part(role: str, data: dict[str, Any], where: str) -> Part:
    kind = data.get("type")
    if role == "assistant" and kind in ("output_text", "text", None):
        return Part("output_text", _text(data, "text", where))
    if role in ("user", "system") and kind in ("input_text", "text", None):
        return Part("input_text", _text(data, "text", where))
    if role == "user" and kind == "input_audio" and data.get("transcript"):
        return Part("input_audio", _text(data, "transcript", where))
    raise MalformedEvent(
        "invalid_value",
        f"Content of type '{kind}' cannot be created in a message of the {role}.",
        remedy=(
            "Send sound through input_audio_buffer.append, or give input_audio a transcript."
            if kind == "input_audio"
            else "Supported: input_text (user, system), output_text (assistant)."
        ),
        param=f"{where}.type",
    )


def _text(data: dict[str, Any], name: str, where: str) -> str:
    text = data.get(name)
    if not isinstance(text, str):
        raise MalformedEvent(
            "missing_required_parameter",
            f"Missing required parameter: '{where}.{name}'.",
            param=f"{where}.{name}",
        )
    return text
