import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duologue.engines.text.spoken import spoken
from tests.engines.voices.narrated import HOSTILE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # money
        ("It is $3.50.", "It is three dollars and fifty cents."),
        ("$1, €0.50, £1.01", "one dollar, fifty cents, one pound and one penny"),
        ("5€ or ¥300", "five euros or three hundred yen"),
        ("$2.5 million or US$5", "two point five million dollars or five US dollars"),
        ("$3k, 20 USD, -$5/month", "three thousand dollars, twenty US dollars, minus five dollars per month"),
        # dates and times
        ("On 2024-05-01.", "On May first, twenty twenty-four."),
        ("5/31/1999", "May thirty-first, nineteen ninety-nine"),
        ("31/5/2008", "May thirty-first, two thousand and eight"),
        ("May 5, 2024; 5 May; Jan. 3rd", "May fifth, twenty twenty-four; fifth of May; January third"),
        ("in 1492, 1500 people", "in fourteen ninety-two, one thousand five hundred people"),
        ("2000 km", "two thousand kilometers"),
        ("the 1990s and '80s, 2010s", "the nineteen nineties and eighties, twenty tens"),
        ("5:30, 5:05, 13:00, 1:00, 9:00 am", "five thirty, five oh five, thirteen hundred, one o'clock, nine A M"),
        ("At 5 p.m. Then at 6pm too.", "At five P M. Then at six P M too."),
        # numbers
        ("1,234 and 007", "one thousand two hundred and thirty-four and zero zero seven"),
        ("3.14, .5, -7, 1e6", "three point one four, point five, minus seven, one times ten to the power of six"),
        ("1st 22nd 103rd 1,000th", "first twenty-second one hundred and third one thousandth"),
        ("1/2, 3/4, 2½ and 24/7", "one half, three quarters, two and a half and twenty-four seven"),
        ("25% of 10-12, 4x6", "twenty-five percent of ten to twelve, four by six"),
        ("12345678901", "one two three four five six seven eight nine zero one"),
        ("v1.2.3 GPT-4o B2B mp3", "v one dot two dot three GPT-four o B two B mp three"),
        ("2 + 2 = 4, 2**3 > 1", "two plus two equals four, two to the power of three greater than one"),
        ("1. First\n2) Second", "one. First\ntwo) Second"),
        # units
        ("1 km, 2km, 5 m², 90 km/h", "one kilometer, two kilometers, five square meters, ninety kilometers per hour"),
        ("-5 °C, 100°, 5 in a row", "minus five degrees Celsius, one hundred degrees, five in a row"),
        # telephones, addresses
        ("Call (415) 555-2671.", "Call four one five, five five five, two six seven one."),
        ("+44 20 7946 0958", "plus four four, two zero, seven nine four six, zero nine five eight"),
        ("555-1234", "five five five, one two three four"),
        ("jane.doe42@example.com", "jane dot doe four two at example dot com"),
        ("See https://www.example.org/a?b.", "See example dot org."),
        # abbreviations and signs
        ("Mr. Smith vs. Dr. No, e.g.", "Mister Smith versus Doctor No, for example"),
        ("St. Peter on Main St. It was.", "Saint Peter on Main Street. It was."),
        ("Acme Inc. is, Acme Inc. It is", "Acme Incorporated is, Acme Incorporated. It is"),
        ("AT&T, C++, C#, #5, ~20, x²", "AT and T, C plus plus, C sharp, number five, about twenty, x squared"),
        ("**Bold** `$5` 🥛", "Bold five dollars  "),
        ("I may go. Ask No one.", "I may go. Ask No one."),
    ],
)  # fmt: skip
def test_english_is_read_as_it_is_read_aloud(text: str, said: str) -> None:
    once = spoken(text).text
    assert once == said
    assert spoken(once).text == once


def test_what_is_said_for_a_figure_stands_for_its_first_character() -> None:
    text = "**Pay** $3.50 by 5:30 for 20 km."
    said = spoken(text)
    for word, at in (
        ("Pay", 2),
        ("three", 8),
        ("cents", 8),
        ("five", 17),
        ("for", 22),
        ("kilometers", 29),
    ):
        assert said.origins[said.text.index(word)] == at, word


@given(
    st.text(
        alphabet=st.characters() | st.sampled_from("0123456789$€%.,:/-+@#°½&=<>*'’ apmstkMKeEx\n"),
        max_size=200,
    ),
    st.sampled_from(["en", "de", "en-GB", "xx", ""]),
)
@example("1/0", "en")
@example("00:00 0/0/1000 1999-99-99 $ 0.00", "en")
@example("9" * 400, "en")
def test_any_text_is_borne_and_keeps_its_way_back(text: str, language: str) -> None:
    said = spoken(text, language)
    assert len(said.origins) == len(said.text)
    assert list(said.origins) == sorted(said.origins)
    assert all(0 <= at < len(text) for at in said.origins)
    if language[:2] in ("en", ""):
        assert not re.search(r"[0-9$%]", said.text)
    letters = [c for c in text if c.isalpha() and c.isascii()]
    if not re.search(r"[^a-zA-Z ]", text):
        assert [c for c in said.text if c.isalpha()] == letters


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_that_break_synthesisers_are_borne(text: str) -> None:
    assert not re.search("[0-9]", spoken(text).text)


@pytest.mark.parametrize(
    "unit", ["1,", "a.b", "$1.", "1-", "a@", "12:", "1/2/", "é", "a-", "1 ", "('", "9", "1e"]
)
def test_it_takes_time_linear_in_the_text(unit: str) -> None:
    """Sixteen times the text may take forty times as long, for caches are small, but not 256 times."""

    def took(size: int) -> float:
        text = unit * (size // len(unit))
        best = 10.0
        for _ in range(3):
            began = time.thread_time()
            spoken(text)
            best = min(best, time.thread_time() - began)
        return best

    took(100)
    assert took(16_000) < 40 * max(took(1_000), 0.001)


def test_other_languages_keep_their_figures_for_a_voice_that_reads_them() -> None:
    assert spoken("Es kostet 3,14 €.", "de", reads_figures=True).text == "Es kostet 3,14 €."


@pytest.mark.full
def test_other_languages_are_put_into_words_for_a_voice_that_cannot() -> None:
    pytest.importorskip("num2words")
    assert spoken("Es sind 1.234,5 und -5.", "de-DE").text == (
        "Es sind eintausendzweihundertvierunddreißig Komma fünf und minus fünf."
    )
    assert (
        spoken("Il y a 80 ans, 3,5.", "fr").text == "Il y a quatre-vingts ans, trois virgule cinq."
    )
    assert spoken("007, A4, 1" + "0" * 20, "es").text == "007, A4, 1" + "0" * 20
    assert spoken("3 xx", "xx").text == "3 xx"
