"""The turn machine, told as short scripts; the random walk is in test_turn_walk.py."""

import pytest

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
    Fact,
    FinishDraft,
    HoldOutput,
    InputBegan,
    LetGo,
    Listen,
    Order,
    PlaybackStopped,
    PolicyChanged,
    Refuse,
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
    UtteranceId,
)
from duologue.core.policy import TurnPolicy
from duologue.core.turn import ANYWHERE, HAS_REPLY, RULES, Floor, Go, TurnMachine

U1, U2, R1, R2 = UtteranceId(1), UtteranceId(2), ReplyId(1), ReplyId(2)
D1, D2 = DraftId(1), DraftId(2)
POLICY = TurnPolicy(
    silence_ms=500, draft_ms=200, barge_in_ms=300, barge_in_words=1, verdict_ms=300, speculate=False
)
TALK_OVER = TurnPolicy(interrupt_response=False, speculate=False)
MANUAL = TurnPolicy(create_response=False)
PUSH = TurnPolicy(detect=False, create_response=False)


def started(at: int) -> Fact:
    return SpeechStarted(Ms(at))


def stopped(at: int) -> Fact:
    return SpeechStopped(Ms(at))


def tick(at: int) -> Fact:
    return Tick(Ms(at))


def final(at: int, utterance: int, text: str, draft: int | None = None) -> Fact:
    return TranscriptReady(Ms(at), UtteranceId(utterance), DraftId(draft or utterance), text)


def play(*facts: Fact, policy: TurnPolicy = POLICY) -> tuple[TurnMachine, list[Order]]:
    turn = TurnMachine(policy)
    return turn, [order for fact in facts for order in turn.feed(fact)]


def orders_after(
    script: tuple[Fact, ...], *facts: Fact, policy: TurnPolicy = POLICY
) -> list[Order]:
    """Only what the last facts brought."""
    turn, _ = play(*script, policy=policy)
    return [order for fact in facts for order in turn.feed(fact)]


SPOKE = (started(0), stopped(900), tick(1100), final(1120, 1, "what time is it"))
ASKED = (*SPOKE, tick(1400))
ANSWERED = (*ASKED, ReplyAudible(Ms(1500), R1))
COUGH = (started(2500), stopped(2600))


# --- the plain turn ---
def test_a_turn_is_heard_drafted_committed_and_answered() -> None:
    turn, orders = play(*ASKED)
    assert orders == [
        Listen(U1, Ms(0)),
        AnnounceSpeech(U1, Ms(0)),
        FinishDraft(U1, D1),
        CommitUtterance(U1, 1400 * 16, "silence of 500 ms", True),
        CompleteTranscript(U1, "what time is it"),
        StartReply(R1),
    ]
    assert turn.floor is Floor.THINKING
    assert turn.reply == R1


def test_the_reply_waits_for_a_late_transcript() -> None:
    late = (started(0), stopped(900), tick(1400))
    assert not any(isinstance(o, StartReply) for o in play(*late)[1])
    assert orders_after(late, final(1900, 1, "hello")) == [
        CompleteTranscript(U1, "hello"),
        StartReply(R1),
    ]


def test_who_goes_on_after_a_pause_is_one_utterance() -> None:
    script = (*SPOKE, started(1300), stopped(1900), tick(2100), final(2150, 1, "in paris", 2))
    assert CompleteTranscript(U1, "what time is it in paris") in play(*script, tick(2400))[1]


def test_a_pause_longer_than_allowed_is_applied_at_its_own_time() -> None:
    """A scheduler that comes late changes nothing."""
    prompt = play(started(0), stopped(100), tick(300), tick(600), started(800))
    late = play(started(0), stopped(100), started(800))
    assert prompt[1] == late[1]
    assert prompt[0].floor is late[0].floor


def test_a_turn_without_words_is_committed_and_not_answered() -> None:
    turn, orders = play(started(0), stopped(900), tick(1100), final(1120, 1, ""), tick(1400))
    assert orders[-3:] == [
        CommitUtterance(U1, 1400 * 16, "silence of 500 ms", True),
        CompleteTranscript(U1, ""),
        LetGo("no words"),
    ]
    assert turn.floor is Floor.OPEN
    late = orders_after((started(0), stopped(900), tick(1400)), final(1500, 1, ""))
    assert late == [CompleteTranscript(U1, ""), LetGo("no words")]


def test_a_failed_transcript_ends_the_turn_and_says_so() -> None:
    turn, orders = play(
        started(0), stopped(900), tick(1400), TranscriptFailed(Ms(1500), U1, D1, "engine_lost")
    )
    assert orders[-2:] == [CompleteTranscript(U1, "", "engine_lost"), LetGo("no words")]
    assert turn.floor is Floor.OPEN


def test_a_silence_shorter_than_a_draft_drafts_at_the_end() -> None:
    _, orders = play(started(0), stopped(900), tick(1000), policy=TurnPolicy(silence_ms=100))
    assert orders[-2:] == [
        FinishDraft(U1, D1),
        CommitUtterance(U1, 1000 * 16, "silence of 100 ms", True),
    ]


def test_the_floor_is_free_when_the_reply_is_heard_not_when_it_is_sent() -> None:
    turn, _ = play(*ANSWERED, ReplySent(Ms(3000), R1))
    assert (turn.floor, turn.reply) == (Floor.AGENT, R1)
    turn.feed(ReplyHeard(Ms(3120), R1))
    assert (turn.floor, turn.reply) == (Floor.OPEN, None)


def test_a_reply_without_sound_frees_the_floor_when_it_ends() -> None:
    assert play(*ASKED, ReplySent(Ms(1600), R1))[0].floor is Floor.OPEN


def test_late_news_of_a_dead_reply_is_dropped() -> None:
    turn, _ = play(*ANSWERED, started(2500), tick(2800))
    assert turn.floor is Floor.USER
    for news in (ReplyAudible, ReplySent, ReplyHeard, PlaybackStopped):
        assert turn.feed(news(Ms(2900), R1)) == ()
        assert turn.floor is Floor.USER


def test_a_transcript_of_a_discarded_utterance_is_dropped() -> None:
    script = (*ANSWERED, *COUGH, ClearAsked(Ms(2650), AskId(1)))
    assert orders_after(script, final(2700, 2, "stop")) == []
    assert orders_after(SPOKE, final(1200, 1, "other", 9)) == []


# --- over the reply ---
def test_speech_over_the_reply_holds_it_before_anything_is_decided() -> None:
    assert orders_after(ANSWERED, started(2500)) == [Listen(U2, Ms(2500)), HoldOutput(R1)]


def test_lasting_speech_interrupts_at_its_own_time() -> None:
    turn, _ = play(*ANSWERED, started(2500))
    assert turn.deadline == 2800
    assert turn.feed(tick(9000)) == (
        AnnounceSpeech(U2, Ms(2500)),
        StopReply(R1, "turn_detected"),
    )
    assert turn.floor is Floor.USER


@pytest.mark.parametrize("nothing", ["", "mhm", "Yeah, okay."])
def test_a_cough_or_a_backchannel_does_not_interrupt(nothing: str) -> None:
    turn, _ = play(*ANSWERED, *COUGH)
    assert turn.feed(final(2700, 2, nothing)) == (Discard(U2), ResumeOutput(R1))
    assert turn.floor is Floor.AGENT


def test_a_short_word_interrupts_after_it_was_spoken() -> None:
    turn, _ = play(*ANSWERED, *COUGH)
    assert turn.feed(final(2700, 2, "stop")) == (
        AnnounceSpeech(U2, Ms(2500)),
        StopReply(R1, "turn_detected"),
    )
    assert turn.floor is Floor.PAUSE
    assert turn.feed(tick(3100))[-1] == StartReply(R2)


def test_a_word_in_a_partial_interrupts_at_once() -> None:
    script = (*ANSWERED, started(2500))
    assert orders_after(script, TextHeard(Ms(2650), U2, "mhm")) == []
    assert orders_after(script, TextHeard(Ms(2650), U2, "wait"))[-1] == StopReply(
        R1, "turn_detected"
    )


def test_without_a_verdict_the_reply_resumes_and_the_word_still_counts_when_it_comes() -> None:
    turn, _ = play(*ANSWERED, *COUGH)
    assert turn.feed(tick(2900)) == (ResumeOutput(R1),)
    assert turn.floor is Floor.AGENT
    assert turn.feed(final(3000, 2, "stop"))[-1] == StopReply(R1, "turn_detected")
    turn, _ = play(*ANSWERED, *COUGH, tick(2900))
    assert turn.feed(final(3000, 2, "")) == (Discard(U2),)


def test_a_second_sound_joins_one_of_which_words_may_still_come() -> None:
    script = (*ANSWERED, *COUGH, tick(2900))
    assert orders_after(script, started(3500)) == [Listen(U2, Ms(3500)), HoldOutput(R1)]
    turn, _ = play(*script, started(3500), stopped(3550), final(3600, 2, "stop"))
    assert turn.floor is Floor.PAUSE, "the first of the two was meant"


def test_a_hum_beside_a_word_is_not_all_that_was_said() -> None:
    def hum(at: int) -> Fact:
        return SpeechStopped(Ms(at), is_murmur=True)

    word_first, _ = play(*ANSWERED, *COUGH, started(2700), hum(2800), final(2850, 2, "stop"))
    assert word_first.floor is Floor.PAUSE
    hum_first = (*ANSWERED, started(2500), stopped(2600), started(2700), stopped(2800))
    both = (*hum_first, final(2820, 2, ""), final(2850, 2, "stop", 3))
    assert play(*both)[0].floor is Floor.PAUSE


def test_two_short_sounds_in_one_overlap_are_one_utterance() -> None:
    turn, orders = play(*ANSWERED, *COUGH, started(2700))
    assert orders[-1] == Listen(U2, Ms(2700))
    assert turn.deadline == 3000


def test_the_reply_ends_during_an_overlap() -> None:
    talking = (*ANSWERED, ReplySent(Ms(2400), R1), started(2500), ReplyHeard(Ms(2520), R1))
    turn, orders = play(*talking)
    assert (turn.floor, orders[-1]) == (Floor.USER, AnnounceSpeech(U2, Ms(2500)))
    silent = (*ANSWERED, *COUGH, ReplySent(Ms(2610), R1), ReplyHeard(Ms(2620), R1))
    turn, orders = play(*silent)
    assert (turn.floor, orders[-1]) == (Floor.PAUSE, AnnounceSpeech(U2, Ms(2500)))


def test_an_interrupted_reply_that_was_all_sent_is_still_cut_to_what_was_heard() -> None:
    script = (*ANSWERED, ReplySent(Ms(2400), R1), started(2500))
    assert orders_after(script, tick(2800))[-1] == StopReply(R1, "turn_detected")


def test_going_on_while_we_think_is_answered_once_with_both_parts() -> None:
    turn, orders = play(*ASKED, started(1450))
    assert orders[-2:] == [AnnounceSpeech(U2, Ms(1450)), StopReply(R1, "turn_detected")]
    assert turn.floor is Floor.USER


def test_a_noise_while_we_think_does_not_cost_the_answer() -> None:
    """It is known to be one before the pause is over: nobody waits for more."""
    script = (*ASKED, started(1450), stopped(1550), tick(1750))
    assert orders_after(script, final(1760, 2, ""))[-1] == StartReply(R2)


# --- policies ---
def test_where_speech_may_not_interrupt_it_is_answered_next() -> None:
    turn, orders = play(*ANSWERED, started(2500), policy=TALK_OVER)
    assert orders[-1] == AnnounceSpeech(U2, Ms(2500))
    assert turn.floor is Floor.AGENT
    talk = (stopped(3000), tick(3200), started(3300), stopped(3600), tick(3800))
    finals = (final(3250, 2, "and", 2), final(3850, 2, "tomorrow", 3), tick(4100))
    orders = [o for f in (*talk, *finals) for o in turn.feed(f)]
    assert orders[-1] == CompleteTranscript(U2, "and tomorrow")
    turn.feed(ReplySent(Ms(4200), R1))
    assert turn.feed(ReplyHeard(Ms(4300), R1)) == (StartReply(R2),)


def test_where_speech_may_not_interrupt_thinking_goes_on_too() -> None:
    script = (*ASKED, started(1450), stopped(1600), started(1700), stopped(1900))
    turn, orders = play(*script, tick(2400), policy=TALK_OVER)
    assert turn.floor is Floor.THINKING
    assert not any(isinstance(o, StopReply) for o in orders)
    turn.feed(ReplySent(Ms(2500), R1))
    assert turn.floor is Floor.THINKING
    assert turn.feed(final(2600, 2, "more"))[-1] == StartReply(R2)


def test_becoming_interruptible_in_the_middle_of_talk_over_loses_nothing() -> None:
    turn, _ = play(*ANSWERED, started(2500), stopped(2800), policy=TALK_OVER)
    turn.feed(PolicyChanged(Ms(2900), POLICY))
    orders = [*turn.feed(started(2950)), *turn.feed(tick(3300))]
    assert not any(isinstance(o, Discard) for o in orders)
    assert turn.state.utterance is not None
    assert turn.state.utterance.id == U2
    turn, _ = play(*ANSWERED, started(2500), stopped(2600), policy=TALK_OVER)
    turn.feed(PolicyChanged(Ms(2700), POLICY))
    turn.feed(started(2750))
    turn.feed(stopped(2800))
    assert turn.feed(final(2900, 2, "", 1)) == ()  # no such draft
    assert turn.feed(final(2900, 2, "", 2)) == (ResumeOutput(R1),)
    assert turn.state.utterance is not None


def test_without_create_response_the_turn_is_committed_and_left_to_the_client() -> None:
    turn, orders = play(*ASKED, policy=MANUAL)
    assert isinstance(orders[-1], CompleteTranscript)
    assert turn.floor is Floor.OPEN
    assert turn.feed(ReplyAsked(Ms(1500), AskId(7))) == (StartReply(R1, AskId(7)),)


def test_push_to_talk() -> None:
    turn = TurnMachine(PUSH)
    assert turn.feed(InputBegan(Ms(0))) == (Listen(U1, Ms(0)),)
    assert turn.feed(InputBegan(Ms(10))) == ()
    assert turn.deadline is None
    assert turn.feed(CommitAsked(Ms(900), 14_400, AskId(1))) == (
        FinishDraft(U1, D1),
        CommitUtterance(U1, 14_400, "client commit", False),
    )
    assert turn.feed(ReplyAsked(Ms(900), AskId(2))) == ()
    assert turn.feed(final(1000, 1, "hello")) == (
        CompleteTranscript(U1, "hello"),
        StartReply(R1, AskId(2)),
    )


def test_push_to_talk_is_answered_even_if_nothing_was_said() -> None:
    script = (InputBegan(Ms(0)), CommitAsked(Ms(900), 14_400, AskId(1)))
    ask = ReplyAsked(Ms(900), AskId(2))
    assert orders_after((*script, ask), final(1000, 1, ""), policy=PUSH)[-1] == StartReply(
        R1, AskId(2)
    )


def test_switching_to_push_to_talk_keeps_what_was_being_said() -> None:
    push = PolicyChanged(Ms(950), PUSH)
    for script in ((started(0),), (started(0), stopped(900))):
        turn, orders = play(*script, push)
        assert (turn.floor, orders[-1]) == (Floor.OPEN, Listen(U1, Ms(950)))
        assert turn.feed(CommitAsked(Ms(990), 15_840, AskId(1)))[-1] == CommitUtterance(
            U1, 15_840, "client commit", False
        )
    turn, orders = play(*ANSWERED, started(2500), PolicyChanged(Ms(2600), PUSH))
    assert (turn.floor, orders[-1]) == (Floor.AGENT, ResumeOutput(R1))
    turn, orders = play(*ANSWERED, PolicyChanged(Ms(2600), PUSH))
    assert (turn.floor, turn.deadline) == (Floor.AGENT, None)


def test_speech_joins_what_push_to_talk_has_collected() -> None:
    turn, _ = play(InputBegan(Ms(0)), PolicyChanged(Ms(500), POLICY), policy=PUSH)
    assert turn.feed(started(600)) == (Listen(U1, Ms(600)), AnnounceSpeech(U1, Ms(0)))


# --- commands ---
def test_commit_in_the_middle_of_speech_goes_on_as_another_utterance() -> None:
    assert orders_after((started(0),), CommitAsked(Ms(600), 9_600, AskId(1))) == [
        FinishDraft(U1, D1),
        CommitUtterance(U1, 9_600, "client commit", True),
        Listen(U2, Ms(600)),
        AnnounceSpeech(U2, Ms(600)),
    ]


def test_commit_in_a_pause_makes_no_reply() -> None:
    turn, orders = play(*SPOKE, CommitAsked(Ms(1200), 19_200, AskId(1)))
    assert isinstance(orders[-1], CompleteTranscript)
    assert turn.floor is Floor.OPEN


def test_commit_of_what_nobody_noticed() -> None:
    turn, orders = play(CommitAsked(Ms(700), 11_200, AskId(1)))
    assert [type(o) for o in orders] == [Listen, FinishDraft, CommitUtterance]
    assert turn.floor is Floor.OPEN


def test_commit_over_the_reply_means_it() -> None:
    commit = CommitAsked(Ms(2700), 43_200, AskId(1))
    turn, orders = play(*ANSWERED, started(2500), commit)
    assert StopReply(R1, "turn_detected") in orders
    assert turn.floor is Floor.USER
    turn, orders = play(*ANSWERED, *COUGH, commit)
    assert StopReply(R1, "turn_detected") in orders
    assert turn.floor is Floor.OPEN


@pytest.mark.parametrize("script", [(started(0),), SPOKE, (InputBegan(Ms(0)),)])
def test_clear_takes_it_back(script: tuple[Fact, ...]) -> None:
    turn, orders = play(*script, ClearAsked(Ms(1200), AskId(1)))
    assert orders[-2:] == [Discard(U1), Accept(AskId(1))]
    assert turn.floor is Floor.OPEN


def test_clear_over_the_reply_resumes_it() -> None:
    turn, orders = play(*ANSWERED, *COUGH, ClearAsked(Ms(2650), AskId(1)))
    assert orders[-3:] == [Discard(U2), Accept(AskId(1)), ResumeOutput(R1)]
    assert turn.floor is Floor.AGENT


def test_a_request_while_the_user_speaks_is_answered_at_the_end_of_their_turn() -> None:
    ask = ReplyAsked(Ms(300), AskId(5))
    script = (started(0), ask, *SPOKE[1:])
    assert orders_after(script, tick(1400))[-1] == StartReply(R1, AskId(5))
    assert orders_after((started(0), ask), ReplyAsked(Ms(400), AskId(6))) == [
        Refuse(AskId(6), "conversation_already_has_active_response")
    ]
    assert orders_after((started(0), ask), ClearAsked(Ms(400), AskId(6)))[-1] == StartReply(
        R1, AskId(5)
    )


def test_a_request_in_a_pause_ends_the_turn() -> None:
    assert orders_after(SPOKE, ReplyAsked(Ms(1200), AskId(5)))[-1] == StartReply(R1, AskId(5))
    deferred = (started(0), ReplyAsked(Ms(300), AskId(5)), stopped(900))
    assert orders_after(deferred, ReplyAsked(Ms(1000), AskId(6))) == [
        Refuse(AskId(6), "conversation_already_has_active_response")
    ]


def test_a_request_while_the_reply_waits_adopts_it() -> None:
    script = (started(0), stopped(900), tick(1400), ReplyAsked(Ms(1450), AskId(5)))
    assert orders_after(script, final(1500, 1, "hello"))[-1] == StartReply(R1, AskId(5))
    assert orders_after(script, ReplyAsked(Ms(1460), AskId(6))) == [
        Refuse(AskId(6), "conversation_already_has_active_response")
    ]


def test_a_request_that_the_user_talks_into_is_kept() -> None:
    script = (
        InputBegan(Ms(0)),
        CommitAsked(Ms(500), 8000, AskId(1)),
        ReplyAsked(Ms(500), AskId(2)),
    )
    turn, _ = play(*script, PolicyChanged(Ms(520), POLICY), policy=PUSH)
    spoke = (started(600), stopped(900), final(950, 1, "one"), tick(1100), final(1200, 2, "two"))
    orders = [o for f in (*spoke, tick(1400)) for o in turn.feed(f)]
    assert orders[-1] == StartReply(R2, AskId(2))


def test_one_reply_at_a_time() -> None:
    refusal = Refuse(AskId(9), "conversation_already_has_active_response")
    for script in (ASKED, ANSWERED, (*ANSWERED, started(2500))):
        assert orders_after(script, ReplyAsked(Ms(2600), AskId(9))) == [refusal]


def test_a_new_reply_may_follow_one_that_is_sent_and_still_heard() -> None:
    script = (*ANSWERED, ReplySent(Ms(2400), R1))
    turn, orders = play(*script, ReplyAsked(Ms(2410), AskId(9)))
    assert orders[-1] == StartReply(R2, AskId(9))
    assert turn.feed(ReplyHeard(Ms(2520), R1)) == ()
    overlap = (*script, started(2450), ReplyAsked(Ms(2500), AskId(9)))
    assert play(*overlap)[1][-1] == HoldOutput(R1)
    again = orders_after(overlap, ReplyAsked(Ms(2510), AskId(10)))
    assert again == [Refuse(AskId(10), "conversation_already_has_active_response")]
    coughed = (*overlap, stopped(2500), final(2600, 2, ""))
    again = orders_after(coughed, ReplyAsked(Ms(2650), AskId(10)))
    assert again == [Refuse(AskId(10), "conversation_already_has_active_response")]
    assert orders_after(coughed, ReplyHeard(Ms(2660), R1)) == [StartReply(R2, AskId(9))]


def test_cancel() -> None:
    cancel = CancelAsked(Ms(1600), AskId(3))
    refusal = Refuse(AskId(3), "response_cancel_not_active")
    for script in (ASKED, ANSWERED):
        turn, orders = play(*script, cancel)
        assert orders[-1] == StopReply(R1, "client_cancelled")
        assert turn.floor is Floor.OPEN
    for idle in ((), (started(0),), (*ANSWERED, ReplySent(Ms(1550), R1))):
        assert orders_after(idle, cancel) == [refusal]
    assert orders_after(SPOKE, CancelAsked(Ms(1200), AskId(3))) == [refusal]
    other = CancelAsked(Ms(1600), AskId(3), ReplyId(77))
    assert orders_after(ANSWERED, other) == [refusal]
    assert orders_after(ANSWERED, CancelAsked(Ms(1600), AskId(3), R1)) == [
        StopReply(R1, "client_cancelled")
    ]


def test_cancel_of_a_reply_that_waits_for_its_transcript() -> None:
    waits = (started(0), stopped(900), tick(1400))
    cancel = CancelAsked(Ms(1450), AskId(3))
    assert orders_after(waits, cancel) == [
        LetGo("client cancelled"),
        Refuse(AskId(3), "response_cancel_not_active"),
    ]
    assert orders_after((*waits, ReplyAsked(Ms(1420), AskId(2))), cancel) == [
        StartReply(R1, AskId(2)),
        StopReply(R1, "client_cancelled"),
    ]
    assert orders_after((*waits, cancel), final(1500, 1, "hello")) == [
        CompleteTranscript(U1, "hello"),
    ]


def test_cancel_during_an_overlap() -> None:
    cancel = CancelAsked(Ms(2700), AskId(3))
    for script, floor in (
        ((*ANSWERED, started(2500)), Floor.USER),
        ((*ANSWERED, *COUGH), Floor.PAUSE),
    ):
        turn, orders = play(*script, cancel)
        assert orders[-2:] == [AnnounceSpeech(U2, Ms(2500)), StopReply(R1, "client_cancelled")]
        assert turn.floor is floor
    sent = (*ANSWERED, ReplySent(Ms(2400), R1), started(2500))
    assert orders_after(sent, cancel) == [Refuse(AskId(3), "response_cancel_not_active")]


def test_a_client_that_stopped_playing_frees_the_floor_once_all_is_sent() -> None:
    stop = PlaybackStopped(Ms(2450), R1)
    assert play(*ANSWERED, stop)[0].floor is Floor.AGENT
    assert play(*ANSWERED, ReplySent(Ms(2400), R1), stop)[0].floor is Floor.OPEN


def test_announcements_wait_for_silence_and_keep_their_order() -> None:
    assert play(SayAsked(Ms(0), AskId(1)))[1] == [StartReply(R1, AskId(1))]
    turn, _ = play(*ANSWERED, SayAsked(Ms(2000), AskId(1)), SayAsked(Ms(2001), AskId(2)))
    turn.feed(ReplySent(Ms(3000), R1))
    assert turn.feed(ReplyHeard(Ms(3100), R1)) == (StartReply(R2, AskId(1)),)
    assert turn.feed(ReplySent(Ms(3200), R2)) == (StartReply(ReplyId(3), AskId(2)),)


def test_too_many_announcements_are_refused() -> None:
    turn, _ = play(*ANSWERED)
    for n in range(16):
        assert turn.feed(SayAsked(Ms(2000), AskId(n))) == ()
    assert turn.feed(SayAsked(Ms(2000), AskId(99))) == (
        Refuse(AskId(99), "too_many_announcements"),
    )


# --- the table ---
@pytest.mark.parametrize("floor", Floor)
def test_every_floor_hears_speech_or_its_end(floor: Floor) -> None:
    speech = {SpeechStarted, SpeechStopped} & set(RULES[floor])
    assert speech


def test_an_unguarded_alternative_is_the_last_of_its_cell() -> None:
    for row in (*RULES.values(), ANYWHERE):
        for cell in row.values():
            assert all(go.when for go in cell[:-1]), cell


def test_every_move_and_guard_is_used() -> None:
    from duologue.core import turn_moves, turn_parts, turn_state

    used = [go for row in (*RULES.values(), ANYWHERE) for cell in row.values() for go in cell]
    assert all(isinstance(go, Go) for go in used)
    moves = {go.act.__name__ for go in used}
    source = {
        name
        for name, thing in vars(turn_moves).items()
        if callable(thing)
        and getattr(thing, "__module__", "") in (turn_moves.__name__, turn_parts.__name__)
        and not name.startswith("_")
        and not isinstance(thing, type)
    }
    assert moves == source
    guards = {guard.__name__ for go in used for guard in go.when}
    inner = {"turn_is_over"}  # read by another guard
    assert guards | inner == {
        name
        for name, thing in vars(turn_state.TurnState).items()
        if getattr(thing, "__annotations__", {}).get("return") is bool
    }


def test_floors_with_a_reply() -> None:
    assert {f for f in Floor if f in HAS_REPLY} == {Floor.THINKING, Floor.AGENT, Floor.OVERLAP}


# --- idleness ---
IDLE = TurnPolicy(idle_ms=5_000)
HEARD_OUT = (
    started(100),
    stopped(600),
    tick(1_100),
    final(1_100, 1, "hello"),
    ReplyAudible(Ms(1_100), R1),
    ReplySent(Ms(1_500), R1),
    ReplyHeard(Ms(2_000), R1),
)


def test_silence_after_an_answer_is_answered_when_it_lasts_too_long() -> None:
    turn, _ = play(*HEARD_OUT, policy=IDLE)
    assert (turn.floor, turn.deadline) == (Floor.OPEN, 7_000)
    assert turn.feed(tick(6_999)) == ()
    assert turn.feed(tick(7_400)) == (
        AnnounceIdle(U2, Ms(2_000)),
        CommitUtterance(U2, 7_000 * 16, "idle for 5000 ms", spoken=False),
        CompleteTranscript(U2, ""),
        StartReply(R2),
    )
    assert turn.floor is Floor.THINKING
    assert turn.deadline is None


def test_idleness_counts_again_from_the_next_answer_and_never_before_the_first() -> None:
    fresh, _ = play(tick(60_000), policy=IDLE)
    assert (fresh.floor, fresh.deadline) == (Floor.OPEN, None)
    turn, _ = play(
        *HEARD_OUT,
        tick(7_000),
        ReplyAudible(Ms(7_100), R2),
        ReplySent(Ms(8_000), R2),
        ReplyHeard(Ms(8_200), R2),
        policy=IDLE,
    )
    assert turn.deadline == 13_200


@pytest.mark.parametrize(
    "broken",
    [started(3_000), ReplyAsked(Ms(3_000), AskId(1)), InputBegan(Ms(3_000))],
)
def test_whatever_happens_ends_idleness(broken: Fact) -> None:
    turn, _ = play(*HEARD_OUT, broken, policy=IDLE)
    assert turn.state.idle_since is None
