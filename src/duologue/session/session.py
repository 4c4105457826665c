"""One conversation: a mailbox with one writer, around the turn machine.

    async with asyncio.TaskGroup() as tasks:
        session = Session(world, "sess_1", listener, options, tasks)
        ...                                   # session.hear(pcm), session.ask(command)
        session.close()

Facts and commands are handled one at a time, in the order in which they came, and at once: `tell` works
the mailbox off before it returns, unless somebody further up the stack already does. So there is no queue
to fall behind, no lock, and no second hand on the conversation. Only waiting for engines takes a task.
"""

import asyncio
import logging
import secrets
from collections import deque
from dataclasses import replace

from duologue.core.arrival import ArrivalWatch
from duologue.core.audio import Ms
from duologue.core.commands import (
    AnyCommand,
    CancelReply,
    Clear,
    ClearOutput,
    Commit,
    CreateItem,
    CreateReply,
    DeleteItem,
    GoOnPlaying,
    PausePlayback,
    Played,
    RetrieveItem,
    SetOptions,
    TruncateItem,
)
from duologue.core.conversation import ApprovalAnswer, Conversation
from duologue.core.errors import ClientError, DuologueError, OurError, StateConflict
from duologue.core.facts import (
    Accept,
    CancelAsked,
    ClearAsked,
    CommitAsked,
    DropRehearsal,
    Fact,
    HoldOutput,
    LetGo,
    Order,
    PolicyChanged,
    Refuse,
    Rehearse,
    ReplyAsked,
    ResumeOutput,
    StartReply,
    StopReply,
)
from duologue.core.notices import (
    Cleared,
    ItemAdded,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    Problem,
)
from duologue.core.options import SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.core.turn import Floor, TurnMachine
from duologue.ports import Listener, SttOptions
from duologue.session import complaints
from duologue.session.agent_side import AgentSide
from duologue.session.ears import Ears
from duologue.session.echo import Echo
from duologue.session.judging import Judging
from duologue.session.manners import Manners
from duologue.session.meters import Turn
from duologue.session.mouth import Mouth
from duologue.session.recognition import Recognition
from duologue.session.reply import Reply
from duologue.session.toolbox import Toolbox
from duologue.session.user_side import UserSide
from duologue.session.watching import Watch
from duologue.session.world import World

log = logging.getLogger("duologue.session")

MAX_MAILBOX = 4_096
"""Facts and commands waiting; only a flood of commands within one event could reach it. The session ends."""


class Session:
    """The shell of one conversation. Everything but `close` is called on the event loop's thread.

    Args:
        tasks: owner of whatever waits; leaving it cancels what is left.

    Attributes:
        ended: set when the session is over: it `hung_up`, or cannot go on, and `error` says why.
        manners: what it does unasked.
        watch: tells the listener more than stock protocols do, where it asked for that.
    """

    def __init__(
        self,
        world: World,
        session_id: str,
        listener: Listener,
        options: SessionOptions,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.id = session_id
        self.listener = listener
        self.options = options
        self.conversation = Conversation()
        self.meters = world.meters
        self.turn: Turn | None = None
        self.ended = asyncio.Event()
        self.error: BaseException | None = None
        self.hung_up = False
        self._world = world
        self._machine = TurnMachine(turn_policy(options))
        self._mailbox: deque[Fact | AnyCommand] = deque()
        self._working = False
        self._journal = world.journal(session_id, turn_policy(options)) if world.journal else None
        echo = Echo()
        self.ears = Ears(world.hearing, options, world.clock, self.tell, echo)
        self.mouth = Mouth(world.pacer, world.clock, self.fail, lead_ms=world.lead_ms, echo=echo)
        self.ears.on_doubt = self.mouth.hush
        self.recognition = Recognition(
            world.pool, session_id, self.tell, lambda: self.ears.now, tasks
        )
        self.judging = Judging(world.turn_end, self.tell, lambda: self.ears.now, tasks)
        self.toolbox = Toolbox(self, world.tool_servers, tasks)
        self.manners = Manners(self, world.pacer, world.clock)
        self._user = UserSide(self)
        self._agent = AgentSide(self, world, tasks)
        self.watch: Watch | None = None
        self._adopt(options)
        self.meters.live += 1
        self.meters.counts["sessions"] += 1

    # --- what comes from outside ---
    def hear(self, pcm: bytes) -> None:
        """Sound from the client, in its format, whole samples.

        Raises:
            StateConflict: more waits than can be kept.
        """
        if not self.ears.hear(pcm):
            raise complaints.buffer_full()
        sound_ms = len(pcm) * 500 / self.options.input_format.rate_hz
        if (rate_hz := self._watch.arrived(sound_ms, self._world.clock())) is not None:
            declared_hz = self.options.input_format.rate_hz
            self.listener.tell(Problem(complaints.rate_mismatch(declared_hz, rate_hz)))

    def ask(self, command: AnyCommand) -> None:
        """A command of the client's; it takes its place behind the sound that came before it."""
        if isinstance(command, Clear):
            self.ears.clear()
        elif isinstance(command, SetOptions):
            self.ears.set_format(command.options.input_format)
        self.ears.when_judged(lambda: self.tell(command))

    def tell(self, item: Fact | AnyCommand) -> None:
        """Report what happened, or what is asked. The only way in."""
        self._mailbox.append(item)
        if len(self._mailbox) > MAX_MAILBOX:
            self.fail(OurError("mailbox_full", "A session could not keep up with its own events."))
        if self._working or self.ended.is_set():
            return
        self._working = True
        try:
            while self._mailbox and not self.ended.is_set():
                self._handle(self._mailbox.popleft())
        except Exception as error:  # noqa: BLE001 - the outer wall of a session: the others live on
            self.fail(error)
        finally:
            self._working = False

    def say(self, text: str, *, gives_way: bool = False) -> None:
        """Have something said as soon as nobody speaks; see `AgentSide.say`."""
        self._agent.say(text, gives_way=gives_way)

    def hang_up(self) -> None:
        """End the session: it is over, and nothing went wrong."""
        if not self.ended.is_set():
            log.info("= %s: hangs up", self.id)
            self.hung_up = True
            self.ended.set()

    def tick(self, now_ms: float) -> bool:
        """For the pacer: notice silence on the line, while somebody waits for its end."""
        self.ears.pass_silence(now_ms)
        return self._time_matters()

    def fail(self, error: BaseException) -> None:
        """The session cannot go on: tell the client, and end."""
        if self.ended.is_set():
            return
        self.error = error
        log.error("! %s: the session ends", self.id, exc_info=error)
        self.meters.counts["sessions_failed"] += 1
        known = error if isinstance(error, DuologueError) else complaints.bug(error)
        self.listener.tell(Problem(known))
        self.ended.set()

    def close(self) -> None:
        """The connection is gone: let go of everything that is not a task."""
        self.ended.set()
        if self.turn is not None and not self.turn.outcome and self.mouth.line is not None:
            self.turn.said_ms = int(self.mouth.sent_ms)
            self.turn.heard_ms = int(self.mouth.heard_ms())
        self.mouth.stop()
        self.ears.close()
        self._world.pacer.forget(self)
        self.manners.close()
        self.meters.end(self.turn, "hung up")
        self.meters.live -= 1
        self.meters.counts["underruns"] += self.mouth.underruns
        if self._journal is not None:
            self._journal.close()

    # --- what the halves need ---
    @property
    def now(self) -> Ms:
        """The stream clock: how far it is settled whether somebody speaks."""
        return self.ears.now

    @property
    def floor(self) -> Floor:
        """Who has the floor."""
        return self._machine.floor

    @property
    def padding_ms(self) -> int:
        """Sound before the detected start of speech that belongs to it."""
        return self.options.prefix_padding_ms

    def new_id(self, prefix: str) -> str:
        """A fresh name for something that the client sees."""
        return f"{prefix}_{secrets.token_hex(10)}"

    # --- one at a time ---
    def _handle(self, item: Fact | AnyCommand) -> None:
        if not isinstance(item, Fact):
            try:
                self._do(item)
            except ClientError as error:
                self.listener.tell(Problem(error, item.ask))
            return
        before = self._machine.floor
        orders = self._machine.feed(item)
        if self._journal is not None:
            self._journal.note(item, orders)
        if self._machine.floor is not before:
            log.debug("= %s: %s at %d ms", self.id, self._machine.floor.name, self._machine.now)
        for order in orders:
            self._carry_out(order)
        self.ears.deadline = self._machine.deadline
        if self._time_matters():
            self._world.pacer.want(self)
        if self.watch is not None:
            self.watch.look()

    def _time_matters(self) -> bool:
        return self.ears.deadline is not None or self.ears.speaking

    def _carry_out(self, order: Order) -> None:
        match order:
            case Accept():
                self.listener.tell(Cleared())
            case Refuse(ask=ask, code=code):
                if self._agent.refused(ask):
                    self.listener.tell(Problem(StateConflict(code, complaints.REFUSALS[code]), ask))
            case LetGo(why=why):
                if self.turn is not None:
                    why = "not transcribed" if self.turn.lost else why
                    self.turn.reasons.append(f"no answer: {why}")
                self.meters.end(self.turn, why)
            case StartReply() | StopReply() | HoldOutput() | ResumeOutput():
                self._agent.carry_out(order)
            case Rehearse() | DropRehearsal():
                self._agent.carry_out(order)
            case _:
                self._user.carry_out(order)

    def _do(self, command: AnyCommand) -> None:
        match command:
            case SetOptions(options=options):
                before = self.options.language
                self._adopt(options)
                self.manners.set_up()
                if options.language != before:
                    complaints.tell_lacking(
                        self.listener, self._world.lacking, command.ask, options
                    )
            case Commit():
                self._commit(command)
            case Clear():
                self.tell(ClearAsked(self.now, command.ask))
            case CreateItem() | DeleteItem() | RetrieveItem() | TruncateItem():
                self._do_with_item(command)
            case CreateReply():
                self._create_reply(command)
            case CancelReply():
                self._cancel(command)
            case ClearOutput():
                self._agent.clear_output(command.ask)
            case Played() | PausePlayback() | GoOnPlaying():
                self._heed_playback(command)

    def _do_with_item(self, command: CreateItem | DeleteItem | RetrieveItem | TruncateItem) -> None:
        match command:
            case CreateItem():
                self._create_item(command)
            case DeleteItem(item_id=item_id):
                self.conversation.delete(item_id)
                self._agent.summaries.forget(item_id)
                self.listener.tell(ItemDeleted(item_id))
            case RetrieveItem(item_id=item_id):
                self.listener.tell(ItemRetrieved(self.conversation.retrieve(item_id)))
            case TruncateItem():
                self._truncate(command)

    def _create_item(self, command: CreateItem) -> None:
        item = command.item
        if isinstance(item, ApprovalAnswer):
            self.toolbox.expect(item)
        previous = self.conversation.add(item, command.after)
        self.listener.tell(ItemAdded(item, previous))
        if isinstance(item, ApprovalAnswer):
            self.toolbox.decide(item)

    def _adopt(self, options: SessionOptions) -> None:
        policy_changed = turn_policy(options) != turn_policy(self.options)
        self.options = options
        self.ears.set_options(options)
        self.recognition.options = SttOptions(
            options.language, options.hints, word_times=options.logprobs
        )
        self.judging.is_wanted = options.turn.endpointing is not None
        self.toolbox.adopt(options.reply.servers if options.answers else ())
        self._watch = ArrivalWatch(options.input_format.rate_hz)
        if policy_changed:
            self.tell(PolicyChanged(self.now, turn_policy(options)))

    def _commit(self, command: Commit) -> None:
        lasts_ms = self.ears.uncommitted_ms
        if lasts_ms < complaints.MIN_COMMIT_MS:
            raise complaints.too_little_sound(lasts_ms)
        self.ears.flush()
        self.tell(CommitAsked(self.now, self.ears.position, command.ask))

    def _truncate(self, command: TruncateItem) -> None:
        if command.audio_ms < 0:
            raise StateConflict(
                "invalid_value", "'audio_end_ms' counts from 0.", param="audio_end_ms"
            )
        where = (command.item_id, command.content_index)
        kept_ms = None
        if command.content_index == 0:
            kept_ms = self._agent.truncate(command.item_id, command.audio_ms)
        if kept_ms is None:
            kept_ms = self.conversation.truncate(*where, command.audio_ms)
            self._agent.summaries.forget(command.item_id)
        self.listener.tell(ItemTruncated(*where, kept_ms))
        self._agent.playback_stopped(command.item_id)

    def _create_reply(self, command: CreateReply) -> None:
        if not self.options.answers:
            raise complaints.no_responses()
        if command.options.out_of_band:
            self._agent.answer_aside(command)
        else:
            self._agent.want(command)
            self.tell(ReplyAsked(self.now, command.ask))

    def _cancel(self, command: CancelReply) -> None:
        reply = None
        if command.reply_id is not None:
            if self._agent.stop_aside(command.reply_id):
                return
            reply = self._agent.find(command.reply_id)
            if reply is None:
                code = "response_cancel_not_active"
                raise StateConflict(code, complaints.REFUSALS[code], param="response_id")
        self.tell(CancelAsked(self.now, command.ask, reply))

    def _heed_playback(self, command: Played | PausePlayback | GoOnPlaying) -> None:
        """The client's own playback, of which it knows best; whose turn it is, is not decided by it."""
        match command:
            case Played(item_id=item_id, played_ms=played_ms):
                line = self.mouth.line
                if isinstance(line, Reply) and line.item_id == item_id:
                    self.mouth.correct(played_ms)
                else:
                    self.conversation.retrieve(
                        item_id
                    )  # late news, unless there never was such an item
            case PausePlayback():
                self.mouth.pause("client")
            case GoOnPlaying():
                self.mouth.unpause("client")


def turn_policy(options: SessionOptions) -> TurnPolicy:
    """How turns are taken, in the language that is spoken."""
    return replace(options.turn, language=options.language)
