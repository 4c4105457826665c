import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.playout import PlayoutClock, SpokenText, SpokenWord


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


def test_a_client_that_plays_late_is_sent_its_sound_none_the_later() -> None:
    clock = PlayoutClock()
    clock.sent(1000, 0)
    clock.correct(100, 500)
    assert clock.lead_ms(500) == 500
    assert clock.unheard_ms(500) == 900
    assert clock.lead_ms(1200) == 0
    assert clock.unheard_ms(1200) == 200
    clock.correct(900, 1200)
    clock.sent(100, 1200)
    assert clock.underruns == 0
    early = PlayoutClock()
    early.sent(1000, 0)
    early.correct(700, 500)
    assert early.lead_ms(500) == early.unheard_ms(500) == 300


def test_a_listener_that_stands_still_keeps_what_it_has() -> None:
    clock = PlayoutClock()
    clock.stand_still(0)
    clock.go_on(10)
    clock.sent(500, 100)
    clock.stand_still(200)
    assert clock.heard_ms(5000) == 100
    assert clock.lead_ms(5000) == clock.unheard_ms(5000) == 400
    clock.go_on(6000)
    assert clock.heard_ms(6100) == 200
    assert clock.underruns == 0


def test_what_did_not_arrive_is_still_to_be_heard() -> None:
    clock = PlayoutClock()
    clock.sent(1000, 0)
    clock.take_back(300, 900)
    assert clock.heard_ms(900) == 700
    assert clock.lead_ms(900) == 300
    clock.take_back(100, 900)
    assert clock.heard_ms(900) == 700
    clock.take_back(5000, 900)
    assert clock.heard_ms(900) == 0


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


# --- words with times ---
def test_words_lie_where_they_are_spoken() -> None:
    text = spoken(("one two ", 800), ("three", 500))
    assert text.words_between(0, len(text.text)) == (
        SpokenWord("one", 0, 300),
        SpokenWord("two", 400, 700),
        SpokenWord("three", 800, 1300),
    )
    assert text.words_between(4, 8) == (SpokenWord("two", 400, 700),)
    assert text.words_between(0, 6) == (SpokenWord("one", 0, 300),)
    assert text.words_between(1, 7) == (SpokenWord("two", 400, 700),)
    assert text.words_between(8, 8) == ()
    assert SpokenText().words_between(0, 5) == ()


def test_words_are_where_the_engine_says() -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("Well. "), 500)
    text.add_sound(text.add_piece("one two"), 1000, words=((100.0, 0), (600.0, 4)))
    assert text.words_between(6, 13)[0] == SpokenWord("one", 600, 975)
    assert text.words_between(6, 13)[1] == SpokenWord("two", 1100, 1100)  # its end is not known yet
    text.finish()
    assert text.words_between(6, 13)[1] == SpokenWord("two", 1100, 1500)


def test_words_of_a_piece_whose_sound_still_comes_are_estimated() -> None:
    text = SpokenText()
    text.add_sound(text.add_piece("abcdefg hijklmn"), 100)
    assert text.words_between(0, 7) == (SpokenWord("abcdefg", 0, 500),)


@given(
    st.lists(st.tuples(st.text("ab ,.", min_size=1, max_size=30), st.floats(1, 3000)), max_size=6),
    st.lists(st.floats(0, 9_000), max_size=5),
)
def test_words_told_piecemeal_are_the_text_that_was_heard(
    pieces: list[tuple[str, float]], times: list[float]
) -> None:
    text = spoken(*pieces)
    told: list[str] = []
    at, last = 0, 0
    for ms in sorted(times):
        upto = text.chars_until(ms)
        for word in text.words_between(at, upto):
            assert last <= word.start_ms <= word.end_ms
            last = word.start_ms
            told.append(word.text)
        at = upto
    words = [word for piece, _ in pieces for word in piece.split()]
    assert told == words[: len(told)]
    assert "".join(told) == "".join(text.text[:at].split())
