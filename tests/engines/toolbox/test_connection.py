"""Connections to real MCP servers over real sockets, good ones and bad ones."""

import asyncio
import contextlib
import json
from collections.abc import Iterator

import pytest

from duologue.core.errors import DuologueError, EngineLost, EngineRefused
from duologue.core.tool_servers import CallError, ToolServer
from duologue.engines.toolbox.servers import McpServers
from tests.engines.toolbox.mcp_server import TOKEN, RunningMcp, bad_server, mcp_server, response

pytestmark = pytest.mark.full

ANY = McpServers(("*",))


@pytest.fixture(scope="module")
def running() -> Iterator[RunningMcp]:
    with mcp_server() as server:
        yield server


@pytest.fixture(scope="module")
def old() -> Iterator[RunningMcp]:
    with mcp_server("old") as server:
        yield server


@pytest.fixture(params=["running", "old"])
def either(request: pytest.FixtureRequest) -> RunningMcp:
    server: RunningMcp = request.getfixturevalue(request.param)
    return server


async def test_tools_are_listed_and_called(either: RunningMcp) -> None:
    async with ANY.connect(ToolServer("it", either.url)) as it:
        tools = {tool.name: tool for tool in await it.list_tools()}
        assert tools["add"].description == "Adds two numbers."
        assert tools["add"].schema["required"] == ["a", "b"]
        assert tools["add"].read_only
        assert not tools["fail"].read_only
        assert await it.call("add", {"a": 2, "b": 3}) == "5"
        said = await it.call("say.hello", {})
        assert said == "Hello\n(There is also image, which cannot be read here.)"


async def test_calls_run_beside_one_another(either: RunningMcp) -> None:
    async with ANY.connect(ToolServer("it", either.url)) as it, asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(it.call("slow", {"seconds": 0.5}))
        for number in range(5):
            assert await it.call("add", {"a": number, "b": 1}) == str(number + 1)
        assert not slow.done()
        assert await slow == "awake"


async def test_a_tool_that_fails_says_why(either: RunningMcp) -> None:
    async with ANY.connect(ToolServer("it", either.url)) as it:
        for name, words in (("fail", "went wrong"), ("nope", "nope"), ("add", "a")):
            failed = await it.call(name, {})
            assert isinstance(failed, CallError)
            assert failed.kind == "tool_execution_error"
            assert words in failed.message
        assert await it.call("add", {"a": 1, "b": 1}) == "2"


async def test_headers_and_token_are_sent_with_every_call(running: RunningMcp) -> None:
    server = ToolServer("it", running.url, headers=(("X-Key", "k1"),), token=TOKEN)
    async with ANY.connect(server) as it:
        assert await it.call("header", {"name": "x-key"}) == "k1"
        assert await it.call("header", {"name": "authorization"}) == f"Bearer {TOKEN}"


async def test_a_session_is_ended_where_there_is_one(old: RunningMcp) -> None:
    async with ANY.connect(ToolServer("it", old.url)) as it:
        assert len(await it.call("header", {"name": "mcp-session-id"})) > 8  # type: ignore[arg-type]
    async with ANY.connect(ToolServer("it", old.url)) as it:
        asked = await it.call("methods", {})
        assert isinstance(asked, str)
        assert "DELETE" in asked


async def test_who_has_no_key_is_told_so() -> None:
    with mcp_server("guarded") as server:
        with pytest.raises(EngineRefused) as caught:
            async with ANY.connect(ToolServer("it", server.url, token="wrong-wrong")) as it:
                await it.list_tools()
        assert caught.value.code == "mcp_server_denied"
        assert "401" in caught.value.message
        assert "wrong-wrong" not in str(caught.value)
        async with ANY.connect(ToolServer("it", server.url, token=TOKEN)) as it:
            assert await it.call("add", {"a": 1, "b": 1}) == "2"


async def test_nobody_there() -> None:
    with pytest.raises(EngineLost) as caught:
        async with ANY.connect(ToolServer("it", "http://127.0.0.1:1/mcp?key=secret")) as it:
            await it.list_tools()
    assert caught.value.code == "mcp_server_unreachable"
    assert "secret" not in str(caught.value)


async def _call_until_it_dies(server: RunningMcp) -> None:
    async with ANY.connect(ToolServer("it", server.url)) as it, asyncio.TaskGroup() as calls:
        slow = calls.create_task(it.call("slow", {"seconds": 30}))
        assert await it.call("add", {"a": 1, "b": 1}) == "2"
        server.kill()
        with contextlib.suppress(EngineLost, asyncio.CancelledError):
            await slow
        await it.call("add", {"a": 1, "b": 1})


async def test_a_server_that_dies_ends_what_runs_there_and_the_connection() -> None:
    with mcp_server() as server:
        started = asyncio.get_running_loop().time()
        with pytest.raises(EngineLost) as caught:
            await _call_until_it_dies(server)
        assert caught.value.code == "mcp_server_unreachable"
        assert asyncio.get_running_loop().time() - started < 15


async def test_a_server_that_says_nothing_is_given_up_by_who_asked() -> None:
    async with bad_server() as url:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), ANY.connect(ToolServer("it", url)) as it:
                await it.list_tools()


REFUSED = {"jsonrpc": "2.0", "id": 0, "error": {"code": -32603, "message": f"no {TOKEN}, no"}}


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (response("500 Oh"), "mcp_server_error", "HTTP 500"),
        (response("403 No"), "mcp_server_denied", "HTTP 403"),
        (response("200 OK", b"<html>", "Content-Type: text/html"), "mcp_server_error", ""),
        (response("200 OK", b"{", "Content-Type: application/json"), "mcp_server_error", ""),
        (
            response("400 No", json.dumps(REFUSED).encode(), "Content-Type: application/json"),
            "mcp_server_error",
            "HTTP 400, no …, no",
        ),
        (b"nonsense\r\n\r\n", "mcp_server_unreachable", ""),
        (b"", "mcp_server_unreachable", ""),
        (
            response("200 OK", b" " * 1_100_000, "Content-Type: application/json"),
            "mcp_server_unreachable",
            "ReadError",
        ),
        (
            response("200 OK", b"x", "Content-Type: application/json", "Content-Encoding: gzip"),
            "mcp_server_error",
            "",
        ),
    ],
)
async def test_what_is_no_mcp_server(answer: bytes, code: str, words: str) -> None:
    async def say(_request: bytes) -> bytes:
        if not answer:
            raise ConnectionError
        return answer

    async with bad_server(say) as url:
        with pytest.raises(DuologueError) as caught:
            async with asyncio.timeout(20), ANY.connect(ToolServer("it", url, token=TOKEN)) as it:
                await it.list_tools()
        assert caught.value.code == code
        assert words in caught.value.message
        assert TOKEN not in str(caught.value)


async def test_redirects_are_followed_only_where_it_may_go(running: RunningMcp) -> None:
    seen = []

    async def elsewhere(_request: bytes) -> bytes:
        seen.append(1)
        return response("307 Go", b"", f"Location: {running.url}")

    async with bad_server(elsewhere) as url:
        with pytest.raises(EngineRefused):
            async with McpServers((url, running.url)).connect(ToolServer("it", url)) as it:
                await it.list_tools()

    async def below(request: bytes) -> bytes:
        seen.append(2)
        where = "/private" if b" /mcp " in request else "/mcp"
        return response("307 Go", b"", f"Location: {where}")

    async with bad_server(below) as url:
        with pytest.raises(EngineRefused) as caught:
            async with McpServers((url,)).connect(ToolServer("it", url)) as it:
                await it.list_tools()
        assert caught.value.code == "mcp_redirect_refused"
    assert set(seen) == {1, 2}


async def test_a_mistake_of_whoever_uses_it_stays_theirs(running: RunningMcp) -> None:
    with pytest.raises(ZeroDivisionError):
        async with ANY.connect(ToolServer("it", running.url)):
            _ = 1 / 0
