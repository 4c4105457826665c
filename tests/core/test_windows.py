"""Levels and pauses."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.windows import MEMORY_STEPS, NOTHING_DB, STEP_SAMPLES, Passage, Room

MS = 16


def noise(length_ms: int, amplitude: int, seed: int = 0) -> bytes:
    dice = np.random.default_rng(seed)
    return dice.normal(0, amplitude, length_ms * MS).astype("<i2").tobytes()


def talk(*parts: int, loud: int = 3_000, quiet: int = 30) -> Passage:
    """Loud and quiet by turns, ms each."""
    passage = Passage(Room(), 0)
    for number, length_ms in enumerate(parts):
        passage.add(noise(length_ms, quiet if number % 2 else loud))
    return passage


def test_a_short_pause_is_cut_in_its_middle() -> None:
    assert talk(500, 200, 500).pause(0, 1_200 * MS) == 600 * MS


def test_a_long_pause_is_cut_near_its_end() -> None:
    assert talk(500, 1_000, 500).pause(0, 2_000 * MS) == 1_300 * MS


def test_a_pause_that_goes_on_is_one() -> None:
    assert talk(500, 300).pause(0, 800 * MS) == 650 * MS


def test_the_closure_of_a_consonant_is_no_pause() -> None:
    assert talk(500, 120, 500).pause(0, 1_120 * MS) is None


def test_of_several_pauses_the_last_within_reach() -> None:
    passage = talk(500, 200, 500, 200, 500)
    assert passage.pause(0, 1_900 * MS) == 1_300 * MS
    assert passage.pause(0, 1_200 * MS) == 600 * MS
    assert passage.pause(650 * MS, 1_200 * MS) is None
    assert passage.onset() == 0


@given(st.integers(4, 1_000), st.integers(8, 40))
def test_quiet_is_relative(quiet: int, times: int) -> None:
    """A loud room, a soft voice: the pause is where it is if the voice is 18 dB above the room."""
    passage = talk(800, 200, 800, loud=min(30_000, quiet * times), quiet=quiet)
    assert passage.pause(0, 1_800 * MS) == 900 * MS


def test_where_all_is_alike_there_is_no_pause_and_all_is_some_sound() -> None:
    passage = talk(2_000)
    assert passage.pause(0, 2_000 * MS) is None
    assert passage.onset() == 0
    assert passage.loud_part(2_000 * MS) == (0, 2_000 * MS)


def test_a_known_room_is_not_loud() -> None:
    room = Room()
    passage = Passage(room, 0)
    passage.add(noise(6_000, 40))
    assert passage.onset() is None
    passage.add(noise(500, 3_000))
    assert passage.onset() == 6_000 * MS
    assert passage.loud_part(6_500 * MS) == (6_000 * MS, 6_500 * MS)


def test_digital_silence_is_quiet_whatever_else_there_is() -> None:
    passage = Passage(Room(), 1_000)
    passage.add(bytes(1_000 * MS * 2))
    assert passage.is_quiet()
    assert passage.onset() is None
    assert passage.loud_part(1_000 + 500 * MS) == (1_000, 1_000 + 500 * MS)
    assert passage.pause(0, 1_000 + 1_000 * MS) == 1_000 + 800 * MS


def test_a_voice_that_was_loud_long_ago_is_forgotten() -> None:
    room = Room()
    room.levels(noise(1_000, 10_000))
    room.levels(noise(29_000, 100))
    assert room.quiet_db > NOTHING_DB
    for _ in range(4):
        room.levels(noise(30_000, 100))
    assert room.quiet_db == NOTHING_DB


def test_before_any_sound_there_is_nothing_to_tell() -> None:
    passage = Passage(Room(), 5)
    assert (passage.start, passage.end, passage.size_bytes) == (5, 5, 0)
    assert passage.onset() is None
    assert passage.is_quiet()
    passage.add(bytes(20))
    assert passage.pause(0, 15) is None


def test_more_than_the_memory_at_once() -> None:
    room = Room()
    found = room.levels(noise((MEMORY_STEPS + 500) * 10, 100))
    assert len(found) == MEMORY_STEPS + 500
    assert abs(room.quiet_db - NOTHING_DB) < 1e-6


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=20), st.data())
def test_what_is_dropped_is_gone_and_the_rest_stays(sizes: list[int], data: st.DataObject) -> None:
    sound = noise(7_000, 1_000)
    passage, at = Passage(Room(), 77), 0
    for size in sizes:
        passage.add(sound[2 * at : 2 * (at + size)])
        at += size
        upto = data.draw(st.integers(passage.start - 10, passage.end))
        before = passage.start
        passage.drop(upto)
        assert before <= passage.start <= max(before, upto)
        assert (passage.start - 77) % STEP_SAMPLES == 0
        assert passage.start > upto - STEP_SAMPLES
        assert passage.end == 77 + at
        assert passage.sound(passage.end) == sound[2 * (passage.start - 77) : 2 * at]
        passage.is_quiet()
