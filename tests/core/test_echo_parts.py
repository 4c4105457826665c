"""What the judgement of an echo is made of: a ring of what was played, its delay, and a model of its way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.audio import WINDOW_SAMPLES
from duologue.core.echo_delay import find_delay
from duologue.core.echo_filter import PARTS, EchoFilter, Sound
from duologue.core.echo_played import SIZE, Played
from tests.support.clips import clip


def speech(name: str) -> Sound:
    return np.frombuffer(clip(name, 16_000), "<i2").astype(np.float32) / np.float32(32768)


OURS, THEIRS = speech("libri_other-2609-156975-0000.flac"), speech("lj-LJ001-0008.flac")


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio + 1e-12))


# --- what was played ---
@given(
    st.lists(
        st.tuples(st.integers(0, 3 * SIZE), st.integers(0, 3_000), st.booleans()), max_size=12
    ),
    st.integers(0, 3 * SIZE),
    st.integers(0, 5_000),
)
@settings(max_examples=200, deadline=None)
def test_the_ring_is_a_line_with_a_short_memory(
    writes: list[tuple[int, int, bool]], first: int, size: int
) -> None:
    line, upto, played = np.zeros(4 * SIZE, np.int64), 0, Played()
    for at, length, is_cut in writes:
        if is_cut:
            played.cut(at)
            line[at:] = 0
        else:
            sound = (np.arange(length) % 30_000 + 1).astype(np.int16)
            played.write(at, sound)
            line[at : at + length] = np.minimum(line[at : at + length] + sound, 32767)
            upto = max(upto, at + length)
    line[: max(0, upto - SIZE)] = 0
    assert (played.read(first, first + size) * 32768 == line[first : first + size]).all()


def test_what_has_left_the_ring_is_silence() -> None:
    played = Played()
    played.write(0, np.full(1_000, 7, np.int16))
    played.write(SIZE, np.full(500, 9, np.int16))
    assert not played.read(0, 500).any()
    assert played.read(500, 1_000).all()
    assert not played.read(SIZE + 500, SIZE + 900).any()


def test_before_the_stream_began_nothing_was_played() -> None:
    played = Played()
    played.write(0, np.full(100, 1_000, np.int16))
    assert not played.read(-200, 0).any()
    assert played.read(-50, 50)[50:].all()


# --- its delay ---
@pytest.mark.parametrize("delay", [0, 333, 4_000, 9_000])
@pytest.mark.parametrize("gain", [0.5, 0.1])
def test_the_delay_of_an_echo_is_found(delay: int, gain: float) -> None:
    found = tried = 0
    for end in range(22_000, 60_000, 3_000):
        heard = OURS[end - delay - 4_096 : end - delay] * np.float32(gain)
        match = find_delay(heard, OURS[end - 4_096 - 10_240 : end + 1_024], -1_024)
        is_right = abs(match.delay - delay) <= 2
        assert is_right or match.clarity < 1.8 or match.share < 0.2
        found += is_right and match.clarity > 1.3 and match.share > 0.1
        tried += 1
    assert found >= 0.7 * tried  # the others fall into pauses


def test_another_voice_is_like_nothing_that_was_played() -> None:
    shares, clear = [], 0
    for end in range(16_000, 64_000, 2_000):
        heard = THEIRS[end % 20_000 : end % 20_000 + 4_096]
        match = find_delay(heard, OURS[end - 14_336 : end + 1_024], -1_024)
        shares.append(match.share)
        clear += match.clarity > 1.8
    assert max(shares) < 0.2
    assert clear <= 1


def test_silence_has_no_delay() -> None:
    nothing = np.zeros(14_336, np.float32)
    assert find_delay(nothing[:4_096], nothing, 0).share == 0.0
    assert find_delay(OURS[:4_096], nothing, 0).clarity <= 1.5


# --- its way ---
def room(seed: int) -> Sound:
    rng = np.random.default_rng(seed)
    path = rng.standard_normal(2_000) * 10 ** (-3 * np.arange(2_000) / 2_000)
    path[0] = 4.0
    quarter: Sound = (path / np.sqrt((path**2).sum()) * 0.25).astype(np.float32)
    return quarter


def left_db(near: Sound | None, upto: int, seed: int = 1) -> list[float]:
    """Echo left by the filter, in dB, by the third of a second."""
    model, path = EchoFilter(), room(seed)
    echo = np.convolve(OURS, path)[: len(OURS)].astype(np.float32)
    out = []
    error = power = 0.0
    for number in range(1, upto):
        at = number * WINDOW_SAMPLES
        true = echo[at : at + WINDOW_SAMPLES]
        mic = true if near is None else true + near[at : at + WINDOW_SAMPLES]
        said = model.step(mic, OURS[at - WINDOW_SAMPLES : at + WINDOW_SAMPLES], learn=True)
        error, power = error + float(((said - true) ** 2).sum()), power + float((true**2).sum())
        if number % 10 == 0:
            out.append(db(error / (power + 1e-9)))
            error = power = 0.0
    return out


@pytest.mark.parametrize("seed", range(4))
def test_the_way_is_learnt_within_a_second_of_speech(seed: int) -> None:
    left = left_db(None, 120, seed)
    assert left[3] < -8
    assert np.mean(left[5:]) < -15


def test_somebody_who_speaks_over_it_does_not_make_it_forget() -> None:
    near = np.zeros_like(OURS)
    begin = 40_000
    near[begin : begin + 20_000] = THEIRS[:20_000] * 2
    assert np.mean(left_db(near, 120)[8:]) < -10


def test_without_learning_nothing_is_learnt_and_the_doubt_stays() -> None:
    model = EchoFilter()
    for at in range(512, 30_000, 512):
        said = model.step(OURS[at : at + 512], OURS[at - 512 : at + 512], learn=False)
        assert not said.any()
    assert model.doubt > float((OURS[at : at + 512] ** 2).sum())


def test_aligning_is_the_same_as_having_been_there() -> None:
    path = room(2)
    echo = np.convolve(OURS, path)[: len(OURS)].astype(np.float32)
    begin, end = 10_240, 20_480
    two = EchoFilter(), EchoFilter()
    for at in range(begin, end, 512):
        for model in two:
            model.step(echo[at : at + 512], OURS[at - 512 : at + 512], learn=True)
    two[1].align(OURS[end - (PARTS + 1) * 512 : end])
    said = [m.step(echo[end : end + 512], OURS[end - 512 : end + 512], learn=True) for m in two]
    np.testing.assert_allclose(said[0], said[1], atol=1e-5)
