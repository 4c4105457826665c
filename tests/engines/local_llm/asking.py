"""How tests ask a language model."""

from contextlib import aclosing
from typing import Any, cast

from duologue.core.conversation import Item, Message, Part
from duologue.core.options import ReplyOptions
from duologue.engines.local_llm.responder import TransformersResponder
from duologue.ports import Delta, Prompt, TextDelta


def message(role: Any, text: str, number: int = 0) -> Message:
    return Message(f"item_{role}_{number}", role, (Part("input_text", text),))


def prompt(text: str = "Hello.", limit: int | None = 12, *before: Item, system: str = "") -> Prompt:
    options = ReplyOptions(instructions=system, max_output_tokens=limit)
    return Prompt((*before, message("user", text)), options)


async def all_of(responder: TransformersResponder, what: Prompt) -> list[Delta]:
    return [delta async for delta in responder.respond(what)]


def words(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def stream(responder: TransformersResponder, what: Prompt) -> Any:
    return aclosing(cast(Any, responder.respond(what)))
