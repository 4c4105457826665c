"""The end of a turn by more than silence, the answer that is begun early, and the turn that nobody ends."""

from duologue.core.audio import Ms
from duologue.core.cadence import Cadence
from duologue.core.endpointing import Endpointing
from duologue.core.facts import (
    AskId,
    ClearAsked,
    CommitAsked,
    CommitUtterance,
    Discard,
    DraftId,
    DropRehearsal,
    Fact,
    FinishDraft,
    InputBegan,
    Listen,
    Order,
    PolicyChanged,
    Rehearse,
    ReplyAsked,
    ReplyAudible,
    ReplyHeard,
    ResumeOutput,
    SpeechStopped,
    StartReply,
    StopReply,
    TextHeard,
    TranscriptFailed,
    TranscriptReady,
    TurnJudged,
)
from duologue.core.policy import EVIDENCE_MS, TurnPolicy
from duologue.core.turn import Floor, TurnMachine
from tests.core.test_turn import R1, U1, U2, final, play, started, stopped, tick

PROMPT_MS, PATIENT_MS = 250, 1_000
HOW = Endpointing(PROMPT_MS, PATIENT_MS, even=1.1, spread=0.25)
ADAPTIVE = TurnPolicy(endpointing=HOW, draft_ms=200)
LONG = TurnPolicy(max_turn_ms=5_000)


def fell(at: int, fall_db: float) -> Fact:
    return SpeechStopped(Ms(at), Cadence(fall_db, -20))


def judged(at: int, probability: float | None, draft: int = 1) -> Fact:
    return TurnJudged(Ms(at), U1, DraftId(draft), probability)


def ended_at(turn: TurnMachine, orders: list[Order]) -> int | None:
    found = [o.upto // 16 for o in orders if isinstance(o, CommitUtterance)]
    return found[0] if found else None


def test_a_likely_end_is_taken_as_soon_as_the_evidence_is_in() -> None:
    turn, orders = play(
        started(0), fell(600, 8), tick(800), final(815, 1, "lights off"), policy=ADAPTIVE
    )
    assert turn.floor is Floor.PAUSE
    orders += turn.feed(judged(855, 0.95))
    assert ended_at(turn, orders) == 855
    why = next(o.why for o in orders if isinstance(o, CommitUtterance))
    assert "the acoustic model says 95 %" in why


def test_evidence_that_does_not_come_is_not_waited_for() -> None:
    turn, orders = play(started(0), fell(600, 20), tick(2_000), policy=ADAPTIVE)
    assert ended_at(turn, orders) == 600 + 200 + EVIDENCE_MS


def test_an_open_end_is_waited_for() -> None:
    open_end = (started(0), fell(600, 8), tick(800), final(815, 1, "lights off and"))
    turn, orders = play(*open_end, judged(855, 0.95), tick(2_090), policy=ADAPTIVE)
    assert ended_at(turn, orders) is None
    assert ended_at(turn, orders + list(turn.feed(tick(2_100)))) == 600 + 1.5 * PATIENT_MS


def test_a_failed_transcript_is_no_wording() -> None:
    failed = (started(0), fell(600, 8), tick(800), TranscriptFailed(Ms(815), U1, DraftId(1), "x"))
    turn, orders = play(*failed, judged(855, 0.95), policy=ADAPTIVE)
    assert ended_at(turn, orders) == 855


def test_a_judgement_of_an_earlier_pause_is_late_news() -> None:
    went_on = (started(0), fell(600, 8), tick(800), started(900), judged(950, 0.99))
    turn, _ = play(*went_on, fell(1_500, 0), tick(1_700), judged(1_710, 0.99), policy=ADAPTIVE)
    assert turn.state.utterance is not None
    heeded = [turn.state.utterance.judged]
    turn.feed(judged(1_720, 0.01, draft=2))
    heeded.append(turn.state.utterance.judged)
    assert heeded == [False, True]
    assert turn.state.utterance.probability == 0.01


def test_pauses_of_a_turn_are_counted_and_outwaited() -> None:
    turn, _ = play(started(0), stopped(3_000), started(3_800), stopped(4_400), policy=ADAPTIVE)
    u = turn.state.utterance
    assert u is not None
    assert (u.pauses, u.longest_ms) == (1, 800)
    assert turn.state.wait().ms == round(1.6 * 800)


def test_a_turn_teaches_how_its_speaker_pauses() -> None:
    turn, _ = play(
        started(0), stopped(3_000), started(3_800), stopped(4_400), tick(8_000), policy=ADAPTIVE
    )
    assert turn.state.habits.usual_ms == 800


def test_who_goes_on_right_after_their_turn_had_not_finished() -> None:
    asked = (started(0), stopped(900), tick(1_100), final(1_120, 1, "what time is it"), tick(1_400))
    thinking, _ = play(*asked, started(1_600))
    assert thinking.state.habits.usual_ms == 700
    cut = (*asked, ReplyAudible(Ms(1_450), R1), started(1_500), tick(2_200))
    audible, _ = play(*cut)
    assert audible.state.habits.usual_ms == 600
    later = (*asked, ReplyAudible(Ms(1_450), R1), started(3_500), tick(4_200))
    assert play(*later)[0].state.habits.usual_ms == 0


# --- the answer that is begun early ---
EARLY = TurnPolicy(silence_ms=500)
SPOKE = (started(0), stopped(900), tick(1_100), final(1_120, 1, "what time is it"))


def only(orders: list[Order]) -> list[Order]:
    kinds = (Rehearse, DropRehearsal, StartReply, StopReply)
    return [order for order in orders if isinstance(order, kinds)]


def test_the_answer_is_begun_in_the_pause_and_given_at_its_end() -> None:
    turn, orders = play(*SPOKE, tick(1_400), policy=EARLY)
    assert only(orders) == [Rehearse(U1, "what time is it"), StartReply(R1)]
    assert not turn.state.rehearsed


def test_who_goes_on_has_it_dropped_and_begun_anew_with_the_whole_text() -> None:
    script = (*SPOKE, started(1_300), stopped(1_900), tick(2_100), final(2_150, 1, "in paris", 2))
    assert only(play(*script, policy=EARLY)[1]) == [
        Rehearse(U1, "what time is it"),
        DropRehearsal(),
        Rehearse(U1, "what time is it in paris"),
    ]


def test_nothing_is_begun_that_more_must_follow_or_nobody_asked_for() -> None:
    for text in ("turn on the", "mhm", ""):
        script = (started(0), stopped(900), tick(1_100), final(1_120, 1, text))
        assert only(play(*script, policy=EARLY)[1]) == []
    for policy in (TurnPolicy(create_response=False), TurnPolicy(speculate=False)):
        assert only(play(*SPOKE, policy=policy)[1]) == []
    asked = (started(0), ReplyAsked(Ms(100), AskId(1)), *SPOKE[1:])
    assert only(play(*asked, policy=EARLY)[1]) == []


def test_what_is_taken_back_is_not_answered() -> None:
    turn, orders = play(*SPOKE, ClearAsked(Ms(1_200), AskId(1)), policy=EARLY)
    assert only(orders) == [Rehearse(U1, "what time is it"), DropRehearsal()]
    assert turn.floor is Floor.OPEN


# --- the turn that nobody ends ---
def test_a_turn_that_never_ends_is_answered_all_the_same() -> None:
    turn, orders = play(started(0), tick(5_000), policy=LONG)
    assert orders[-2:] == [
        CommitUtterance(U1, 5_000 * 16, "the turn lasted 5000 ms", True),
        Listen(U2, Ms(5_000)),
    ]
    floors = [turn.floor]
    assert turn.feed(final(5_100, 1, "and so on"))[-1] == StartReply(R1)
    for fact in (ReplyAudible(Ms(5_200), R1), ReplyHeard(Ms(6_000), R1)):
        turn.feed(fact)
        floors.append(turn.floor)
    # What still goes on does not interrupt, and is a turn of its own.
    assert floors == [Floor.THINKING, Floor.AGENT, Floor.USER]
    assert turn.deadline == 10_000


def test_what_never_draws_breath_is_no_single_speaker() -> None:
    turn, orders = play(started(0), stopped(900), started(1_000), tick(21_000), policy=EARLY)
    assert ended_at(turn, orders) == 21_000
    why = next(o.why for o in orders if isinstance(o, CommitUtterance))
    assert why == "nobody drew breath for 20000 ms"


def test_words_of_what_goes_on_take_the_floor_back() -> None:
    turn, _ = play(started(0), tick(5_000), final(5_100, 1, "and so on"), policy=LONG)
    turn.feed(ReplyAudible(Ms(5_200), R1))
    orders = turn.feed(TextHeard(Ms(5_900), U2, "no wait"))
    assert orders[-1] == StopReply(R1, "turn_detected")
    assert turn.floor is Floor.USER


def test_where_the_client_answers_a_long_turn_goes_on_in_pieces() -> None:
    policy = TurnPolicy(max_turn_ms=5_000, create_response=False)
    turn, orders = play(started(0), tick(5_000), policy=policy)
    assert isinstance(orders[-2], Listen)
    assert turn.floor is Floor.USER
    assert [o for o in orders if isinstance(o, FinishDraft)] == [FinishDraft(U1, DraftId(1))]
    assert turn.deadline == 10_000


# --- over the answer ---
def test_a_single_word_that_may_still_change_does_not_take_the_floor() -> None:
    answered = (*SPOKE, tick(1_400), ReplyAudible(Ms(1_500), R1), started(2_500))
    turn, _ = play(*answered, TextHeard(Ms(2_900), U2, "okay you"), policy=EARLY)
    floors = [turn.floor]
    turn.feed(TextHeard(Ms(2_900), U2, "no wait"))
    assert [*floors, turn.floor] == [Floor.OVERLAP, Floor.USER]
    short, _ = play(*answered, TextHeard(Ms(2_800), U2, "no wait"), policy=EARLY)
    assert short.floor is Floor.OVERLAP, "nor does what has only begun"
    whole, _ = play(*answered, stopped(2_800), final(2_850, 2, "stop", 2), policy=EARLY)
    assert whole.floor is Floor.PAUSE, "of a final transcript one word is enough"


def test_what_the_recogniser_does_not_believe_in_and_a_hum_interrupt_nobody() -> None:
    answered = (*SPOKE, tick(1_400), ReplyAudible(Ms(1_500), R1), started(2_500))
    doubted = TranscriptReady(Ms(2_850), U2, DraftId(2), "good luck", 0.02)
    turn, orders = play(*answered, stopped(2_800), doubted, policy=EARLY)
    assert (turn.floor, orders[-1]) == (Floor.AGENT, ResumeOutput(R1))
    believed = TranscriptReady(Ms(2_850), U2, DraftId(2), "stop", 0.4)
    assert play(*answered, stopped(2_800), believed, policy=EARLY)[0].floor is Floor.PAUSE
    many = TranscriptReady(Ms(2_850), U2, DraftId(2), "wait a moment", 0.1)
    assert play(*answered, stopped(2_800), many, policy=EARLY)[0].floor is Floor.PAUSE
    turn, orders = play(*answered, SpeechStopped(Ms(2_800), is_murmur=True), policy=EARLY)
    assert (turn.floor, orders[-1]) == (Floor.AGENT, ResumeOutput(R1))


def test_where_nothing_of_ours_is_heard_little_is_believed_all_the_same() -> None:
    doubted = TranscriptReady(Ms(1_120), U1, DraftId(1), "good luck", 0.02)
    murmur = SpeechStopped(Ms(900), is_murmur=True)
    turn, orders = play(started(0), murmur, tick(1_100), doubted, tick(1_400), policy=EARLY)
    assert StartReply(R1) in orders
    assert turn.floor is Floor.THINKING


def test_a_very_long_turn_is_no_matter_for_its_odds() -> None:
    turn, _ = play(started(0), stopped(119_000), policy=ADAPTIVE)
    assert turn.state.wait().ms >= PROMPT_MS


def test_what_goes_on_after_a_long_turn_is_kept_over_a_breath() -> None:
    long = (started(0), tick(5_000), final(5_100, 1, "and so on"), stopped(6_000), started(6_300))
    turn, orders = play(*long, policy=LONG)
    assert not any(isinstance(o, Discard) for o in orders)
    assert turn.state.utterance is not None
    assert turn.state.utterance.id == U2


def test_where_speech_may_not_interrupt_what_goes_on_does_not_either() -> None:
    policy = TurnPolicy(max_turn_ms=5_000, interrupt_response=False)
    turn, _ = play(started(0), tick(5_000), final(5_100, 1, "and so on"), policy=policy)
    turn.feed(ReplyAudible(Ms(5_200), R1))
    turn.feed(TextHeard(Ms(6_500), U2, "no wait please"))
    assert turn.floor is Floor.AGENT


def test_sound_of_push_to_talk_is_no_part_of_how_long_somebody_speaks() -> None:
    push = TurnPolicy(detect=False, create_response=False)
    turn, _ = play(InputBegan(Ms(0)), PolicyChanged(Ms(130_000), EARLY), policy=push)
    orders = turn.feed(started(131_000))
    assert turn.floor is Floor.USER
    assert not any(isinstance(o, CommitUtterance) for o in orders)


def test_what_the_client_commits_itself_is_not_rehearsed_on() -> None:
    turn, orders = play(*SPOKE, CommitAsked(Ms(1_200), 1_200 * 16, AskId(1)), policy=EARLY)
    assert only(orders) == [Rehearse(U1, "what time is it"), DropRehearsal()]
    silent = PolicyChanged(Ms(1_200), TurnPolicy(create_response=False))
    turn, orders = play(*SPOKE, silent, tick(2_000), policy=EARLY)
    assert only(orders) == [Rehearse(U1, "what time is it"), DropRehearsal()]
    assert turn.floor is Floor.OPEN
