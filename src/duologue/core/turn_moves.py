"""The moves that the rules of turn-taking are made of: each changes the books and yields the orders that follow.

No move asks whose turn it is; `core.turn.RULES` decides which applies. A move that speaks of an utterance
or a reply is only named in rows where there is one (the random walk in the tests sees to that).
"""

from collections.abc import Callable
from typing import Any

from duologue.core import turn_parts as parts
from duologue.core.facts import (
    Accept,
    AnnounceIdle,
    CancelAsked,
    ClearAsked,
    CommitAsked,
    Fact,
    HoldOutput,
    LetGo,
    Listen,
    PolicyChanged,
    Refuse,
    Rehearse,
    ReplyAsked,
    ResumeOutput,
    SayAsked,
    SpeechStopped,
)
from duologue.core.turn_parts import announce as announce
from duologue.core.turn_parts import collect as collect
from duologue.core.turn_parts import draft as draft
from duologue.core.turn_state import Orders, TurnState

Move = Callable[[TurnState, Any], Orders]

MAX_SAYS = 16
"""Announcements waiting for a silence; nobody would want to hear a seventeenth."""


# --- listening ---
def begin_aloud(t: TurnState, fact: Fact) -> Orders:
    """Speech begins, and the client is told."""
    yield from parts.begin(t, fact)
    yield from announce(t, fact)


def carry_on(t: TurnState, fact: Fact) -> Orders:
    """The speaker goes on after a pause, in the same utterance."""
    yield from parts.begin(t, fact)


def pause(t: TurnState, fact: SpeechStopped) -> Orders:
    """The speaker falls silent."""
    parts.the_utterance(t).pause(fact.at, fact.cadence)
    yield from ()


def pause_and_draft(t: TurnState, fact: SpeechStopped) -> Orders:
    """A short sound over our answer ended: what was it?"""
    yield from pause(t, fact)
    yield from draft(t, fact)


def rehearse(t: TurnState, fact: Fact) -> Orders:
    """The answer is begun that would follow if this were the end."""
    yield from parts.unrehearse(t)
    u = parts.the_utterance(t)
    t.rehearsed = True
    yield Rehearse(u.id, u.text)


def stop_detecting(t: TurnState, fact: Fact) -> Orders:
    """Push-to-talk from now on; what was being said stays, for the client to commit."""
    yield from parts.unrehearse(t)
    if (u := t.utterance) is not None:
        u.spoken, u.ended, u.open = False, None, True
        yield Listen(u.id, t.now)


def stop_detecting_and_resume(t: TurnState, fact: Fact) -> Orders:
    """The same in the middle of an overlap."""
    yield from stop_detecting(t, fact)
    yield ResumeOutput(parts.the_reply(t))


# --- committing ---
def end_turn(t: TurnState, fact: Fact) -> Orders:
    """The user has finished, and is answered."""
    u, why = parts.the_utterance(t), t.wait().why
    t.habits.turn_ended(u.pauses, u.longest_ms)
    t.ended_at = u.ended
    yield from parts.commit(t, why, due=True)
    yield from parts.promise(t, t.take_asked())


def end_noise(t: TurnState, fact: Fact) -> Orders:
    """What came between a turn and its answer was a noise: the answer follows at once."""
    yield from parts.commit(t, "a noise, and an answer is owed", due=True)
    yield from parts.promise(t, t.take_asked())


def end_long_turn(t: TurnState, fact: Fact) -> Orders:
    """Nobody has fallen silent for too long: what there is, is answered; the sound goes on as another utterance."""
    yield from parts.commit(t, parts.too_long(t), due=True)
    yield from parts.promise(t, t.take_asked())
    yield from parts.begin(t, fact)


def end_long_turn_unanswered(t: TurnState, fact: Fact) -> Orders:
    """The same where the client answers."""
    yield from parts.commit(t, parts.too_long(t))
    yield from begin_aloud(t, fact)


def end_turn_unanswered(t: TurnState, fact: Fact) -> Orders:
    """The user has finished; the client answers, or asks us to."""
    yield from parts.unrehearse(t)
    yield from parts.commit(t, t.wait().why)


def end_turn_wordless(t: TurnState, fact: Fact) -> Orders:
    """The user has finished and said no word: a noise."""
    yield from parts.commit(t, t.wait().why)
    yield LetGo("no words")


def end_talk_over(t: TurnState, fact: Fact) -> Orders:
    """The user has finished speaking over an answer that was not to be interrupted; theirs comes next."""
    yield from parts.commit(t, t.wait().why, due=t.policy.create_response)


def end_turn_as_asked(t: TurnState, fact: ReplyAsked) -> Orders:
    """The client wants its answer before the pause has lasted."""
    yield from parts.commit(t, "client asked for a response", due=True)
    yield from parts.promise(t, fact.ask)


def commit(t: TurnState, fact: CommitAsked) -> Orders:
    """The client ends the utterance."""
    yield from parts.unrehearse(t)
    yield from parts.commit(t, "client commit", upto=fact.upto)


def commit_and_go_on(t: TurnState, fact: CommitAsked) -> Orders:
    """The client cuts the utterance in the middle of speech, which goes on as another."""
    yield from parts.commit(t, "client commit", upto=fact.upto)
    yield from begin_aloud(t, fact)


def clear(t: TurnState, fact: ClearAsked) -> Orders:
    """The client takes back what was said."""
    yield from parts.discard(t)
    yield Accept(fact.ask)


def clear_and_resume(t: TurnState, fact: ClearAsked) -> Orders:
    """The client takes back what was said over our answer."""
    yield from clear(t, fact)
    yield ResumeOutput(parts.the_reply(t))


# --- replying ---
def answer_asked(t: TurnState, fact: ReplyAsked) -> Orders:
    """The client wants an answer: as soon as all that was committed is transcribed."""
    yield from parts.promise(t, fact.ask)


def answer_owed(t: TurnState, fact: Fact) -> Orders:
    """The answer that had to wait."""
    yield from parts.promise(t, t.take_asked())


def start(t: TurnState, fact: Fact) -> Orders:
    """Everything that was said is known."""
    yield from t.start_reply()


def let_go(t: TurnState, fact: Fact) -> Orders:
    """Everything that was said is known, and it was nothing."""
    yield from parts.unrehearse(t)
    t.drop_reply()
    yield LetGo("no words")


def adopt(t: TurnState, fact: ReplyAsked) -> Orders:
    """The reply that is due becomes the one that the client asks for."""
    t.reply_ask = fact.ask
    yield from ()


def say(t: TurnState, fact: Fact) -> Orders:
    """The announcement that has waited longest."""
    t.promise_reply(t.says.popleft())
    yield from t.start_reply()


def became_audible(t: TurnState, fact: Fact) -> Orders:
    """Nothing is owed any more for what this reply answers."""
    t.answering = False
    yield from ()


def note_sent(t: TurnState, fact: Fact) -> Orders:
    """All of it went out; the listener still hears it."""
    t.sent = True
    yield from ()


def release(t: TurnState, fact: Fact) -> Orders:
    """The reply is over; from here on the user may be silent for too long."""
    t.drop_reply()
    t.idle_since = t.now
    yield from ()


def prompt_idle(t: TurnState, fact: Fact) -> Orders:
    """Nobody has spoken for long: the silence is what we answer."""
    since = t.idle_since
    assert since is not None, "a rule spoke of idleness where there is none"
    u = t.open_utterance(since, spoken=False)
    u.open = False  # there is nothing in it to transcribe
    yield AnnounceIdle(u.id, since)
    yield from parts.commit(t, f"idle for {t.policy.idle_ms} ms")
    t.owed = True
    yield from parts.promise(t, None)


# --- giving way ---
def give_way(t: TurnState, fact: Fact) -> Orders:
    """The user goes on before anything of the reply could be heard."""
    parts.learn_cut(t, fact.at)
    yield from begin_aloud(t, fact)
    yield from parts.stop(t, "turn_detected")


def hold(t: TurnState, fact: Fact) -> Orders:
    """Somebody speaks over our answer: fall silent, and decide afterwards."""
    yield from parts.begin(t, fact)
    yield HoldOutput(parts.the_reply(t))


def barge_in(t: TurnState, fact: Fact) -> Orders:
    """It is meant: the user takes the floor."""
    parts.learn_cut(t, parts.the_utterance(t).since)
    yield from announce(t, fact)
    yield from parts.stop(t, "turn_detected")


def resume(t: TurnState, fact: Fact) -> Orders:
    """It was nothing: go on from the held sample. The utterance stays, should words of it come late."""
    yield ResumeOutput(parts.the_reply(t))


def resume_and_forget(t: TurnState, fact: Fact) -> Orders:
    """It was certainly nothing."""
    yield from forget(t, fact)
    yield ResumeOutput(parts.the_reply(t))


def forget(t: TurnState, fact: Fact) -> Orders:
    """What was undecided turns out to be nothing."""
    if t.undecided():
        yield from parts.discard(t)


def cancel(t: TurnState, fact: CancelAsked) -> Orders:
    """The client stops the answer; nothing is owed for it."""
    if t.reply_ask is not None and not t.started:
        yield from t.start_reply()  # so that the client sees begin and end of what it asked for
    t.answering = t.owed = False
    if t.started:
        yield from parts.stop(t, "client_cancelled")
    else:
        t.forgive()
        t.drop_reply()
        yield from parts.unrehearse(t)
        yield LetGo("client cancelled")
        yield from refuse_cancel(t, fact)


def cancel_for_the_user(t: TurnState, fact: CancelAsked) -> Orders:
    """The client stops the answer while the user speaks over it."""
    yield from announce(t, fact)
    yield from cancel(t, fact)


def barge_in_and_commit(t: TurnState, fact: CommitAsked) -> Orders:
    """The client commits what is said over our answer: then it is meant."""
    yield from barge_in(t, fact)
    yield from commit(t, fact)


def barge_in_and_go_on(t: TurnState, fact: CommitAsked) -> Orders:
    """The same in the middle of speech."""
    yield from barge_in(t, fact)
    yield from commit_and_go_on(t, fact)


# --- the rest ---
def defer(t: TurnState, fact: ReplyAsked) -> Orders:
    """The user has the floor: the answer comes at the end of their turn."""
    t.asked = fact.ask
    yield from ()


def queue_say(t: TurnState, fact: SayAsked) -> Orders:
    """An announcement waits for a silence."""
    if len(t.says) < MAX_SAYS:
        t.says.append(fact.ask)
    else:
        yield Refuse(fact.ask, "too_many_announcements")


def say_now(t: TurnState, fact: SayAsked) -> Orders:
    """An announcement finds silence."""
    yield from queue_say(t, fact)
    yield from say(t, fact)


def change_policy(t: TurnState, fact: PolicyChanged) -> Orders:
    """From here on, other manners."""
    t.policy = fact.policy
    yield from ()


def refuse_reply(t: TurnState, fact: ReplyAsked) -> Orders:
    """One at a time."""
    yield Refuse(fact.ask, "conversation_already_has_active_response")


def refuse_cancel(t: TurnState, fact: CancelAsked) -> Orders:
    """Nothing of ours is running."""
    yield Refuse(fact.ask, "response_cancel_not_active")
