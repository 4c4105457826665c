import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from duologue.engines.chat.local_llms import FoundLlm, find
from tests.engines.chat.chat_server import ChatServer


@asynccontextmanager
async def answering(answer: bytes, *, is_kept_open: bool = False) -> AsyncIterator[int]:
    """A server that answers anything with these bytes."""
    kept: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if is_kept_open:
            kept.append(writer)
            return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for writer in kept:
        writer.close()


def listing(*models: dict[str, object], length: bool = True) -> bytes:
    body = json.dumps({"object": "list", "data": list(models)}).encode()
    size = b"Content-Length: %d\r\n" % len(body) if length else b""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + size + b"\r\n" + body


async def test_a_server_is_found_with_its_models() -> None:
    async with ChatServer(models=("a", "b")) as chat:
        found = await find(ports=[chat.port])
    assert found == [FoundLlm("A language model server", chat.url, ("a", "b"))]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("library", "Ollama"),
        ("llamacpp", "llama.cpp"),
        ("vllm", "vLLM"),
        ("organization_owner", "LM Studio"),
    ],
)
async def test_servers_say_who_they_are(owner: str, name: str) -> None:
    async with answering(listing({"id": "m", "owned_by": owner})) as port:
        assert [(f.name, f.models) for f in await find(ports=[port])] == [(name, ("m",))]


@pytest.mark.parametrize("length", [True, False])
async def test_the_end_of_an_answer_is_its_length_or_that_of_the_connection(length: bool) -> None:
    answer = listing({"id": "m"}, length=length)
    async with answering(answer, is_kept_open=length) as port:
        assert [f.models for f in await find(ports=[port])] == [("m",)]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\n\r\n{"data": 5}',
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        listing({"id": "duologue", "owned_by": "duologue"}),
    ],
    ids=range(11),
)
async def test_what_is_no_language_model_is_not_found(answer: bytes) -> None:
    async with answering(answer) as port:
        assert [f for f in await find(ports=[port]) if f.models] == []


async def test_a_list_without_models_and_with_odd_ones() -> None:
    async with answering(b'HTTP/1.1 200 OK\r\n\r\n{"object": "list", "data": null}') as port:
        assert [f.models for f in await find(ports=[port])] == [()]  # Ollama, before the first pull
    async with answering(listing({"id": 5}, {"name": "x"}, {"id": "m", "owned_by": []})) as port:
        assert [f.models for f in await find(ports=[port])] == [("m",)]


async def test_silence_and_closed_ports_cost_one_short_wait() -> None:
    async with ChatServer() as closed:
        pass
    loop = asyncio.get_running_loop()
    async with answering(b"", is_kept_open=True) as one, answering(b"", is_kept_open=True) as two:
        began = loop.time()
        assert await find(ports=[one, two], timeout_s=0.05) == []
        assert loop.time() - began < 0.1
    assert closed.requests == []


async def test_our_own_port_is_skipped_and_the_order_is_that_of_the_ports() -> None:
    async with ChatServer() as one, ChatServer() as two, ChatServer() as own:
        ports = [two.port, own.port, one.port]
        found = await find(ports=ports, skip_ports=(own.port,))
        assert own.connections == 0
    assert [f.url for f in found] == [two.url, one.url]


async def test_looking_at_the_usual_ports_harms_nobody() -> None:
    found = await find(timeout_s=0.05)
    assert all(f.url.startswith("http://127.0.0.1:") for f in found)
