"""How words sound: looked up, put together, spelled out, guessed."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.pocketsphinx.pronunciation import LONGEST_GUESS, Lexicon, guess

SMALL = Lexicon(
    b"a AH\na(2) EY\nhome HH OW M\nhop HH AA P\nhope HH OW P\nsmart S M AA R T\nsmart(2) S M AH R T\n"
    b"smart's S M AA R T S\nsmarter S M AA R T ER\n"
)

PHONES = frozenset(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)
"""All that the acoustic model knows."""


# --- looked up ---
@pytest.mark.parametrize(
    ("word", "entries"),
    [
        ("a", ("a AH", "a(2) EY")),
        ("hop", ("hop HH AA P",)),
        ("hope", ("hope HH OW P",)),
        ("smart", ("smart S M AA R T", "smart(2) S M AH R T")),
        ("smart's", ("smart's S M AA R T S",)),
        ("smarter", ("smarter S M AA R T ER",)),
    ],
)
def test_a_word_is_found_with_all_the_ways_to_say_it(word: str, entries: tuple[str, ...]) -> None:
    assert SMALL.look_up(word) == SMALL.say(word) == entries
    assert SMALL.entries([word, "absent"]) == {word: entries}


ABSENT = [
    "",
    "h",
    "ho",
    "hopes",
    "sma",
    "zebra",
    "smart(2)",
    "home HH",
    "Home",
    "é",
    "\ud800",
    " ",
    "\n",
    "a\n",
]


@pytest.mark.parametrize("word", ABSENT)
def test_what_the_file_has_no_entry_for_is_not_found(word: str) -> None:
    assert SMALL.look_up(word) == ()
    assert SMALL.entries([word]) == {}


def test_the_words_are_told_once_each() -> None:
    assert list(SMALL.words()) == ["a", "home", "hop", "hope", "smart", "smart's", "smarter"]


def test_the_real_file_is_read_the_same_way_by_look_up_and_in_one_pass(lexicon: Lexicon) -> None:
    words = list(lexicon.words())
    assert len(words) == len(set(words)) > 120_000
    some = [words[0], words[-1], *words[::97], "a", "the", "zigbee"]
    assert lexicon.entries(some) == {
        word: found for word in some if (found := lexicon.look_up(word))
    }
    assert len(lexicon.look_up("the")) > 1


# --- made up ---
def test_two_words_written_as_one_sound_like_the_two() -> None:
    assert SMALL.say("smarthome") == ("smarthome S M AA R T HH OW M",)
    assert SMALL.say("hopesmart") == ("hopesmart HH OW P S M AA R T",)
    assert SMALL.say("ahome")[0] != "ahome AH HH OW M"  # a single letter is no part


def test_letters_are_spelled_where_no_vowel_is() -> None:
    assert SMALL.say("tv") == ("tv T IY V IY",)
    assert SMALL.say("w") == ("w D AH B AH L Y UW",)


def test_a_name_is_guessed_with_english_and_with_continental_vowels() -> None:
    assert SMALL.say("nabu") == ("nabu N AE B UW", "nabu(2) N AA B UW")
    assert SMALL.say("zane") == ("zane Z EY N", "zane(2) Z AA N EY")
    assert SMALL.say("kootch") == ("kootch K UW CH",)  # both guesses are the same


@pytest.mark.parametrize(
    ("word", "sound"),
    [
        ("knight", "N AY T"),
        ("station", "S T AE SH AH N"),
        ("phone", "F OW N"),
        ("spring", "S P R IH NG"),
        ("queen", "K W IY N"),
        ("xylo", "Z IH L OW"),
        ("city", "S IH T IY"),
        ("cube", "K UW B"),
    ],
)
def test_the_rules_read_letters_together(word: str, sound: str) -> None:
    assert guess(word) == sound


@pytest.mark.parametrize(
    "word",
    [
        "",
        " ",
        "a" * (LONGEST_GUESS + 1),
        "Zigbee",
        "zig bee",
        "zig-bee",
        "x1",
        "naïve",
        "你好",
        "\ud800",
        "'",
    ],
)
def test_what_is_no_word_cannot_be_said(word: str) -> None:
    assert SMALL.say(word) == ()


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=LONGEST_GUESS))
def test_every_other_word_can_in_phones_that_the_model_knows(word: str) -> None:
    entries = SMALL.say(word)
    assert entries
    for number, entry in enumerate(entries, 1):
        name, *phones = entry.split(" ")
        assert name == (word if number == 1 else f"{word}({number})")
        assert phones
        assert set(phones) <= PHONES


def test_most_phones_of_words_that_can_be_checked_are_guessed_right(lexicon: Lexicon) -> None:
    words = [w for w in list(lexicon.words())[::300] if w.isalpha() and len(w) <= LONGEST_GUESS]
    right = total = 0
    for word in words:
        said = lexicon.look_up(word)[0].split()[1:]
        guessed = guess(word).split()
        total += len(said)
        right += len(said) - _distance(said, guessed)
    assert len(words) > 350
    assert right / total > 0.7


def _distance(one: list[str], other: list[str]) -> int:
    row = list(range(len(other) + 1))
    for at, phone in enumerate(one, 1):
        diagonal, row[0] = row[0], at
        for n, wanted in enumerate(other, 1):
            change = diagonal + (phone != wanted)
            diagonal, row[n] = row[n], min(change, row[n] + 1, row[n - 1] + 1)
    return row[-1]


def test_a_long_menu_of_made_up_words_is_said_at_once(lexicon: Lexicon) -> None:
    words = [f"st{chr(97 + n % 26)}r{chr(97 + n // 26)}mnokreitosunekimote" for n in range(600)]
    began = time.thread_time()
    assert all(lexicon.say(word) for word in words)
    assert (
        time.thread_time() - began < 0.5
    )  # 0.1 s; searching 300 KiB for each half of each took 1.5
