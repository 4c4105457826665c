import pytest

from duologue.core.lexicon import ENGLISH, LEXICONS, UNKNOWN, lexicon
from duologue.core.wording import Wording, judge, says_something, words_said


@pytest.mark.parametrize(
    "text", ["", "  ", "mhm", "Uh-huh.", "yeah, okay", "...", "Right.", "you", "l m", "the", "a"]
)
def test_nothing_that_asks_for_the_floor(text: str) -> None:
    assert not says_something(text)


@pytest.mark.parametrize("text", ["stop", "No.", "okay stop", "what?", "are you", "好"])
def test_words_that_do(text: str) -> None:
    assert says_something(text)


def test_words_are_counted_without_those_that_say_go_on() -> None:
    assert words_said("okay but wait") == 2


@pytest.mark.parametrize(
    ("language", "go_on", "stop"),
    [
        ("de", "Ja, genau.", "nein"),
        ("fr", "Ouais, d'accord", "attends"),
        ("es", "Sí, claro", "espera"),
        ("de-CH", "mhm", "halt"),
        ("fi", "mhm", "odota"),
    ],
)
def test_every_language_has_its_own(language: str, go_on: str, stop: str) -> None:
    assert not says_something(go_on, language)
    assert says_something(stop, language)


def test_a_word_of_one_language_is_not_one_of_another() -> None:
    assert says_something("genau", "en")
    assert lexicon("") is ENGLISH
    assert lexicon("fi") is UNKNOWN


@pytest.mark.parametrize(
    ("text", "language", "wording"),
    [
        ("", "", Wording.NOTHING),
        ("turn on the light and", "", Wording.TRAILING),
        ("I would like a pizza because", "", Wording.TRAILING),
        ("well, first of all,", "", Wording.TRAILING),
        ("my number is", "", Wording.TRAILING),
        ("is", "", Wording.TRAILING),
        ("I know what it is", "", Wording.PLAIN),
        ("remind me to um", "", Wording.FILLER),
        ("my number is five five one", "", Wording.DICTATING),
        ("it is spelled j o h", "", Wording.DICTATING),
        ("call 5 5 1", "", Wording.DICTATING),
        ("set an alarm for seven thirty", "", Wording.PLAIN),
        ("turn the lights on", "", Wording.PLAIN),
        ("one two", "", Wording.DIGITS),
        ("five", "", Wording.DIGITS),
        ("j", "", Wording.DIGITS),
        ("what time is it", "", Wording.WHOLE),
        ("what time", "", Wording.PLAIN),
        ("what is the", "", Wording.TRAILING),
        ("turn off the light please", "", Wording.WHOLE),
        ("and you?", "", Wording.ASKED),
        ("明日は？", "ja", Wording.ASKED),
        ("What is it for?", "", Wording.ASKED),
        ("I'm doing well.", "", Wording.PLAIN),
        ("I was thinking...", "", Wording.PLAIN),
        ("I was thinking of...", "", Wording.TRAILING),
        ("wie spät ist es", "de", Wording.WHOLE),
        ("ich möchte eine Pizza mit", "de", Wording.TRAILING),
        ("je voudrais un café avec", "fr", Wording.TRAILING),
        ("cuánto cuesta esto", "es", Wording.WHOLE),
        ("kahvia ja", "fi", Wording.PLAIN),
        ("kahvia ja hm", "fi", Wording.FILLER),
    ],
)
def test_how_a_transcript_ends(text: str, language: str, wording: Wording) -> None:
    assert judge(text, language) is wording


def test_what_is_open_and_what_is_not() -> None:
    open_ = {wording for wording in Wording if wording.is_open}
    assert open_ == {Wording.TRAILING, Wording.FILLER, Wording.DICTATING}


@pytest.mark.parametrize("language", LEXICONS)
def test_lexicons_are_spelt_as_they_are_looked_up(language: str) -> None:
    known = LEXICONS[language]
    for words in (
        known.backchannels,
        known.trailing,
        known.fillers,
        known.questions,
        known.closings,
    ):
        assert all(word == word.lower() and word.isalnum() for word in words)
    assert not known.trailing & known.closings
