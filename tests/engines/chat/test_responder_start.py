import asyncio
import logging

import pytest

from duologue.core.errors import (
    EngineLost,
    EngineRefused,
    EngineUnavailable,
)
from duologue.engines.chat.responder import SPEC, OpenAIResponder
from tests.engines.chat.chat_server import (
    ChatServer,
    Exchange,
    refuses,
)
from tests.engines.chat.chat_talk import KEY, SHORT, answer_of, speaking_to, text_of


async def test_warming_up_is_one_small_answer() -> None:
    async with speaking_to() as (responder, chat):
        await asyncio.to_thread(responder.warm_up)
        assert chat.requests[0].body["max_tokens"] == 1


async def test_loading_works_where_there_is_no_loop() -> None:
    async with ChatServer() as chat:
        responder = OpenAIResponder(chat.url, "tiny")
        await asyncio.to_thread(responder.load)
        await asyncio.to_thread(responder.warm_up)
        assert responder.models == ("tiny",)
        await responder.aclose()


async def test_without_a_name_the_first_model_that_can_talk_is_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    models = ("nomic-embed-text:latest", "llama3.2:3b", "qwen3:8b")
    async with speaking_to(model="", models=models) as (responder, chat):
        await answer_of(responder)
        assert responder.model == chat.requests[0].body["model"] == "llama3.2:3b"
        assert "llama3.2:3b" in caplog.text


@pytest.mark.parametrize("models", [None, (), ("nomic-embed-text",)])
async def test_without_a_name_and_a_list_there_is_no_model(models: tuple[str, ...] | None) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        async with speaking_to(model="", models=models):
            pass
    assert caught.value.code == "llm_model_unnamed"


async def test_a_server_without_a_list_is_fine_where_the_model_is_named() -> None:
    async with speaking_to(models=None) as (responder, _):
        assert responder.models == ()
        assert text_of(await answer_of(responder)) == "You said: hello "


async def test_a_wrong_model_is_known_at_start() -> None:
    unknown = refuses(404, "model 'tinny' not found, try pulling it first")
    async with speaking_to(unknown, model="tinny") as (responder, _):
        with pytest.raises(EngineRefused) as caught:
            await asyncio.to_thread(responder.warm_up)
    assert caught.value.code == "llm_model_unknown"
    assert caught.value.remedy == "It has: tiny."


async def test_a_model_that_is_not_listed_may_still_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with speaking_to(model="anything") as (responder, _):
        await asyncio.to_thread(responder.warm_up)
    assert "anything" in caplog.text


async def test_a_wrong_key_is_known_at_start() -> None:
    with pytest.raises(EngineRefused) as caught:
        async with speaking_to(key="sk-wrong", api_key=KEY):
            pass
    assert caught.value.code == "llm_unauthorised"
    assert "sk-wrong" not in str(caught.value)


async def test_a_wrong_address_is_known_at_start() -> None:
    async with ChatServer() as chat:
        url = chat.url
    responder = OpenAIResponder(url, "tiny")
    with pytest.raises(EngineLost) as caught:
        await asyncio.to_thread(responder.load)
    await responder.aclose()
    assert caught.value.code == "llm_unreachable"
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "llm_url_missing"),
        ("localhost:11434", "llm_url_invalid"),
        ("ftp://localhost/v1", "llm_url_invalid"),
        ("http://", "llm_url_invalid"),
        ("http://[::1/v1", "llm_url_invalid"),
        ("http://user:hunter2@localhost:999999/v1", "llm_url_invalid"),
    ],
)
def test_what_is_no_address_is_refused(url: str, code: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        OpenAIResponder(url, "tiny").load()
    assert caught.value.code == code
    assert "hunter2" not in str(caught.value)


async def test_a_server_that_hangs_does_not_hang_the_start() -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.gone()

    async with speaking_to(silent, patience=SHORT) as (responder, _):
        with pytest.raises(EngineLost) as caught:
            await asyncio.to_thread(responder.warm_up)
    assert caught.value.code == "llm_timed_out"


async def test_a_model_that_cannot_stop_after_a_token_is_warm() -> None:
    message = "Could not finish the message because max_tokens or model output limit was reached."
    async with speaking_to(refuses(400, message)) as (responder, _):
        await asyncio.to_thread(responder.warm_up)


async def test_an_address_without_a_path_gets_the_usual_one() -> None:
    async with ChatServer() as chat:
        responder = OpenAIResponder(chat.url.removesuffix("/v1"), "tiny")
        await asyncio.to_thread(responder.load)
        assert text_of(await answer_of(responder)) == "You said: hello "
        assert responder.server.url == chat.url
        await responder.aclose()


def test_secrets_in_an_address_are_not_shown() -> None:
    responder = OpenAIResponder("http://me:hunter2@host/v1?token=abc", "tiny", KEY)
    assert responder.server.url == "http://host/v1"
    assert responder.server.said(f"abc {KEY} hunter2") == "*** *** ***"


def test_it_can_be_had_by_name() -> None:
    responder = SPEC.make("http://127.0.0.1:1/v1|llama3.2:3b")
    assert (responder.server.url, responder.model) == ("http://127.0.0.1:1/v1", "llama3.2:3b")
