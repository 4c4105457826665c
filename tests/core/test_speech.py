import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.audio import Ms
from duologue.core.cadence import Cadence
from duologue.core.facts import SpeechStarted, SpeechStopped
from duologue.core.speech import SpeechPolicy, SpeechSegmenter


def play(probabilities: list[float], policy: SpeechPolicy | None = None) -> list[object]:
    segmenter = SpeechSegmenter(policy or SpeechPolicy())
    return [fact for p in probabilities if (fact := segmenter.feed(p))]


def test_facts_are_stamped_where_the_change_was() -> None:
    assert play([0, 0, 0.9, 0.9, 0.9, 0, 0, 0]) == [
        SpeechStarted(Ms(64)),
        SpeechStopped(Ms(160)),
    ]


def test_a_click_is_no_speech_and_a_gap_in_a_word_no_end() -> None:
    assert play([0, 0.9, 0, 0, 0.9, 0]) == []
    assert play([0.9, 0.9, 0, 0, 0.9, 0, 0, 0.9]) == [SpeechStarted(Ms(0))]


def test_speech_is_left_below_where_it_is_entered() -> None:
    assert play([0.4] * 9) == []
    assert play([0.9, 0.9] + [0.4] * 9) == [SpeechStarted(Ms(0))]
    low = SpeechPolicy(threshold=0.1)
    assert play([0.2, 0.2] + [0.005] * 3, low)[-1] == SpeechStopped(Ms(64))


def test_nothing_is_certain_while_a_change_is_in_the_balance() -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    segmenter.feed(0)
    segmenter.feed(0.9)
    assert (segmenter.certain, segmenter.position, segmenter.settled) == (32, 1024, False)
    segmenter.feed(0)
    assert (segmenter.certain, segmenter.settled) == (96, True)


def test_deemed_silence_ends_speech_where_the_sound_ended() -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    for p in (0.9, 0.9, 0.9):
        segmenter.feed(p)
    assert segmenter.pass_silence(7 * 512) == SpeechStopped(Ms(96))
    assert (segmenter.certain, segmenter.speaking) == (320, False)
    assert segmenter.pass_silence(1) is None


def test_deemed_silence_counts_from_where_it_was_falling_silent() -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    for p in (0.9, 0.9, 0):
        segmenter.feed(p)
    assert segmenter.pass_silence(7 * 512) == SpeechStopped(Ms(64))


def test_forgetting_starts_afresh() -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    for p in (0.9, 0.9, 0.9):
        segmenter.feed(p)
    segmenter.forget()
    assert segmenter.feed(0.9) is None
    assert segmenter.feed(0.9) == SpeechStarted(Ms(96))


@given(st.lists(st.one_of(st.floats(0, 1), st.just(-1)), max_size=200))
def test_facts_alternate_and_never_precede_what_was_certain(steps: list[float]) -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    certain, speaking = 0, False
    for step in steps:
        fact = segmenter.pass_silence(3 * 512) if step == -1 else segmenter.feed(step)
        if fact is not None:
            assert fact.at >= certain
            assert isinstance(fact, SpeechStopped if speaking else SpeechStarted)
            speaking = not speaking
        assert segmenter.certain >= certain
        assert segmenter.speaking == speaking
        certain = segmenter.certain


def test_thresholds_are_policy() -> None:
    policy = SpeechPolicy(threshold=0.8, start_windows=1, stop_windows=1)
    assert play([0.7, 0.81, 0.6], policy) == [SpeechStarted(Ms(32)), SpeechStopped(Ms(64))]
    with pytest.raises(AttributeError):
        policy.threshold = 0.1  # type: ignore[misc]


def test_how_the_voice_fell_is_told_where_speech_ended() -> None:
    segmenter = SpeechSegmenter(SpeechPolicy())
    said, soft, silent = [(0.9, 100.0)] * 12, [(0.9, 1.0)] * 10, [(0.0, 0.01)] * 3
    facts = [f for p, power in (*said, *soft, *silent) if (f := segmenter.feed(p, power=power))]
    assert isinstance(facts[-1], SpeechStopped)
    assert facts[-1].cadence is not None
    assert facts[-1].cadence.fall_db == pytest.approx(20)
    for p, power in soft:
        segmenter.feed(p, power=power)
    again = segmenter.pass_silence(512)
    assert again is not None
    assert again.cadence == Cadence(20.0, 0.0), "the loudest is that of the turn"
    segmenter.turn_is_over()
    fresh = [f for p, w in (*soft, *silent) if (f := segmenter.feed(p, power=w))]
    assert isinstance(fresh[-1], SpeechStopped)
    assert fresh[-1].cadence == Cadence(0.0, 0.0)


def test_over_our_own_voice_one_window_that_is_sure_is_a_beginning() -> None:
    def heard(probability: float, over_us: bool) -> bool:
        return SpeechSegmenter(SpeechPolicy()).feed(probability, over_us=over_us) is not None

    assert heard(0.95, True)
    assert not heard(0.95, False)
    assert not heard(0.8, True)
    strict = SpeechSegmenter(SpeechPolicy(threshold=0.97))
    assert strict.feed(0.95, over_us=True) is None
    ends = SpeechSegmenter(SpeechPolicy())
    ends.feed(0.95, over_us=True)
    assert ends.feed(0.0, over_us=True) is None, "an end is as slow as ever"
