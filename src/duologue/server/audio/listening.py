"""A recording's stretches, one after the other, through one stream of a recogniser."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import BinaryIO

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, ms_to_samples
from duologue.core.capabilities import Role
from duologue.core.errors import EngineLost
from duologue.ports import (
    EngineGone,
    EnginePool,
    EngineStream,
    Event,
    Final,
    SttOptions,
    Word,
)
from duologue.server.audio.recording import Judge, Recording
from duologue.server.audio.stretches import Stretch

FRAME_MS = 100
"""Offered at a time. Engines that hold Python's lock of their process hold it for a frame's work: 5 ms."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said in one stretch.

    Attributes:
        start_ms: where in the file it begins; `end_ms` likewise.
        no_speech: how likely it is no speech at all.
    """

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...]
    no_speech: float


class Listening:
    """Reads files out to recognisers.

    Args:
        judge: finds the speech in them.
    """

    def __init__(self, pool: EnginePool, judge: Judge) -> None:
        self._pool = pool
        self._judge = judge

    async def listen(
        self,
        file: BinaryIO,
        options: SttOptions,
        least_ms: int,
        tell: Callable[[Heard], Awaitable[None]],
    ) -> int:
        """Have a file transcribed; told of each stretch in which something was said. Returns its length in ms.

        At most one stretch waits in the engine, so that conversations wait for no more than that.

        Args:
            least_ms: see `stretches.Splitter`.

        Raises:
            Refusal: it is no file that can be transcribed.
            EngineError: the recogniser failed.
        """
        recording = await asyncio.to_thread(Recording, file, self._judge, least_ms)
        reader: _Reader | None = None
        try:
            while (stretches := await asyncio.to_thread(recording.read)) is not None:
                for stretch in stretches:
                    if reader is None:
                        key = f"file-{uuid.uuid4().hex}"
                        reader = _Reader(await self._pool.open(Role.STT, key, options))
                    heard = await reader.read(stretch)
                    if heard.text:
                        await tell(heard)
        finally:
            recording.close()
            if reader is not None:
                await reader.stream.aclose(cancel=True)
        return recording.duration_ms


class _Reader:
    """One file's stream."""

    def __init__(self, stream: EngineStream) -> None:
        self.stream = stream
        self._events: AsyncIterator[Event] = aiter(stream.events())
        self._flushes = 0

    async def read(self, stretch: Stretch) -> Heard:
        """What is said in it."""
        self._flushes += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._offer(stretch, self._flushes), name="file-reader")
            final = await self._final(self._flushes)
        start_ms, end_ms = stretch.speech_ms
        return Heard(start_ms, end_ms, final.text.strip(), final.words, stretch.no_speech)

    async def _offer(self, stretch: Stretch, flush_id: int) -> None:
        size = ms_to_samples(FRAME_MS) * SAMPLE_BYTES
        for at in range(0, len(stretch.pcm), size):
            frame = AudioFrame(stretch.pcm[at : at + size], stretch.start + at // SAMPLE_BYTES)
            while not self.stream.offer(frame):
                await self.stream.room()
        self.stream.flush(flush_id)

    async def _final(self, flush_id: int) -> Final:
        while (event := await anext(self._events, None)) is not None:
            if isinstance(event, EngineGone):
                raise event.error
            if isinstance(event, Final) and event.id == flush_id:
                return event
        raise EngineLost("stt_ended", "The recogniser ended its stream without an answer.")
