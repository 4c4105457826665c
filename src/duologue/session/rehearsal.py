"""Answers that are begun before it is certain that the user has finished: made ready, and told to nobody.

In a pause, what was understood so far may be all there is. A rehearsal asks the language model and the voice
for the answer to it, and keeps what comes. If the turn ends there, the answer that is ordered then takes it
over and goes on from it; if the user goes on, it is dropped, and only the engines know that it ever was.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, cast

from duologue.core.conversation import Item, Message, Part
from duologue.core.errors import DuologueError
from duologue.core.options import SessionOptions
from duologue.ports import Delta, Prompt, Responder, Spent, TtsOptions
from duologue.session.answer_tools import Helped
from duologue.session.meters import Meters
from duologue.session.reply import ServerTools
from duologue.session.speaking import Answer, Room, Speaking
from duologue.session.toolbox import Toolbox
from duologue.session.world import World

log = logging.getLogger("duologue.session")

MAX_SOUND_MS = 3_000
"""Sound kept; a full rehearsal makes the voice wait. Longer than a pause lasts, so that none is heard running dry."""

MAX_DELTAS = 512
"""Pieces of the model's answer that are kept; beyond them it is not asked for more. A minute of speech has 250."""

MAX_CHARS = 4_000
"""The text in them, and the arguments of calls."""

LEAVE_S = 2.0
"""Longest wait for the engines of a dropped rehearsal before others are asked for; they promise 50 ms."""

REHEARSED_ID = "item_" + 20 * "0"
"""Stands for the id of the user's message, which is not in the conversation yet; as long as one."""


def rehearsed_message(text: str) -> Message:
    """What the user said, as it would stand in the conversation if the turn ended now."""
    return Message(REHEARSED_ID, "user", (Part("input_audio", text),))


class Desk(Protocol):
    """What rehearsals need of their session."""

    id: str
    meters: Meters
    options: SessionOptions
    toolbox: Toolbox

    def fail(self, error: BaseException) -> None:
        """The session cannot go on."""


class Adopter(Answer, Protocol):
    """The answer that takes a rehearsal over."""

    tools: ServerTools | None


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an answer plays once it is no rehearsal any more; see `speaking.Speaking`."""

    answer: Adopter
    mouth: Room
    later: Callable[[float, str], None]
    first_token: Callable[[], None]


class Rehearsal:
    """One answer before its time. To `Speaking` it is answer and mouth; it keeps what it is told until adopted.

    Attributes:
        task: who makes it; the answer's own task after adoption.
        broken: something failed before it was adopted; it is of no use.
    """

    def __init__(self, prompt: Prompt, voice: TtsOptions, options: SessionOptions) -> None:
        self.prompt = prompt
        self.options = options
        self.voice = voice
        self.task: asyncio.Task[None] | None = None
        self.broken = False
        self._stage: Stage | None = None
        self._record: list[Callable[[Stage], object]] = []
        self._tools: ServerTools | None = None
        self._pieces = self._deltas = self._chars = 0
        self._sound_ms = 0.0
        self._has_word = False
        self._sound_room, self._word_room = asyncio.Event(), asyncio.Event()
        self._sound_room.set()
        self._word_room.set()

    @property
    def is_adopted(self) -> bool:
        """It is an answer like any other."""
        return self._stage is not None

    @property
    def kept_ms(self) -> float:
        """Sound that is kept."""
        return 0.0 if self.is_adopted else self._sound_ms

    def fits(self, prompt: Prompt, voice: TtsOptions, options: SessionOptions) -> bool:
        """Whether it is what an answer to this would be, in a session with these options."""
        mine = self.prompt
        return (
            not self.broken
            and (self.voice, self.options) == (voice, options)
            and mine.options == prompt.options
            and len(mine.items) == len(prompt.items)
            and all(map(_alike, mine.items, prompt.items))
        )

    def adopt(self, stage: Stage) -> None:
        """From here on it is told to somebody: first all that it kept, at once, then what comes."""
        self._stage = stage
        if self._tools is not None:
            stage.answer.tools = self._tools
        record, self._record = self._record, []
        for act in record:
            act(stage)
        self._sound_room.set()
        self._word_room.set()

    # --- an answer and a mouth, for `Speaking` ---
    @property
    def tools(self) -> ServerTools | None:
        """Offered to the model at once; used by the answer that adopts them."""
        return self._tools

    @tools.setter
    def tools(self, tools: ServerTools | None) -> None:
        self._tools = tools
        if self._stage is not None:
            self._stage.answer.tools = tools

    def add_text(self, text: str) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.add_text(text))

    def add_piece(self, text: str) -> int:
        """See `reply.Reply`; both count alike, from 0."""
        self._pieces += 1
        self._play(lambda stage: stage.answer.add_piece(text))
        return self._pieces - 1

    def add_sound(
        self, number: int, text: str, pcm: bytes, words: tuple[tuple[float, int], ...]
    ) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.add_sound(number, text, pcm, words))
        if not self.is_adopted:
            self._sound_ms += len(pcm) * 1000 / (2 * self.prompt.options.format.rate_hz)
            if self._sound_ms >= MAX_SOUND_MS:
                self._sound_room.clear()

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.add_call(call_id, name, arguments))

    def spend(self, spent: Spent) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.spend(spent))

    def cut_short(self, reason: str) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.cut_short(reason))

    def fail(self, error: DuologueError) -> None:
        """Before it is adopted this is nobody's concern: the answer that is ordered begins afresh."""
        if self._stage is None:
            self.broken = True
            log.info("= an answer that was begun early failed: %s", error.code)
        else:
            self._stage.answer.fail(error)

    def finish(self) -> None:
        """See `reply.Reply`."""
        self._play(lambda stage: stage.answer.finish())

    def later(self, after_s: float, text: str) -> None:
        """A timer is set when the answer that promises it is told."""
        self._play(lambda stage: stage.later(after_s, text))

    def first_token(self) -> None:
        """The model's first word is here, and may be the first that anybody learns of."""
        if not self._has_word or self.is_adopted:
            self._has_word = True
            self._play(lambda stage: stage.first_token())

    async def room(self) -> None:
        """Wait until there is room for more sound."""
        await self._sound_room.wait()
        if self._stage is not None:
            await self._stage.mouth.room()

    # --- for the responder ---
    async def appetite(self, delta: Delta) -> None:
        """Wait, after this piece of the model's answer, until the next is wanted."""
        if not self.is_adopted:
            self._deltas += 1
            self._chars += _size(delta)
            if self._deltas >= MAX_DELTAS or self._chars >= MAX_CHARS:
                self._word_room.clear()
        await self._word_room.wait()

    def _play(self, act: Callable[[Stage], object]) -> None:
        if self._stage is None:
            self._record.append(act)
        else:
            act(self._stage)


class Rehearsals:
    """Those of one session: one at a time."""

    def __init__(self, desk: Desk, world: World, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._world = world
        self._tasks = tasks
        self._present: Rehearsal | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def begin(self, prompt: Prompt, voice: TtsOptions) -> None:
        """Rehearse the answer to this, in place of any other."""
        options = self._desk.options
        if self._present is not None and self._present.fits(prompt, voice, options):
            return
        self.drop()
        if acts(self._world.responder):
            return
        self._desk.meters.counts["rehearsals"] += 1
        self._present = rehearsal = Rehearsal(prompt, voice, options)
        rehearsal.task = self._tasks.create_task(self._make(rehearsal), name="rehearsal")

    def drop(self) -> None:
        """What is rehearsed will not be needed."""
        rehearsal, self._present = self._present, None
        if rehearsal is None:
            return
        self._desk.meters.counts["rehearsals_dropped"] += 1
        task = rehearsal.task
        if task is not None and not task.done():
            task.cancel()
            self.wait_for(task)

    def wait_for(self, task: asyncio.Task[None]) -> None:
        """A task that holds an engine was cancelled: nothing is asked of the engines before it is over."""
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def take(self, prompt: Prompt, voice: TtsOptions) -> Rehearsal | None:
        """The rehearsal, to be adopted, if it is what is wanted now; otherwise it is dropped."""
        rehearsal = self._present
        if rehearsal is None or not rehearsal.fits(prompt, voice, self._desk.options):
            self.drop()
            return None
        self._present = None
        self._desk.meters.counts["rehearsals_adopted"] += 1
        return rehearsal

    async def gone(self) -> None:
        """Wait until the engines of dropped ones are free: nobody is refused for want of a place that they hold."""
        if self._leaving:
            await asyncio.wait(set(self._leaving), timeout=LEAVE_S)

    async def _make(self, rehearsal: Rehearsal) -> None:
        responder = self._world.responder
        if rehearsal.prompt.options.servers:
            responder = Helped(self._desk.toolbox, rehearsal, responder)
        speaking = Speaking(
            rehearsal,
            _Tasted(responder, rehearsal),
            self._world.pool,
            rehearsal,
            rehearsal.later,
            rehearsal.first_token,
        )
        try:
            await self.gone()
            await speaking.run(rehearsal.prompt, self._desk.id, rehearsal.voice)
        except Exception as error:
            # The outer wall of an answer: a bug ends the session, if it is one.
            if rehearsal.is_adopted:
                self._desk.fail(error)
            else:  # the answer that is ordered will meet it again, and say so
                rehearsal.broken = True
                log.warning("! an answer that was begun early met a bug", exc_info=error)


class _Tasted:
    """A responder that is asked for no more than a rehearsal keeps."""

    def __init__(self, responder: Responder, rehearsal: Rehearsal) -> None:
        self._responder = responder
        self._rehearsal = rehearsal

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        inner = self._responder.respond(prompt)
        deltas = cast("aclosing[AsyncIterator[Delta]]", aclosing(inner))  # type: ignore[type-var]
        async with deltas as stream:
            async for delta in stream:
                yield delta
                await self._rehearsal.appetite(delta)


def acts(responder: Responder) -> bool:
    """Whether being asked is more to it than finding words: asked twice, it would do twice what it does."""
    return bool(getattr(getattr(responder, "capabilities", None), "acts", False))


def _alike(rehearsed: Item, real: Item) -> bool:
    """The same, but for the id of what had none when it was rehearsed."""
    if rehearsed.id == REHEARSED_ID:
        rehearsed = replace(rehearsed, id=real.id)
    return rehearsed == real


def _size(delta: Delta) -> int:
    """The text in it."""
    return sum(len(str(getattr(delta, name, ""))) for name in ("text", "name", "arguments"))
