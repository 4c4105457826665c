"""A conversation as the chat-completions protocol wants it: messages, tools, the body of a request.

Strict servers refuse a call without its result, a result without its call, and anything between the two;
the chat templates of some models refuse two messages of the user in a row, or one of ours before them all.
A spoken conversation has all of that: people talk while a function runs, answers that nobody heard leave no
message, and we may speak first. So results are moved to their calls, neighbours of one role become one
message, and a silent user is said to be silent.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from duologue.core.conversation import FunctionCall, FunctionResult, Item, Message
from duologue.core.options import ReplyOptions, Tool
from duologue.ports import Prompt

ChatMessage = dict[str, Any]

NO_RESULT = "(There is no result yet.)"
"""For a function that has not returned: left out, the call would look never made, and be made twice."""

SILENCE = "(The user has not said anything yet.)"
"""Stands for the user, where the first word is ours."""


def request_body(prompt: Prompt, model: str) -> dict[str, Any]:
    """The body of a streaming request. Limits and refusable options are in it under their standard names."""
    options = prompt.options
    body: dict[str, Any] = {
        "model": model,
        "messages": messages(prompt.items, options.instructions),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.tools:
        body["tools"] = [_tool(tool) for tool in options.tools]
        choice = _tool_choice(options)
        if choice != "auto":  # servers that cannot choose refuse the word, too
            body["tool_choice"] = choice
    if options.max_output_tokens is not None:
        body["max_tokens"] = options.max_output_tokens
    return body


def messages(items: Sequence[Item], instructions: str = "") -> list[ChatMessage]:
    """The conversation, oldest first, after the instructions."""
    chat: list[ChatMessage] = []
    if instructions.strip():
        chat.append({"role": "system", "content": instructions})
    results = {item.call_id: item.output for item in items if isinstance(item, FunctionResult)}
    for kind, group in groupby(_once(items), key=type):
        if kind is FunctionCall:
            _add_calls(chat, [item for item in group if isinstance(item, FunctionCall)], results)
        elif kind is Message:
            for item in group:
                _add_text(chat, item)
    first = next((at for at, message in enumerate(chat) if message["role"] != "system"), len(chat))
    if first == len(chat) or chat[first]["role"] == "assistant":
        chat.insert(first, {"role": "user", "content": SILENCE})
    return chat


def _once(items: Iterable[Item]) -> Iterator[Item]:
    """Without calls that were broken off (nobody carries them out) or whose id was there before."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, FunctionCall):
            if item.status == "incomplete" or not item.name or item.call_id in seen:
                continue
            seen.add(item.call_id)
        yield item


def _add_text(chat: list[ChatMessage], item: Item) -> None:
    text = item.text.strip() if isinstance(item, Message) else ""
    if not isinstance(item, Message) or not text:
        return  # silence, or a transcript that is not known
    last = chat[-1] if chat else None
    is_same = last is not None and last["role"] == item.role and "tool_calls" not in last
    if last is not None and is_same and item.role != "system":
        last["content"] = f"{last['content']}\n{text}"
    else:
        chat.append({"role": item.role, "content": text})


def _add_calls(
    chat: list[ChatMessage], calls: Sequence[FunctionCall], results: dict[str, str]
) -> None:
    """Calls that stand together were made together, by the answer before them if there is one."""
    made = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": _arguments(call)},
        }
        for call in calls
    ]
    if chat and chat[-1]["role"] == "assistant" and "tool_calls" not in chat[-1]:
        chat[-1]["tool_calls"] = made
    else:
        chat.append({"role": "assistant", "content": "", "tool_calls": made})
    for call in calls:
        output = results.get(call.call_id, NO_RESULT)
        chat.append({"role": "tool", "tool_call_id": call.call_id, "content": output})


def _arguments(call: FunctionCall) -> str:
    """As they are, if they are what servers parse them for: a JSON object."""
    try:
        is_object = isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    return call.arguments if is_object else "{}"


def _tool(tool: Tool) -> dict[str, Any]:
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _tool_choice(options: ReplyOptions) -> str | dict[str, Any]:
    if options.tool_choice in ("auto", "none", "required"):
        return options.tool_choice
    return {"type": "function", "function": {"name": options.tool_choice}}
