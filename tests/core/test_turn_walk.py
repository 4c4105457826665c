"""One random walk through conversations: whatever happens in whatever order, the promises hold.

After every step a copy of the machine is asked whether it would still hear and answer the next
utterance: the state in which a server has gone deaf cannot be reached.
"""

import copy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from duologue.core.audio import Ms
from duologue.core.facts import (
    Accept,
    AnnounceIdle,
    AnnounceSpeech,
    AskId,
    CancelAsked,
    ClearAsked,
    CommitAsked,
    CommitUtterance,
    CompleteTranscript,
    Discard,
    DraftId,
    DropRehearsal,
    Fact,
    FinishDraft,
    HoldOutput,
    InputBegan,
    Listen,
    Order,
    PlaybackStopped,
    PolicyChanged,
    Refuse,
    Rehearse,
    ReplyAsked,
    ReplyAudible,
    ReplyHeard,
    ReplyId,
    ReplySent,
    ResumeOutput,
    SayAsked,
    SpeechStarted,
    SpeechStopped,
    StartReply,
    StopReply,
    TextHeard,
    Tick,
    TranscriptFailed,
    TranscriptReady,
    TurnJudged,
    UtteranceId,
)
from duologue.core.policy import TurnPolicy
from duologue.core.presets import PRESETS
from duologue.core.turn import HAS_REPLY, Floor, TurnMachine

POLICIES = [
    TurnPolicy(),
    TurnPolicy(silence_ms=150),
    TurnPolicy(interrupt_response=False),
    TurnPolicy(create_response=False),
    TurnPolicy(detect=False, create_response=False),
    TurnPolicy(idle_ms=700),
    TurnPolicy(max_turn_ms=1_000),
    TurnPolicy(max_turn_ms=1_000, create_response=False),
    *PRESETS.values(),
]
TEXTS = st.sampled_from(["", "mhm", "stop", "what time is it", "because the"])


class World:
    """The session's side: keeps every promise made to the machine, and the books a second time."""

    def __init__(self) -> None:
        self.turn = TurnMachine(POLICIES[0])
        self.policy = POLICIES[0]
        self.now = 0
        self.speaking = False
        self.asks = 0
        self.utterances: dict[UtteranceId, str] = {}
        self.announced: set[UtteranceId] = set()
        self.drafts: dict[DraftId, UtteranceId] = {}
        self.answered: set[DraftId] = set()
        self.ever: list[ReplyId] = []
        self.live: set[ReplyId] = set()
        self.audible: set[ReplyId] = set()
        self.sent: set[ReplyId] = set()
        self.held: ReplyId | None = None
        self.rehearsed: str | None = None
        self.judged: set[DraftId] = set()
        self.wanted: set[AskId] = set()
        self.log: list[tuple[Fact, tuple[Order, ...]]] = []

    def copy(self) -> "World":
        log, self.log = self.log, []
        twin = copy.deepcopy(self)
        self.log = log
        return twin

    @property
    def owed_drafts(self) -> list[DraftId]:
        return sorted(set(self.drafts) - self.answered)

    def feed(self, fact: Fact) -> tuple[Order, ...]:
        orders = self.turn.feed(fact)
        self.log.append((fact, orders))
        for order in orders:
            self.carry_out(order)
        return orders

    def carry_out(self, order: Order) -> None:
        match order:
            case Listen(utterance):
                assert self.utterances.setdefault(utterance, "open") == "open"
            case FinishDraft(utterance, draft):
                assert self.utterances[utterance] == "open"
                assert draft not in self.drafts
                self.drafts[draft] = utterance
            case Discard(utterance):
                assert self.utterances[utterance] == "open"
                self.utterances[utterance] = "gone"
            case AnnounceSpeech(utterance):
                assert self.utterances[utterance] == "open"
                assert utterance not in self.announced
                self.announced.add(utterance)
            case AnnounceIdle(utterance, since):
                assert utterance not in self.utterances
                assert not self.speaking
                assert not self.live
                assert self.policy.idle_ms is not None
                assert self.now - since >= self.policy.idle_ms
                self.utterances[utterance] = "open"
            case CommitUtterance(utterance):
                assert self.utterances[utterance] == "open"
                self.utterances[utterance] = "committed"
            case CompleteTranscript(utterance):
                assert self.utterances[utterance] == "committed"
                assert {d for d, u in self.drafts.items() if u == utterance} <= self.answered
                self.utterances[utterance] = "complete"
            case Rehearse(utterance, text):
                assert self.utterances[utterance] == "open"
                assert text
                assert self.rehearsed is None
                self.rehearsed = text
            case DropRehearsal():
                assert self.rehearsed is not None
                self.rehearsed = None
            case StartReply(reply, ask):
                self.rehearsed = None
                assert reply not in self.ever
                self.ever.append(reply)
                self.live.add(reply)
                self.wanted -= {ask}
            case StopReply(reply):
                assert reply in self.live
                self.live.discard(reply)
                self.held = None
            case HoldOutput(reply):
                assert reply in self.live & self.audible
                assert self.held is None
                self.held = reply
            case ResumeOutput(reply):
                assert self.held == reply
                self.held = None
            case Refuse(ask) | Accept(ask):
                self.wanted.discard(ask)
            case _:
                pass

    def ask(self, *, wanted: bool = False) -> AskId:
        self.asks += 1
        ask = AskId(self.asks)
        if wanted:
            self.wanted.add(ask)
        return ask

    def could_be(self, kind: Any, reply: ReplyId) -> bool:
        """Whether such news of a live reply can come now; of a dead one anything may."""
        if reply not in self.live:
            return True
        if kind is ReplyAudible:
            return reply not in self.sent
        if kind is ReplySent:
            return self.held != reply or reply in self.sent  # a held mouth sends nothing
        return reply in self.audible and (kind is PlaybackStopped or reply in self.sent)

    def news(self, kind: Any, reply: ReplyId) -> None:
        """Tell it, and check that news of the dead changes nothing."""
        self.feed(Tick(Ms(self.now)))
        if reply not in self.live:
            before = (self.turn.floor, self.turn.reply, self.turn.deadline)
            assert self.feed(kind(Ms(self.now), reply)) == ()
            assert before == (self.turn.floor, self.turn.reply, self.turn.deadline)
            return
        if kind is ReplyAudible:
            self.audible.add(reply)
        if kind is ReplySent:
            self.sent.add(reply)
        silent = kind is ReplySent and reply not in self.audible
        if silent or kind is ReplyHeard or (kind is PlaybackStopped and reply in self.sent):
            self.live.discard(reply)
            self.held = None if self.held == reply else self.held
        self.feed(kind(Ms(self.now), reply))

    def change_policy(self, policy: TurnPolicy) -> None:
        if self.policy.detect and not policy.detect:
            self.speaking = False
        self.policy = policy
        self.feed(PolicyChanged(Ms(self.now), policy))

    def settle(self, text: str) -> None:
        """Time passes, and everything owed arrives."""
        for _ in range(8):
            if self.speaking:
                self.speaking = False
                self.feed(SpeechStopped(Ms(self.now)))
            self.now += 1000
            self.feed(Tick(Ms(self.now)))
            for draft in self.owed_drafts:
                self.answered.add(draft)
                self.feed(TranscriptReady(Ms(self.now), self.drafts[draft], draft, text))
            for reply in sorted(self.live - {self.held}):
                for kind in (ReplySent, ReplyHeard):
                    if reply in self.live and self.could_be(kind, reply):
                        self.news(kind, reply)


class AnyConversation(RuleBasedStateMachine):
    """What may happen, and what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.w = World()

    # --- what may happen ---
    @rule(dt=st.integers(0, 1500), tick=st.booleans())
    def time_passes(self, dt: int, tick: bool) -> None:
        self.w.now += dt
        if tick:  # the scheduler may be late, or never come
            self.w.feed(Tick(Ms(self.w.now)))

    @precondition(lambda self: self.w.policy.detect and not self.w.speaking)
    @rule()
    def user_speaks(self) -> None:
        self.w.speaking = True
        self.w.feed(SpeechStarted(Ms(self.w.now)))

    @precondition(lambda self: self.w.policy.detect and self.w.speaking)
    @rule()
    def user_stops(self) -> None:
        self.w.speaking = False
        self.w.feed(SpeechStopped(Ms(self.w.now)))

    @precondition(lambda self: not self.w.policy.detect)
    @rule()
    def sound_comes_in(self) -> None:
        self.w.feed(InputBegan(Ms(self.w.now)))

    @precondition(lambda self: self.w.owed_drafts)
    @rule(data=st.data(), text=TEXTS, fails=st.booleans())
    def a_transcript_comes(self, data: Any, text: str, fails: bool) -> None:
        draft = data.draw(st.sampled_from(self.w.owed_drafts))
        self.w.answered.add(draft)
        at, utterance = Ms(self.w.now), self.w.drafts[draft]
        if fails:
            self.w.feed(TranscriptFailed(at, utterance, draft, "engine_lost"))
        else:
            self.w.feed(TranscriptReady(at, utterance, draft, text))

    @precondition(lambda self: self.w.drafts)
    @rule(data=st.data(), probability=st.one_of(st.none(), st.floats(0, 1)))
    def a_judgement_comes(self, data: Any, probability: float | None) -> None:
        draft = data.draw(st.sampled_from(sorted(self.w.drafts)))
        self.w.feed(TurnJudged(Ms(self.w.now), self.w.drafts[draft], draft, probability))

    @precondition(lambda self: self.w.utterances)
    @rule(data=st.data(), text=TEXTS)
    def a_partial_comes(self, data: Any, text: str) -> None:
        utterance = data.draw(st.sampled_from(sorted(self.w.utterances)))
        self.w.feed(TextHeard(Ms(self.w.now), utterance, text))

    @precondition(lambda self: self.w.ever)
    @rule(
        kind=st.sampled_from([ReplyAudible, ReplySent, ReplyHeard, PlaybackStopped]),
        data=st.data(),
    )
    def news_of_some_reply(self, kind: Any, data: Any) -> None:
        reply = data.draw(st.sampled_from(self.w.ever))
        if self.w.could_be(kind, reply):
            self.w.news(kind, reply)

    @rule()
    def commit(self) -> None:
        self.w.feed(CommitAsked(Ms(self.w.now), self.w.now * 16, self.w.ask()))

    @rule()
    def clear(self) -> None:
        self.w.speaking = False  # the ears start afresh
        ask = self.w.ask(wanted=True)
        self.w.feed(ClearAsked(Ms(self.w.now), ask))
        assert ask not in self.w.wanted

    @rule()
    def ask_for_a_reply(self) -> None:
        self.w.feed(ReplyAsked(Ms(self.w.now), self.w.ask(wanted=True)))

    @rule(data=st.data(), named=st.booleans())
    def cancel(self, data: Any, named: bool) -> None:
        reply = data.draw(st.sampled_from(self.w.ever)) if named and self.w.ever else None
        self.w.feed(CancelAsked(Ms(self.w.now), self.w.ask(), reply))

    @rule()
    def announce(self) -> None:
        self.w.feed(SayAsked(Ms(self.w.now), self.w.ask(wanted=True)))

    @rule(policy=st.sampled_from(POLICIES))
    def change_policy(self, policy: TurnPolicy) -> None:
        self.w.change_policy(policy)

    # --- what must hold ---
    @invariant()
    def a_reply_lives_exactly_where_the_floor_says_so(self) -> None:
        turn = self.w.turn
        assert (turn.reply is not None) == (turn.floor in HAS_REPLY)
        started = {turn.reply} if turn.reply and turn.state.started else set()
        assert started <= self.w.live
        assert self.w.live - started <= self.w.sent  # only what was all sent may outlive its turn

    @invariant()
    def output_is_held_exactly_in_an_overlap(self) -> None:
        assert (self.w.held is not None) == (self.w.turn.floor is Floor.OVERLAP)

    @invariant()
    def the_user_has_the_floor_when_they_speak(self) -> None:
        if self.w.turn.floor is Floor.USER:
            assert self.w.speaking
        if self.w.turn.floor in (Floor.OPEN, Floor.PAUSE):
            assert not self.w.speaking

    @invariant()
    def nothing_overdue_is_left(self) -> None:
        assert self.w.turn.deadline is None or self.w.turn.deadline > self.w.turn.now

    @invariant()
    def every_request_is_answered_or_still_waits(self) -> None:
        state = self.w.turn.state
        waits = {state.asked, *state.says} | ({state.reply_ask} if not state.started else set())
        assert self.w.wanted <= waits

    @invariant()
    def nothing_said_is_lost(self) -> None:
        where = self.w.utterances.items()
        assert {u for u, w in where if w == "committed"} == set(self.w.turn.state.pending)
        current = self.w.turn.state.utterance
        assert {u for u, w in where if w == "open"} == ({current.id} if current else set())

    @invariant()
    def what_is_begun_early_may_still_come_true(self) -> None:
        """The machine and whoever rehearses agree, and nobody speaks on."""
        state = self.w.turn.state
        assert (self.w.rehearsed is not None) == state.rehearsed
        if state.rehearsed and state.utterance is not None:
            assert not state.talking()

    @invariant()
    def it_never_goes_deaf(self) -> None:
        """Let everything owed arrive, then speak: the words are transcribed and answered."""
        probe = self.w.copy()
        probe.change_policy(TurnPolicy())
        probe.settle("mhm")
        probe.now += 5000
        probe.feed(SpeechStarted(Ms(probe.now)))
        probe.now += 800
        probe.feed(SpeechStopped(Ms(probe.now)))
        probe.speaking = False
        probe.settle("what time is it")
        said = max(probe.utterances)
        orders = [order for _, orders in probe.log for order in orders]
        done = [
            at
            for at, order in enumerate(orders)
            if isinstance(order, CompleteTranscript)
            and order.utterance == said
            and order.text.endswith("what time is it")  # it may join what was collected before
        ]
        assert any(isinstance(order, StartReply) for order in orders[done[0] :])

    def teardown(self) -> None:
        """A session is a list of facts: replaying it gives the same orders."""
        again = TurnMachine(POLICIES[0])
        assert [(fact, again.feed(fact)) for fact, _ in self.w.log] == self.w.log


TestAnyConversation = AnyConversation.TestCase
TestAnyConversation.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
