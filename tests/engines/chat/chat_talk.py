"""Talking to a language model's server in tests: a responder and the server that it speaks to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from duologue.core.conversation import Message, Part
from duologue.core.options import ReplyOptions
from duologue.engines.chat.responder import OpenAIResponder, Patience
from duologue.ports import Delta, Prompt, TextDelta
from tests.engines.chat.chat_server import Answer, ChatServer

KEY = "sk-very-secret"
SHORT = Patience(connect_s=1, first_s=0.06, next_s=0.04, models_s=5, warm_up_s=0.1)


def prompt(text: str = "hello", **options: Any) -> Prompt:
    item = Message("item_1", "user", (Part("input_audio", text),))
    return Prompt((item,), ReplyOptions(**options), "sess_1")


@asynccontextmanager
async def speaking_to(
    answer: Answer | None = None,
    *,
    patience: Patience | None = None,
    key: str = KEY,
    model: str = "tiny",
    **server: Any,
) -> AsyncIterator[tuple[OpenAIResponder, ChatServer]]:
    async with ChatServer(answer, **server) as chat:
        responder = OpenAIResponder(chat.url, model, key, patience=patience)
        await asyncio.to_thread(responder.load)
        try:
            yield responder, chat
        finally:
            await responder.aclose()


async def answer_of(responder: OpenAIResponder, wanted: Prompt | None = None) -> list[Delta]:
    return [delta async for delta in responder.respond(wanted or prompt())]


async def answer_to(answer: Answer, wanted: Prompt | None = None, **how: Any) -> list[Delta]:
    async with speaking_to(answer, **how) as (responder, _):
        return await answer_of(responder, wanted)


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
