"""The speaking side of a session: texts to be said and answers to be found, one after the other."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from duologue.core.audio import WIRE, AudioFormat
from duologue.core.conversation import Conversation
from duologue.core.errors import AtCapacity, DuologueError
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.streaming import StreamOptions, TextRequest
from duologue.ports import Clock, EnginePool, Prompt, Responder, TtsOptions
from duologue.session.meters import Meters
from duologue.session.speaking import Speaking, Verbatim
from duologue.session.streaming.response import PartMade, Response
from duologue.session.streaming.spoken_cache import Said, Saying, SpokenCache
from duologue.session.streaming.workers import Workers
from duologue.session.summary import Summaries

log = logging.getLogger("duologue.streaming")

MAX_WAITING = 16
"""Texts that wait to be said; one more is refused."""

LEAVE_S = 2.0
"""Longest wait for a summary that is broken off; models promise 50 ms."""

FORMAT: AudioFormat = WIRE
"""Of the sound that goes out."""


@dataclass(frozen=True, slots=True)
class Means:
    """What responses are made with; the same for all sessions.

    Attributes:
        voice_engine: the voice that is preferred just now, by name.
        context_tokens: about how much of a conversation the language model is shown.
    """

    pool: EnginePool
    responder: Responder
    workers: Workers
    cache: SpokenCache
    clock: Clock
    meters: Meters
    voice_engine: Callable[[], str]
    context_tokens: int


class Desk(Protocol):
    """What the speaking side needs of its session."""

    id: str

    @property
    def options(self) -> StreamOptions:
        """The session's, as they are now."""

    def new_id(self, prefix: str) -> str:
        """A fresh name."""

    @property
    def conversation(self) -> Conversation:
        """As it is now."""

    def part_made(self, response: Response, part: PartMade) -> None:
        """Tell it for good."""

    def response_over(self, response: Response) -> None:
        """No more of it comes: it is whole, or `error` says why not."""


class Replies:
    """One session's. Whoever owns it runs it as a task."""

    def __init__(self, desk: Desk, means: Means) -> None:
        self._desk = desk
        self._means = means
        self._waiting: deque[Response] = deque()
        self._came = asyncio.Event()
        self._summed = _Summed(desk, means.meters)
        self._summaries: Summaries | None = None
        self._task: asyncio.Task[None] | None = None
        self.current: Response | None = None  # being made, or still to be heard

    @property
    def pending(self) -> int:
        """Responses that are not whole."""
        being_made = self.current is not None and not self.current.is_over
        return len(self._waiting) + being_made

    @property
    def held_bytes(self) -> int:
        """Sound that is held."""
        return self.current.held_bytes if self.current is not None else 0

    def ask(self, request: TextRequest) -> tuple[Response, int]:
        """Have something said, or answered; how many are before it.

        Raises:
            AtCapacity: too many wait.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise AtCapacity(
                "too_many_texts",
                f"{MAX_WAITING} texts wait to be said in this session.",
                remedy="Wait until some have been said, or send `stop`.",
            )
        before = self.pending
        whole = self._desk.options.whole
        response = Response(
            self._desk.new_id("resp"),
            request,
            FORMAT.rate_hz,
            self._desk.part_made,
            self._means.clock,
            whole=whole,
            keeps=not request.answers,
        )
        self._waiting.append(response)
        self._came.set()
        return response, before

    def stop(self, *, answers_only: bool = False) -> list[Response]:
        """Say no more: the responses that were being said or waited."""
        stopped = []
        current = self.current
        if current is not None and (current.request.answers or not answers_only):
            self.current = None
            if not current.is_over or current.is_audible:
                stopped.append(current)
            current.stop()
            if self._task is not None:
                self._task.cancel()
        kept: deque[Response] = deque()
        for response in self._waiting:
            if answers_only and not response.request.answers:
                kept.append(response)
            else:
                response.stop()
                stopped.append(response)
        self._waiting = kept
        return stopped

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._summaries = Summaries(self._summed, self._means, tasks)
            while True:
                await self._came.wait()
                self._came.clear()
                while self._waiting:
                    response = self.current = self._waiting.popleft()
                    self._task = tasks.create_task(self._make(response), name=response.id)
                    await asyncio.wait([self._task])
                    self._task = None
                    self._summaries.consider()

    async def _make(self, response: Response) -> None:
        try:
            async with self._means.workers.turn():
                if not response.is_over:
                    await self._say(response)
        except DuologueError as error:
            response.error = error
        if response is self.current:
            self._desk.response_over(response)

    async def _say(self, response: Response) -> None:
        request, options = response.request, self._desk.options
        voice = TtsOptions(
            request.voice or options.voice,
            request.language or options.language,
            request.speed or options.speed,
        )
        saying = Saying(request.text, voice, self._means.voice_engine())
        if not request.answers and (said := self._means.cache.find(saying)) is not None:
            response.give_out(said.pcm, said.spoken)
            return
        if request.answers:
            await self._make_way()
        speaking = Speaking(
            response, self._responder(request), self._means.pool, _Open(), _never, _ok
        )
        await speaking.run(self._prompt(request), self._desk.id, voice)
        if not request.answers and response.error is None and response.is_over:
            pcm = response.take_pcm()
            if pcm:
                self._means.cache.keep(saying, Said(pcm, FORMAT.rate_hz, response.spoken))

    def _responder(self, request: TextRequest) -> Responder:
        return self._means.responder if request.answers else Verbatim(request.text)

    def _prompt(self, request: TextRequest) -> Prompt:
        options = self._desk.options
        reply = ReplyOptions(
            instructions=options.instructions,
            spoken=options.speaks or not request.answers,
            voice=options.voice,
            speed=options.speed,
            format=FORMAT,
        )
        if not request.answers or self._summaries is None:
            return Prompt((), reply, self._desk.id)
        items, reply = self._summaries.shown(reply)
        return Prompt(items, reply, self._desk.id)

    async def _make_way(self) -> None:
        """The model is wanted: whoever sums up leaves."""
        leaving = self._summaries.give_way() if self._summaries is not None else None
        if leaving is not None:
            await asyncio.wait([leaving], timeout=LEAVE_S)


class _Summed:
    """See `summary.Desk`."""

    def __init__(self, desk: Desk, meters: Meters) -> None:
        self.ended = asyncio.Event()  # the owner of its tasks ends them
        self.meters = meters
        self.options = SessionOptions()
        self._desk = desk

    @property
    def conversation(self) -> Conversation:
        """As it is now."""
        return self._desk.conversation


class _Open:
    """There is always room: what is made is held by the response, within bounds."""

    async def room(self) -> None:
        """At once."""


def _never(after_s: float, text: str) -> None:
    """Timers are no matter of this API: nobody may be there when they go off."""


def _ok() -> None:
    """Nobody waits for the first word."""
