"""Recognisers that listen while somebody speaks: see `listening`."""

import asyncio
import logging
from collections import deque

from duologue.core.agreement import Agreement
from duologue.core.audio import AudioFrame, ms_to_samples, samples_to_ms
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, only_ours
from duologue.core.words import Word, spread
from duologue.ports import EngineGone, EnginePool, EngineStream, Final, Partial, SttOptions
from duologue.session.streaming.listening import (
    AGAIN_S,
    TRIES,
    PassedOver,
    Report,
    Understood,
    wait_s,
)

log = logging.getLogger("duologue.streaming")

BREATH_SAMPLES = ms_to_samples(12_000)
"""After so long without a pause the recogniser is asked for its word at the first lull ..."""

LULL = 0.35
"""... that is, where speech is less likely than this ..."""

LONGEST_SAMPLES = ms_to_samples(19_000)
"""... and here in any case: pocketsphinx's second look takes 20 s, and what is told need not be kept."""


class NativeListening:
    """See `listening.Listening`. A stream lasts until its first answer; what came after that is given to the next."""

    def __init__(self, pool: EnginePool, key: str, report: Report, *, start: int = 0) -> None:
        self._pool = pool
        self._key = key
        self._report = report
        self._language = ""
        self._kept: deque[AudioFrame | int] = deque()  # sound and flushes, since the last answer
        self._kept_bytes = 0
        self._given = 0  # of those, how many the stream has
        self._flushes = 0
        self._ends: dict[int, bool] = {}  # flush -> it ends an utterance
        self._since_flush = 0  # samples
        self._settled_to = start
        self._position = start
        self._agreement = Agreement()
        self._moved = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        """See `Listening`."""
        return self._kept_bytes

    @property
    def settled(self) -> int:
        """See `Listening`."""
        first = next((item for item in self._kept if isinstance(item, AudioFrame)), None)
        return first.start if first is not None else self._position

    @property
    def pending(self) -> int:
        """See `Listening`."""
        return len(self._ends)

    def set_language(self, language: str) -> None:
        """See `Listening`: from the next stream on."""
        self._language = language

    # --- in ---
    def sound(self, pcm: bytes, start: int, probability: float) -> None:
        """See `gate.Sink`."""
        frame = AudioFrame(pcm, start)
        self._position = frame.end
        self._kept.append(frame)
        self._kept_bytes += len(pcm)
        self._since_flush += frame.end - start
        is_lull = self._since_flush >= BREATH_SAMPLES and probability < LULL
        if is_lull or self._since_flush >= LONGEST_SAMPLES:
            self._flush(ends=False)
        self._moved.set()

    def left_out(self, samples: int) -> None:
        """See `gate.Sink`: frames carry their places."""
        self._position += samples

    def pause(self) -> None:
        """See `gate.Sink`."""
        if self._since_flush:
            self._flush(ends=True)
            self._moved.set()
        elif self._ends:
            self._ends[max(self._ends)] = True
        else:
            self._report(Understood((), "", "", self._position, ended=True))

    def _flush(self, *, ends: bool) -> None:
        self._flushes += 1
        self._since_flush = 0
        self._kept.append(self._flushes)
        self._ends[self._flushes] = ends

    # --- out ---
    async def run(self) -> None:
        """See `Listening`."""
        tries = 0
        while True:
            await self._moved.wait()
            self._moved.clear()
            before = self._settled_to
            try:
                await self._serve()
            except AtCapacity:  # others talk: their turn ends
                await asyncio.sleep(AGAIN_S)
                self._moved.set()
            except EngineError as error:
                tries = 1 if self._settled_to != before else tries + 1
                log.warning("! %s: the recogniser failed: %s", self._key, error.code)
                if tries >= TRIES:
                    tries = 0
                    self._pass_over(error)
                else:
                    await asyncio.sleep(wait_s(tries))
                self._moved.set()
            else:
                tries = 0
                if self._kept:
                    self._moved.set()

    async def _serve(self) -> None:
        """One stream, from the first sound that no answer has come to, until there is none."""
        if not self._kept:
            return
        stream = await self._pool.open(
            Role.STT, self._key, SttOptions(self._language, word_times=True)
        )
        try:
            self._given = 0
            async with asyncio.TaskGroup() as tasks:
                feeder = tasks.create_task(self._feed(stream), name="streaming-feeder")
                await self._listen(stream)
                feeder.cancel()
        except BaseExceptionGroup as group:
            if (error := only_ours(group)) is None:
                raise
            raise error from None
        finally:
            self._given = 0
            await stream.aclose(cancel=True)

    async def _feed(self, stream: EngineStream) -> None:
        while True:
            while self._given < len(self._kept):
                item = self._kept[self._given]
                if isinstance(item, int):
                    stream.flush(item)
                elif not stream.offer(item):
                    await stream.room()
                    continue
                self._given += 1
            await self._moved.wait()
            self._moved.clear()

    async def _listen(self, stream: EngineStream) -> None:
        async for event in stream.events():
            match event:
                case Partial(text=text):
                    self._agreement.push(text)
                    agreed, rest = self._agreement.agreed, self._agreement.rest
                    self._report(Understood((), agreed, rest, self._settled_to, ended=False))
                case Final():
                    self._answered(event)
                    return  # the place is given back: others may wait for it
                case EngineGone(error=error):
                    raise error
                case _:
                    pass
        raise EngineLost("stt_ended", "A recogniser ended without an answer.")

    def _answered(self, final: Final) -> None:
        start, end = self._let_go(final.id)
        ended = self._ends.pop(final.id, False)
        self._agreement = Agreement()
        words: tuple[Word, ...] = final.words
        if not words and final.text:
            words = spread(final.text, samples_to_ms(start), samples_to_ms(end))
        self._settled_to = end
        self._report(
            Understood(words, "", "", end, ended, final.language, confidence=final.confidence)
        )

    def _let_go(self, flush: int) -> tuple[int, int]:
        """The sound before a flush is dealt with; where it began and ended."""
        start = end = self._settled_to
        is_first = True
        while self._kept:
            item = self._kept.popleft()
            self._given = max(0, self._given - 1)
            if isinstance(item, int):
                if item == flush:
                    break
                self._ends.pop(item, None)  # an answer to a later flush covers this one
                continue
            if is_first:
                start, is_first = item.start, False
            end = item.end
            self._kept_bytes -= len(item.pcm)
        return start, end

    def _pass_over(self, error: EngineError) -> None:
        """No engine wants the sound that is to be transcribed next."""
        flush = min(self._ends, default=None)
        if flush is None:
            self._flush(ends=False)
            flush = self._flushes
        start, end = self._let_go(flush)
        ended = self._ends.pop(flush, False)
        self._settled_to = end
        self._report(PassedOver(start, end, error))
        self._report(Understood((), "", "", end, ended))
