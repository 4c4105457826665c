import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from duologue.core.cadence import FLOOR_DB, Cadence, Loudness, is_murmur

Pcm = NDArray[np.int16]


def heard(levels_db: list[float], silence: int = 3) -> Cadence | None:
    """What is told of speech with these loudnesses, noticed so many windows after its end."""
    loudness = Loudness()
    for level in levels_db[:2]:
        loudness.heed(10 ** (level / 10))
    loudness.speech_began(2)
    for level in levels_db[2:]:
        loudness.heed(10 ** (level / 10))
    for _ in range(silence):
        loudness.heed(1e-6)
    return loudness.speech_ended(silence)


def test_a_voice_that_is_kept_up_does_not_fall() -> None:
    assert heard([0.0] * 40) == Cadence(0.0, 0.0)


def test_a_voice_that_sinks_has_a_slope_in_decibels_a_second() -> None:
    found = heard([0.0] * 20 + [-0.5 * at for at in range(20)])
    assert found is not None
    assert found.slope_db_per_s == pytest.approx(-0.5 * 31.25)
    assert found.fall_db == pytest.approx(5.0)


def test_a_voice_that_rises_has_one_too() -> None:
    found = heard([-20.0 + at for at in range(20)])
    assert found is not None
    assert found.slope_db_per_s == pytest.approx(31.25)
    assert found.fall_db == 0


def test_what_lies_below_the_floor_is_the_room() -> None:
    quiet = heard([0.0] * 10 + [-60.0] * 20)
    assert quiet == heard([0.0] * 10 + [-90.0] * 20)
    assert quiet is not None
    assert quiet.fall_db == pytest.approx(FLOOR_DB)


def test_only_what_was_spoken_counts_and_not_the_silence_before() -> None:
    loudness = Loudness()
    for power in [1e-3] * 30 + [100.0] * 6:
        loudness.heed(power)
    loudness.speech_began(6)
    for power in [100.0] * 4 + [1e-3] * 3:
        loudness.heed(power)
    assert loudness.speech_ended(3) == Cadence(0.0, 0.0)


def test_what_is_too_short_has_no_slope_and_digital_silence_no_cadence() -> None:
    assert heard([0.0, -5.0, -10.0]) == Cadence(0.0, 0.0)
    assert heard([-10_000.0] * 8, silence=0) is None
    assert Loudness().speech_ended(0) is None


def test_the_loudest_is_kept_over_pauses_until_the_turn_is_over() -> None:
    loudness = Loudness()
    for power in [100.0] * 2 + [10.0] * 60 + [1e-6] * 3:
        loudness.heed(power)
        if power == 100.0:
            loudness.speech_began(1)
    assert loudness.speech_ended(3) == Cadence(10.0, 0.0)
    for _ in range(10):
        loudness.heed(1.0)
    loudness.speech_began(10)
    again = loudness.speech_ended(0)
    assert again is not None
    assert again.fall_db == pytest.approx(20)
    loudness.turn_is_over()
    loudness.speech_began(2)
    assert loudness.speech_ended(0) == Cadence(0.0, 0.0)


def test_speech_that_goes_on_when_a_turn_is_over_is_measured_by_itself() -> None:
    loudness = Loudness()
    for power in [100.0] * 3 + [1.0] * 10:
        loudness.heed(power)
    loudness.speech_began(10)
    loudness.turn_is_over()
    assert loudness.speech_ended(0) == Cadence(0.0, 0.0)


@given(st.lists(st.floats(0, 1e9), max_size=80), st.integers(0, 20), st.integers(0, 20))
def test_whatever_comes_a_fall_is_bounded(powers: list[float], began: int, ended: int) -> None:
    loudness = Loudness()
    for at, power in enumerate(powers):
        loudness.heed(power)
        if at == began:
            loudness.speech_began(min(at + 1, 2))
    found = loudness.speech_ended(ended)
    if found is not None:
        assert 0 <= found.fall_db <= FLOOR_DB + 1e-9
        assert abs(found.slope_db_per_s) < 10 * FLOOR_DB


def tone(hz: float, ms: int = 480, level: float = 8_000.0) -> Pcm:
    at = np.arange(ms * 16) / 16_000
    return np.asarray(level * np.sin(2 * np.pi * hz * at), np.int16)


def test_a_hum_is_told_from_a_vowel_and_from_noise() -> None:
    assert is_murmur(tone(220))
    assert not is_murmur(tone(700))
    assert not is_murmur((np.random.default_rng(1).standard_normal(8_000) * 4_000).astype(np.int16))


def test_one_bright_window_makes_it_a_word_and_a_soft_one_does_not() -> None:
    hum = tone(200)
    hiss = (np.random.default_rng(1).standard_normal(512) * 4_000).astype(np.int16)
    assert not is_murmur(np.concatenate((hum, hiss)))
    assert is_murmur(np.concatenate((hum, hiss // 100)))


def test_nothing_and_silence_are_no_hum() -> None:
    assert not is_murmur(np.zeros(0, np.int16))
    assert not is_murmur(np.zeros(511, np.int16))
    assert not is_murmur(np.zeros(5_120, np.int16))
