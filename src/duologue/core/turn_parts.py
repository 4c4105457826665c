"""What the moves of turn-taking are made of: steps that several moves share, and three that rules name, too.

Each changes the books and yields the orders that follow, like a move; see `core.turn_moves`.
"""

from duologue.core.audio import Ms, ms_to_samples
from duologue.core.facts import (
    AnnounceSpeech,
    AskId,
    CommitUtterance,
    Discard,
    DropRehearsal,
    Fact,
    FinishDraft,
    Listen,
    ReplyId,
    StopReply,
)
from duologue.core.turn_state import Orders, TurnState
from duologue.core.utterance import Utterance

CUT_MS = 2_000
"""Who speaks again so soon after their speech ended had not finished."""


def draft(t: TurnState, fact: Fact) -> Orders:
    """The recogniser is to finish what it holds."""
    u = the_utterance(t)
    if u.open:
        u.open = False
        u.asked = t.new_draft()
        u.drafts[u.asked] = None
        yield FinishDraft(u.id, u.asked)


def announce(t: TurnState, fact: Fact) -> Orders:
    """The client is told that somebody speaks, once an utterance."""
    u = the_utterance(t)
    if not u.announced:
        u.announced = True
        yield AnnounceSpeech(u.id, u.since)


def collect(t: TurnState, fact: Fact) -> Orders:
    """Sound comes in that nobody judges: push-to-talk."""
    if t.utterance is None:
        yield Listen(t.open_utterance(fact.at, spoken=False).id, fact.at)


def the_utterance(t: TurnState) -> Utterance:
    """What is being said."""
    assert t.utterance is not None, "a rule spoke of an utterance where there is none"
    return t.utterance


def the_reply(t: TurnState) -> ReplyId:
    """The live reply."""
    assert t.reply is not None, "a rule spoke of a reply where there is none"
    return t.reply


def too_long(t: TurnState) -> str:
    """Why a turn ends that nobody ends."""
    u = the_utterance(t)
    if t.now - u.resumed >= t.policy.breath_ms:
        return f"nobody drew breath for {t.now - u.resumed} ms"
    return f"the turn lasted {t.now - u.speech_since} ms"


def learn_cut(t: TurnState, at: Ms) -> None:
    """The user speaks: if their turn ended only now, it was no end."""
    if t.ended_at is not None and at - t.ended_at <= CUT_MS:
        t.habits.was_cut(at - t.ended_at)
    t.ended_at = None


def unrehearse(t: TurnState) -> Orders:
    """What was begun early answers nothing."""
    if t.rehearsed:
        t.rehearsed = False
        yield DropRehearsal()


def begin(t: TurnState, fact: Fact) -> Orders:
    """Speech begins an utterance, or joins one that is still uncommitted."""
    yield from unrehearse(t)
    u = t.utterance or t.open_utterance(fact.at, spoken=True)
    if not u.spoken:
        u.spoken, u.speech_since = True, fact.at
    u.carry_on(fact.at)
    yield Listen(u.id, fact.at)


def discard(t: TurnState) -> Orders:
    """Forget what is being said."""
    if t.utterance is not None:
        yield from unrehearse(t)
        yield Discard(t.utterance.id)
        t.utterance = None


def commit(t: TurnState, why: str, *, upto: int | None = None, due: bool = False) -> Orders:
    """What is being said is over, here or at a sample that the client names; `due` if it is to be answered."""
    yield from collect(t, Fact(Ms(0)))  # a client may commit what nobody found worth a fact
    yield from draft(t, Fact(t.now))
    u = the_utterance(t)
    t.utterance, u.due = None, due
    t.pending[u.id] = u
    yield CommitUtterance(u.id, ms_to_samples(t.now) if upto is None else upto, why, u.spoken)
    yield from t.complete(u)


def promise(t: TurnState, ask: AskId | None) -> Orders:
    """A reply is due; it starts as soon as all is known that it answers."""
    t.promise_reply(ask)
    if not t.pending and t.called_for():
        yield from t.start_reply()


def stop(t: TurnState, why: str) -> Orders:
    """The reply ends, started or not; what it answered is owed again unless it was heard."""
    t.owed = t.owed or t.answering
    if t.started:
        yield StopReply(the_reply(t), why)
    else:
        t.asked = t.reply_ask if t.asked is None else t.asked
    t.drop_reply()
