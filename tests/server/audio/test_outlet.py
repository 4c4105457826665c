"""Errands: work that is done while it is sent."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import Response
from fastapi.responses import PlainTextResponse

from duologue.core.errors import AtCapacity, EngineLost
from duologue.server.audio.outlet import CLIENT_GONE, EVENTS, BrokenOff, Errand, Outlet
from duologue.server.audio.refusals import wrong


class Client:
    """An ASGI server and the client behind it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


Work = Callable[[Outlet], Awaitable[Response | None]]


async def run(work: Work, media_type: str = "audio/x", client: Client | None = None) -> Client:
    """Have it done; the file is always given back."""
    client = client or Client()
    done = []

    async def give_back() -> None:
        done.append(1)

    try:
        await Errand(work, media_type, give_back)({"type": "http"}, client.receive, client.send)
    finally:
        assert done == [1]
    return client


async def test_a_whole_answer() -> None:
    async def work(_: Outlet) -> Response:
        return PlainTextResponse("so", 201)

    client = await run(work)
    assert (client.status, client.body, client.is_complete) == (201, b"so", True)


async def test_an_answer_in_pieces_goes_out_piece_by_piece() -> None:
    client = Client()

    async def work(outlet: Outlet) -> None:
        await outlet.send(b"")
        assert client.sent == []
        await outlet.send(b"one")
        assert (client.status, client.body) == (200, b"one")
        await outlet.send(b"two")

    await run(work, client=client)
    assert (client.body, client.is_complete) == (b"onetwo", True)
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"audio/x"


@pytest.mark.parametrize("grouped", [False, True])
async def test_an_error_before_the_first_byte_is_an_answer(grouped: bool) -> None:
    async def work(_: Outlet) -> None:
        error = AtCapacity("tts_at_capacity", "All taken.", remedy="Come back.")
        raise ExceptionGroup("of a task", [error]) if grouped else error

    client = await run(work)
    assert client.status == 429
    assert dict(client.sent[0]["headers"])[b"retry-after"] == b"2"
    assert client.error["code"] == "tts_at_capacity"
    assert client.error["message"] == "All taken. Come back."


async def test_a_refusal_is_an_answer() -> None:
    async def work(_: Outlet) -> None:
        raise wrong("audio_corrupt", "Broken.", "file")

    client = await run(work)
    assert (client.status, client.error["param"]) == (400, "file")


async def test_an_error_after_the_first_byte_ends_a_stream_of_events_with_one() -> None:
    async def work(outlet: Outlet) -> None:
        await outlet.tell({"type": "speech.audio.delta", "audio": "é"})
        raise EngineLost("tts_lost", "It broke.")

    client = await run(work, EVENTS)
    first, last, rest = client.body.decode().split("\n\n")
    assert first == 'data: {"type":"speech.audio.delta","audio":"é"}'
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "tts_lost"
    assert (rest, client.is_complete) == ("", True)


async def test_an_error_after_the_first_byte_cuts_a_file_off() -> None:
    async def work(outlet: Outlet) -> None:
        await outlet.send(b"half")
        raise EngineLost("tts_lost", "It broke.")

    client = Client()
    with pytest.raises(ExceptionGroup) as broken:
        await run(work, client=client)
    assert broken.group_contains(BrokenOff)
    assert not client.is_complete


@pytest.mark.parametrize("begun", [False, True])
async def test_work_is_cancelled_when_the_client_hangs_up(begun: bool) -> None:
    client, ends = Client(), []

    async def work(outlet: Outlet) -> None:
        if begun:
            await outlet.send(b"some")
        client.gone.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cleaned up")

    async with asyncio.timeout(5):
        await run(work, client=client)
    assert ends == ["cleaned up"]
    assert client.status == (200 if begun else CLIENT_GONE)


async def test_a_bug_is_no_answer() -> None:
    async def work(_: Outlet) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as bug:
        await run(work)
    assert bug.group_contains(ZeroDivisionError)
