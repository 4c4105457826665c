"""The recogniser's side of one session: utterances in, transcripts out, on streams of some engine pool.

Each utterance has one stream and one task. Sound that comes before the stream is open, or while the
engine is full, waits in a bounded backlog; a draft is always answered, by a transcript or by its failure.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from duologue.core.audio import AudioFrame, Ms
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, EngineLost
from duologue.core.facts import (
    DraftId,
    Fact,
    TextHeard,
    TranscriptFailed,
    TranscriptReady,
    UtteranceId,
)
from duologue.ports import (
    EngineGone,
    EnginePool,
    EngineStream,
    Final,
    Partial,
    SttOptions,
    Word,
)

log = logging.getLogger("duologue.session")

BACKLOG_FRAMES = 2_000
"""A little over a minute of windows that the engine has not taken; beyond it the utterance fails."""


@dataclass(slots=True)
class _Scribe:
    """One utterance on its stream. `waiting` holds what the stream has not been given, in order."""

    utterance: UtteranceId
    waiting: deque[AudioFrame | DraftId] = field(default_factory=deque)
    owed: set[DraftId] = field(default_factory=set)
    stream: EngineStream | None = None
    task: asyncio.Task[None] | None = None
    failed: EngineError | None = None
    words: list[Word] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self) -> bool:
        """Hand the stream what waits; False if it is full."""
        while self.waiting and self.stream is not None:
            item = self.waiting[0]
            if not isinstance(item, AudioFrame):
                self.stream.flush(item)
            elif not self.stream.offer(item):
                return False
            self.waiting.popleft()
        return True


class Recognition:
    """Transcribes the utterances of one session.

    Args:
        key: the session's name, for engines that remember a speaker.
        report: told every fact.
        now: the session's stream clock.
        tasks: owner of the tasks.
    """

    def __init__(
        self,
        pool: EnginePool,
        key: str,
        report: Callable[[Fact], None],
        now: Callable[[], Ms],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._pool = pool
        self._key = key
        self._report = report
        self._now = now
        self._tasks = tasks
        self._scribes: dict[UtteranceId, _Scribe] = {}
        self.options = SttOptions()

    @property
    def backlog(self) -> int:
        """Frames that no engine has taken yet."""
        return sum(len(scribe.waiting) for scribe in self._scribes.values())

    def write(self, utterance: UtteranceId, frame: AudioFrame) -> None:
        """More sound of an utterance; the first opens its stream."""
        scribe = self._scribe(utterance)
        if scribe.failed is not None:
            return
        if len(scribe.waiting) >= BACKLOG_FRAMES:
            self._fail(
                scribe, EngineLost("stt_overrun", "Speech recognition fell a minute behind.")
            )
            return
        scribe.waiting.append(frame)
        self._give(scribe)

    def finish(self, utterance: UtteranceId, draft: DraftId) -> None:
        """Have what was written so far transcribed to its end."""
        scribe = self._scribe(utterance)
        scribe.owed.add(draft)
        if scribe.failed is not None:
            self._fail(scribe, scribe.failed)
            return
        scribe.waiting.append(draft)
        self._give(scribe)

    def failure(self, utterance: UtteranceId) -> EngineError | None:
        """Why an utterance cannot be transcribed, until its end."""
        scribe = self._scribes.get(utterance)
        return scribe.failed if scribe is not None else None

    def words(self, utterance: UtteranceId) -> tuple[Word, ...]:
        """Those of an utterance, where they were asked for, until its end."""
        scribe = self._scribes.get(utterance)
        return tuple(scribe.words) if scribe is not None else ()

    def end(self, utterance: UtteranceId) -> None:
        """Nothing more is wanted of this utterance."""
        scribe = self._scribes.pop(utterance, None)
        if scribe is not None and scribe.task is not None:
            scribe.task.cancel()

    def _scribe(self, utterance: UtteranceId) -> _Scribe:
        if (scribe := self._scribes.get(utterance)) is None:
            scribe = self._scribes[utterance] = _Scribe(utterance)
            name = f"recognition-{utterance}"
            scribe.task = self._tasks.create_task(self._serve(scribe, self.options), name=name)
        return scribe

    def _give(self, scribe: _Scribe) -> None:
        if not scribe.give():
            scribe.moved.set()  # the feeder takes over until the engine has caught up

    async def _serve(self, scribe: _Scribe, options: SttOptions) -> None:
        try:
            stream = await self._pool.open(Role.STT, self._key, options)
        except EngineError as error:
            self._fail(scribe, error)
            return
        try:
            scribe.stream = stream
            self._give(scribe)
            async with asyncio.TaskGroup() as tasks:
                feeder = tasks.create_task(self._feed(scribe, stream))
                await self._listen(scribe, stream)
                feeder.cancel()
        finally:
            scribe.stream = None
            await stream.aclose(cancel=True)

    @staticmethod
    async def _feed(scribe: _Scribe, stream: EngineStream) -> None:
        while True:
            await scribe.moved.wait()
            scribe.moved.clear()
            while not scribe.give():
                await stream.room()

    async def _listen(self, scribe: _Scribe, stream: EngineStream) -> None:
        async for event in stream.events():
            match event:
                case Partial(text=text):
                    self._report(TextHeard(self._now(), scribe.utterance, text))
                case Final(id=flush_id, text=text, words=words, confidence=sure):
                    draft = DraftId(flush_id)
                    scribe.words += words
                    scribe.owed.discard(draft)
                    self._report(TranscriptReady(self._now(), scribe.utterance, draft, text, sure))
                case EngineGone(error=error):
                    self._fail(scribe, error)
                case _:
                    pass

    def _fail(self, scribe: _Scribe, error: EngineError) -> None:
        if scribe.failed is None:
            log.warning("! an utterance was not transcribed: %s (%s)", error, error.code)
        scribe.failed = error
        scribe.waiting.clear()
        for draft in sorted(scribe.owed):
            scribe.owed.discard(draft)
            self._report(TranscriptFailed(self._now(), scribe.utterance, draft, error.code))
