"""Our half of a session: carries out the orders that concern answers."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Protocol

from duologue.core.audio import Ms
from duologue.core.commands import CreateReply
from duologue.core.conversation import Conversation, Item, ItemReference, Message
from duologue.core.errors import EngineError, OurError, StateConflict
from duologue.core.facts import (
    AskId,
    CancelAsked,
    DropRehearsal,
    Fact,
    HoldOutput,
    PlaybackStopped,
    Rehearse,
    ReplyAsked,
    ReplyId,
    ResumeOutput,
    SayAsked,
    StartReply,
    StopReply,
)
from duologue.core.notices import Problem
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.ports import Listener, Prompt, Responder, TtsOptions
from duologue.session.answer_tools import Helped
from duologue.session.aside import AsideDesk
from duologue.session.manners import Manners
from duologue.session.meters import Meters, Turn
from duologue.session.mouth import Mouth, Output
from duologue.session.rehearsal import Rehearsal, Rehearsals, Stage, rehearsed_message
from duologue.session.reply import Reply
from duologue.session.speaking import Broken, Speaking, Verbatim
from duologue.session.summary import Summaries
from duologue.session.toolbox import Toolbox
from duologue.session.world import World

AgentOrder = StartReply | StopReply | HoldOutput | ResumeOutput | Rehearse | DropRehearsal

MAX_ASIDES = 8
"""Answers out of band at a time, per session."""

MAX_TIMERS = 32
"""Things to be said later, per session."""


class Desk(Protocol):
    """What this half needs of its session."""

    id: str
    listener: Listener
    manners: Manners
    conversation: Conversation
    ended: asyncio.Event
    meters: Meters
    mouth: Mouth
    options: SessionOptions
    toolbox: Toolbox
    turn: Turn | None

    @property
    def now(self) -> Ms:
        """The session's stream clock."""

    def tell(self, fact: Fact) -> None:
        """Report a fact."""

    def new_id(self, prefix: str) -> str:
        """A fresh name."""

    def fail(self, error: BaseException) -> None:
        """The session cannot go on."""


class AgentSide:
    """Answers begin, are held and end; what is to be said later, is said later.

    Attributes:
        summaries: what answers are shown of the conversation.
    """

    def __init__(self, desk: Desk, world: World, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._world = world
        self._tasks = tasks
        self._wanted: dict[AskId, ReplyOptions] = {}
        self._says: dict[AskId, str] = {}
        self._yielding: set[AskId] = set()  # of those, what a client's own wish stops
        self._yields: ReplyId | None = None  # the latest such announcement that began
        self._own_asks = 0
        self._timers: set[asyncio.Task[None]] = set()
        self._replies: dict[ReplyId, tuple[Reply, asyncio.Task[None]]] = {}
        self._asides: dict[str, tuple[Reply, asyncio.Task[None]]] = {}
        self.summaries = Summaries(desk, world, tasks)
        self._rehearsals = Rehearsals(desk, world, tasks)

    def want(self, command: CreateReply) -> None:
        """Keep what the client wants of the answer it asks for.

        Raises:
            StateConflict: it refers to an item that is not there.
        """
        context = command.options.context
        if context is not None:
            context = tuple(self._resolve(item) for item in context)
        self._wanted[command.ask] = replace(command.options, context=context)

    def answer_aside(self, command: CreateReply) -> None:
        """Answer beside the conversation, at once.

        Raises:
            StateConflict: too many such answers are being made, or it refers to an item that is not there.
        """
        if len(self._asides) >= MAX_ASIDES:
            raise StateConflict(
                "too_many_responses",
                f"Only {MAX_ASIDES} responses out of band are made at a time.",
                remedy="Wait for a response.done.",
            )
        self.want(command)
        options = self._wanted.pop(command.ask)
        desk = self._desk
        aside = AsideDesk(desk.listener, self._world.pacer, desk.meters, desk.new_id, desk.fail)
        reply = Reply(aside, ReplyId(0), options, None)
        self._make_way()
        prompt, responder = self._prompt(options, self._world.responder)
        reply.begin()
        work = self._answering(reply, responder, aside.mouth, prompt)
        self._asides[reply.state.id] = (reply, task := self._tasks.create_task(work, name="aside"))
        task.add_done_callback(lambda _: self._asides.pop(reply.state.id, None))

    def stop_aside(self, response_id: str) -> bool:
        """End an answer out of band; False if there is none of that id."""
        if response_id not in self._asides:
            return False
        reply, task = self._asides.pop(response_id)
        task.cancel()
        reply.stop("client_cancelled")
        return True

    def refused(self, ask: AskId) -> bool:
        """An answer will not be made; True if the client asked for it, and is to be told so."""
        if ask in self._wanted and self._gives_way():
            self._desk.tell(ReplyAsked(self._desk.now, ask))
            return False
        self._says.pop(ask, None)
        self._wanted.pop(ask, None)
        self._yielding.discard(ask)
        return ask > 0

    def find(self, response_id: str) -> ReplyId | None:
        """Our name for an answer of which the client knows another."""
        for reply_id, (reply, _) in self._replies.items():
            if reply.state.id == response_id:
                return reply_id
        return None

    def truncate(self, item_id: str, heard_ms: int) -> int | None:
        """Cut an answer that is still being sent; the milliseconds kept, or None if it is no such answer."""
        found = self._speaker_of(item_id)
        if found is None or found[1].over or not found[1].spoken.duration_ms:
            return None
        return found[1].truncate(heard_ms)

    def playback_stopped(self, item_id: str) -> None:
        """The client plays no more of this item."""
        if (found := self._speaker_of(item_id)) is not None:
            self._desk.tell(PlaybackStopped(self._desk.now, found[0]))

    def clear_output(self, ask: AskId) -> None:
        """The client plays no more of what we say, and wants no more of it."""
        for reply_id, (reply, _) in list(self._replies.items()):
            if not reply.over:
                self._desk.tell(CancelAsked(self._desk.now, ask, reply_id))
            elif reply.is_playing:
                reply.stop("client_cancelled")
                self._desk.tell(PlaybackStopped(self._desk.now, reply_id))

    def carry_out(self, order: AgentOrder) -> None:
        """Do what the turn machine orders."""
        match order:
            case StartReply():
                self._start(order)
            case StopReply(reply=reply, why=why):
                self._stop(reply, why)
            case HoldOutput():
                self._desk.mouth.hold()
            case ResumeOutput():
                self._desk.meters.counts["false_alarms"] += 1
                self._note("the answer went on after a false alarm")
                self._desk.mouth.resume()
            case Rehearse(text=text):
                self._rehearse(text)
            case DropRehearsal():
                self._rehearsals.drop()

    def say(self, text: str, *, gives_way: bool = False) -> None:
        """Say something of our own as soon as nobody speaks.

        Args:
            gives_way: it is broken off for an answer that the client asks for, which is otherwise refused meanwhile.
        """
        ask = self._own_ask()
        self._says[ask] = text
        if gives_way:
            self._yielding.add(ask)
        self._desk.tell(SayAsked(self._desk.now, ask))

    def _start(self, order: StartReply) -> None:
        desk, ask = self._desk, order.ask
        said = None if ask is None else self._says.pop(ask, None)
        if ask in self._yielding:
            self._yielding.discard(ask)
            self._yields = order.reply
        options = desk.options.reply
        if ask is not None:
            options = self._wanted.pop(ask, options)
        turn = (
            desk.turn if desk.turn is not None and not desk.turn.outcome and said is None else None
        )
        reply = Reply(desk, order.reply, options, turn)
        reply.may_hang_up = self._offered(options) is not options
        responder: Responder = self._world.responder if said is None else Verbatim(said)
        if said is None and options.servers:
            responder = Helped(desk.toolbox, reply, responder)
        if said is None:
            self._make_way()
        prompt, responder = self._prompt(options, responder)
        rehearsal = self._rehearsals.take(prompt, self._voice(options)) if said is None else None
        reply.begin()
        self._desk.manners.began(reply)
        if rehearsal is not None and rehearsal.task is not None:
            self._replies[order.reply] = (reply, rehearsal.task)
            self._go_on_from(rehearsal, reply)
        else:
            self._rehearsals.drop()
            work = self._answering(reply, responder, desk.mouth, prompt)
            task = self._tasks.create_task(work, name=f"reply-{order.reply}")
            self._replies[order.reply] = (reply, task)
        self._replies[order.reply][1].add_done_callback(self.summaries.after)
        self._forget_old()

    def _answering(
        self, reply: Reply, responder: Responder, mouth: Output, prompt: Prompt
    ) -> Coroutine[None, None, None]:
        """The work of an answer that has begun."""
        speaking = Speaking(
            reply, responder, self._world.pool, mouth, self._later, self._first_token(reply)
        )
        voice = self._voice(prompt.options)

        async def work() -> None:
            await self._rehearsals.gone()
            await speaking.run(prompt, self._desk.id, voice)

        return self._guard(work)

    # --- before the turn is over ---
    def _rehearse(self, text: str) -> None:
        """Begin the answer that would follow if the user had finished with these words."""
        prompt = self._foreseen(text)
        if prompt is None:
            self._rehearsals.drop()
        else:
            self._make_way()
            self._rehearsals.begin(prompt, self._voice(prompt.options))

    def _foreseen(self, text: str) -> Prompt | None:
        """What the language model would be shown; None where that is not certain."""
        desk = self._desk
        items = tuple(desk.conversation)
        is_answering = any(not reply.over for reply, _ in self._replies.values())
        if is_answering or self._wanted or not text or _is_unheard(items[-1:]):
            return None
        try:
            shown, options = self.summaries.foreseen(rehearsed_message(text), desk.options.reply)
        except EngineError:
            return None
        return Prompt(shown, self._offered(options), desk.id)

    def _go_on_from(self, rehearsal: Rehearsal, reply: Reply) -> None:
        if reply.turn is not None:
            reply.turn.reasons.append("the answer was begun early")
        stage = Stage(reply, self._desk.mouth, self._later, self._first_token(reply))
        rehearsal.adopt(stage)

    # --- what an answer is made from ---
    def _prompt(self, options: ReplyOptions, responder: Responder) -> tuple[Prompt, Responder]:
        """The conversation as it is at this moment, and who answers it: that may be that it is too long."""
        items: tuple[Item, ...] = ()
        try:
            items, options = self.summaries.shown(options)
        except EngineError as error:
            responder = Broken(error)
        return Prompt(items, self._offered(options), self._desk.id), responder

    def _offered(self, options: ReplyOptions) -> ReplyOptions:
        """With our own tools beside the client's."""
        return self._desk.manners.offered(options)

    def _voice(self, options: ReplyOptions) -> TtsOptions:
        return TtsOptions(options.voice, self._desk.options.language, options.speed)

    def _first_token(self, reply: Reply) -> Callable[[], None]:
        return partial(self._desk.meters.mark, reply.turn, "first_token")

    def _make_way(self) -> None:
        """The language model is wanted for an answer."""
        if (task := self.summaries.give_way()) is not None:
            self._rehearsals.wait_for(task)

    def _speaker_of(self, item_id: str) -> tuple[ReplyId, Reply] | None:
        """The answer, of those not forgotten, whose message this item is."""
        for reply_id, (reply, _) in self._replies.items():
            if reply.item_id == item_id:
                return reply_id, reply
        return None

    def _resolve(self, item: Item | ItemReference) -> Item:
        if not isinstance(item, ItemReference):
            return item
        try:
            return self._desk.conversation.retrieve(item.id)
        except StateConflict as error:
            error.param = "response.input"
            raise

    def _stop(self, reply_id: ReplyId, why: str) -> None:
        if reply_id not in self._replies:
            return
        reply, task = self._replies.pop(reply_id)
        task.cancel()
        if why == "turn_detected":
            self._desk.meters.counts["interruptions"] += 1
            self._note("the user took the floor")
        reply.stop(why)

    def _gives_way(self) -> bool:
        """Break off an announcement that the client wants no more; False if there is none."""
        reply_id = self._yields
        if reply_id is None or reply_id not in self._replies or self._replies[reply_id][0].over:
            return False
        self._desk.tell(CancelAsked(self._desk.now, self._own_ask(), reply_id))
        return True

    def _own_ask(self) -> AskId:
        self._own_asks -= 1
        return AskId(self._own_asks)

    async def _guard(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the outer wall of an answer: a bug ends the session, loudly
            self._desk.fail(error)

    def _forget_old(self) -> None:
        """Answers that ended are kept only until the next few began, for late truncations of them."""
        for reply_id in [r for r, (_, task) in self._replies.items() if task.done()][:-2]:
            del self._replies[reply_id]

    def _later(self, after_s: float, text: str) -> None:
        if len(self._timers) >= MAX_TIMERS:
            error = OurError("too_many_timers", f"Only {MAX_TIMERS} timers can run at a time.")
            self._desk.listener.tell(Problem(error))
            return
        task = self._tasks.create_task(self._wait_and_say(after_s, text), name="timer")
        self._timers.add(task)
        task.add_done_callback(self._timers.discard)

    async def _wait_and_say(self, after_s: float, text: str) -> None:
        await asyncio.sleep(after_s)
        self.say(text)

    def _note(self, reason: str) -> None:
        if self._desk.turn is not None:
            self._desk.turn.reasons.append(reason)


def _is_unheard(items: tuple[Item, ...]) -> bool:
    """Among them is something that the user said and nobody has understood yet."""
    parts = (part for item in items if isinstance(item, Message) for part in item.parts)
    return any(part.kind == "input_audio" and part.text is None for part in parts)
