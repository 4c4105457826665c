"""Hints as clients write them, and the words that are listened for."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.pocketsphinx.hints import MAX_LETTERS, MAX_WORDS, phrases, spoken


def heard(*hints: str) -> list[str]:
    return [" ".join(words) for words in phrases(hints)]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("hello", ["hello"]),
        ("Turn ON", ["turn on"]),
        ("Set_thermostat", ["set thermostat"]),
        ("set-thermostat", ["set thermostat"]),
        ("turnOnLights", ["turn on lights"]),
        ("get_HTTPStatus", ["get httpstatus"]),
        ("Gate 21, please!", ["gate twenty one", "please"]),
        ("gate21", ["gate twenty one"]),
        ("at 10:30", ["at ten thirty"]),
        ("v3.5.", ["v three five"]),
        ("Drinks: tea (green) / coffee", ["drinks", "tea", "green", "coffee"]),
        ("one.\ntwo...  three", ["one", "two", "three"]),
        ("café crème, Müller", ["cafe creme", "muller"]),
        ("Straße, Ørsted, Łódź", ["strasse", "orsted", "lodz"]),
        ("ﬁne ４２", ["fine forty two"]),
        ("don’t won't 'quoted' dogs'", ["don't won't quoted dogs"]),
        ("٢١", ["twenty one"]),
    ],
)
def test_what_is_written_becomes_what_is_said(hint: str, expected: list[str]) -> None:
    assert heard(hint) == expected


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("0", "zero"),
        ("7", "seven"),
        ("10", "ten"),
        ("19", "nineteen"),
        ("20", "twenty"),
        ("99", "ninety nine"),
        ("100", "one hundred"),
        ("214", "two hundred fourteen"),
        ("1000", "one thousand"),
        ("1001", "one thousand one"),
        ("2024", "two thousand twenty four"),
        ("999999", " thousand ".join(["nine hundred ninety nine"] * 2)),
        ("1000000", "one zero zero zero zero zero zero"),
        ("007", "zero zero seven"),
    ],
)
def test_numbers_are_said(digits: str, expected: str) -> None:
    assert " ".join(spoken(digits)) == expected


def test_a_phrase_counts_once_and_the_first_comes_first() -> None:
    assert heard("tea", "coffee, Tea", "TEA!", "coffee tea") == ["tea", "coffee", "coffee tea"]


def test_words_beyond_the_bound_are_left_out() -> None:
    assert phrases(("w " * (MAX_WORDS + 1),)) == (("w",) * MAX_WORDS,)
    many = phrases(tuple(f"gate {number}" for number in range(1_000)))
    assert sum(map(len, many)) == MAX_WORDS
    assert many[0] == ("gate", "zero")
    assert phrases((*("a b" for _ in range(MAX_WORDS)), "c")) == (("a", "b"), ("c",))


HOSTILE = {
    "nothing": "",
    "spaces": " \n\t ",
    "punctuation": "?!.,;:-…—«»",
    "emoji": "🥛👩‍👩‍👧‍👦🇩🇪",
    "control characters": "\x00\x01\x1b\x7f\x85\u2028\ufeff\u200b",
    "lone surrogates": "\ud800\udfff",
    "only accents": "\u0301" * 100,
    "other scripts": "你好 Москва אבג",
    "what a grammar is made of": "<s> </s> <sil> [NOISE] ++UH++",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_said_is_no_phrase(what: str) -> None:
    found = heard(HOSTILE[what])
    assert found == (["s", "sil", "noise", "uh"] if "grammar" in what else [])
    assert heard(f"tea{HOSTILE[what]}", HOSTILE[what], "coffee")[-1] == "coffee"


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a ",
        "a,",
        "a'",
        "aB",
        "1",
        "1 ",
        ".",
        ". ",
        ".a",
        ":.",
        "\ufdfa",
        "e\u0301",
        "(",
        "'",
        "\ud800",
    ],
)
def test_a_megabyte_is_read_as_far_as_it_can_be_of_use_and_fast(unit: str) -> None:
    began = time.thread_time()
    found = phrases((unit * (1_000_000 // len(unit)) + "a",))
    assert (
        time.thread_time() - began < 0.5
    )  # 2 to 90 ms; the whole of it took five seconds, or hours
    assert sum(map(len, found)) <= MAX_WORDS
    assert sum(len(word) for words in found for word in words) <= 20 * MAX_LETTERS


def test_a_long_run_of_dots_is_passed_over_at_once() -> None:
    began = time.thread_time()
    assert phrases(("." * (MAX_LETTERS - 1) + "a",)) == (("a",),)
    assert time.thread_time() - began < 0.3  # were each dot a new beginning: 4 s


def test_many_small_hints_are_read_as_far_as_they_can_be_of_use_and_fast() -> None:
    began = time.thread_time()
    assert phrases((*["?"] * MAX_LETTERS, "tea")) == ()
    assert len(phrases(tuple(f"x{chr(97 + n % 26)}" for n in range(500_000)))) == 26
    assert time.thread_time() - began < 1


@given(st.lists(st.text(max_size=60), max_size=8))
def test_whatever_comes_out_is_spelled_as_a_dictionary_does(hints: list[str]) -> None:
    found = phrases(tuple(hints))
    assert all(re.fullmatch(r"[a-z]+('[a-z]+)*", word) for words in found for word in words)
    assert all(found)
    assert len(set(found)) == len(found)
    assert phrases(tuple(" ".join(words) for words in found)) == found
