"""The session API over real sockets: a stranger's walk, a line that breaks, and a server that goes down."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.server import RunningServer, server

pytestmark = pytest.mark.timeout(90)

ROOT = "/api/v1/audio-streaming"
LOUD = b"\x00\x20\x00\xe0" * 4_000
"""Half a second at 16 kHz."""

RAW = {"Content-Type": "audio/pcm;rate=16000"}


@asynccontextmanager
async def rest(running: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{running.url}{ROOT}", timeout=20) as client:
        yield client


class Client:
    """Somebody at a socket."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.seen: list[dict[str, Any]] = []
        self.frames: list[bytes] = []

    async def until(self, kind: str) -> dict[str, Any]:
        """The next message of this type."""
        async with asyncio.timeout(20):
            while True:
                message = await self.ws.recv()
                if isinstance(message, bytes):
                    self.frames.append(message)
                    continue
                self.seen.append(json.loads(message))
                if self.seen[-1]["type"] == kind:
                    return self.seen[-1]

    async def ask(self, kind: str, **data: Any) -> None:
        await self.ws.send(json.dumps({"type": kind, "data": data}))

    async def closed(self) -> int:
        """With which code the server closes."""
        with pytest.raises(ConnectionClosed) as closing:
            await self.until("nothing")
        received = closing.value.rcvd
        return received.code if received is not None else 0


@asynccontextmanager
async def line(running: RunningServer, path: str, **more: Any) -> AsyncIterator[Client]:
    async with connect(f"{running.ws}{ROOT}/ws/{path}", max_size=None, **more) as ws:
        yield Client(ws)


async def test_a_stranger_walks_through(fake_server: RunningServer) -> None:
    async with rest(fake_server) as client:
        made = (await client.post("/sessions", json={"language": "en", "vad": False})).json()
        session = f"/sessions/{made['session_id']}"
        async with line(fake_server, made["session_id"]) as there:
            joined = await there.until("connection_established")
            assert (joined["session_id"], joined["next_chunk"]) == (made["session_id"], 0)
            await there.ask("audio_chunk", audio_data=LOUD.hex(), chunk_index=0, is_final=False)
            assert (await there.until("chunk_received"))["data"]["chunk_index"] == 0
            await there.ws.send(LOUD)
            taken = await there.until("chunk_received")
            assert (taken["chunk_index"], taken["size"]) == (1, len(LOUD))
            chunk = await client.post(f"{session}/audio?is_final=true", content=LOUD, headers=RAW)
            assert chunk.json()["chunk_index"] == 2
            heard = await there.until("transcription")
            assert heard["data"]["text"].endswith("1500 ms")
            assert (heard["first_chunk"], heard["last_chunk"]) == (0, 2)
            await there.ask("text_request", text="Hello.", language="en")
            assert (await there.until("tts_queued"))["data"]["text"] == "Hello."
            spoken = await there.until("audio_response")
            assert bytes.fromhex(spoken["data"]["audio_data"]).startswith(b"RIFF")
            for command, answer in (("ping", "pong"), ("stats", "stats_response")):
                await there.ask("control", command=command)
                await there.until(answer)
            srt = (await client.get(f"{session}/transcript?format=srt")).text
            assert heard["text"] in srt
            told = (await client.get(f"{session}/events?after=0&follow=false&audio=false")).text
            assert told.count("\nid: ") == 2
            assert (await client.delete(session)).json()["success"] is True
            assert (await there.until("session_ended"))["reason"] == "deleted"
            assert await there.closed() == 1000
        text = (await client.get(f"{session}/transcript?format=txt")).text
        assert text == f"{heard['text']}\n"
        assert (await client.get(session)).status_code == 409
        assert (await client.delete(f"{session}?erase=true")).status_code == 200
        assert (await client.get(f"{session}/transcript")).status_code == 404


async def test_sound_comes_in_binary_frames(fake_server: RunningServer) -> None:
    async with rest(fake_server) as client:
        made = (await client.post("/sessions")).json()
        async with line(fake_server, f"{made['session_id']}?audio=binary") as there:
            await there.ask("text_request", text="Hello.")
            await there.until("audio_response")
            await there.ask("control", command="ping")
            await there.until("pong")
            assert [frame[:4] for frame in there.frames] == [b"RIFF"]
        await client.delete(f"/sessions/{made['session_id']}")


async def test_a_line_that_breaks_is_joined_again(fake_server: RunningServer) -> None:
    async with rest(fake_server) as client:
        made = (await client.post("/sessions", json={"needs_token": True, "vad": False})).json()
        session = f"/sessions/{made['session_id']}"
        again = f"{made['session_id']}?resume_token={made['resume_token']}"
        async with line(fake_server, again) as there:
            await there.until("connection_established")
            there.ws.transport.abort()
        await client.post(f"{session}/audio?is_final=true", content=LOUD, headers=RAW)
        async with client.stream(
            "GET", f"{session}/events?after=0&resume_token={made['resume_token']}"
        ) as events:
            async for event in events.aiter_lines():
                if event == "event: transcription":
                    break
        async with line(fake_server, f"{again}&last_seq=0") as there:
            assert (await there.until("connection_established"))["resumed"] is True
            missed = await there.until("transcription")
            assert missed["number"] == 1
        async with line(fake_server, f"{again}&last_seq=1") as there:
            await there.until("connection_established")
            await there.ask("control", command="ping")
            await there.until("pong")
            assert "transcription" not in {message["type"] for message in there.seen}
        await client.delete(session)


async def test_who_cannot_join_is_told_why(fake_server: RunningServer) -> None:
    async with rest(fake_server) as client:
        made = (await client.post("/sessions", json={"needs_token": True})).json()
        session_id = made["session_id"]
        for path, code in (("ss_unknown", 4404), (session_id, 4403)):
            async with line(fake_server, path) as there:
                assert (await there.until("error"))["data"]["code"]
                assert await there.closed() == code
        for path, status in (("a/b", 404), (f"{session_id}?last_seq=x", 400)):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{fake_server.ws}{ROOT}/ws/{path}")
            assert refused.value.response.status_code == status
        await client.delete(f"/sessions/{session_id}")


async def test_browsers_name_subprotocols(fake_server: RunningServer) -> None:
    async with rest(fake_server) as client:
        made = (await client.post("/sessions")).json()
        offered = [Subprotocol("openai-insecure-api-key.K"), Subprotocol("duologue-stream")]
        async with line(fake_server, made["session_id"], subprotocols=offered) as there:
            assert there.ws.subprotocol == "duologue-stream"
        await client.delete(f"/sessions/{made['session_id']}")


async def test_a_server_that_goes_down_lets_all_go_and_ends_no_session() -> None:
    with server("--engines", "fake") as running:
        async with rest(running) as client:
            made = (await client.post("/sessions")).json()
            async with (
                line(running, made["session_id"]) as there,
                client.stream("GET", f"/sessions/{made['session_id']}/events") as events,
            ):
                await there.until("connection_established")
                lines = events.aiter_lines()
                await anext(lines)
                running.process.send_signal(signal.SIGINT)
                assert await there.closed() == 1012
                assert "session_ended" not in {message["type"] for message in there.seen}
                told = [text async for text in lines]
        assert "event: error" in told
        assert any("server_going_down" in text for text in told)
        assert await asyncio.to_thread(running.process.wait, 5) == 0
