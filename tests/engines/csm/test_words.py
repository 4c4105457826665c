"""Words spread over a sound whose length is not known yet."""

import pytest

from duologue.engines.csm.words import LETTERS_PER_S, RATE_HZ, Pace, Words

TEXT = "The kettle is on, and supper is ready."
WORDS = [0, 4, 11, 14, 18, 22, 29, 32]
LETTERS = len(TEXT) + 1 + 2 + 5  # a space behind, a comma's pause, a full stop's


def told(text: str, pace: Pace, samples: int, chunk: int = 3_840) -> list[tuple[int, int]]:
    words, places = Words(text, pace), []
    for _ in range(samples // chunk):
        places += words.during(chunk)
    return places + words.end()


def test_each_word_is_told_once_in_order_within_the_sound() -> None:
    for seconds in (0.5, 1.5, 2.5, 9.0):
        samples = int(seconds * RATE_HZ)
        places = told(TEXT, Pace(), samples)
        assert [char for _, char in places] == WORDS
        assert [sample for sample, _ in places] == sorted(sample for sample, _ in places)
        assert all(0 <= sample < samples for sample, _ in places)


def test_a_word_is_told_with_the_sound_in_which_it_begins() -> None:
    words, at = Words(TEXT, Pace()), 0
    while at < 3 * RATE_HZ:
        assert all(at <= sample < at + 3_840 for sample, _ in words.during(3_840))
        at += 3_840
    assert words.end() == []


@pytest.mark.parametrize("true", [9.0, 22.0])
def test_the_pace_is_learned_from_what_was_spoken(true: float) -> None:
    pace = Pace()
    for _ in range(12):
        told(TEXT, pace, int(LETTERS / true * RATE_HZ))
    assert pace.letters_per_s == pytest.approx(true, rel=0.1)


def test_a_sound_that_cannot_be_of_the_text_misleads_little() -> None:
    pace = Pace()
    told("Hi.", pace, 1_000)
    assert pace.letters_per_s == LETTERS_PER_S
    for _ in range(50):
        told("Hi.", pace, 60 * RATE_HZ)
    assert pace.letters_per_s == pytest.approx(4, rel=0.01)
