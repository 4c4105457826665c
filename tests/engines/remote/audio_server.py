"""A server of OpenAI's audio interface for tests, which does what a test tells it: real HTTP on a loopback port.

    async with AudioServer(says("turn on the light")) as server:
        engine = OpenAIStt(f"{server.url}|tiny")
        ...
    server.requests[-1].form["language"]

What it answers is a coroutine that is given the `Exchange` of `tests.engines.chat.chat_server`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from types import TracebackType
from typing import Any, Self

from tests.engines.chat.chat_server import Exchange
from tests.engines.chat.chat_server import Request as Head

KEY = "sk-very-secret"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent: a form with a file, or a document."""

    path: str
    headers: dict[str, str]
    form: dict[str, list[str]] = field(default_factory=dict)
    file: bytes = b""
    file_name: str = ""
    file_type: str = ""
    body: dict[str, Any] = field(default_factory=dict)


Answer = Callable[[Exchange, Request], Awaitable[None]]


class AudioServer:
    """Serves `/v1/models`, and gives everything else to `answer`.

    Args:
        models: what it lists; None for a server without a list.
        hang_up: close each connection after its answer, without saying so, as idle servers do.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        models: tuple[str, ...] | None = ("tiny",),
        hang_up: bool = False,
        api_key: str = "",
    ) -> None:
        self.answer = answer
        self.models = models
        self.requests: list[Request] = []
        self.connections = 0
        self.at_work = 0
        self.most_at_work = 0
        self.gone = asyncio.Event()  # a client left in the middle since it was cleared
        self._hang_up = hang_up
        self._api_key = api_key
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def host(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
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
                exchange = Exchange(Head("POST", request.path, request.headers), reader, writer)
                await self._answer(exchange, request)
                if self._hang_up or writer.is_closing():
                    break
        except ConnectionError:
            self.gone.set()
        except asyncio.CancelledError:
            pass  # only when the server closes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, exchange: Exchange, request: Request) -> None:
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            await exchange.refuse(401, f"Incorrect key: {request.headers.get('authorization')}")
        elif request.path == "/v1/models":
            listed = [{"id": name} for name in self.models or ()]
            await exchange.json(200 if self.models is not None else 404, {"data": listed})
        else:
            self.requests.append(request)
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            try:
                await self.answer(exchange, request)
            finally:
                self.at_work -= 1


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip().split("\r\n")
    _, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    kind = headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return Request(path, headers, body=json.loads(body) if body else {})
    whole: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=HTTP)
    form: dict[str, list[str]] = {}
    file: tuple[bytes, str, str] = (b"", "", "")
    for part in whole.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if name == "file":
            file = (data, part.get_filename(), part.get_content_type())
        else:
            form.setdefault(name, []).append(data.decode())
    return Request(path, headers, form, *file)


# --- answers ---
def says(text: str, **more: Any) -> Answer:
    """Transcribes everything so."""

    async def answer(exchange: Exchange, request: Request) -> None:
        await exchange.json(200, {"text": text, **more})

    return answer


def refuses(status: int, message: str, **headers: str) -> Answer:
    """Refuses with an error."""

    async def answer(exchange: Exchange, request: Request) -> None:
        await exchange.json(status, {"error": {"message": message}}, **headers)

    return answer


def one_by_one(*answers: Answer) -> Answer:
    """A different answer to each request; the last one again and again."""
    waiting = list(answers)

    async def answer(exchange: Exchange, request: Request) -> None:
        await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(exchange, request)

    return answer


async def begin(exchange: Exchange, kind: str) -> None:
    """The head of an answer that ends with its connection."""
    await exchange.raw(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n")


def sends(data: bytes, kind: str = "audio/pcm", piece: int = 5_001) -> Answer:
    """Streams these bytes."""

    async def answer(exchange: Exchange, request: Request) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        await exchange.raw(head)
        for at in range(0, len(data), piece):
            await exchange.raw(data[at : at + piece])
            await asyncio.sleep(0)

    return answer
