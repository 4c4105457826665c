"""Tools of real MCP servers in real sessions: the stock `openai` client, a server process each, real sockets."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.toolbox.mcp_server import TOKEN, RunningMcp, mcp_server
from tests.support.client import Phone, phone
from tests.support.server import RunningServer, server

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningMcp]:
    with mcp_server() as running:
        yield running


@pytest.fixture(scope="module")
def duologue() -> Iterator[RunningServer]:
    """Clients may name any server."""
    with server("--engines", "fake", "--fake", "tts_s=0.3", "--mcp-servers", "*") as running:
        yield running


def tool(mcp: RunningMcp, **more: Any) -> dict[str, Any]:
    plain = {"type": "mcp", "server_label": "shop", "server_url": mcp.url}
    return {**plain, "require_approval": "never", **more}


async def say(p: Phone, text: str, **response: Any) -> None:
    """Type something, and ask for an answer in text."""
    content = [{"type": "input_text", "text": text}]
    message = {"type": "message", "role": "user", "content": content}
    await p.connection.conversation.item.create(item=message)
    await p.connection.response.create(response={"output_modalities": ["text"], **response})


async def done(p: Phone, kind: str, count: int = 1) -> dict[str, Any]:
    """The n-th item of this type that is done."""
    while True:
        found = [e["item"] for e in p.of("conversation.item.done") if e["item"]["type"] == kind]
        if len(found) >= count:
            item: dict[str, Any] = found[count - 1]
            return item
        await p.until("conversation.item.done", len(p.of("conversation.item.done")) + 1)


async def test_a_tool_is_listed_called_and_answered_from(
    duologue: RunningServer, shop: RunningMcp
) -> None:
    async with phone(duologue, tools=[tool(shop, authorization=TOKEN)]) as p:
        listed = await done(p, "mcp_list_tools")
        assert {"add", "echo", "say.hello"} <= {t["name"] for t in listed["tools"]}
        await say(p, "please call echo")
        call = await done(p, "mcp_call")
        assert (call["name"], call["arguments"], call["output"]) == (
            "echo",
            '{"said": true}',
            "it was True",
        )
        assert p.referee.types()[-8:] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.mcp_call_arguments.done",
            "response.output_item.done",
            "response.mcp_call.in_progress",
            "response.done",
            "response.mcp_call.completed",
            "conversation.item.done",
        ]
        await p.connection.response.create(response={"output_modalities": ["text"]})
        answer = await p.until("response.output_text.done")
        assert "it was True" in answer["text"]
        assert TOKEN not in str(p.of("session.updated"))
        assert TOKEN not in duologue.output
        assert not p.of("error")


@pytest.mark.parametrize("approve", [True, False])
async def test_the_client_is_asked_first(
    duologue: RunningServer, shop: RunningMcp, approve: bool
) -> None:
    asks = {"require_approval": {"never": {"tool_names": ["add"]}}}
    async with phone(duologue, tools=[tool(shop, **asks)]) as p:
        await done(p, "mcp_list_tools")
        await say(p, "please call echo")
        request = await done(p, "mcp_approval_request")
        ended = await p.until("response.done")
        assert [item["type"] for item in ended["response"]["output"]] == [
            "mcp_call",
            "mcp_approval_request",
        ]
        answer = {"type": "mcp_approval_response", "approval_request_id": request["id"]}
        await p.connection.conversation.item.create(
            item={**answer, "id": "mine", "approve": approve},
            previous_item_id=request["id"],
        )
        call = await done(p, "mcp_call")
        assert (call["output"] == "it was True") is approve
        assert (call["error"] is None) is approve
        assert call["approval_request_id"] == request["id"]
        assert call["id"] == ended["response"]["output"][0]["id"]


async def test_a_tool_that_fails_and_one_that_is_not_allowed(
    duologue: RunningServer, shop: RunningMcp
) -> None:
    async with phone(duologue, tools=[tool(shop, allowed_tools=["fail"])]) as p:
        await done(p, "mcp_list_tools")
        await say(p, "please call fail")
        call = await done(p, "mcp_call")
        assert call["error"]["type"] == "tool_execution_error"
        assert "went wrong" in call["error"]["message"]
        assert len(p.of("response.mcp_call.failed")) == 1
        await say(p, "please call echo")
        assert (await p.until("response.output_text.done"))["text"].startswith("You said")


async def test_an_answer_may_name_its_own_server(duologue: RunningServer, shop: RunningMcp) -> None:
    async with phone(duologue) as p:
        await say(p, "please call echo", tools=[tool(shop)])
        assert (await done(p, "mcp_call"))["output"] == "it was True"
        assert len(p.of("mcp_list_tools.completed")) == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1/mcp", "mcp_server_unreachable"),
        ("http://no-such-host.invalid/mcp", "mcp_server_unreachable"),
    ],
)
async def test_a_server_that_is_not_there_costs_its_tools_only(
    duologue: RunningServer, url: str, code: str
) -> None:
    gone = {"type": "mcp", "server_label": "gone", "server_url": url}
    async with phone(duologue, tools=[gone]) as p:
        assert (await done(p, "mcp_list_tools"))["tools"] == []
        assert len(p.of("mcp_list_tools.failed")) == 1
        assert (await p.until("error"))["error"]["code"] == code
        await say(p, "hello")
        assert (await p.until("response.done"))["response"]["status"] == "completed"


async def test_a_server_that_dies_while_it_works_fails_the_call_and_nothing_else(
    duologue: RunningServer,
) -> None:
    with mcp_server() as mortal:
        async with phone(duologue, tools=[tool(mortal)]) as p:
            await done(p, "mcp_list_tools")
            await say(p, "please call sleep")
            await p.until("response.mcp_call.in_progress")
            await p.until("response.done")
            mortal.kill()
            call = await done(p, "mcp_call")
            assert call["error"]["type"] in ("protocol_error", "http_error")
            await say(p, "please call echo")
            second = await done(p, "mcp_call", 2)
            assert second["error"]["type"] == "protocol_error"
            with mcp_server(port=mortal.port):
                await say(p, "please call echo again")
                assert (await done(p, "mcp_call", 3))["output"] == "it was True"


async def test_hanging_up_does_not_wait_for_a_tool(
    duologue: RunningServer, shop: RunningMcp
) -> None:
    async with phone(duologue, tools=[tool(shop)]) as p:
        await done(p, "mcp_list_tools")
        await say(p, "please call sleep")
        await p.until("response.mcp_call.in_progress")
        began = time.monotonic()
    assert time.monotonic() - began < 5


async def test_what_the_operator_does_not_list_is_not_reached(shop: RunningMcp) -> None:
    with server("--engines", "fake", "--mcp-servers", "http://127.0.0.1:1/mcp") as strict:
        async with phone(strict, tools=[tool(shop)]) as p:
            assert (await done(p, "mcp_list_tools"))["tools"] == []
            error = (await p.until("error"))["error"]
            assert (error["code"], error["type"]) == (
                "mcp_server_not_allowed",
                "invalid_request_error",
            )
            assert "--mcp-servers" in error["message"]
