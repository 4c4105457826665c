"""Speech: a text in, a file out that is sent while it is spoken, as fast as the client reads."""

import asyncio
import base64
import re
import uuid
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from starlette.requests import ClientDisconnect

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.capabilities import Role
from duologue.core.errors import EngineLost, MalformedEvent
from duologue.core.sentences import Sentences
from duologue.ports import Audio, EngineGone, EnginePool, EngineStream, Final, Say, TtsOptions
from duologue.server import bodies
from duologue.server.audio.encode import KINDS, RATE_HZ, Encoder, encoder
from duologue.server.audio.outlet import EVENTS, Outlet
from duologue.server.audio.refusals import Refusal, invalid, wrong
from duologue.wire import session_options as read

MAX_CHARS = 4_096
"""OpenAI's own limit."""

MAX_BODY_BYTES = 256 * 1024
"""The text, and instructions of any sensible length."""

NOTHING_MS = 100
"""Silence in place of a text without anything that can be spoken; a file without a sample is no file."""

CHARS_PER_TOKEN = 4
TOKENS_PER_S = 20
"""As OpenAI counts: a token of text for about four characters, and one of sound for 50 ms."""

_WORD = re.compile(r"\s*\S+\s*|\s+")

_ALL = 1
"""The one flush."""


class Speech(BaseModel):
    """The body of a request for speech."""

    model: str
    input: str = Field(min_length=1, max_length=MAX_CHARS)
    voice: Annotated[str, BeforeValidator(lambda doc: _voice(doc))]
    instructions: str | None = Field(default=None, description="accepted, and without effect")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    stream_format: Literal["audio", "sse"] = "audio"

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return EVENTS if self.stream_format == "sse" else KINDS[self.response_format].media_type


def _voice(doc: Any) -> Any:
    """A voice of one's own is named by `{"id": …}`."""
    return doc.get("id") if isinstance(doc, dict) else doc


async def receive(request: Request) -> Speech:
    """The body of a request.

    Raises:
        Refusal: it is too large, no JSON, or wrong.
    """
    try:
        body = await bodies.receive(request, MAX_BODY_BYTES)
    except MalformedEvent as error:
        raise Refusal(413, error.code, error.message) from error
    except ClientDisconnect as error:
        raise wrong("client_gone", "The client hung up while it sent its request.") from error
    try:
        return Speech.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise wrong("invalid_json", "The body is no JSON.") from error
        raise invalid(errors) from error


class Speaker:
    """Answers such requests."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool

    async def answer(self, speech: Speech, outlet: Outlet) -> None:
        """Speak it.

        Raises:
            EngineError: there is no voice free, or it failed.
        """
        options = TtsOptions(voice=read.voice(speech.voice), speed=speech.speed)
        stream = await self._pool.open(Role.TTS, f"speech-{uuid.uuid4().hex}", options)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_say(stream, speech.input), name="speech-text")
                await _send(stream, _File(speech, outlet))
        finally:
            await stream.aclose(cancel=True)


def pieces(text: str) -> list[str]:
    """A text as it is given to a voice: a short piece first, so that its first sound comes early.

    Word by word, as a language model would write it; a text pushed at once is cut at ends of sentences only.
    """
    sentences, found = Sentences(), list[str]()
    for word in _WORD.findall(text):
        found += sentences.push(word)
    return found + sentences.flush()


async def _say(stream: EngineStream, text: str) -> None:
    for number, piece in enumerate(pieces(text)):
        while not stream.offer(Say(number, piece)):
            await stream.room()
    stream.flush(_ALL)


async def _send(stream: EngineStream, file: "_File") -> None:
    async for event in stream.events():
        if isinstance(event, Audio):
            await file.add(event.pcm, stream.rate_hz)
        elif isinstance(event, EngineGone):
            raise event.error
        elif isinstance(event, Final):
            await file.end()
            return
    raise EngineLost("tts_ended", "The voice ended its stream before it had spoken everything.")


class _File:
    """The file on its way to the client."""

    def __init__(self, speech: Speech, outlet: Outlet) -> None:
        self._speech = speech
        self._outlet = outlet
        self._encoder: Encoder = encoder(speech.response_format)
        self._has_events = speech.stream_format == "sse"
        self._seconds = 0.0

    async def add(self, pcm: bytes, rate_hz: int) -> None:
        """More sound."""
        self._seconds += len(pcm) / SAMPLE_BYTES / rate_hz
        await self._send(await asyncio.to_thread(self._encoder.push, pcm, rate_hz))

    async def end(self) -> None:
        """No more comes."""
        if not self._seconds:
            await self.add(bytes(RATE_HZ * NOTHING_MS // 1000 * SAMPLE_BYTES), RATE_HZ)
        await self._send(await asyncio.to_thread(self._encoder.finish))
        if self._has_events:
            await self._outlet.tell({"type": "speech.audio.done", "usage": self._usage()})

    async def _send(self, data: bytes) -> None:
        if not self._has_events:
            await self._outlet.send(data)
        elif data:
            text = base64.b64encode(data).decode()
            await self._outlet.tell({"type": "speech.audio.delta", "audio": text})

    def _usage(self) -> dict[str, int]:
        """Estimates: nothing here counts tokens."""
        spoken = len(self._speech.input) // CHARS_PER_TOKEN
        sound = round(self._seconds * TOKENS_PER_S)
        return {
            "input_tokens": spoken,
            "output_tokens": sound,
            "total_tokens": spoken + sound,
        }
