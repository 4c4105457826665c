# mypy: disable-error-code="untyped-decorator"
"""A real MCP server for tests: the `mcp` package's own, over streamable HTTP, in a process of its own.

    with mcp_server() as server:
        ... server.url; server.kill()

Run as a module it is that process: it prints its port, and serves until it is killed. Other servers here are
no MCP servers, or bad ones: they answer with what they are given, or not at all.
"""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOKEN = "open-sesame-1234"
"""What a server that is started with `guarded` wants to see."""

ROOT = Path(__file__).parents[3]


@dataclass
class RunningMcp:
    """One server process."""

    process: "subprocess.Popen[str]"
    url: str
    port: int

    def kill(self) -> None:
        """It is gone in the middle of whatever it does."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def mcp_server(*traits: str, port: int = 0, ready_s: float = 30) -> Iterator[RunningMcp]:
    """Start one on a free port of the loopback, and kill it at the end.

    Traits: "guarded" wants to see `TOKEN`; "old" speaks the protocol of 2025, which has sessions.
    """
    module = "tests.engines.toolbox.mcp_server"
    command = [sys.executable, "-m", module, str(port), *traits]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    out = process.stdout
    assert out is not None
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(out.readline()), daemon=True)
    try:
        reader.start()
        reader.join(ready_s)
        assert any(found), "the MCP server did not start"
        bound = int(found[0])
        yield RunningMcp(process, f"http://127.0.0.1:{bound}/mcp", bound)
    finally:
        process.kill()
        process.wait()
        out.close()


@contextlib.asynccontextmanager
async def bad_server(
    answer: Callable[[bytes], Awaitable[bytes]] | None = None,
) -> AsyncIterator[str]:
    """Answers each request with these bytes; without, it takes connections and says nothing. Yields its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(
            asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
        ):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = [
                    v
                    for k, _, v in (h.partition(b":") for h in head.split(b"\r\n"))
                    if k.lower() == b"content-length"
                ]
                body = await reader.readexactly(int(size[0])) if size else b""
                if answer is None:
                    await asyncio.Event().wait()
                    return
                writer.write(await answer(head + body))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        for task in tasks:
            task.cancel()
        server.close()
        await server.wait_closed()


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _serve(port: int, traits: list[str]) -> None:
    import uvicorn
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ImageContent, TextContent, ToolAnnotations

    server = MCPServer("testing", log_level="ERROR")
    seen: dict[str, str] = {}
    asked: list[str] = []

    @server.tool(description="Adds two numbers.", annotations=ToolAnnotations(read_only_hint=True))
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool(name="say.hello")
    def say_hello() -> list[TextContent | ImageContent]:
        image = ImageContent(type="image", data="AAAA", mime_type="image/png")
        return [TextContent(type="text", text="Hello"), image]

    @server.tool()
    def fail(said: bool = False) -> str:
        raise ToolError("it went wrong")

    @server.tool()
    async def slow(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(said: bool = False) -> str:
        return f"it was {said}"

    @server.tool()
    async def sleep(said: bool = False) -> str:
        await asyncio.sleep(30)
        return "late"

    @server.tool()
    def long(size: int) -> str:
        return "x" * size

    @server.tool()
    def header(name: str) -> str:
        return seen.get(name, "")

    @server.tool()
    def methods() -> str:
        return " ".join(asked)

    app = server.streamable_http_app()

    async def watched(scope, receive, send):  # type: ignore[no-untyped-def]
        status = 0
        if scope["type"] == "http":
            asked.append(scope["method"])
            seen.clear()
            seen.update({k.decode(): v.decode() for k, v in scope["headers"]})
            if "guarded" in traits and seen.get("authorization") != f"Bearer {TOKEN}":
                status = 401
            elif "old" in traits and seen.get("mcp-protocol-version", "") > "2026":
                status = 404
        if not status:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()
    print(listening.getsockname()[1], flush=True)  # noqa: T201
    config = uvicorn.Config(watched, log_level="error", lifespan="on")
    asyncio.run(uvicorn.Server(config).serve([listening]))


if __name__ == "__main__":
    logging.disable()
    _serve(int(sys.argv[1]), sys.argv[2:])
