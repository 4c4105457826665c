"""Samples of an utterance and their places on the stream."""

from hypothesis import given
from hypothesis import strategies as st

from duologue.core.audio import AudioFrame
from duologue.engines import timeline
from duologue.engines.timeline import Timeline


def frame(start: int, samples: int = 160) -> AudioFrame:
    return AudioFrame(bytes(2 * samples), start)


def test_an_utterance_begins_where_its_first_frame_lies() -> None:
    line = Timeline()
    assert line.ms(0) == 0
    line.add(frame(16_000))
    line.add(frame(16_160))
    assert [line.ms(sample) for sample in (0, 160, 320)] == [1_000, 1_010, 1_020]
    line.clear()
    line.add(frame(80_000))
    assert line.ms(80) == 5_005


def test_sound_left_out_is_time_all_the_same() -> None:
    line = Timeline()
    line.add(frame(0, 1_600))
    line.add(frame(16_000, 1_600))
    assert [line.ms(sample) for sample in (0, 1_599, 1_600, 3_199)] == [0, 99, 1_000, 1_099]


def test_times_beyond_the_sound_are_its_ends() -> None:
    line = Timeline()
    line.add(frame(16_000))
    assert (line.ms(-5), line.ms(10_000)) == (1_000, 1_010)


@given(st.lists(st.tuples(st.integers(0, 50_000), st.integers(1, 2_000)), min_size=1, max_size=30))
def test_every_sample_keeps_its_place(gaps: list[tuple[int, int]]) -> None:
    line, position = Timeline(), 0
    places: list[int] = []
    for gap, samples in gaps:
        position += gap
        line.add(frame(position, samples))
        places += range(position, position + samples)
        position += samples
    for sample in range(0, len(places), 97):
        assert line.ms(sample) == places[sample] // 16


def test_gaps_are_remembered_up_to_a_bound() -> None:
    line = Timeline()
    for number in range(3 * timeline.MAX_GAPS):
        line.add(frame(number * 320))
    assert len(line._joints) == timeline.MAX_GAPS
