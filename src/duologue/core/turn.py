"""Who has the floor. The whole of turn-taking is the table `RULES`; docs/turn-taking.md is drawn from it.

    for order in turn.feed(fact): carry_out(order)     # and feed a Tick when `turn.deadline` is reached

No I/O, no clock, no timer: time is the fact's `at`, and the deadline is an answer. An overdue deadline
is applied at its own time before the fact that reveals it, so a late scheduler changes nothing. News of
a reply that is no longer live, or of an utterance that was discarded, is dropped in one line.

A cell of the table lists alternatives; the first whose guard holds applies. A floor's own row goes before
`ANYWHERE`. Each entry to OPEN is followed by the fact `Freed`: whoever has waited, speaks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from duologue.core import turn_moves as do
from duologue.core.audio import Ms
from duologue.core.facts import (
    CancelAsked,
    ClearAsked,
    CommitAsked,
    Fact,
    InputBegan,
    Order,
    PlaybackStopped,
    PolicyChanged,
    ReplyAsked,
    ReplyAudible,
    ReplyHeard,
    ReplyId,
    ReplySent,
    SayAsked,
    SpeechStarted,
    SpeechStopped,
    TextHeard,
    TranscriptFailed,
    TranscriptReady,
    TurnJudged,
)
from duologue.core.lexicon import plain_words
from duologue.core.policy import LEAST_CONFIDENCE, MOST_OF_A_HUM, TurnPolicy
from duologue.core.turn_state import TurnState
from duologue.core.utterance import Utterance
from duologue.core.wording import says_something, words_said


class Floor(Enum):
    """Who speaks, or is about to."""

    OPEN = "nobody"
    USER = "the user"
    PAUSE = "the user fell silent; they may go on"
    THINKING = "a reply is due, nothing of it audible yet"
    AGENT = "the reply is audible"
    OVERLAP = "the user spoke over the reply; it is held, undecided"


HAS_REPLY = frozenset({Floor.THINKING, Floor.AGENT, Floor.OVERLAP})


# --- facts that the machine derives ---
class Waited(Fact):
    """The deadline passed."""


class Freed(Fact):
    """Nobody has the floor any more."""


class Understood(Fact):
    """All that was committed is transcribed."""


class WordsHeard(Fact):
    """What is being said, or just was, has words in it."""


class NothingHeard(Fact):
    """What was just said has none."""


class Murmured(Fact):
    """What was just said was a hum."""


class PushToTalk(Fact):
    """The policy changed, and speech is no longer detected."""


@dataclass(frozen=True, slots=True)
class Go:
    """One alternative: where the floor goes (None: it stays), what is done, and when it applies."""

    to: Floor | None
    act: do.Move
    when: tuple[Callable[[TurnState], bool], ...] = ()


def _go(to: Floor | None, act: do.Move, *when: Callable[[TurnState], bool]) -> Go:
    return Go(to, act, when)


Row = Mapping[type[Fact], tuple[Go, ...]]
T = TurnState
OPEN, USER, PAUSE = Floor.OPEN, Floor.USER, Floor.PAUSE
THINKING, AGENT, OVERLAP = Floor.THINKING, Floor.AGENT, Floor.OVERLAP
STAY = None

ANYWHERE: Row = {
    InputBegan: (_go(STAY, do.collect),),
    CommitAsked: (_go(STAY, do.commit_and_go_on, T.talking), _go(STAY, do.commit)),
    ClearAsked: (_go(STAY, do.clear),),
    CancelAsked: (_go(STAY, do.refuse_cancel),),
    SayAsked: (_go(STAY, do.queue_say),),
    PolicyChanged: (_go(STAY, do.change_policy),),
    PushToTalk: (_go(STAY, do.stop_detecting),),
}

_SPOKEN_OVER: Row = {  # speech that may not interrupt: an utterance of its own beside the reply
    SpeechStopped: (_go(STAY, do.pause, T.talking),),
    Waited: (_go(STAY, do.draft, T.draft_is_due), _go(STAY, do.end_talk_over)),
}

RULES: Mapping[Floor, Row] = {
    OPEN: {
        SpeechStarted: (_go(USER, do.begin_aloud),),
        ReplyAsked: (_go(THINKING, do.answer_asked),),
        SayAsked: (_go(THINKING, do.say_now),),
        Waited: (_go(THINKING, do.prompt_idle),),
        Freed: (
            _go(USER, do.announce, T.talking),
            _go(PAUSE, do.announce, T.pausing),
            _go(THINKING, do.answer_owed, T.owes),
            _go(THINKING, do.say, T.has_says),
        ),
    },
    USER: {
        SpeechStopped: (_go(PAUSE, do.pause),),
        Waited: (
            _go(THINKING, do.end_long_turn, T.answers),
            _go(STAY, do.end_long_turn_unanswered),
        ),
        ClearAsked: (_go(OPEN, do.clear),),
        ReplyAsked: (_go(STAY, do.refuse_reply, T.is_asked), _go(STAY, do.defer)),
        PushToTalk: (_go(OPEN, do.stop_detecting),),
    },
    PAUSE: {
        SpeechStarted: (_go(USER, do.carry_on),),
        WordsHeard: (_go(STAY, do.rehearse, T.rehearses),),
        NothingHeard: (_go(THINKING, do.end_noise, T.only_noise),),
        Waited: (
            _go(STAY, do.draft, T.draft_is_due),
            _go(OPEN, do.end_turn_wordless, T.nothing_said),
            _go(THINKING, do.end_turn, T.answers),
            _go(OPEN, do.end_turn_unanswered),
        ),
        CommitAsked: (_go(OPEN, do.commit),),
        ClearAsked: (_go(OPEN, do.clear),),
        ReplyAsked: (_go(STAY, do.refuse_reply, T.is_asked), _go(THINKING, do.end_turn_as_asked)),
        PushToTalk: (_go(OPEN, do.stop_detecting),),
    },
    THINKING: {
        **_SPOKEN_OVER,
        SpeechStarted: (
            _go(USER, do.give_way, T.interrupts),
            _go(STAY, do.carry_on, T.pausing),
            _go(STAY, do.begin_aloud),
        ),
        Understood: (
            _go(STAY, do.start, T.called_for),
            _go(OPEN, do.let_go, T.awaiting),
        ),
        ReplyAudible: (_go(AGENT, do.became_audible),),
        ReplySent: (_go(OPEN, do.release),),
        ReplyAsked: (_go(STAY, do.adopt, T.adoptable), _go(STAY, do.refuse_reply)),
        CancelAsked: (_go(OPEN, do.cancel),),
    },
    AGENT: {
        **_SPOKEN_OVER,
        SpeechStarted: (
            _go(OVERLAP, do.hold, T.interrupts),
            _go(STAY, do.carry_on, T.pausing),
            _go(STAY, do.begin_aloud),
        ),
        WordsHeard: (
            _go(USER, do.barge_in, T.undecided, T.interrupts, T.talking),
            _go(PAUSE, do.barge_in, T.undecided, T.interrupts),
        ),
        NothingHeard: (_go(STAY, do.forget, T.undecided, T.understood),),
        ReplySent: (_go(STAY, do.note_sent),),
        ReplyHeard: (_go(OPEN, do.release),),
        PlaybackStopped: (_go(OPEN, do.release, T.all_sent),),
        ReplyAsked: (
            _go(STAY, do.refuse_reply, T.is_asked),
            _go(THINKING, do.answer_asked, T.all_sent),
            _go(STAY, do.refuse_reply),
        ),
        CancelAsked: (_go(STAY, do.refuse_cancel, T.all_sent), _go(OPEN, do.cancel)),
    },
    OVERLAP: {
        SpeechStopped: (_go(STAY, do.pause_and_draft),),
        SpeechStarted: (_go(STAY, do.carry_on),),
        Waited: (_go(USER, do.barge_in, T.talking), _go(AGENT, do.resume)),
        WordsHeard: (_go(USER, do.barge_in, T.talking), _go(PAUSE, do.barge_in)),
        NothingHeard: (_go(AGENT, do.resume_and_forget, T.pausing, T.understood),),
        Murmured: (_go(AGENT, do.resume_and_forget, T.all_one_sound),),
        ReplySent: (_go(STAY, do.note_sent),),
        ReplyHeard: (_go(OPEN, do.release),),
        PlaybackStopped: (_go(OPEN, do.release, T.all_sent),),
        CommitAsked: (
            _go(USER, do.barge_in_and_go_on, T.talking),
            _go(OPEN, do.barge_in_and_commit),
        ),
        ClearAsked: (_go(AGENT, do.clear_and_resume),),
        ReplyAsked: (
            _go(STAY, do.refuse_reply, T.is_asked),
            _go(STAY, do.defer, T.all_sent),
            _go(STAY, do.refuse_reply),
        ),
        CancelAsked: (
            _go(STAY, do.refuse_cancel, T.all_sent),
            _go(USER, do.cancel_for_the_user, T.talking),
            _go(PAUSE, do.cancel_for_the_user),
        ),
        PushToTalk: (_go(AGENT, do.stop_detecting_and_resume),),
    },
}


class TurnMachine:
    """Turns facts about a conversation into orders for it.

    Attributes:
        floor: who has it.
    """

    def __init__(self, policy: TurnPolicy) -> None:
        self.floor = Floor.OPEN
        self._t = TurnState(policy)

    @property
    def reply(self) -> ReplyId | None:
        """The live reply; there is one exactly where the floor says so (`HAS_REPLY`)."""
        return self._t.reply

    @property
    def now(self) -> Ms:
        """How far the machine has been told."""
        return self._t.now

    @property
    def state(self) -> TurnState:
        """The books, to be read."""
        return self._t

    @property
    def deadline(self) -> Ms | None:
        """When to feed a Tick at the latest; None if nothing is waited for. Derived, never stored."""
        u, policy = self._t.utterance, self._t.policy
        if self.floor is OPEN:
            return self._idle_deadline()
        if u is None or not u.spoken:
            return None
        if self.floor is USER:
            return Ms(min(u.speech_since + policy.max_turn_ms, u.resumed + policy.breath_ms))
        if self.floor is OVERLAP:
            return Ms(
                u.resumed + policy.barge_in_ms if u.ended is None else u.ended + policy.verdict_ms
            )
        if u.ended is None or not u.announced:
            return None
        wait_ms = self._t.wait().ms
        return Ms(u.ended + (min(policy.draft_ms, wait_ms) if u.open else wait_ms))

    def _idle_deadline(self) -> Ms | None:
        since, idle_ms = self._t.idle_since, self._t.policy.idle_ms
        return None if since is None or idle_ms is None else Ms(since + idle_ms)

    def feed(self, fact: Fact) -> tuple[Order, ...]:
        """Let time pass up to the fact, then apply it. Returns the orders, to be carried out in turn."""
        orders: list[Order] = []
        self._let_time_pass(max(fact.at, self._t.now), orders)
        for derived in self._derive(fact, orders):
            self._apply(derived, orders)
        self._let_time_pass(self._t.now, orders)
        return tuple(orders)

    def _let_time_pass(self, until: Ms, orders: list[Order]) -> None:
        while (due := self.deadline) is not None and due <= until:
            self._t.now = max(self._t.now, due)
            self._apply(Waited(self._t.now), orders)
        self._t.now = until

    def _derive(self, fact: Fact, orders: list[Order]) -> Iterable[Fact]:
        """What the fact means to the floor; the books that concern no floor are kept here."""
        match fact:
            case ReplyAudible() | ReplySent() | ReplyHeard() | PlaybackStopped():
                return (fact,) if fact.reply == self._t.reply else ()  # else late news
            case CancelAsked(reply=reply) if reply not in (None, self._t.reply):
                return self._refuse_late_cancel(fact, orders)
            case SpeechStopped(is_murmur=True):
                return (fact, Murmured(fact.at))
            case TextHeard():
                return (WordsHeard(fact.at),) if self._is_heard(fact) else ()
            case TurnJudged():
                self._judged(fact)
                return ()
            case TranscriptReady() | TranscriptFailed():
                return self._transcribed(fact, orders)
            case PolicyChanged(policy=policy) if self._t.policy.detect and not policy.detect:
                return (fact, PushToTalk(fact.at))
            case _:
                return (fact,)

    def _refuse_late_cancel(self, fact: CancelAsked, orders: list[Order]) -> Iterable[Fact]:
        orders += do.refuse_cancel(self._t, fact)
        return ()

    def _is_believed(self, u: Utterance, text: str) -> bool:
        """Over our answer, a word or two in which the recogniser itself does not believe are a noise."""
        is_sure = u.confidence is None or u.confidence >= LEAST_CONFIDENCE
        is_long = len(plain_words(text)) > MOST_OF_A_HUM
        return is_sure or is_long or not self._t.undecided()

    def _is_heard(self, fact: TextHeard) -> bool:
        """A partial that is enough; while the speech goes on, its end may still change it, and soon will."""
        policy, u = self._t.policy, self._t.utterance
        if u is None or not self._is_current(fact):
            return False
        if u.talking and fact.at < u.resumed + policy.barge_in_ms // 2:
            return False
        needed = policy.barge_in_words if u.talking else 1
        return words_said(fact.text, policy.language) >= needed

    def _judged(self, fact: TurnJudged) -> None:
        u = self._t.utterance
        if u is not None and (u.id, u.asked) == (fact.utterance, fact.draft) and u.pausing:
            u.judged, u.probability = True, fact.probability

    def _is_current(self, fact: TextHeard | TranscriptReady | TranscriptFailed) -> bool:
        return self._t.utterance is not None and self._t.utterance.id == fact.utterance

    def _transcribed(
        self, fact: TranscriptReady | TranscriptFailed, orders: list[Order]
    ) -> Iterable[Fact]:
        current = self._is_current(fact)
        u = self._t.utterance if current else self._t.pending.get(fact.utterance)
        if u is None or fact.draft not in u.drafts:
            return ()  # of an utterance that was discarded
        text = fact.text if isinstance(fact, TranscriptReady) else ""
        u.drafts[fact.draft] = text
        u.confidence = fact.confidence if isinstance(fact, TranscriptReady) else None
        if isinstance(fact, TranscriptFailed):
            u.failed = fact.code
        if current:
            language = self._t.policy.language
            heard = says_something(text, language) and self._is_believed(u, text)
            return (WordsHeard(fact.at) if heard else NothingHeard(fact.at),)
        orders += self._t.complete(u)
        return () if self._t.pending else (Understood(fact.at),)

    def _apply(self, fact: Fact, orders: list[Order]) -> None:
        cell = RULES[self.floor].get(type(fact)) or ANYWHERE.get(type(fact), ())
        for rule in cell:
            if all(guard(self._t) for guard in rule.when):
                orders += rule.act(self._t, fact)
                self._enter(rule.to, orders)
                return

    def _enter(self, floor: Floor | None, orders: list[Order]) -> None:
        if floor is None:
            return
        self.floor = floor
        if floor is Floor.OPEN:
            self._apply(Freed(self._t.now), orders)
