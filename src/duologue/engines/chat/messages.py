"""A conversation as the chat-completions protocol wants it: messages, tools, the body of a request.

Strict servers refuse a call without its result, a result without its call, and anything between the two;
the chat templates of some models refuse two messages of the user in a row, or one of ours before them all.
A spoken conversation has all of that: people talk while a function runs, answers that nobody heard leave no
message, and we may speak first. So results are moved to their calls, neighbours of one role become one
message, and a silent user is said to be silent. Tools that we call ourselves are calls like any other.

An answer that was cut off stands as it was heard, and with a mark; one of which no word was heard was never said.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from duologue.core.conversation import (
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    ServerCall,
)
from duologue.core.options import ReplyOptions, Tool
from duologue.core.tool_servers import callable_name
from duologue.ports import Prompt

ChatMessage = dict[str, Any]

Call = FunctionCall | ServerCall

NO_RESULT = "(There is no result yet.)"
"""For a function that has not returned: left out, the call would look never made, and be made twice."""

SILENCE = "(The user has not said anything yet.)"
"""Stands for the user, where the first word is ours."""

INTERRUPTED = "—"
"""After the last heard word of an answer that was cut off, as novels have it. It is in no item and is never said. A
model that takes to ending its own answers so is not heard to: voices pass over it, and read words in brackets."""


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
    results.update((item.id, _result(item)) for item in items if isinstance(item, ServerCall))
    for are_calls, group in groupby(_once(items), key=lambda item: isinstance(item, Call)):
        if are_calls:
            _add_calls(chat, [item for item in group if isinstance(item, Call)], results)
        else:
            for item in group:
                _add_text(chat, item)
    if len(chat) > 1 and (chat[-2]["role"], chat[-1]["role"]) == ("tool", "assistant"):
        chat.pop()  # said while the tool ran ("One moment."): it is the tool's result that is answered
    first = next((at for at, message in enumerate(chat) if message["role"] != "system"), len(chat))
    if first == len(chat) or chat[first]["role"] == "assistant":
        chat.insert(first, {"role": "user", "content": SILENCE})
    return chat


def _once(items: Iterable[Item]) -> Iterator[Item]:
    """What is said and called, without calls that were broken off (nobody carries them out) or were there before."""
    seen: set[str] = set()
    for item in items:
        if isinstance(item, Call):
            if item.status == "incomplete" or not item.name or _call_id(item) in seen:
                continue
            seen.add(_call_id(item))
        if isinstance(
            item, Call | Message | FunctionResult
        ):  # results part the calls of one answer from the next
            yield item


def _call_id(call: Call) -> str:
    return call.call_id if isinstance(call, FunctionCall) else call.id


def _result(call: ServerCall) -> str:
    if call.error is not None:
        return f"(This failed: {call.error.message})"
    return NO_RESULT if call.output is None else call.output


def _add_text(chat: list[ChatMessage], item: Item) -> None:
    text = _words(item) if isinstance(item, Message) else ""
    if not isinstance(item, Message) or not text:
        return  # silence, or a transcript that is not known
    last = chat[-1] if chat else None
    is_same = last is not None and last["role"] == item.role and "tool_calls" not in last
    if last is not None and is_same and item.role != "system":
        last["content"] = f"{last['content']}\n{text}"
    else:
        chat.append({"role": item.role, "content": text})


def _words(message: Message) -> str:
    """What was said, and where it was cut off."""
    text = message.text.strip()
    is_marked = text and message.role == "assistant" and _is_cut(message)
    return f"{text}{INTERRUPTED}" if is_marked else text


def _is_cut(message: Message) -> bool:
    """It was broken off; or a client said, once it was over, that not all its words were heard."""
    if message.status == "incomplete":
        return True
    spoken = ((part.spoken, part.sent_ms) for part in message.parts if part.spoken is not None)
    return any(
        text.heard_until(sent_ms) != text.heard_until(text.duration_ms) for text, sent_ms in spoken
    )


def _add_calls(chat: list[ChatMessage], calls: Sequence[Call], results: dict[str, str]) -> None:
    """Calls that stand together were made together, by the answer before them if there is one."""
    made = [
        {
            "id": _call_id(call),
            "type": "function",
            "function": {"name": _name(call), "arguments": _arguments(call)},
        }
        for call in calls
    ]
    if chat and chat[-1]["role"] == "assistant" and "tool_calls" not in chat[-1]:
        chat[-1]["tool_calls"] = made
    else:
        chat.append({"role": "assistant", "content": "", "tool_calls": made})
    for call in calls:
        output = results.get(_call_id(call), NO_RESULT)
        chat.append({"role": "tool", "tool_call_id": _call_id(call), "content": output})


def _name(call: Call) -> str:
    """As it was offered."""
    return call.name if isinstance(call, FunctionCall) else callable_name(call.name)


def _arguments(call: Call) -> str:
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
