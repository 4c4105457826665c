"""The extension channel over real sockets: real speech, a line that breaks, and a stock client beside it."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from duologue.wire.dialect import Binary
from duologue.wire.extension_frames import DISCONTINUITY, Frame
from tests.support.client import phone
from tests.support.clips import clip, silence
from tests.support.server import RunningServer
from tests.transports.device import Heard

pytestmark = pytest.mark.timeout(90)

FRAME_BYTES = 960


class Speaker:
    """A device with a real socket."""

    def __init__(self, url: str) -> None:
        self.heard = Heard()
        self._url = url
        self._ws: ClientConnection | None = None
        self._sequence = self._position = 0
        self._came = asyncio.Condition()

    @property
    def ws(self) -> ClientConnection:
        assert self._ws is not None
        return self._ws

    @asynccontextmanager
    async def line(self, *others: str) -> AsyncIterator[None]:
        """A socket, and somebody who listens at it."""
        offered = [Subprotocol(name) for name in ("realtime", "duologue.v1", *others)]
        async with connect(f"{self._url}/v1/realtime", subprotocols=offered) as ws:
            assert ws.subprotocol == "duologue.v1"
            self._ws = ws
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(ws))
                yield
                listening.cancel()

    @asynccontextmanager
    async def line_again(self) -> AsyncIterator[None]:
        """The next socket of the same session."""
        async with self.line(f"duologue-resume.{self.heard.token}.{self.heard.count}"):
            yield

    async def break_off(self) -> None:
        """As when somebody trips over the cable."""
        self.ws.transport.abort()
        await self.ws.wait_closed()

    async def ask(self, kind: str, **fields: Any) -> None:
        await self.ws.send(json.dumps({"type": kind, **fields}))

    async def say(self, pcm: bytes) -> None:
        """In real time, and nothing at all where it is silent."""
        due, left_out = time.monotonic(), 0
        for at in range(0, len(pcm), FRAME_BYTES):
            sound = pcm[at : at + FRAME_BYTES]
            if any(sound):
                flags = DISCONTINUITY if left_out else 0
                await self.ws.send(Frame(flags, self._sequence, self._position, sound).pack())
                self._sequence += 1
                left_out = 0
            else:
                left_out += 1
            self._position += len(sound) // 2
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def until(self, kind: str, count: int = 1, timeout_s: float = 15) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.heard.of(kind)) >= count)
        return self.heard.of(kind)[count - 1]

    async def until_back(self) -> dict[str, Any]:
        async with asyncio.timeout(10), self._came:
            await self._came.wait_for(lambda: self.heard.resumed)
        return self.heard.resumed[-1]

    async def _listen(self, ws: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in ws:
                self.heard.take(Binary(message) if isinstance(message, bytes) else message.encode())
                async with self._came:
                    self._came.notify_all()

    def gapless_samples(self) -> int:
        at = 0
        for frame in self.heard.frames:
            assert frame.position == at
            at += len(frame.sound) // 2
        return at


def open_sessions(server: RunningServer) -> float:
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("duologue_sessions_open"):
                return float(line.split()[1])
    raise AssertionError("no such metric")


async def until_closed(server: RunningServer, before: float) -> None:
    async with asyncio.timeout(3):
        while await asyncio.to_thread(open_sessions, server) > before:  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.05)


async def test_a_line_that_breaks_in_the_middle_of_an_answer_costs_no_sample(
    talkative_server: RunningServer,
) -> None:
    speaker = Speaker(talkative_server.ws)
    async with phone(talkative_server) as stock:  # its referee knows no event of ours
        async with speaker.line():
            await speaker.until("duologue.welcome")
            await speaker.say(clip("commands-cards_003.flac") + silence(500))
            await speaker.until("response.created")
            await asyncio.sleep(1.5)
            await speaker.break_off()
        came = speaker.gapless_samples()
        assert came > 24_000
        await stock.say(clip("commands-cards_002.flac") + silence(900))
        await stock.until("response.output_audio.delta")
        async with speaker.line_again():
            resumed = await speaker.until_back()
            assert resumed["complete"] is True
            done = await speaker.until("response.done")
            assert done["response"]["status"] == "completed"
            await speaker.until("duologue.turn")
            assert abs(speaker.gapless_samples() - 6 * 24_000) <= 2
            said = speaker.heard.of("response.output_audio_transcript.done")[0]["transcript"]
            assert speaker.heard.of("duologue.heard")[-1]["text"] == said
            assert "thinking" in speaker.heard.floors()
            await speaker.say(clip("commands-cards_002.flac"))
            await speaker.until("response.created", 2)
        assert not [e for _, e in stock.events if e["type"].startswith("duologue.")]


async def test_a_goodbye_ends_the_session_and_its_token(fake_server: RunningServer) -> None:
    before = await asyncio.to_thread(open_sessions, fake_server)
    speaker = Speaker(fake_server.ws)
    async with speaker.line():
        await speaker.until("duologue.welcome")
        assert await asyncio.to_thread(open_sessions, fake_server) == before + 1
    await until_closed(fake_server, before)
    with pytest.raises(InvalidStatus) as refused:
        async with speaker.line_again():
            pass
    assert refused.value.response.status_code == 410
    assert refused.value.response.body is not None
    assert json.loads(refused.value.response.body)["error"]["code"] == "session_gone"


async def test_a_second_line_takes_the_session_over(fake_server: RunningServer) -> None:
    speaker = Speaker(fake_server.ws)
    async with speaker.line():
        await speaker.until("duologue.welcome")
        first = speaker.ws
        async with speaker.line_again():
            await speaker.until_back()
            await first.wait_closed()
            assert first.close_code == 1008
            await speaker.say(clip("commands-cards_003.flac") + silence(100))
            await speaker.until("response.done")
