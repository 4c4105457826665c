"""livekit-agents: an `AgentSession` on OpenAI's realtime model, without a room."""
# Its packages are in an environment of their own.
# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai

from tests.clients.drivers.common import LAMP, RATE_HZ, Ear, Microphone, Task, converse, tell


class Input(io.AudioInput):
    """A source of sound whose user is the recordings."""

    def __init__(self, microphone: Microphone) -> None:
        super().__init__(label="recordings")
        self._frames: AsyncIterator[bytes] = microphone.frames()

    async def __anext__(self) -> Any:
        pcm = await anext(self._frames)
        return rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2)


class Output(io.AudioOutput):
    """A loudspeaker that plays what it is given, and says how far it came."""

    def __init__(self, ear: Ear) -> None:
        capabilities = io.AudioOutputCapabilities(pause=False)
        super().__init__(label="loudspeaker", capabilities=capabilities, sample_rate=RATE_HZ)
        self._ear = ear
        self._began = 0.0
        self._given_s = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: Any) -> None:
        await super().capture_frame(frame)
        if not self._given_s:
            self._began = time.time()
            self._ear.answer(str(len(self._ear.answers)))
            self.on_playback_started(created_at=self._began)
        self._given_s += frame.duration
        self._ear.last.sound += bytes(frame.data)
        self._ear.changed()

    def flush(self) -> None:
        super().flush()
        if self._given_s:
            left = self._began + self._given_s - time.time()
            self._end = asyncio.get_running_loop().call_later(max(0.0, left), self._finish, False)

    def clear_buffer(self) -> None:
        if self._given_s:
            self._finish(True)

    def _finish(self, interrupted: bool) -> None:
        if self._end:
            self._end.cancel()
            self._end = None
        played = min(self._given_s, time.time() - self._began) if interrupted else self._given_s
        self._given_s = 0.0
        self.on_playback_finished(playback_position=played, interrupted=interrupted)


async def session(task: Task, ear: Ear) -> None:
    @function_tool(name=LAMP)
    async def lamp(said: bool) -> str:
        """Light the lamp."""
        return ear.call({"said": said})

    microphone = Microphone()
    async with aiohttp.ClientSession() as http:
        model = openai.realtime.RealtimeModel(
            model="duologue", base_url=f"{task.url}/v1", api_key="none", http_session=http
        )
        live = AgentSession(llm=model)
        live.on("conversation_item_added", lambda event: added(event.item, ear))
        live.on("user_input_transcribed", lambda event: heard(event, ear))
        live.on("error", lambda event: ear.fail(event.error))
        live.input.audio = Input(microphone)
        live.output.audio = Output(ear)
        await live.start(Agent(instructions="Be brief.", tools=[lamp]), record=False)

        async def write(text: str) -> None:
            live.generate_reply(user_input=text)

        await converse(task, microphone, ear, write)
        await live.aclose()


def heard(event: Any, ear: Ear) -> None:
    if event.is_final:
        ear.hear(event.transcript)


def added(item: Any, ear: Ear) -> None:
    if item.type == "message" and item.role == "assistant":
        ear.last.text = item.text_content or ""
        ear.last.interrupted = item.interrupted
        ear.last.done = True
        ear.changed()


tell(session)
