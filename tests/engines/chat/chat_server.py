"""A language model's server for tests: real HTTP on a loopback port, speaking the chat-completions protocol.

    async with ChatServer(says("Hello", " there.")) as server:
        responder = OpenAIResponder(server.url, "tiny")
        ...
    server.requests[-1].body["messages"]

What it answers is a coroutine that is given the `Exchange`: it may say things, hang, send garbage, reset the
connection, or wait until the client has gone. Without one it echoes what the user said, word by word.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Json = field(default_factory=dict)


class Exchange:
    """One request, and the answer to it."""

    def __init__(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer
        self._is_chunked = False

    # --- a stream ---
    async def begin(self, content_type: str = "text/event-stream") -> None:
        """The head of a streamed answer."""
        await self.raw(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self._is_chunked = True

    async def send(self, text: str) -> None:
        """Any text, as one piece of the body."""
        data = text.encode()
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def event(self, data: Any) -> None:
        """One event; what is no string is sent as JSON."""
        await self.send(f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n")

    async def delta(self, finish_reason: str | None = None, **delta: Any) -> None:
        """One piece of a chat completion."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        await self.event({"object": "chat.completion.chunk", "choices": [choice]})

    async def say(self, *words: str) -> None:
        """Text, a piece each."""
        for word in words:
            await self.delta(content=word)

    async def end(self, reason: str = "stop", usage: Json | None = None) -> None:
        """The regular end of a stream; usage only if it was asked for."""
        await self.delta(reason)
        if usage is not None and "stream_options" in self.request.body:
            await self.event({"choices": [], "usage": usage})
        await self.event("[DONE]")
        await self.raw(b"0\r\n\r\n")

    # --- anything else ---
    async def json(self, status: int, document: Any, **headers: str) -> None:
        """A whole answer."""
        await self.whole(status, json.dumps(document), "application/json", **headers)

    async def whole(self, status: int, text: str, content_type: str, **headers: str) -> None:
        """A whole answer of any kind."""
        data = text.encode()
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.raw(
            f"HTTP/1.1 {status} Status\r\nContent-Type: {content_type}\r\n{more}"
            f"Content-Length: {len(data)}\r\n\r\n{text}"
        )

    async def refuse(self, status: int, message: str, **more: Any) -> None:
        """An error as OpenAI words it."""
        await self.json(status, {"error": {"message": message, **more}})

    async def raw(self, data: str | bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data.encode() if isinstance(data, str) else data)
        await self._writer.drain()

    def reset(self) -> None:
        """Drop the connection as a crash does."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection in good order, wherever the answer is."""
        self._writer.close()

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await self._reader.read(1):
                pass
        except ConnectionError:
            return


Answer = Callable[[Exchange], Awaitable[None]]


class ChatServer:
    """Serves `/v1/models` and `/v1/chat/completions` until the block is left.

    Args:
        models: what it lists; None for a server without a list.
        hang_up: close each connection after its answer, without saying so, as idle servers do.

    Attributes:
        requests: those for completions, in order.
        answer: may be exchanged between requests.
        connections: so many there were.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        models: tuple[str, ...] | None = ("tiny",),
        hang_up: bool = False,
        api_key: str = "",
    ) -> None:
        self.answer = answer or echo
        self.models = models
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._hang_up = hang_up
        self._api_key = api_key
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                await self._answer(Exchange(request, reader, writer))
                if self._hang_up or writer.is_closing():
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass  # cancelled only when the server closes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            await exchange.refuse(401, f"Incorrect API key: {request.headers.get('authorization')}")
        elif request.path == "/v1/chat/completions":
            self.requests.append(request)
            await self.answer(exchange)
        elif request.path == "/v1/models" and self.models is not None:
            listed = [{"id": name, "object": "model", "owned_by": "test"} for name in self.models]
            await exchange.json(200, {"object": "list", "data": listed})
        else:
            await exchange.json(404, {"detail": "Not Found"})


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, json.loads(body) if body else {})


# --- answers ---
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


async def echo(exchange: Exchange) -> None:
    """Says what the user said last, a word at a time."""
    last = exchange.request.body["messages"][-1]["content"]
    await says(*(f"{word} " for word in f"You said: {last}".split()))(exchange)


def says(*words: str, reason: str = "stop", usage: Json | None = None) -> Answer:
    """Says this, in these pieces."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(role="assistant", content="")
        await exchange.say(*words)
        await exchange.end(reason, usage or USAGE)

    return answer


def sends(*chunks: Any) -> Answer:
    """Streams these events, as they are, and ends regularly."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for chunk in chunks:
            await exchange.event(chunk)
        await exchange.end()

    return answer


def refuses(status: int, message: str, **more: Any) -> Answer:
    """Refuses with an error."""

    async def answer(exchange: Exchange) -> None:
        await exchange.refuse(status, message, **more)

    return answer


def one_by_one(*answers: Answer) -> Answer:
    """A different answer to each request; the last one again and again."""
    waiting = list(answers)

    async def answer(exchange: Exchange) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange)

    return answer
