import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.cadence import Cadence
from duologue.core.endpointing import (
    HABIT_BOUND,
    LONGEST_MS,
    Endpointing,
    Habits,
    Pause,
    log_odds,
    wait,
)
from duologue.core.presets import PRESETS
from duologue.core.wording import Wording

HOW = Endpointing(prompt_ms=250, patient_ms=1_000, even=1.1, spread=0.25)
SUNK = Cadence(fall_db=6, slope_db_per_s=-20)
SENTENCE = Pause(speech_ms=3_000)


def ms(pause: Pause, habits: Habits | None = None) -> int:
    return wait(pause, HOW, habits or Habits()).ms


def test_what_nobody_knows_anything_about_is_waited_for_patiently() -> None:
    assert ms(SENTENCE) == 1_000


def test_a_word_that_falls_away_is_answered_promptly() -> None:
    assert ms(Pause(speech_ms=500, cadence=SUNK, probability=0.9)) == 250


def test_between_the_two_more_certain_is_never_later() -> None:
    cadences = [Cadence(fall / 2, -fall * 2.0) for fall in range(31)]
    waits = [ms(Pause(3_000, cadence=cadence, probability=0.9)) for cadence in cadences]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == 1_000
    assert waits[-1] == 250
    assert len(set(waits)) > 3


@pytest.mark.parametrize(
    ("more", "less"),
    [
        (Pause(500), Pause(3_000)),
        (Pause(3_000, wording=Wording.ASKED), Pause(3_000, wording=Wording.WHOLE)),
        (SENTENCE, Pause(3_000, number=1, longest_ms=300)),
        (Pause(3_000, cadence=Cadence(10, 0)), SENTENCE),
        (Pause(3_000, cadence=Cadence(0, -20)), SENTENCE),
        (SENTENCE, Pause(3_000, cadence=Cadence(0, 20))),
        (Pause(3_000, probability=0.9), SENTENCE),
        (SENTENCE, Pause(3_000, probability=0.1)),
        (Pause(3_000, wording=Wording.WHOLE), Pause(3_000, wording=Wording.PLAIN)),
        (Pause(3_000, wording=Wording.PLAIN), Pause(3_000, wording=Wording.TRAILING)),
        (Pause(3_000, wording=Wording.NOTHING), Pause(3_000, wording=Wording.FILLER)),
        (Pause(3_000, wording=Wording.NOTHING), Pause(3_000, wording=Wording.DICTATING)),
    ],
)
def test_each_piece_of_evidence_counts(more: Pause, less: Pause) -> None:
    assert log_odds(more, Habits()) > log_odds(less, Habits())


def test_the_acoustic_model_is_never_quite_sure() -> None:
    sure, all_but = Pause(3_000, probability=1.0), Pause(3_000, probability=0.98)
    assert log_odds(sure, Habits()) == log_odds(all_but, Habits())
    assert log_odds(Pause(3_000, probability=0.0), Habits()) > -10


def test_a_pause_is_outwaited_that_this_turn_or_this_speaker_made_before() -> None:
    assert ms(Pause(3_000, 1, 900)) == round(1.6 * 900)
    slow = Habits()
    slow.turn_ended(2, 800)
    assert ms(SENTENCE, slow) == round(1.6 * 800)
    assert ms(Pause(3_000, 1, 60_000)) == LONGEST_MS


def test_who_never_pauses_is_answered_sooner_and_who_was_cut_later() -> None:
    fluent, slow = Habits(), Habits()
    for _ in range(10):
        fluent.turn_ended(0, 0)
        slow.was_cut(700)
    assert fluent.shift() > 0.3
    assert slow.shift() < -0.3
    assert slow.usual_ms == pytest.approx(700)
    assert fluent.usual_ms == 0


def test_habits_fade() -> None:
    habits = Habits()
    habits.turn_ended(3, 1_500)
    for _ in range(20):
        habits.turn_ended(1, 300)
    assert habits.usual_ms == pytest.approx(300, abs=5)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 100_000)), max_size=60), st.booleans())
def test_what_is_learned_is_bounded(turns: list[tuple[int, int]], cut: bool) -> None:
    habits = Habits()
    for pauses, longest_ms in turns:
        habits.turn_ended(pauses, longest_ms)
        if cut:
            habits.was_cut(longest_ms)
    assert abs(habits.shift()) <= HABIT_BOUND
    assert habits.mids + habits.ends < 100
    for how in (HOW, *(p.endpointing for p in PRESETS.values() if p.endpointing)):
        for pause in (
            SENTENCE,
            Pause(300, cadence=Cadence(99, -999), probability=1),
            Pause(9_000, 5, 90_000),
        ):
            assert how.prompt_ms <= wait(pause, how, habits).ms <= max(how.patient_ms, LONGEST_MS)
    open_end = Pause(3_000, wording=Wording.DICTATING)
    assert wait(open_end, HOW, habits).ms <= max(1.5 * HOW.patient_ms, LONGEST_MS)


def test_the_reason_says_what_it_goes_by() -> None:
    pause = Pause(3_000, 2, 400, SUNK, 0.87, Wording.TRAILING)
    why = wait(pause, HOW, Habits()).why
    assert why.startswith("silence of 1500 ms, an end ")
    assert "it ends with a word after which more comes" in why
    assert "2 pauses before" in why
    assert "the acoustic model says 87 %" in why
    assert wait(SENTENCE, HOW, Habits()).why.endswith(" % likely")
    assert "whole" in wait(Pause(900, wording=Wording.WHOLE), HOW, Habits()).why


def test_presets_differ_in_every_state() -> None:
    patient, balanced, snappy = (PRESETS[n] for n in ("patient", "balanced", "snappy"))
    for pause in (SENTENCE, Pause(600, cadence=Cadence(3, -9), probability=0.9)):
        waits = [
            wait(pause, p.endpointing or HOW, Habits()).ms for p in (patient, balanced, snappy)
        ]
        assert waits == sorted(waits, reverse=True)
        assert len(set(waits)) == 3
    assert (patient.speculate, balanced.speculate) == (False, True)
    assert patient.barge_in_ms > balanced.barge_in_ms > snappy.barge_in_ms
    assert patient.barge_in_words > balanced.barge_in_words >= snappy.barge_in_words
    assert patient.verdict_ms > balanced.verdict_ms > snappy.verdict_ms
