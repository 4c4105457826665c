"""What the world sends: wrong, too much, too early, or nothing any more. A clear error or correct work, no trace."""

import asyncio
import base64
import contextlib
import json
import re
import socket
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.clips import clip, silence
from tests.support.judge import Referee
from tests.support.server import RunningServer, server

pytestmark = pytest.mark.timeout(90)


class Line:
    """A bare WebSocket, judged as it is read."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.referee = Referee()

    async def send(self, event: dict[str, Any] | bytes | str) -> None:
        data = json.dumps(event) if isinstance(event, dict) else event
        await self.ws.send(data.decode() if isinstance(data, bytes) else data)

    async def append(self, pcm: bytes) -> None:
        await self.send(
            {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}
        )

    async def until(self, kind: str, timeout_s: float = 15) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                event = self.referee.see(await self.ws.recv())
                if event["type"] == kind:
                    return event

    async def error(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.until("error"))["error"]
        return body

    async def still_works(self) -> None:
        """A whole turn, spoken fast."""
        await self.append(clip("commands-cards_003.flac") + silence(900))
        done = await self.until("response.done")
        assert done["response"]["status"] == "completed"


@asynccontextmanager
async def line(running: RunningServer, **options: Any) -> AsyncIterator[Line]:
    url = f"{running.ws}/v1/realtime?model=duologue"
    async with connect(url, max_size=None, **options) as ws:
        opened = Line(ws)
        await opened.until("session.created")
        yield opened


def metric(running: RunningServer, name: str) -> float:
    with urllib.request.urlopen(f"{running.url}/metrics") as answer:
        text = answer.read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M))


async def nothing_is_left(running: RunningServer) -> None:
    """All sessions and streams of the server are gone."""
    for name in ("duologue_sessions_open", "duologue_engine_streams"):
        async with asyncio.timeout(15):
            while await asyncio.to_thread(metric, running, name):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


# --- wrong ---
async def test_every_kind_of_nonsense_is_answered_and_the_connection_lives_on(
    fake_server: RunningServer,
) -> None:
    async with line(fake_server) as held:
        for data, code in (
            (b"{", "invalid_json"),
            (b"[1, 2]", "invalid_event"),
            (b'{"type": "no.such.event", "event_id": "e1"}', "invalid_value"),
            (b'{"type": "input_audio_buffer.append", "audio": "AAA"}', "invalid_value"),
            (b'{"type": "input_audio_buffer.append", "audio": "YWJj"}', "invalid_value"),
            (b'{"type": "conversation.item.truncate"}', "missing_required_parameter"),
            (b'{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
            (b'{"type": "response.cancel"}', "response_cancel_not_active"),
        ):
            await held.send(data)
            error = await held.error()
            assert error["code"] == code
            assert error["message"]
        await held.still_works()


async def test_a_message_in_fragments_is_one_message(fake_server: RunningServer) -> None:
    async with line(fake_server) as held:
        text = json.dumps({"type": "response.cancel", "event_id": "in pieces"})

        async def pieces() -> AsyncIterator[str]:
            for at in range(0, len(text), 7):
                yield text[at : at + 7]

        await held.ws.send(pieces())
        assert (await held.error())["event_id"] == "in pieces"
        await held.still_works()


async def test_an_append_too_large_is_named_and_the_connection_lives_on(
    fake_server: RunningServer,
) -> None:
    async with line(fake_server) as held:
        await held.append(bytes(16 * 1024 * 1024))  # 21 MB of JSON
        error = await held.error()
        assert (error["code"], error["param"]) == ("audio_too_long", "audio")
        await held.still_works()


async def test_a_frame_beyond_all_limits_closes_with_the_code_for_it(
    fake_server: RunningServer,
) -> None:
    async with line(fake_server) as held:
        too_much = "x" * (40 * 1024 * 1024)

        async def provoke() -> None:
            await held.ws.send(too_much)
            await held.until("error")

        with pytest.raises(ConnectionClosed):
            await provoke()
    await nothing_is_left(fake_server)


async def test_sound_before_the_session_is_configured_is_heard(fake_server: RunningServer) -> None:
    url = f"{fake_server.ws}/v1/realtime"
    async with connect(url, max_size=None) as ws:
        early = Line(ws)
        await early.append(clip("commands-cards_002.flac") + silence(900))
        await early.until("response.done")


async def test_ten_minutes_of_sound_at_once_do_not_hold_the_others(
    fake_server: RunningServer,
) -> None:
    async with line(fake_server) as flood, line(fake_server) as other:
        for _ in range(5):
            await flood.append(silence(120_000))
        began = time.monotonic()
        await other.still_works()
        assert time.monotonic() - began < 6
        await flood.still_works()


async def test_slow_sound_is_told_apart_from_silence(fake_server: RunningServer) -> None:
    """8 kHz sound declared as 24 kHz: it arrives at a third of the pace."""
    spoken = np.frombuffer(clip("commands-vosk_digits.flac", 8_000), np.int16)
    async with line(fake_server) as held:
        async with asyncio.TaskGroup() as tasks:

            async def talk() -> None:
                due = time.monotonic()
                for at in range(0, len(spoken), 160):
                    await held.append(spoken[at : at + 160].tobytes())
                    due += 0.02
                    await asyncio.sleep(max(0.0, due - time.monotonic()))

            talking = tasks.create_task(talk())
            error = await held.error()
            talking.cancel()
        assert error["code"] == "audio_rate_mismatch"
        assert "8000 Hz" in error["message"]
        # and declared rightly, it is understood
        fmt = {"type": "audio/pcm", "rate": 8_000}
        session = {"type": "realtime", "audio": {"input": {"format": fmt}}}
        await held.send({"type": "session.update", "session": session})
        await held.append(bytes(16_000))


# --- gone ---
async def test_clients_that_vanish_leave_nothing_behind(talkative_server: RunningServer) -> None:
    process = psutil.Process(talkative_server.process.pid)
    await nothing_is_left(talkative_server)
    files, threads = process.num_fds(), process.num_threads()
    for moment in ("speaking", "thinking", "answering"):
        for _ in range(5):
            ws = await connect(f"{talkative_server.ws}/v1/realtime", max_size=None)
            vanishing = Line(ws)
            await vanishing.until("session.created")
            await vanishing.append(clip("commands-cards_002.flac"))
            if moment != "speaking":
                await vanishing.append(silence(900))
            if moment == "answering":
                await vanishing.until("response.output_audio.delta")
            ws.transport.abort()
    await nothing_is_left(talkative_server)
    assert process.num_fds() <= files + 2
    assert process.num_threads() <= threads + 2


async def test_a_client_that_never_reads_is_given_up_and_the_others_are_heard() -> None:
    """Its kernel takes a few megabytes for it; what the server keeps beyond that is bounded."""
    with server("--engines", "fake", "--fake", "tts_s=0.2") as running:
        deaf = socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1])))
        key = base64.b64encode(bytes(16)).decode()
        deaf.sendall(
            "GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        # each of these is answered by an error of several hundred bytes
        nonsense = b'{"type": "' + b"x" * 100 + b'"}'
        frame = bytes([0x81, 0x80 | len(nonsense), 0, 0, 0, 0]) + nonsense
        before = psutil.Process(running.process.pid).memory_info().rss

        def shout() -> None:
            with contextlib.suppress(OSError):  # it may be hung up on in the middle
                for _ in range(600):
                    deaf.sendall(frame * 100)

        await asyncio.wait_for(asyncio.to_thread(shout), 60)
        async with line(running) as held:
            await held.still_works()
        await nothing_is_left(running)
        deaf.close()
        assert psutil.Process(running.process.pid).memory_info().rss - before < 60 * 2**20
        assert "reads too slowly" in running.output


# --- at the door ---
async def test_the_subprotocol_that_browsers_need_is_selected(fake_server: RunningServer) -> None:
    offers = ["realtime", "openai-insecure-api-key.abc", "openai-agents-sdk"]
    async with line(fake_server, subprotocols=offers) as held:
        assert held.ws.subprotocol == "realtime"
    async with line(fake_server) as held:
        assert held.ws.subprotocol is None


async def test_refusals_at_the_door_have_a_status_and_a_code() -> None:
    with server(
        "--engines", "fake", "--api-key", "sesame,second", "--max-sessions", "1"
    ) as running:
        url = f"{running.ws}/v1/realtime"

        async def refused(address: str, **options: Any) -> tuple[int, str]:
            with pytest.raises(InvalidStatus) as error:
                await connect(address, **options)
            body = json.loads(error.value.response.body or b"{}")
            return error.value.response.status_code, body["error"]["code"]

        def key(text: str) -> dict[str, Any]:
            return {"additional_headers": {"Authorization": f"Bearer {text}"}}

        assert await refused(url) == (401, "missing_api_key")
        assert await refused(url, **key("wrong")) == (401, "invalid_api_key")
        assert await refused(f"{running.ws}/elsewhere", **key("sesame")) == (404, "not_found")
        evil = {
            "additional_headers": {"Authorization": "Bearer sesame"},
            "origin": "http://evil.example",
        }
        assert await refused(url, **evil) == (403, "origin_not_allowed")
        async with line(running, **key("second")):
            assert await refused(url, **key("sesame")) == (503, "session_limit_reached")
        protocols = ["realtime", "openai-insecure-api-key.sesame"]
        async with freed(running, subprotocols=protocols, origin=running.url):
            pass


@asynccontextmanager
async def freed(running: RunningServer, **options: Any) -> AsyncIterator[None]:
    """A line in the place of one that has just closed: the server may still be clearing up."""
    for _ in range(100):
        try:
            async with line(running, **options):
                yield
                return
        except InvalidStatus:
            continue
    raise AssertionError("the place was never given back")


# --- going down ---
async def test_ctrl_c_lets_an_answer_finish_and_leaves_no_process() -> None:
    with server("--engines", "fake", "--fake", "tts_s=1.5") as running:
        async with line(running) as held:
            await held.append(clip("commands-cards_003.flac") + silence(900))
            await held.until("response.output_audio.delta")
            children = psutil.Process(running.process.pid).children(recursive=True)
            stopping = asyncio.create_task(asyncio.to_thread(running.stop))
            done = await held.until("response.done")
            assert done["response"]["status"] == "completed"
            with pytest.raises(ConnectionClosed) as closed:
                await held.until("session.updated")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
            assert await stopping == 0
        assert "Duologue has stopped." in running.output
        assert "Traceback" not in running.output
        assert not psutil.wait_procs(children, timeout=3)[1]
