"""The books of one conversation: what the turn machine remembers, and the guards that read it.

Guards are named predicates; `core.turn.RULES` says where each applies. The entries below them keep the
books consistent (an id is handed out once, a committed utterance is completed once); they are used by
the moves in `core.turn_moves` and by nobody else.
"""

from collections import deque
from collections.abc import Iterator

from duologue.core import endpointing
from duologue.core.audio import Ms
from duologue.core.endpointing import Habits, Pause, Wait
from duologue.core.facts import (
    AskId,
    CompleteTranscript,
    DraftId,
    Order,
    ReplyId,
    StartReply,
    UtteranceId,
)
from duologue.core.policy import EVIDENCE_MS, SURE_OF_WORDS, TurnPolicy
from duologue.core.utterance import Utterance
from duologue.core.wording import judge

Orders = Iterator[Order]


class TurnState:
    """What is known between two facts.

    Attributes:
        now: how far the stream is settled; never runs backwards.
        utterance: what is being said, or was and may still turn out to be nothing.
        pending: utterances that are committed and not yet all transcribed.
        owed: the user said words that no answer has reached.
        reply: the live reply; `started` once its order went out, `sent` once all its sound did.
        reply_ask: the command behind it.
        answering: the reply answers words that are owed again if it dies unheard.
        asked: a client's request for a reply that waits for the user to finish.
        says: announcements that wait for a silence.
        idle_since: where the last answer was heard to its end, if nothing has happened since.
        habits: how this speaker pauses.
        ended_at: where the speech of the last turn ended that we answer; None once that is long ago.
        rehearsed: an answer was begun early that may still come true.
    """

    def __init__(self, policy: TurnPolicy) -> None:
        self.policy = policy
        self.now = Ms(0)
        self.utterance: Utterance | None = None
        self.pending: dict[UtteranceId, Utterance] = {}
        self.owed = False
        self.reply: ReplyId | None = None
        self.reply_ask: AskId | None = None
        self.started = self.sent = self.answering = False
        self.asked: AskId | None = None
        self.says: deque[AskId] = deque()
        self.idle_since: Ms | None = None
        self.habits = Habits()
        self.ended_at: Ms | None = None
        self.rehearsed = False
        self._last = {"utterance": 0, "draft": 0, "reply": 0}

    # --- guards ---
    def talking(self) -> bool:
        """The user's speech goes on."""
        return self.utterance is not None and self.utterance.talking

    def pausing(self) -> bool:
        """The user fell silent and is not committed."""
        return self.utterance is not None and self.utterance.pausing

    def undecided(self) -> bool:
        """There was speech over our answer of which the client has not been told."""
        return self.utterance is not None and self.utterance.spoken and not self.utterance.announced

    def understood(self) -> bool:
        """The recogniser owes nothing of what is being said."""
        return self.utterance is not None and self.utterance.understood

    def all_one_sound(self) -> bool:
        """Nothing was said before the latest stretch of speech."""
        return self.utterance is not None and self.utterance.resumed == self.utterance.since

    def interrupts(self) -> bool:
        """Speech may stop an answer."""
        return self.policy.interrupt_response

    def turn_is_over(self) -> bool:
        """The pause has lasted as long as a turn's end."""
        ended = self.utterance.ended if self.utterance else None
        return ended is not None and self.now >= ended + self.wait().ms

    def draft_is_due(self) -> bool:
        """The pause has lasted for a draft, and not for the end of the turn."""
        return self.utterance is not None and self.utterance.open and not self.turn_is_over()

    def nothing_said(self) -> bool:
        """The recogniser found no word in the turn, and nothing else waits for an answer."""
        empty = self.utterance is not None and self.utterance.wordless
        return empty and not (self.owed or self.pending or self.asked)

    def only_noise(self) -> bool:
        """The recogniser found no word in what came after a turn that still waits for its answer."""
        return self.utterance is not None and self.utterance.wordless and self.owes()

    def rehearses(self) -> bool:
        """The answer to what was said may be begun early: all of it is known, and nothing says that more comes."""
        u, policy = self.utterance, self.policy
        if u is None or not u.understood or self.pending or self.asked:
            return False
        is_wanted = policy.speculate and policy.create_response
        return is_wanted and not judge(u.text, policy.language).is_open

    def answers(self) -> bool:
        """The end of this turn is followed by an answer."""
        return self.policy.create_response or self.asked is not None

    def awaiting(self) -> bool:
        """The reply is due and waits for a transcript."""
        return self.reply is not None and not self.started

    def called_for(self) -> bool:
        """Somebody wants the reply that is due: the user by words, or a client by command."""
        return self.awaiting() and (self.owed or self.reply_ask is not None)

    def adoptable(self) -> bool:
        """The reply that is due is nobody's yet, and may become the client's."""
        return self.awaiting() and self.reply_ask is None

    def owes(self) -> bool:
        """An answer is still to come."""
        words = self.owed or any(u.due for u in self.pending.values())
        return self.asked is not None or (self.policy.create_response and words)

    def has_says(self) -> bool:
        """An announcement waits."""
        return bool(self.says)

    def all_sent(self) -> bool:
        """The reply is over but for the listener's ears."""
        return self.sent

    def is_asked(self) -> bool:
        """A client's request waits already."""
        return self.asked is not None

    # --- the wait ---
    def wait(self) -> Wait:
        """How long the present pause must last to be the end of the turn, with what is known by now."""
        how, policy = self.policy.endpointing, self.policy
        if how is None:
            return Wait(policy.silence_ms, f"silence of {policy.silence_ms} ms")
        u = self.utterance
        assert u is not None
        assert u.ended is not None, "somebody asked for a wait while the user speaks"
        is_sure = u.confidence is None or u.confidence >= SURE_OF_WORDS
        is_known = u.understood and u.failed is None and is_sure
        wording = judge(u.text, policy.language) if is_known else None
        pause = Pause(
            u.ended - u.speech_since, u.pauses, u.longest_ms, u.cadence, u.probability, wording
        )
        found = endpointing.wait(pause, how, self.habits)
        least_ms = policy.draft_ms if u.understood and u.judged else policy.draft_ms + EVIDENCE_MS
        return found if found.ms >= least_ms else Wait(least_ms, found.why)

    # --- entries ---
    def open_utterance(self, at: Ms, *, spoken: bool) -> Utterance:
        """A new utterance takes the place of none."""
        self.idle_since = None
        self.utterance = Utterance(UtteranceId(self._next("utterance")), at, spoken, at, at)
        return self.utterance

    def new_draft(self) -> DraftId:
        """A draft's id."""
        return DraftId(self._next("draft"))

    def promise_reply(self, ask: AskId | None) -> ReplyId:
        """A new reply takes the place of the last; it is not started yet."""
        self.drop_reply()
        self.idle_since = None
        self.reply, self.reply_ask = ReplyId(self._next("reply")), ask
        return self.reply

    def start_reply(self) -> Orders:
        """The promised reply begins."""
        assert self.reply is not None
        self.started, self.answering, self.owed = True, self.owed, False
        self.rehearsed = False  # it came true, or never will
        yield StartReply(self.reply, self.reply_ask)

    def drop_reply(self) -> None:
        """No reply is live."""
        self.reply = self.reply_ask = None
        self.started = self.sent = self.answering = False

    def complete(self, u: Utterance) -> Orders:
        """Close the books on a committed utterance, if all of it is transcribed."""
        if u.understood and u.id in self.pending:
            del self.pending[u.id]
            self.owed = self.owed or (u.due and bool(u.text))
            yield CompleteTranscript(u.id, u.text, u.failed)

    def forgive(self) -> None:
        """No answer is due for what was committed."""
        for u in self.pending.values():
            u.due = False

    def take_asked(self) -> AskId | None:
        """The client's waiting request, which then waits no more."""
        asked, self.asked = self.asked, None
        return asked

    def _next(self, kind: str) -> int:
        self._last[kind] += 1
        return self._last[kind]
