"""What a session does unasked: it greets, fills the silence while a tool runs, and hangs up after a goodbye.

Turn-taking knows none of this. A greeting and a filler are announcements like any other, made only where nobody
speaks, and give way to whatever the client asks for. That the model hangs up (`core.manners.HANG_UP`) is noted with
its answer, and done once the answer was heard to its end and nobody has spoken since.
"""

from typing import Protocol

from duologue.core.conversation import (
    ApprovalRequest,
    Conversation,
    FunctionCall,
    FunctionResult,
    Item,
    Message,
    ServerCall,
)
from duologue.core.manners import with_hang_up
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.turn import Floor
from duologue.ports import Clock
from duologue.session.pacer import Pacer
from duologue.session.reply import Reply

GREETING_WAIT_MS = 1_000
"""A client that sends no settings is greeted after this; others as soon as they have: a greeting in the wrong voice
or format is none. Longer than a connection whose dialect is not known yet waits (`realtime.HESITATION_S`)."""

SAME_BREATH_MS = 60
"""What a client sends together with its settings comes first: a response that it asks for takes our place."""

FILLER_AFTER_MS = 700
"""From the end of the answer that calls a tool. People take a silence between turns for trouble from about 700 ms on
(Roberts and Francis 2013); a tool that is quicker needs no excuse."""

PARTING_MS = 600
"""From the last heard word of a goodbye to the end of the line: time to say "wait", and for what a client has
in its own buffers to be played."""


class Desk(Protocol):
    """What is needed of the session."""

    conversation: Conversation
    options: SessionOptions

    @property
    def floor(self) -> Floor:
        """Who has it."""

    def say(self, text: str, *, gives_way: bool = False) -> None:
        """Have something said as soon as nobody speaks; see `AgentSide.say`."""

    def hang_up(self) -> None:
        """End the session: it is over, and nothing went wrong."""

    def fail(self, error: BaseException) -> None:
        """The session cannot go on."""


class Manners:
    """See the module. One a session; it wants the pacer's tick only while it waits for something."""

    def __init__(self, desk: Desk, pacer: Pacer, clock: Clock) -> None:
        self._desk = desk
        self._pacer = pacer
        self._now = clock
        self._greet_at: float | None = None
        self._is_too_late = False  # to greet
        self._reply: Reply | None = (
            None  # the latest answer, until it is known to want nothing of us
        )
        self._act_at: float | None = None
        self._greet_after(GREETING_WAIT_MS)

    # --- what others report ---
    def set_up(self) -> None:
        """The client has sent settings."""
        self._greet_after(SAME_BREATH_MS)

    def offered(self, options: ReplyOptions) -> ReplyOptions:
        """What the model of an answer is offered: what the client says, and what is ours."""
        return with_hang_up(options) if self._desk.options.hang_up else options

    def began(self, reply: Reply) -> None:
        """An answer in the conversation begins."""
        self._reply, self._act_at = None, None
        if self._desk.options.hang_up or self._desk.options.filler:
            self._reply = reply
            self._pacer.want(self)

    def close(self) -> None:
        """The session is over."""
        self._pacer.forget(self)

    # --- the pacer's side ---
    def tick(self, now_ms: float) -> bool:
        """See `pacer.Ticked`."""
        if self._greet_at is not None and now_ms >= self._greet_at:
            self._greet_at = None
            self._greet()
        reply = self._reply
        if reply is not None and reply.over and not reply.is_playing:
            self._after(reply, now_ms)
        return self._greet_at is not None or self._reply is not None

    def fail(self, error: BaseException) -> None:
        """See `pacer.Ticked`."""
        self._desk.fail(error)

    # --- how ---
    def _greet_after(self, wait_ms: int) -> None:
        if self._desk.options.greeting and not self._is_too_late:
            due = self._now() + wait_ms
            self._greet_at = due if self._greet_at is None else min(due, self._greet_at)
            self._pacer.want(self)

    def _greet(self) -> None:
        desk = self._desk
        if desk.options.greeting and desk.options.answers:
            self._is_too_late = True
            if desk.floor is Floor.OPEN and not any(map(_is_said, desk.conversation)):
                desk.say(desk.options.greeting, gives_way=True)

    def _after(self, reply: Reply, now_ms: float) -> None:
        """An answer is over and nothing of it is heard any more: what does it want of us?"""
        desk = self._desk
        if reply.hangs_up:
            is_meant = desk.options.hang_up and not self._was_broken_off(reply)
            wait_ms = PARTING_MS if reply.item_id is not None else 0
        else:
            is_meant = bool(desk.options.filler) and self._keeps_waiting(reply)
            wait_ms = FILLER_AFTER_MS
        if self._act_at is None:
            self._act_at = now_ms + wait_ms
        if not is_meant or desk.floor is not Floor.OPEN:
            self._reply = None
        elif now_ms >= self._act_at:
            self._reply = None
            if reply.hangs_up:
                desk.hang_up()
            else:
                desk.say(desk.options.filler, gives_way=True)

    def _was_broken_off(self, reply: Reply) -> bool:
        """Not all of a goodbye was heard: somebody wants to go on."""
        item = self._desk.conversation.get(reply.item_id or "")
        was_cut = isinstance(item, Message) and item.status == "incomplete"
        status = reply.state.status
        return status in ("cancelled", "failed") or (status == "completed" and was_cut)

    def _keeps_waiting(self, reply: Reply) -> bool:
        """It said nothing and called something that has not returned; nor is it the user who must decide."""
        output = reply.state.output
        if reply.state.status != "completed" or any(
            isinstance(item, Message | ApprovalRequest) for item in output
        ):
            return False
        conversation = self._desk.conversation
        returned = {item.call_id for item in conversation if isinstance(item, FunctionResult)}
        for item in output:
            if isinstance(item, FunctionCall) and item.call_id not in returned:
                return True
            now = conversation.get(item.id)
            if isinstance(now, ServerCall) and now.status == "in_progress":
                return True
        return False


def _is_said(item: Item) -> bool:
    """Somebody has said something, now or in a conversation that this one goes on with."""
    return isinstance(item, Message) and item.role != "system"
