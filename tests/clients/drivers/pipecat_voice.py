"""pipecat: a pipeline of a microphone, `OpenAIRealtimeLLMService` and a loudspeaker."""
# Its packages are in an environment of their own.
# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

import asyncio
import sys
import time
from typing import Any

from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    EndFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMMessagesAppendFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from tests.clients.drivers.common import (
    LAMP,
    RATE_HZ,
    Answer,
    Ear,
    Microphone,
    Task,
    converse,
    tell,
)

TOOL = FunctionSchema(
    name=LAMP,
    description="Light the lamp.",
    properties={"said": {"type": "boolean"}},
    required=["said"],
)


class Input(BaseInputTransport):
    """A transport whose user is the recordings."""

    def __init__(self, microphone: Microphone) -> None:
        super().__init__(TransportParams(audio_in_enabled=True))
        self._microphone = microphone
        self._speaking: Any = None

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._speaking = self.create_task(self._speak())

    async def cleanup(self) -> None:
        await self.cancel_task(self._speaking)
        await super().cleanup()

    async def _speak(self) -> None:
        async for pcm in self._microphone.frames():
            await self.push_audio_frame(
                InputAudioRawFrame(audio=pcm, sample_rate=RATE_HZ, num_channels=1)
            )


class Output(BaseOutputTransport):
    """A loudspeaker: it takes sound no faster than it is played."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True))
        self._due = 0.0

    async def start(self, frame: Any) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: Any) -> bool:
        self._due = max(self._due, time.monotonic()) + len(frame.audio) / 2 / RATE_HZ
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        return True


class Listener(FrameProcessor):
    """Sits before the loudspeaker and keeps what goes by."""

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self._ear = ear

    def _open(self) -> Answer:
        """The answer that is being given."""
        over = not self._ear.answers or self._ear.last.done or self._ear.last.interrupted
        return self._ear.answer(str(len(self._ear.answers))) if over else self._ear.last

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TTSAudioRawFrame():
                self._open().sound += frame.audio
            case TTSTextFrame():
                self._open().text += frame.text
            case BotStoppedSpeakingFrame():
                self._ear.last.done = True
            case InterruptionFrame():
                self._ear.last.interrupted = not self._ear.last.done
            case _:
                pass
        self._ear.changed()
        await self.push_frame(frame, direction)


async def session(task: Task, ear: Ear) -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    logger.add(lambda line: ear.fail(line), level="ERROR", format="{message}")
    llm = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=f"{task.ws}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(
            model="duologue",
            session_properties=SessionProperties(
                audio=AudioConfiguration(input=AudioInput(transcription=InputAudioTranscription()))
            ),
        ),
    )

    async def lamp(params: Any) -> None:
        await params.result_callback(ear.call(dict(params.arguments)))

    llm.register_function(LAMP, lamp)
    hello = {"role": "user", "content": "Greet the user."}
    pair = LLMContextAggregatorPair(LLMContext([hello], tools=ToolsSchema(standard_tools=[TOOL])))

    @pair.user().event_handler("on_user_turn_message_added")
    async def heard(_: Any, message: Any) -> None:
        ear.hear(message.content)

    microphone = Microphone()
    ends = (Input(microphone), Output())
    pipeline = Pipeline([ends[0], pair.user(), llm, Listener(ear), ends[1], pair.assistant()])
    rates = PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ)
    worker = PipelineWorker(pipeline, params=rates)

    @worker.event_handler("on_pipeline_error")
    async def failed(_: Any, frame: Any) -> None:
        ear.fail(frame.error)

    async def write(text: str) -> None:
        message = {"role": "user", "content": text}
        # To the service itself: the user's aggregator would only note it in the context.
        await llm.queue_frame(LLMMessagesAppendFrame(messages=[message], run_llm=True))

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        await worker.queue_frame(LLMRunFrame())
        await ear.until(lambda: ear.last.done, "the greeting")
        await converse(task, microphone, ear, write)
        await worker.queue_frame(EndFrame())


tell(session)
