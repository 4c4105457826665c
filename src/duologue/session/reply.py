"""One answer as the listener gets it: items, text in step with its sound, and how it ended.

`Reply` is the plain, synchronous half: it is told what was generated and tells the listener, in the order
that the protocol knows. The half that waits for engines is in `speaking`.
"""

import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, cast

from duologue.core.conversation import (
    ApprovalRequest,
    Conversation,
    FunctionCall,
    Message,
    OutputItem,
    Part,
    ServerCall,
    Status,
)
from duologue.core.errors import DuologueError
from duologue.core.facts import Fact, ReplyAudible, ReplyHeard, ReplyId, ReplySent
from duologue.core.manners import HANG_UP
from duologue.core.notices import (
    ArgumentsGrew,
    OutputBegan,
    OutputEnded,
    PlaybackBegan,
    PlaybackEnded,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    TextGrew,
)
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenText
from duologue.session.mouth import Output

if TYPE_CHECKING:
    from duologue.core.audio import Ms
    from duologue.ports import Listener, Spent
    from duologue.session.meters import Meters, Turn

log = logging.getLogger("duologue.session")

Outcome = Literal["completed", "cancelled", "failed", "incomplete"]


class Desk(Protocol):
    """What an answer needs of its session."""

    listener: "Listener"
    conversation: Conversation
    meters: "Meters"

    @property
    def mouth(self) -> Output:
        """Where its sound goes."""

    @property
    def now(self) -> "Ms":
        """The session's stream clock."""

    def tell(self, fact: Fact) -> None:
        """Report a fact."""

    def new_id(self, prefix: str) -> str:
        """A fresh name."""


class ServerTools(Protocol):
    """Tools that we run ourselves, as one answer sees them. Named as the model names them."""

    def owner(self, name: str) -> tuple[str, str] | None:
        """The server's label and the tool's own name; None for a function of the client's."""

    def must_ask(self, name: str) -> bool:
        """The client is to approve such a call."""

    def use(
        self, name: str, call: ServerCall, index: int, previous_id: str | None, request_id: str
    ) -> None:
        """A call is whole: run it; if `request_id` is not empty, once the client has approved that request."""

    def over(self) -> None:
        """The client has had the last word about the answer."""


class Reply:
    """One answer. Every method may be called after its end, and then does nothing.

    Attributes:
        id: the machine's name for it; `state.id` is the client's.
        turn: the turn that it answers, for the waterfall.
        over: the client has had the last word about it.
        is_playing: the listener hears it, as far as we know.
        tools: what its model may call that we run ourselves, if there is any.
        may_hang_up: its model is offered `core.manners.HANG_UP`.
    """

    def __init__(
        self, desk: Desk, reply_id: ReplyId, options: ReplyOptions, turn: "Turn | None"
    ) -> None:
        self._desk = desk
        self.id = reply_id
        self.turn = turn
        self.state = ReplyState(desk.new_id("resp"), options)
        self.spoken = SpokenText()
        self.over = False
        self.is_playing = False
        self._cut_ms: int | None = None  # where the client cut it while it was being sent
        self.tools: ServerTools | None = None
        self.may_hang_up = False
        self._own_calls: set[str] = set()  # of `HANG_UP`, which are no items
        self._message: Message | None = None
        self._message_index = 0
        self._calls: dict[str, tuple[int, str, FunctionCall | ServerCall]] = {}
        self._previous: dict[str, str | None] = {}
        self._done: dict[int, OutputItem] = {}
        self._outputs = 0
        self._told = ""
        self._untold: deque[tuple[float, str]] = deque()  # (where its sound starts, text)
        self._ending: tuple[Outcome, str | None, DuologueError | None] = ("completed", None, None)

    @property
    def item_id(self) -> str | None:
        """The message that it speaks or writes, once there is one."""
        return self._message.id if self._message is not None else None

    @property
    def hangs_up(self) -> bool:
        """Its model has called `core.manners.HANG_UP`."""
        return bool(self._own_calls)

    def begin(self) -> None:
        """It begins."""
        self._desk.meters.mark(self.turn, "reply_started")
        self._desk.listener.tell(ReplyBegan(self.state))

    # --- what was generated ---
    def add_text(self, text: str) -> None:
        """Text of an answer that is not spoken."""
        if not self.over:
            self._open_message("output_text")
            self._tell_text(text)

    def add_piece(self, text: str) -> int:
        """A piece of text that will be spoken; returns its number."""
        return self.spoken.add_piece(text)

    def add_sound(
        self, number: int, text: str, pcm: bytes, words: tuple[tuple[float, int], ...]
    ) -> None:
        """Sound of a piece, in the session's output format; `text` is the piece's where it is the first of it."""
        if self.over:
            return
        if self._message is None:
            self._desk.meters.mark(self.turn, "first_sound")
            self._open_message("output_audio")
            self._desk.mouth.begin(self, self.state.options.format)
        if text:
            self._untold.append((self.spoken.duration_ms, text))
        duration_ms = len(pcm) * 1000 / (2 * self.state.options.format.rate_hz)
        self.spoken.add_sound(number, duration_ms, words)
        self._desk.mouth.push(pcm)

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """A function call begins, or its arguments go on."""
        if self.over or self._is_own(call_id, name):
            return
        if call_id not in self._calls:
            opened = self._new_call(call_id, name)
            self._calls[call_id] = (self._outputs, name, opened)
            self._open(opened)
        index, name, call = self._calls[call_id]
        self._calls[call_id] = (index, name, replace(call, arguments=call.arguments + arguments))
        if arguments:
            ours = isinstance(call, ServerCall)
            grew = ArgumentsGrew(self.state.id, index, call.id, call_id, arguments, ours)
            self._desk.listener.tell(grew)

    def spend(self, spent: "Spent") -> None:
        """Tokens, as the model's server counted them."""
        usage = replace(
            self.state.usage,
            input_text=spent.input_tokens,
            output_text=spent.output_tokens,
            cached=spent.cached_tokens,
        )
        self.state = replace(self.state, usage=usage)

    def cut_short(self, reason: str) -> None:
        """The model stopped at a limit."""
        self._ending = ("incomplete", reason, None)

    def fail(self, error: DuologueError) -> None:
        """Something broke; what is there is still said."""
        log.warning("! an answer failed: %s (%s)", error, error.code)
        self._ending = ("failed", None, error)

    def finish(self) -> None:
        """All that there will be is here."""
        if self.over:
            return
        self.spoken.finish()
        self._close_calls("completed")
        if self.spoken.duration_ms:
            self._desk.mouth.finish()
        else:
            self.all_sent()

    # --- how it ends ---
    def truncate(self, heard_ms: int) -> int:
        """The client knows how much of it was heard; returns what counts (ms), at most what was sent."""
        kept_ms = min(heard_ms, int(self._desk.mouth.sent_ms))
        self._cut_ms = kept_ms if self._cut_ms is None else min(kept_ms, self._cut_ms)
        return self._cut_ms

    def stop(self, why: str) -> None:
        """It ends at once; what was not heard was not said."""
        if self._message is not None and self.spoken.duration_ms:
            self._cut_to_what_was_heard()
        if self.over:
            self._playback_ended(cut=True)
            return
        self._desk.mouth.stop()
        self._ending = ("cancelled", why, None)
        self._close_calls("incomplete")
        self._end("incomplete")
        self._playback_ended(cut=True)
        outcome = "interrupted" if why == "turn_detected" else "cancelled"
        self._desk.meters.end(self.turn, outcome)

    # --- the mouth's line ---
    def send(self, pcm: bytes) -> None:
        """A frame goes out, with the text that begins in it."""
        sent_ms = self._desk.mouth.sent_ms
        while self._untold and self._untold[0][0] < sent_ms:
            self._tell_text(self._untold.popleft()[1])
        assert self._message is not None
        item_id = self._message.id
        self._desk.listener.sound(self.state.id, self._message_index, item_id, pcm)

    def audible(self) -> None:
        """The first frame went out."""
        self._desk.meters.mark(self.turn, "first_sent")
        self.is_playing = True
        self._desk.listener.tell(PlaybackBegan(self.state.id))
        self._desk.tell(ReplyAudible(self._desk.now, self.id))

    def all_sent(self) -> None:
        """Everything went out."""
        if self.over:
            return
        while self._untold:
            self._tell_text(self._untold.popleft()[1])
        status: Status = "completed" if self._ending[0] == "completed" else "incomplete"
        self._end(status)
        self._desk.tell(ReplySent(self._desk.now, self.id))
        if not self.spoken.duration_ms:
            self._desk.meters.end(self.turn, self._outcome())

    def all_heard(self) -> None:
        """The listener heard the last of it."""
        if self.turn is not None:
            self.turn.heard_ms = int(self.spoken.duration_ms)
        self._playback_ended(cut=False)
        self._desk.meters.end(self.turn, self._outcome())
        self._desk.tell(ReplyHeard(self._desk.now, self.id))

    # --- how ---
    def _outcome(self) -> str:
        return "failed" if self._ending[0] == "failed" else "answered"

    def _heard_ms(self) -> float:
        """How much of it was heard: as we reckon, unless the client knows that it was less."""
        heard_ms = self._desk.mouth.heard_ms()
        return heard_ms if self._cut_ms is None else min(heard_ms, self._cut_ms)

    def _playback_ended(self, *, cut: bool) -> None:
        if not self.is_playing:
            return
        self.is_playing = False
        if cut:
            self._desk.mouth.stop()
        heard_ms = int(self._heard_ms()) if cut else int(self.spoken.duration_ms)
        ended = PlaybackEnded(self.state.id, self.item_id or "", heard_ms, cut)
        self._desk.listener.tell(ended)

    def _open_message(self, kind: Literal["output_text", "output_audio"]) -> None:
        if self._message is not None:
            return
        spoken = self.spoken if kind == "output_audio" else None
        self._message_index = self._outputs
        part = Part(kind, "", spoken)
        item = Message(self._desk.new_id("item"), "assistant", (part,), "in_progress")
        self._message = item
        self._open(item)

    def _is_own(self, call_id: str, name: str) -> bool:
        """Whether it is a call of our own tool, which nobody else is told of."""
        if self.may_hang_up and name == HANG_UP.name:
            self._own_calls.add(call_id)
        return call_id in self._own_calls

    def _new_call(self, call_id: str, name: str) -> FunctionCall | ServerCall:
        owner = self.tools.owner(name) if self.tools is not None else None
        if owner is None:
            return FunctionCall(self._desk.new_id("item"), call_id, name, "", "in_progress")
        return ServerCall(self._desk.new_id("mcp"), *owner, "", status="in_progress")

    def _open(self, item: OutputItem) -> None:
        previous = self._desk.conversation.add(item)
        self._previous[item.id] = previous
        aside = self.state.options.out_of_band
        began = OutputBegan(self.state.id, self._outputs, item, previous, aside)
        self._outputs += 1
        self._desk.listener.tell(began)

    def _tell_text(self, text: str) -> None:
        assert self._message is not None
        self._told += text
        grew = TextGrew(
            self.state.id, self._message_index, self._message.id, text, self.state.options.spoken
        )
        self._desk.listener.tell(grew)

    def _close(self, index: int, item: OutputItem, told: str) -> None:
        self._desk.conversation.put(item)
        self._done[index] = item
        output = tuple(self._done[at] for at in sorted(self._done))
        self.state = replace(self.state, output=output)
        previous = self._previous[item.id]
        aside = self.state.options.out_of_band
        self._desk.listener.tell(OutputEnded(self.state.id, index, item, told, previous, aside))

    def _close_calls(self, status: Status) -> None:
        calls, self._calls = self._calls, {}
        for index, name, call in calls.values():
            if isinstance(call, ServerCall):
                self._close_server_call(index, name, call)
            else:
                self._close(index, replace(call, status=status), call.arguments)

    def _close_server_call(self, index: int, name: str, call: ServerCall) -> None:
        """A call of an answer that did not come to its end may be broken off: it is not run."""
        if self._ending[0] != "completed":
            self._close(index, replace(call, status="incomplete"), call.arguments)
            return
        self._close(index, call, call.arguments)
        tools, request_id = cast(ServerTools, self.tools), ""
        if tools.must_ask(name):
            request_id, at = self._desk.new_id("mcpr"), self._outputs
            request = ApprovalRequest(request_id, call.server, call.name, call.arguments)
            self._open(request)
            self._close(at, request, "")
        tools.use(name, call, index, self._previous[call.id], request_id)

    def _end(self, status: Status) -> None:
        """Close the message, and the answer with it."""
        self.over = True
        if self._message is not None:
            part = self._message.parts[0]
            sent_ms = self._desk.mouth.sent_ms if part.spoken is not None else 0.0
            text = self._told
            if part.spoken is not None and self._ending[0] in ("cancelled", "failed"):
                text = self.spoken.heard_until(self._heard_ms())
            done = replace(part, text=text, sent_ms=sent_ms)
            self._message = replace(self._message, parts=(done,), status=status)
            self._close(self._message_index, self._message, self._told)
            if self._cut_ms is not None:
                cut = replace(
                    part, text=self.spoken.heard_until(self._cut_ms), sent_ms=float(self._cut_ms)
                )
                was_whole = self._cut_ms >= int(sent_ms)
                status = status if was_whole else "incomplete"
                self._desk.conversation.put(replace(self._message, parts=(cut,), status=status))
            if self.turn is not None:
                self.turn.said_ms = int(sent_ms)
        outcome, reason, error = self._ending
        audio_tokens = int(self.spoken.duration_ms / 50)
        usage = replace(self.state.usage, output_audio=audio_tokens)
        if not usage.output_text:
            usage = replace(usage, output_text=len(self._told) // 4)
        self.state = replace(self.state, status=outcome, reason=reason, error=error, usage=usage)
        self._desk.listener.tell(ReplyEnded(self.state))
        if self.tools is not None:
            self.tools.over()

    def _cut_to_what_was_heard(self) -> None:
        """After the last word about it was sent: the conversation still forgets what was not heard."""
        heard_ms = self._heard_ms()
        if self.turn is not None:
            self.turn.heard_ms = int(heard_ms)
        if not self.over or self._message is None:
            return
        part = replace(self._message.parts[0], text=self.spoken.heard_until(heard_ms))
        self._desk.conversation.put(replace(self._message, parts=(part,), status="incomplete"))
