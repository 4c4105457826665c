"""The stock `openai` client, held as a person holds a phone: it streams in real time and keeps what it hears."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI

from tests.support.judge import Referee
from tests.support.server import RunningServer

FRAME_BYTES = 960  # 20 ms at 24 kHz


class Phone:
    """One Realtime session. Every event is judged as it comes."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.referee = Referee()
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.sound: dict[str, bytes] = {}
        self._came = asyncio.Condition()

    async def listen(self) -> None:
        """Keep and judge everything that comes."""
        async for event in self.connection:
            plain = json.loads(event.model_dump_json(exclude_unset=True))
            self.referee.see(json.dumps(plain))
            if event.type == "response.output_audio.delta":
                pcm = base64.b64decode(event.delta)
                self.sound[event.item_id] = self.sound.get(event.item_id, b"") + pcm
            async with self._came:
                self.events.append((time.monotonic(), plain))
                self._came.notify_all()

    async def say(self, pcm: bytes) -> None:
        """Stream sound, 20 ms every 20 ms."""
        due = time.monotonic()
        for at in range(0, len(pcm), FRAME_BYTES):
            audio = base64.b64encode(pcm[at : at + FRAME_BYTES]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def until(self, kind: str, count: int = 1, timeout_s: float = 20) -> dict[str, Any]:
        """Wait for the n-th event of a type."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """All events of a type."""
        return [event for _, event in self.events if event["type"] == kind]

    def heard(self) -> list[str]:
        """What the server understood, turn by turn."""
        done = self.of("conversation.item.input_audio_transcription.completed")
        return [event["transcript"] for event in done]

    def answers(self) -> list[str]:
        """What it answered."""
        return [event["transcript"] for event in self.of("response.output_audio_transcript.done")]


@asynccontextmanager
async def phone(server: RunningServer, **session: Any) -> AsyncIterator[Phone]:
    """A session with transcripts shown."""
    client = AsyncOpenAI(
        api_key="none", base_url=f"{server.url}/v1", websocket_base_url=f"{server.ws}/v1"
    )
    async with client, client.realtime.connect(model="duologue") as connection:
        held = Phone(connection)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(held.listen())
            await held.until("session.created")
            audio = {"input": {"transcription": {"model": "any"}}, **session.pop("audio", {})}
            await connection.session.update(
                session={"type": "realtime", "audio": audio, **session}  # type: ignore[arg-type]
            )
            await held.until("session.updated")
            yield held
            listening.cancel()
