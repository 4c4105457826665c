import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.durations import find_duration, say_duration, say_span
from duologue.engines.skills.heard import regular


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("five minutes", 300),
        ("ninety seconds", 90),
        ("an hour", 3600),
        ("a minute", 60),
        ("half an hour", 1800),
        ("an hour and a half", 5400),
        ("two and a half minutes", 150),
        ("a quarter of an hour", 900),
        ("three quarters of an hour", 2700),
        ("one hour and thirty minutes", 5400),
        ("one hour thirty minutes and ten seconds", 5410),
        ("a couple of minutes", 120),
        ("twenty for minutes", 1440),
        ("90 s", 90),
        ("1.5 h", 5400),
        ("5min", 300),
        ("two days", 172_800),
        ("two hundred minutes", 12_000),
    ],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    words = regular(text)
    assert find_duration(words) == (seconds, (0, len(words)), True)


@pytest.mark.parametrize(
    ("text", "seconds", "is_certain"),
    [
        ("timer for minutes", 240, False),
        ("timer for for minutes", 240, True),
        ("timer to for minutes", 240, True),
        ("timer four five minutes", 300, True),
    ],
)
def test_prepositions_and_numbers_that_sound_alike(
    text: str, seconds: int, is_certain: bool
) -> None:
    found = find_duration(regular(text))
    assert found is not None
    assert (found[0], found[2]) == (seconds, is_certain)


@pytest.mark.parametrize(
    "text",
    ["", "minutes", "five", "zero minutes", "for the minutes", "five miles", "minus two hours"],
)
def test_what_is_no_length_of_time(text: str) -> None:
    found = find_duration(regular(text))
    assert found is None or found[0] >= 1


@given(st.integers(1, 7 * 86_400))
def test_lengths_there_and_back(seconds: int) -> None:
    words = regular(say_duration(seconds))
    assert find_duration(words) == (seconds, (0, len(words)), True)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "one second"),
        (59.6, "one minute"),
        (192, "three minutes and twelve seconds"),
        (754, "twelve minutes and thirty seconds"),
        (3601, "one hour"),
        (7400, "two hours and three minutes"),
    ],
)
def test_what_is_left_is_said_as_exactly_as_one_wants_to_know(seconds: float, said: str) -> None:
    assert say_span(seconds) == said


@given(
    st.lists(
        st.sampled_from(
            "a an half quarter of and for to five 2.5 hours minutes second couple".split()
        ),
        max_size=10,
    )
)
def test_no_words_break_it(words: list[str]) -> None:
    found = find_duration(words)
    assert found is None or (found[0] >= 1 and 0 <= found[1][0] < found[1][1] <= len(words))
