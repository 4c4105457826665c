"""Where a recording is cut, in windows of 32 ms."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duologue.server.audio.stretches import (
    CUT_FROM_WINDOWS,
    LIMIT_WINDOWS,
    LONG_PAUSE_WINDOWS,
    PAD_WINDOWS,
    PAUSE_WINDOWS,
    WINDOW_BYTES,
    Splitter,
    Stretch,
    quietest,
)

WINDOW_MS = 32


def numbered(count: int) -> bytes:
    """Windows that can be told apart: each is filled with its number."""
    return np.repeat(np.arange(count, dtype="<i2"), WINDOW_BYTES // 2).tobytes()


def cut(odds: list[float], least_ms: int = 0, step: int = 7) -> list[Stretch]:
    """Fed some windows at a time, as blocks come."""
    splitter, pcm, found = Splitter(least_ms), numbered(len(odds)), list[Stretch]()
    for at in range(0, len(odds), step):
        block = pcm[at * WINDOW_BYTES : (at + step) * WINDOW_BYTES]
        found += splitter.push(odds[at : at + step], block)
    last = splitter.finish()
    return [*found, last] if last is not None else found


def windows(stretch: Stretch) -> tuple[int, int]:
    """First and last window of its sound."""
    numbers = np.frombuffer(stretch.pcm, "<i2")
    assert stretch.start == int(numbers[0]) * 512
    return int(numbers[0]), int(numbers[-1])


def test_silence_is_nothing() -> None:
    assert cut([]) == []
    assert cut([0.0] * 500) == []
    assert cut(([0.0] * 5 + [0.9]) * 50) == []  # single windows are clicks


def test_speech_is_cut_out_with_a_little_silence_around() -> None:
    (stretch,) = cut([0.0] * 50 + [1.0] * 30 + [0.0] * 100)
    assert windows(stretch)[0] == 50 - PAD_WINDOWS
    assert windows(stretch)[1] in range(80 + PAD_WINDOWS - 1, 80 + PAD_WINDOWS + 4)
    begin, end = stretch.speech_ms
    assert begin == 50 * WINDOW_MS
    assert 80 * WINDOW_MS <= end <= 84 * WINDOW_MS  # until it is certain that it has stopped
    assert stretch.no_speech < 0.1


def test_speech_at_both_ends_of_a_recording() -> None:
    (stretch,) = cut([1.0] * 40)
    assert windows(stretch) == (0, 39)
    assert stretch.speech_ms == (0, 40 * WINDOW_MS)


def test_a_short_pause_is_part_of_a_stretch_and_a_long_one_ends_it() -> None:
    short = [1.0] * 40 + [0.0] * (PAUSE_WINDOWS - 4) + [1.0] * 40
    assert len(cut(short)) == 1
    long = [1.0] * 40 + [0.0] * (PAUSE_WINDOWS + 8) + [1.0] * 40
    assert len(cut(long)) == 2


def test_stretches_are_packed_where_a_recognisers_work_costs_the_same() -> None:
    said = ([1.0] * 40 + [0.0] * (PAUSE_WINDOWS + 8)) * 10  # 2 s each
    assert len(cut(said)) == 10
    packed = cut(said, least_ms=8_000)
    assert len(packed) == 2
    assert packed[0].no_speech < 0.1  # the pauses within do not count
    apart = ([1.0] * 40 + [0.0] * (LONG_PAUSE_WINDOWS + 8)) * 3
    assert len(cut(apart, least_ms=8_000)) == 3


def test_who_speaks_on_and_on_is_cut_at_the_least_likely_speech() -> None:
    odds = [1.0] * 1_000
    dip = CUT_FROM_WINDOWS + 150
    odds[dip : dip + 6] = [0.5] * 6
    first, second = cut(odds)
    assert abs(windows(first)[1] - dip) <= 6
    assert windows(second)[0] == windows(first)[1] + 1
    assert windows(second)[1] == 999
    assert first.speech_ms[1] == second.speech_ms[0]


def test_of_equally_likely_places_the_quietest_is_the_cut() -> None:
    loud = np.full(256, 9_000, "<i2").tobytes()
    sound = [loud] * LIMIT_WINDOWS
    for at in range(500, 505):
        sound[at] = bytes(512)
    assert quietest([0.98] * LIMIT_WINDOWS, sound) == 502


def test_a_last_window_that_is_short_keeps_its_length() -> None:
    splitter = Splitter()
    pcm = numbered(40)[:-600]
    assert list(splitter.push([1.0] * 40, pcm)) == []
    last = splitter.finish()
    assert last is not None
    assert last.pcm == pcm
    assert last.speech_ms[1] == len(pcm) // 32
    assert splitter.finish() is None


runs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.45, 0.9, 1.0]), st.integers(1, 400)), max_size=12
)


@given(runs, st.sampled_from([0, 3_000, 15_000]), st.integers(1, 200))
def test_whatever_is_said_nothing_is_lost_or_said_twice(
    script: list[tuple[float, int]], least_ms: int, step: int
) -> None:
    odds = [odd for odd, length in script for _ in range(length)]
    found = cut(odds, least_ms, step)
    upto, covered = 0, set[int]()
    for stretch in found:
        first, last = windows(stretch)
        assert first >= upto - PAD_WINDOWS
        assert (last - first + 1) * WINDOW_BYTES == len(stretch.pcm)  # without gaps
        assert last - first < LIMIT_WINDOWS
        begin, end = stretch.speech_ms
        assert upto * WINDOW_MS <= begin < end <= len(odds) * WINDOW_MS
        assert first * WINDOW_MS <= begin
        assert 0 <= stretch.no_speech <= 1
        upto = end // WINDOW_MS
        covered |= set(range(first, last + 1))
    likely = [n for n in range(1, len(odds)) if min(odds[n], odds[n - 1]) >= 0.9]
    assert covered.issuperset(likely)
