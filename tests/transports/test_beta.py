"""The stock `openai` client's beta namespace on a real socket."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import websockets
from openai import AsyncOpenAI

from tests.support.beta_judge import judge
from tests.support.clips import clip, silence
from tests.support.server import RunningServer

pytestmark = pytest.mark.timeout(120)

SPOKEN = ["commands-cards_002.flac", "commands-cards_003.flac", "commands-something.flac"]


class BetaPhone:
    """One session of the beta. Every event is judged by the SDK's beta types as it comes."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []
        self._came = asyncio.Condition()

    async def listen(self) -> None:
        while True:
            event = json.loads(await self.connection.recv_bytes())
            judge(event)
            async with self._came:
                self.events.append(event)
                self._came.notify_all()

    async def say(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), 4_800):
            audio = base64.b64encode(pcm[at : at + 4_800]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(len(pcm[at : at + 4_800]) / 48_000)

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        async with asyncio.timeout(20), self._came:
            await self._came.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


@asynccontextmanager
async def beta_phone(server: RunningServer) -> AsyncIterator[BetaPhone]:
    client = AsyncOpenAI(
        api_key="none", base_url=f"{server.url}/v1", websocket_base_url=f"{server.ws}/v1"
    )
    async with client, client.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
        held = BetaPhone(connection)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(held.listen())
            await held.until("session.created")
            yield held
            listening.cancel()


async def test_three_turns(fake_server: RunningServer) -> None:
    async with beta_phone(fake_server) as held:
        await held.connection.session.update(
            session={
                "modalities": ["text", "audio"],
                "voice": "alloy",
                "input_audio_format": "pcm16",
                "input_audio_transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                "temperature": 0.7,
                "max_response_output_tokens": 40,
            }
        )
        session = (await held.until("session.updated"))["session"]
        assert (session["voice"], session["temperature"]) == ("alloy", 0.7)
        assert session["turn_detection"]["silence_duration_ms"] == 400
        for number, name in enumerate(SPOKEN):
            await held.say(clip(name) + silence(700))
            await held.until("response.done", number + 1)
            await held.say(silence(300))
        heard = held.of("conversation.item.input_audio_transcription.completed")
        said = held.of("response.audio_transcript.done")
        assert len(heard) == len(said) == 3
        for asked, answer in zip(heard, said, strict=True):
            assert " ".join(asked["transcript"].split()[:3]) in answer["transcript"]
        pcm = b"".join(base64.b64decode(e["delta"]) for e in held.of("response.audio.delta"))
        assert len(pcm) == 3 * 24_000
        assert np.abs(np.frombuffer(pcm, np.int16)).mean() > 2_000
        assert {e["response"]["status"] for e in held.of("response.done")} == {"completed"}
        items = [e["item"]["role"] for e in held.of("conversation.item.created")]
        assert items == ["user", "assistant"] * 3


async def test_a_typed_question_with_flat_parameters(fake_server: RunningServer) -> None:
    async with beta_phone(fake_server) as held:
        await held.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "ahoy"}],
            }
        )
        await held.connection.response.create(
            response={"modalities": ["text"], "max_response_output_tokens": 5}
        )
        response = (await held.until("response.done"))["response"]
        assert "ahoy" in held.of("response.text.done")[0]["text"]
        assert (response["modalities"], response["max_output_tokens"]) == (["text"], 5)
        assert response["output"][0]["content"][0]["type"] == "text"


async def test_a_browser_of_the_beta_and_a_transcription_session(
    fake_server: RunningServer,
) -> None:
    offered = [websockets.Subprotocol(p) for p in ("realtime", "openai-beta.realtime-v1")]
    url = f"{fake_server.ws}/v1/realtime?intent=transcription"
    async with websockets.connect(url, subprotocols=offered) as socket, asyncio.timeout(20):
        assert socket.subprotocol == "realtime"
        assert json.loads(await socket.recv())["type"] == "transcription_session.created"
        update = {
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1"},
        }
        await socket.send(json.dumps({"type": "transcription_session.update", "session": update}))
        updated = json.loads(await socket.recv())
        judge(updated)
        assert updated["type"] == "transcription_session.updated"
        pcm = clip(SPOKEN[0]) + silence(900)
        audio = base64.b64encode(pcm).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        kinds: list[str] = []
        while not kinds or not kinds[-1].endswith("transcription.completed"):
            kinds.append(json.loads(await socket.recv())["type"])
        assert "conversation.item.created" in kinds
        assert not [kind for kind in kinds if kind.startswith("response.")]
