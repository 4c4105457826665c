"""Corners of the turn table: each script here fails when one rule, guard, target or order is taken away.

They were found by doing just that; what test_turn.py tells in whole conversations is not told again.
"""

import pytest

from duologue.core.audio import Ms
from duologue.core.facts import (
    Accept,
    AnnounceSpeech,
    AskId,
    CancelAsked,
    ClearAsked,
    CommitAsked,
    CommitUtterance,
    CompleteTranscript,
    Discard,
    DraftId,
    Fact,
    FinishDraft,
    InputBegan,
    LetGo,
    Listen,
    PlaybackStopped,
    PolicyChanged,
    Refuse,
    ReplyAsked,
    ReplyHeard,
    ReplyId,
    ReplySent,
    ResumeOutput,
    SayAsked,
    StartReply,
    StopReply,
    TextHeard,
    UtteranceId,
)
from duologue.core.policy import TurnPolicy
from duologue.core.turn import Floor
from tests.core.test_turn import (
    ANSWERED,
    ASKED,
    COUGH,
    D1,
    D2,
    MANUAL,
    POLICY,
    PUSH,
    R1,
    R2,
    SPOKE,
    TALK_OVER,
    U1,
    U2,
    final,
    orders_after,
    play,
    started,
    stopped,
    tick,
)

U3 = UtteranceId(3)
SENT = (*ANSWERED, ReplySent(Ms(2400), R1))


def silence(utterance: UtteranceId, at: int) -> CommitUtterance:
    return CommitUtterance(utterance, at * 16, "silence of 500 ms", True)


# --- listening ---
def test_who_goes_on_after_a_pause_is_listened_to_again() -> None:
    assert orders_after(SPOKE, started(1300)) == [Listen(U1, Ms(1300))]


@pytest.mark.parametrize("script", [ASKED, ANSWERED])
def test_beside_a_reply_speech_pauses_goes_on_and_ends(script: tuple[Fact, ...]) -> None:
    turn, _ = play(*script, policy=TALK_OVER)
    floor = turn.floor
    assert turn.feed(started(2000)) == (Listen(U2, Ms(2000)), AnnounceSpeech(U2, Ms(2000)))
    assert turn.feed(stopped(2400)) == ()
    assert turn.feed(tick(2600)) == (FinishDraft(U2, D2),)
    assert turn.feed(started(2700)) == (Listen(U2, Ms(2700)),)
    assert turn.feed(tick(2880)) == ()
    assert turn.feed(stopped(2900)) == ()
    assert turn.deadline == 3100
    assert turn.feed(tick(3399)) == (FinishDraft(U2, DraftId(3)),)
    assert turn.feed(tick(3400)) == (silence(U2, 3400),)
    assert turn.floor is floor


@pytest.mark.parametrize("script", [ASKED, ANSWERED])
def test_an_end_of_speech_that_nobody_began_is_nothing(script: tuple[Fact, ...]) -> None:
    assert orders_after(script, stopped(1600)) == []


@pytest.mark.parametrize("asked", [(), (ReplyAsked(Ms(2950), AskId(1)),)])
def test_an_undecided_sound_goes_on_as_itself_where_speech_may_no_longer_interrupt(
    asked: tuple[Fact, ...],
) -> None:
    coughed = (*SENT, *COUGH, tick(2900), *asked, PolicyChanged(Ms(3000), TALK_OVER))
    assert orders_after(coughed, started(3050)) == [Listen(U2, Ms(3050))]


def test_a_shorter_patience_ends_a_pause_that_has_lasted() -> None:
    short = PolicyChanged(Ms(1200), TurnPolicy(silence_ms=250))
    assert orders_after(SPOKE, short) == [
        CommitUtterance(U1, 1200 * 16, "silence of 250 ms", True),
        CompleteTranscript(U1, "what time is it"),
        StartReply(R1),
    ]


def test_commit_of_what_nobody_noticed_takes_all_of_it() -> None:
    assert play(CommitAsked(Ms(700), 11_200, AskId(1)))[1] == [
        Listen(U1, Ms(0)),
        FinishDraft(U1, D1),
        CommitUtterance(U1, 11_200, "client commit", False),
    ]


# --- nothing was said, and something waits ---
def test_a_noise_is_let_go_only_if_nothing_else_waits() -> None:
    heard, none = (started(1450), stopped(1550), tick(1750)), final(1760, 2, "")
    why = "a noise, and an answer is owed"
    committed = [CommitUtterance(U2, 1760 * 16, why, True), CompleteTranscript(U2, "")]
    assert orders_after((*ASKED, *heard), none) == [*committed, StartReply(R2)]
    pending = (started(0), stopped(900), tick(1400), *heard)
    assert orders_after(pending, none) == committed
    assert orders_after((*pending, none), final(2100, 1, "hello")) == [
        CompleteTranscript(U1, "hello"),
        StartReply(R2),
    ]
    asked = (
        started(0),
        ReplyAsked(Ms(300), AskId(5)),
        stopped(900),
        tick(1100),
        final(1120, 1, ""),
    )
    assert orders_after(asked[:-1], asked[-1]) == [
        CommitUtterance(U1, 1120 * 16, why, True),
        CompleteTranscript(U1, ""),
        StartReply(R1, AskId(5)),
    ]


def test_words_that_no_answer_has_reached_stay_owed_while_another_answer_waits() -> None:
    said = (started(0), stopped(900), tick(1400), started(1450), stopped(1900), tick(2400))
    turn, _ = play(*said, final(2410, 1, "one"), started(2450))
    assert (turn.floor, turn.reply) == (Floor.USER, None)
    noise = (stopped(2550), tick(2750), final(2760, 2, ""), final(2770, 3, ""), tick(3050))
    assert [o for fact in noise for o in turn.feed(fact)][-1] == StartReply(ReplyId(3))


# --- replying ---
def test_an_answer_asked_for_in_a_pause_answers_what_was_said_before_it() -> None:
    turn, _ = play(*SPOKE)
    assert turn.feed(ReplyAsked(Ms(1200), AskId(5))) == (
        CommitUtterance(U1, 1200 * 16, "client asked for a response", True),
        CompleteTranscript(U1, "what time is it"),
        StartReply(R1, AskId(5)),
    )
    assert turn.floor is Floor.THINKING
    noise = (started(1450), stopped(1550), tick(1750), final(1760, 2, ""), tick(2050))
    assert [o for fact in noise for o in turn.feed(fact)][-1] == StartReply(R2)


def test_where_the_client_asks_for_answers_an_interrupted_one_is_not_begun_again() -> None:
    script = (*SPOKE, ReplyAsked(Ms(1200), AskId(5)), started(1450))
    clear = ClearAsked(Ms(1500), AskId(6))
    assert orders_after(script, clear, policy=MANUAL) == [Discard(U2), Accept(AskId(6))]


def test_what_was_asked_for_during_speech_answers_the_words_of_it() -> None:
    """So they are owed again if nothing of the answer was heard."""
    asked = (started(0), ReplyAsked(Ms(300), AskId(5)), *SPOKE[1:], tick(1400), started(1450))
    turn, orders = play(*asked, PolicyChanged(Ms(1460), POLICY), policy=MANUAL)
    assert orders[-1] == StopReply(R1, "turn_detected")
    noise = (stopped(1550), tick(1750), final(1760, 2, ""), tick(2050))
    assert [o for fact in noise for o in turn.feed(fact)][-1] == StartReply(R2)


def test_an_announcement_in_silence_has_the_floor() -> None:
    turn, _ = play(SayAsked(Ms(0), AskId(1)))
    assert (turn.floor, turn.reply) == (Floor.THINKING, R1)


def test_without_an_answer_no_reply_is_left() -> None:
    waits = (started(0), stopped(900), tick(1400))
    for end in (final(1500, 1, ""), CancelAsked(Ms(1500), AskId(1))):
        turn, orders = play(*waits, end)
        assert any(isinstance(order, LetGo) for order in orders)
        assert (turn.floor, turn.reply) == (Floor.OPEN, None)


@pytest.mark.parametrize(
    "script",
    [
        (*ASKED, ReplySent(Ms(1600), R1)),
        (*SENT, PlaybackStopped(Ms(2450), R1)),
        (*SENT, ReplyHeard(Ms(2450), R1)),
        (*SENT, started(2430), PlaybackStopped(Ms(2450), R1)),
        (*SENT, started(2430), ReplyHeard(Ms(2450), R1)),
    ],
)
def test_a_reply_that_is_over_is_gone(script: tuple[Fact, ...]) -> None:
    turn, _ = play(*script)
    assert turn.reply is None
    assert turn.floor not in (Floor.THINKING, Floor.AGENT, Floor.OVERLAP)


# --- over the reply ---
def test_a_word_gives_the_floor_to_who_speaks_and_a_pause_to_who_spoke() -> None:
    turn, _ = play(*ANSWERED, started(2500), TextHeard(Ms(2650), U2, "wait"))
    assert (turn.floor, turn.reply) == (Floor.USER, None)
    turn, _ = play(*ANSWERED, *COUGH, TextHeard(Ms(2650), U2, "wait"))
    assert (turn.floor, turn.reply) == (Floor.PAUSE, None)
    late, _ = play(*ANSWERED, *COUGH, tick(2900), final(3000, 2, "stop"))
    assert (late.floor, late.reply) == (Floor.PAUSE, None)


def test_a_first_sound_that_was_nothing_does_not_decide_about_the_second() -> None:
    turn, _ = play(*ANSWERED, *COUGH, started(2700))
    assert turn.feed(final(2750, 2, "")) == ()
    assert turn.floor is Floor.OVERLAP
    assert turn.feed(tick(3000)) == (AnnounceSpeech(U2, Ms(2500)), StopReply(R1, "turn_detected"))


def test_a_late_word_of_another_utterance_does_not_interrupt() -> None:
    assert orders_after((*ANSWERED, started(2500)), TextHeard(Ms(2550), U1, "what time")) == []


def test_a_short_sound_is_transcribed_at_once() -> None:
    assert orders_after((*ANSWERED, started(2500)), stopped(2600)) == [FinishDraft(U2, D2)]


def test_in_an_overlap_a_client_may_stop_playing_what_is_all_sent() -> None:
    stop = PlaybackStopped(Ms(2550), R1)
    turn, _ = play(*ANSWERED, started(2500), stop)
    assert (turn.floor, turn.reply) == (Floor.OVERLAP, R1)
    sent = (started(2500), ReplySent(Ms(2510), R1))
    turn, orders = play(*ANSWERED, *sent, stop)
    assert (turn.floor, orders[-1]) == (Floor.USER, AnnounceSpeech(U2, Ms(2500)))
    refusal = Refuse(AskId(3), "response_cancel_not_active")
    assert orders_after((*ANSWERED, *sent), CancelAsked(Ms(2550), AskId(3))) == [refusal]


def test_commit_in_the_middle_of_an_overlap_goes_on_as_another_utterance() -> None:
    commit = CommitAsked(Ms(2700), 43_200, AskId(1))
    assert orders_after((*ANSWERED, started(2500)), commit) == [
        AnnounceSpeech(U2, Ms(2500)),
        StopReply(R1, "turn_detected"),
        FinishDraft(U2, D2),
        CommitUtterance(U2, 43_200, "client commit", True),
        Listen(U3, Ms(2700)),
        AnnounceSpeech(U3, Ms(2700)),
    ]


# --- push-to-talk ---
def test_push_to_talk_that_is_asked_for_again_changes_nothing() -> None:
    assert orders_after((InputBegan(Ms(0)),), PolicyChanged(Ms(500), PUSH), policy=PUSH) == []


def test_switching_to_push_to_talk_beside_a_reply_keeps_what_was_being_said() -> None:
    push = PolicyChanged(Ms(2600), PUSH)
    turn, _ = play(*ANSWERED, started(2500), policy=TALK_OVER)
    assert turn.feed(push) == (Listen(U2, Ms(2600)),)
    over, _ = play(*ANSWERED, started(2500))
    assert over.feed(push) == (Listen(U2, Ms(2600)), ResumeOutput(R1))
    for machine in (turn, over):
        assert (machine.floor, machine.deadline) == (Floor.AGENT, None)
        assert machine.feed(CommitAsked(Ms(2700), 43_200, AskId(1))) == (
            FinishDraft(U2, D2),
            CommitUtterance(U2, 43_200, "client commit", False),
        )
