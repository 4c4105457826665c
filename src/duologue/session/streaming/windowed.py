"""Recognisers that take only whole windows: see `listening`."""

import asyncio
import logging
from collections.abc import Sequence

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, samples_to_ms
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost
from duologue.core.longform import LongForm, LongFormPolicy, Update, Window
from duologue.ports import EngineGone, EnginePool, EngineStream, Final, SttOptions
from duologue.session.streaming.listening import (
    AGAIN_S,
    TRIES,
    PassedOver,
    Report,
    Understood,
    wait_s,
)
from duologue.session.streaming.workers import Workers

log = logging.getLogger("duologue.streaming")

FRAME_BYTES = 16_000 * SAMPLE_BYTES
"""A window is offered in frames of a second."""

_ALL = 1
"""The one flush of a window."""


class WindowedListening:
    """See `listening.Listening`.

    Args:
        key: the session's name, for engines that remember a speaker.
        workers: whose turns it waits for.
    """

    def __init__(
        self,
        pool: EnginePool,
        key: str,
        workers: Workers,
        policy: LongFormPolicy,
        report: Report,
        *,
        start: int = 0,
    ) -> None:
        self._pool = pool
        self._key = key
        self._workers = workers
        self._report = report
        self._long = LongForm(policy, start=start)
        self._language = ""
        self._is_working = False
        self._told_to: int | None = (
            None  # of an answer for several utterances: more of it is to be told
        )
        self._due = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        """See `Listening`."""
        return self._long.held_bytes

    @property
    def settled(self) -> int:
        """See `Listening`."""
        return self._long.settled if self._told_to is None else self._told_to

    @property
    def pending(self) -> int:
        """See `Listening`."""
        return int(self._is_working or self._told_to is not None or self._long.due)

    def set_language(self, language: str) -> None:
        """See `Listening`."""
        self._language = language

    # --- in ---
    def sound(self, pcm: bytes, start: int, probability: float) -> None:
        """See `gate.Sink`."""
        self._long.push(pcm)
        self._look()

    def left_out(self, samples: int) -> None:
        """See `gate.Sink`."""
        self._long.skip(samples)
        self._look()

    def pause(self) -> None:
        """See `gate.Sink`."""
        self._long.finish()
        self._look()

    def _look(self) -> None:
        if self._long.due:
            self._due.set()

    # --- out ---
    async def run(self) -> None:
        """See `Listening`."""
        tries = 0
        while True:
            await self._due.wait()
            self._due.clear()
            while self._long.due:
                error = await self._next_window(is_last_try=tries + 1 >= TRIES)
                if error is None:
                    tries = 0
                elif isinstance(error, AtCapacity):  # others talk: their turn ends
                    await asyncio.sleep(AGAIN_S)
                else:
                    tries += 1
                    log.warning("! %s: a window was not transcribed: %s", self._key, error.code)
                    await asyncio.sleep(wait_s(tries))

    async def _next_window(self, *, is_last_try: bool) -> EngineError | None:
        async with self._workers.turn():
            window = self._long.take()
            if window is None:
                return None
            self._is_working = True
            try:
                final = await self._transcribe(window) if window.pcm else Final(_ALL, window.end)
            except EngineError as error:
                if window.is_look or not is_last_try or isinstance(error, AtCapacity):
                    self._long.give_back(window.number)
                    return error
                update = self._long.give_up(window.number)
                self._tell(window, update, Final(_ALL, window.end))
                gap = update.gap or (window.start, update.settled_to)
                self._report(PassedOver(*gap, error))
                return None
            except BaseException:
                self._long.give_back(window.number)
                raise
            finally:
                self._is_working = False
        self._tell(window, self._long.heard(window.number, final.words, final.text), final)
        return None

    def _tell(self, window: Window, update: Update, final: Final) -> None:
        about = (final.language, final.confidence)
        words = update.settled
        for at in window.breaks:  # utterances that shared the window
            before = tuple(word for word in words if word.start_ms < samples_to_ms(at))
            words = words[len(before) :]
            self._told_to = at
            self._report(Understood(before, "", "", at, True, *about))
        self._told_to = None
        rest = (update.tentative, update.settled_to, update.ended)
        self._report(Understood(words, "", *rest, *about))

    async def _transcribe(self, window: Window) -> Final:
        options = SttOptions(self._language, word_times=True)
        stream = await self._pool.open(Role.STT, self._key, options)
        try:
            for frame in _frames(window):
                while not stream.offer(frame):
                    await stream.room()
            stream.flush(_ALL)
            return await _answer(stream)
        finally:
            await stream.aclose(cancel=True)


async def _answer(stream: EngineStream) -> Final:
    async for event in stream.events():
        if isinstance(event, Final):
            return event
        if isinstance(event, EngineGone):
            raise event.error
    raise EngineLost("stt_ended", "A recogniser ended without an answer.")


def _frames(window: Window) -> Sequence[AudioFrame]:
    return [
        AudioFrame(window.pcm[at : at + FRAME_BYTES], window.start + at // SAMPLE_BYTES)
        for at in range(0, len(window.pcm), FRAME_BYTES)
    ]
