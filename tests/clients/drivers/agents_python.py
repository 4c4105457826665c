"""The OpenAI Agents SDK for Python: a `RealtimeSession` with a function tool."""
# Its packages are in an environment of their own.
# mypy: disable-error-code="import-not-found, untyped-decorator"

import asyncio
from typing import Any

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner

from tests.clients.drivers.common import LAMP, Ear, Microphone, Task, converse, tell


async def session(task: Task, ear: Ear) -> None:
    @function_tool(name_override=LAMP)
    async def lamp(said: bool) -> str:
        """Light the lamp."""
        return ear.call({"said": said})

    agent = RealtimeAgent(name="Guide", instructions="Be brief.", tools=[lamp])
    runner = RealtimeRunner(agent)
    config = {"url": f"{task.ws}/v1/realtime?model=duologue", "api_key": "none"}
    microphone = Microphone()
    async with await runner.run(model_config=config) as live, asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen(live, ear))
        speaking = tasks.create_task(speak(live, microphone))
        await converse(task, microphone, ear, live.send_message)
        speaking.cancel()
        listening.cancel()


async def speak(live: Any, microphone: Microphone) -> None:
    async for pcm in microphone.frames():
        await live.send_audio(pcm)


async def listen(live: Any, ear: Ear) -> None:
    async for event in live:
        match event.type:
            case "audio":
                ear.answer(event.item_id).sound += event.audio.data
            case "audio_end":
                ear.answer(event.item_id).done = True
            case "audio_interrupted":
                answer = ear.answer(event.item_id)
                answer.interrupted = answer.interrupted or not answer.done
            case "error":
                ear.fail(event.error)
            case "raw_model_event":
                detail(event.data, ear)
            case _:
                pass


def detail(event: Any, ear: Ear) -> None:
    match event.type:
        case "transcript_delta":
            ear.answer(event.item_id).text += event.delta
        case "input_audio_transcription_completed":
            ear.hear(event.transcript)
        case "exception":
            ear.fail(event.exception)
        case _:
            pass


tell(session)
