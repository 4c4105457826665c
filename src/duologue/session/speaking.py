"""From a prompt to sound: the language model's words in pieces to the synthesiser, its sound to the mouth.

Runs as one task an answer. Cancelling it is how an answer is stopped: the engines' streams are closed on
the way out, and whatever they still send belongs to nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Protocol, cast

import numpy as np
import soxr

from duologue.core.capabilities import Role
from duologue.core.errors import DuologueError, EngineError, first_of
from duologue.core.sentences import Sentences
from duologue.ports import (
    Audio,
    CallDelta,
    CutShort,
    Delta,
    EngineGone,
    EnginePool,
    EngineStream,
    Final,
    Prompt,
    Responder,
    Say,
    SpeakLater,
    Spent,
    TextDelta,
    TtsOptions,
)

_ALL = 1
"""The one flush of an answer."""


class Answer(Protocol):
    """What was generated is told to it, and nothing else: a `reply.Reply`, or a `rehearsal.Rehearsal`."""

    def add_text(self, text: str) -> None:
        """Text of an answer that is not spoken."""

    def add_piece(self, text: str) -> int:
        """A piece of text that will be spoken; returns its number."""

    def add_sound(
        self, number: int, text: str, pcm: bytes, words: tuple[tuple[float, int], ...]
    ) -> None:
        """Sound of a piece; `text` is the piece's where it is the first of it."""

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """A function call begins, or its arguments go on."""

    def spend(self, spent: Spent) -> None:
        """Tokens, as the model's server counted them."""

    def cut_short(self, reason: str) -> None:
        """The model stopped at a limit."""

    def fail(self, error: DuologueError) -> None:
        """Something broke; what is there is still said."""

    def finish(self) -> None:
        """All that there will be is here."""


class Room(Protocol):
    """Where the sound goes, as far as its maker needs to know."""

    async def room(self) -> None:
        """Wait until there is room for more."""


class Verbatim:
    """Says what it is given: for announcements."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """The text, at once."""
        yield TextDelta(self._text)


class Broken:
    """Cannot answer, and says why."""

    def __init__(self, error: EngineError) -> None:
        self._error = error

    def respond(self, prompt: Prompt) -> "Broken":
        """Fails as soon as it is asked for a word."""
        return self

    def __aiter__(self) -> "Broken":
        return self

    async def __anext__(self) -> Delta:
        raise self._error

    async def aclose(self) -> None:
        """Nothing is open."""


class Speaking:
    """Makes one answer.

    Args:
        later: told what is to be said unasked, and after how many seconds.
        first_token: called when the model's first word is here.
    """

    def __init__(
        self,
        reply: Answer,
        responder: Responder,
        pool: EnginePool,
        mouth: Room,
        later: Callable[[float, str], None],
        first_token: Callable[[], None],
    ) -> None:
        self._reply = reply
        self._responder = responder
        self._pool = pool
        self._mouth = mouth
        self._later = later
        self._first_token = first_token
        self._pieces: dict[int, str] = {}  # spoken pieces of which no sound has come yet

    async def run(self, prompt: Prompt, key: str, voice: TtsOptions) -> None:
        """Generate and finish an answer that has begun; a failure is reported as its end."""
        try:
            if prompt.options.spoken:
                await self._speak(prompt, key, voice)
            else:
                await self._write(prompt)
        except* EngineError as errors:
            self._reply.fail(first_of(errors))
        self._reply.finish()

    async def _write(self, prompt: Prompt) -> None:
        async for text in self._words(prompt):
            self._reply.add_text(text)

    async def _speak(self, prompt: Prompt, key: str, voice: TtsOptions) -> None:
        stream = await self._pool.open(Role.TTS, key, voice)
        try:
            async with asyncio.TaskGroup() as tasks:
                to_hz = prompt.options.format.rate_hz
                tasks.create_task(self._sound(stream, to_hz), name="reply-sound")
                sentences = Sentences()
                async for text in self._words(prompt):
                    for piece in sentences.push(text):
                        await self._say(stream, piece)
                for piece in sentences.flush():
                    await self._say(stream, piece)
                stream.flush(_ALL)
        finally:
            await stream.aclose(cancel=True)

    async def _words(self, prompt: Prompt) -> AsyncIterator[str]:
        """The model's text; its calls and counts go straight to the answer."""
        deltas = cast("aclosing[AsyncIterator[Delta]]", aclosing(self._responder.respond(prompt)))  # type: ignore[type-var]
        async with deltas as stream:
            async for delta in stream:
                self._first_token()
                match delta:
                    case TextDelta(text=text):
                        yield text
                    case CallDelta(call_id=call_id, name=name, arguments=arguments):
                        self._reply.add_call(call_id, name, arguments)
                    case SpeakLater(after_s=after_s, text=text):
                        self._later(after_s, text)
                    case Spent():
                        self._reply.spend(delta)
                    case CutShort(reason=reason):
                        self._reply.cut_short(reason)

    async def _say(self, stream: EngineStream, text: str) -> None:
        number = self._reply.add_piece(text)
        self._pieces[number] = text
        while not stream.offer(Say(number, text)):
            await stream.room()

    async def _sound(self, stream: EngineStream, to_hz: int) -> None:
        rate_hz = stream.rate_hz
        resampler = _resampler(rate_hz, to_hz)
        number = 0
        async for event in stream.events():
            match event:
                case Audio(number=number, pcm=pcm, words=words):
                    await self._mouth.room()
                    if stream.rate_hz != rate_hz:  # another voice took over before the first sound
                        rate_hz = stream.rate_hz
                        resampler = _resampler(rate_hz, to_hz)
                    self._add(number, resampler(pcm, False), words)
                case Final():
                    self._add(number, resampler(b"", True), ())
                    return
                case EngineGone(error=error):
                    raise error
                case _:
                    pass

    def _add(self, number: int, pcm: bytes, words: tuple[tuple[float, int], ...]) -> None:
        if pcm or words:
            text = self._pieces.pop(number, "")
            self._reply.add_sound(number, text, pcm, words)


def _resampler(from_hz: int, to_hz: int) -> Callable[[bytes, bool], bytes]:
    """Sound of one rate to another, streamed; high quality, for a synthesiser is ahead of the listener."""
    if from_hz == to_hz:
        return lambda pcm, _last: pcm
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality="HQ")

    def convert(pcm: bytes, last: bool) -> bytes:  # noqa: FBT001
        out = stream.resample_chunk(np.frombuffer(pcm, np.int16), last=last)
        return cast(bytes, out.tobytes())

    return convert
