import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.playout import PlayoutClock, SpokenText


# --- the listener's clock ---
def test_the_listener_plays_what_has_arrived_and_no_more() -> None:
    clock = PlayoutClock()
    assert clock.heard_ms(50) == 0
    clock.sent(100, now_ms=1000)
    assert clock.heard_ms(1040) == 40
    assert clock.lead_ms(1040) == 60
    assert clock.heard_ms(5000) == 100
    assert clock.heard_ms(4000) == 100


def test_running_dry_is_an_underrun_only_if_more_comes_and_it_was_not_meant() -> None:
    clock = PlayoutClock()
    clock.sent(100, 0)
    clock.heard_ms(150)
    assert clock.underruns == 0
    clock.sent(20, 160)
    assert clock.underruns == 1
    assert clock.heard_ms(170) == 110
    clock.heard_ms(300)
    clock.excuse_pause()
    clock.sent(20, 400)
    assert clock.underruns == 1


def test_what_was_sent_before_plays_on_while_more_is_sent() -> None:
    clock = PlayoutClock()
    clock.sent(100, 0)
    clock.sent(100, 50)
    assert clock.heard_ms(60) == 60


def test_each_dry_spell_counts_once_and_each_pause_is_excused_once() -> None:
    clock = PlayoutClock()
    clock.sent(100, 0)
    clock.heard_ms(100)
    clock.sent(100, 100)  # just in time
    assert clock.underruns == 0
    clock.sent(20, 300)
    clock.sent(20, 310)
    assert clock.underruns == 1
    clock.excuse_pause()
    clock.sent(20, 500)
    clock.sent(20, 600)
    assert clock.underruns == 2


def test_a_client_that_still_has_sound_is_not_dry() -> None:
    clock = PlayoutClock()
    clock.sent(100, 0)
    assert clock.heard_ms(150) == 100
    clock.correct(50, 160)
    clock.sent(20, 170)
    assert clock.underruns == 0


def test_the_client_knows_better() -> None:
    clock = PlayoutClock()
    clock.sent(1000, 0)
    clock.correct(300, 500)
    assert clock.heard_ms(600) == 400
    clock.correct(9999, 600)
    assert clock.heard_ms(600) == 1000
    clock.correct(-5, 700)
    assert clock.heard_ms(700) == 0


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), max_size=30))
def test_heard_never_falls_and_never_passes_sent(steps: list[tuple[float, float]]) -> None:
    clock, now, last = PlayoutClock(), 0.0, 0.0
    for pause, sound in steps:
        now += pause
        clock.sent(sound, now)
        heard = clock.heard_ms(now)
        assert last - 1e-6 <= heard <= clock.sent_ms + 1e-6
        last = heard


# --- the words on the sound ---
def spoken(*pieces: tuple[str, float]) -> SpokenText:
    text = SpokenText()
    for words, ms in pieces:
        text.add_sound(text.add_piece(words), ms)
    text.finish()
    return text


def test_a_cut_in_the_sound_is_a_cut_between_words() -> None:
    text = spoken(("one two ", 1000), ("three four", 1000))
    assert text.heard_until(0) == ""
    assert text.heard_until(600) == "one"
    assert text.heard_until(999) == "one two"
    assert text.heard_until(1000) == "one two"
    assert text.heard_until(1700) == "one two three"
    assert text.heard_until(9999) == text.text == "one two three four"
    assert text.duration_ms == 2000


def test_a_word_counts_when_half_of_it_was_heard() -> None:
    text = spoken(("abcdefghij", 1000))
    assert text.heard_until(499) == ""
    assert text.heard_until(500) == "abcdefghij"
    assert text.heard_until(501) == "abcdefghij"


def test_word_times_of_the_engine_win_over_the_estimate() -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("slow quick"), 1000, words=((0.0, 0), (900.0, 5)))
    text.finish()
    assert text.heard_until(850) == "slow"
    assert text.heard_until(980) == "slow quick"
    growing = SpokenText()
    growing.add_sound(growing.add_piece("slow quick"), 950, words=((0.0, 0), (900.0, 5)))
    assert growing.heard_until(940) == "slow"


def test_word_times_are_a_line_through_their_points() -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("Well. "), 500)
    text.add_sound(text.add_piece("one two six"), 1200, words=((400.0, 4), (800.0, 8)))
    assert text.heard_until(649) == "Well."
    assert text.heard_until(650) == "Well. one"  # 150 ms in: a character and a half
    assert text.heard_until(1049) == "Well. one"
    assert text.heard_until(1050) == "Well. one two"  # 550 ms in: five and a half
    text.finish()
    assert text.heard_until(1499) == "Well. one two"
    assert text.heard_until(1510) == "Well. one two six"


def test_a_piece_is_complete_when_the_next_one_sounds() -> None:
    text = SpokenText()
    first, second = text.add_piece("this was read very fast "), text.add_piece("and this")
    text.add_sound(first, 100)
    assert text.heard_until(100) == ""
    text.add_sound(second, 100)
    assert text.heard_until(100) == "this was read very fast"
    assert text.chars_until(100) == len("this was read very fast ")


def test_a_piece_whose_sound_still_comes_is_estimated_by_its_length() -> None:
    text = SpokenText()
    number = text.add_piece("this takes about two seconds")
    text.add_sound(number, 100)
    assert text.heard_until(100) == ""
    assert text.heard_until(1000) == "this takes about"


def test_pieces_may_be_known_before_their_sound() -> None:
    text = SpokenText()
    first, second = text.add_piece("one "), text.add_piece("two")
    assert text.heard_until(0) == ""
    text.add_sound(first, 500)
    text.add_sound(second, 500)
    text.finish()
    assert text.heard_until(500) == "one"
    assert text.heard_until(1000) == "one two"


def test_nothing_said_is_nothing_heard() -> None:
    text = SpokenText()
    assert (text.text, text.duration_ms, text.heard_until(100)) == ("", 0, "")


@given(
    st.lists(st.tuples(st.text("ab ,.", min_size=1, max_size=30), st.floats(0, 3000)), max_size=6),
    st.floats(0, 20_000),
    st.floats(0, 20_000),
)
def test_what_is_heard_is_a_growing_prefix(
    pieces: list[tuple[str, float]], a: float, b: float
) -> None:
    text = spoken(*pieces)
    early, late = text.heard_until(min(a, b)), text.heard_until(max(a, b))
    assert text.text.startswith(late)
    assert late.startswith(early)


def test_of_two_words_at_one_time_the_later_counts() -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("one two"), 100, words=((5.0, 0), (5.0, 4)))
    assert text.heard_until(4) == ""
    assert text.heard_until(5) == "one"


@pytest.mark.parametrize("words", [((0.0, 0), (0.0, 3)), ((5.0, 0),)])
def test_odd_word_times_do_no_harm(words: tuple[tuple[float, int], ...]) -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("one two"), 100, words=words)
    text.finish()
    assert text.heard_until(100) == "one two"
    assert text.text.startswith(text.heard_until(50))
