import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.audio import ms_to_samples
from duologue.engines.whisper.speech_window import (
    CUT_FROM_MS,
    LIMIT_MS,
    PAUSE_MS,
    Samples,
    SpeechWindow,
    is_audible,
    quietest,
)

SECOND = 16_000


def noise(seconds: float, seed: int = 0) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    dice = np.random.default_rng(seed)
    return dice.integers(-3_000, 3_000, int(seconds * SECOND)).astype("<i2")


def with_pause(seconds: float, at_s: float) -> bytes:
    sound = noise(seconds)
    sound[int(at_s * SECOND) : int((at_s + 0.3) * SECOND)] //= 100
    return sound.tobytes()


def fed(window: SpeechWindow, pcm: bytes, chunk: int = 1_024) -> list[bytes]:
    added = (window.add(pcm[at : at + chunk]) for at in range(0, len(pcm), chunk))
    return [as_pcm(piece) for piece in added if piece is not None]


def as_pcm(sound: Samples) -> bytes:
    return (sound * 32_768).astype("<i2").tobytes()


def test_sound_comes_out_as_it_went_in() -> None:
    window = SpeechWindow()
    pcm = noise(3).tobytes()
    assert fed(window, pcm) == []
    assert window.samples == 3 * SECOND
    assert window.peek().dtype == np.float32
    assert as_pcm(window.take()) == pcm
    assert (window.samples, len(window.take())) == (0, 0)


@pytest.mark.parametrize("at_s", [18.2, 21.7, 27.6])
def test_long_sound_is_cut_in_its_pause(at_s: float) -> None:
    window = SpeechWindow()
    (piece,) = fed(window, with_pause(30, at_s))
    assert len(piece) / 2 / SECOND == pytest.approx(at_s + 0.15, abs=0.05)


def test_no_sample_is_lost_or_doubled_over_minutes() -> None:
    window = SpeechWindow()
    pcm = noise(95).tobytes()
    pieces = fed(window, pcm)
    assert len(pieces) >= 3
    assert b"".join(pieces) + as_pcm(window.take()) == pcm
    for piece in pieces:
        assert ms_to_samples(CUT_FROM_MS) <= len(piece) // 2 <= ms_to_samples(LIMIT_MS)


@settings(max_examples=8, deadline=None)
@given(st.integers(100, 40_000))
def test_the_cut_is_in_the_pause_however_the_sound_comes(half_chunk: int) -> None:
    (piece,) = fed(SpeechWindow(), with_pause(32, 20), half_chunk * 2)
    assert 20 * SECOND < len(piece) // 2 < 20.3 * SECOND


def test_even_a_noise_without_pauses_is_cut() -> None:
    flat = np.full(ms_to_samples(LIMIT_MS), 0.5, np.float32)
    assert quietest(flat) == ms_to_samples(CUT_FROM_MS) + ms_to_samples(PAUSE_MS) // 2


def test_silence_and_clicks_are_not_audible() -> None:
    assert not is_audible(np.zeros(SECOND, np.float32))
    assert not is_audible(np.full(SECOND, 0.001, np.float32))
    assert not is_audible(np.full(SECOND // 20, 0.5, np.float32))
    assert not is_audible(np.zeros(0, np.float32))
    assert is_audible(np.full(SECOND // 10, -0.01, np.float32))
