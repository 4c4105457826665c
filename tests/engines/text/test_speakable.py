import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.text.speakable import MAX_PART_CHARS, MAX_TOKEN_CHARS, speakable
from tests.engines.voices.narrated import HOSTILE


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It is **very** *cold*, `brr`.", "It is very cold, brr."),
        ("***All*** ~~none~~ __some__ _one_.", "All none  some   one ."),
        ("Two times 2*3 is 12, 2**3 is 8.", "Two times 2*3 is 12, 2**3 is 8."),
        ("a snake_case name", "a snake case name"),
        ("## Tomorrow\n", "Tomorrow\n"),
        ("- Milk\n* Eggs\n+ Tea\n• Jam\n", "Milk\nEggs\nTea\nJam\n"),
        ("- [ ] buy\n- [x] sell", "buy\nsell"),
        ("> quoted\n>> twice", "quoted\ntwice"),
        ("1. First\n2) Second", "1. First\n2) Second"),
        ("It is -5 outside.", "It is -5 outside."),
        ("```python\nprint(1)\n```\n", "\nprint(1)\n\n"),
        ("---\nand\n***\n", "\nand\n\n"),
        ("| Day | High |\n|:--|--:|\n| Mon | 21 |", "  Day, High  \n\n  Mon, 21  "),
        ("See [the map](https://example.com/a?b=c 'title').", "See the map."),
        ("![A cat](cat.png) sleeps", "A cat sleeps"),
        ("Go to https://www.example.com/a/b.html?c=d#e, please.", "Go to example.com, please."),
        ("(http://example.com:8080/)", "(example.com)"),
        ("**www.example.org/x_y**", "example.org"),
        ("One<br/>two</b> <b>three</b>, 1 < 2 and 3 > 2", "One two   three , 1 < 2 and 3 > 2"),
        (r"5 \* 3 \# 1 \(one\)", "5  3 # 1 (one)"),
        ("Milk 🥛 and 👩‍👩‍👧 bread👍🏽.", "Milk   and     bread ."),
        ("21 °C, © 2024, 1️⃣", "21 °C, © 2024, 1"),
        ("a\x00b\tc\u00a0d\ud800e\ufefff", "a b c d ef"),
        ("می‌خواهم क्‍ष", "می‌خواهم क्‍ष"),
        ("line\u2028two", "line\ntwo"),
        ("你好，世界。", "你好，世界。"),
    ],
)
def test_marks_go_and_words_stay(text: str, spoken: str) -> None:
    assert speakable(text).text == spoken


def test_each_character_knows_where_it_came_from() -> None:
    text = "**Hi** [you](http://x.y), see https://www.example.com/abc 🥛 | *now*"
    said = speakable(text)
    for word in ("Hi", "you", "see", "example.com", "now"):
        at = said.text.index(word)
        first = said.origins[at]
        assert text[first : first + len(word)] == word
        assert said.origins[at : at + len(word)] == tuple(range(first, first + len(word)))


@pytest.mark.parametrize("text", [t for t in HOSTILE if not any(c.isalnum() for c in t)])
def test_nothing_to_say_is_false(text: str) -> None:
    assert not speakable(text)
    assert speakable(text).parts() == []


@given(st.text(alphabet=st.characters() | st.sampled_from("*_`[]()|<>\\~#-\n ha1🥛"), max_size=300))
def test_any_text_is_borne(text: str) -> None:
    said = speakable(text)
    said.text.encode()
    assert "\x00" not in said.text
    assert len(said.origins) == len(said.text)
    assert list(said.origins) == sorted(said.origins)
    assert all(0 <= at < len(text) for at in said.origins)
    runs = re.findall("[!-~]+", said.text)
    assert max(map(len, runs), default=0) <= MAX_TOKEN_CHARS


@pytest.mark.parametrize(
    "text", ["a" + "!" * 2_000, "x" * 500, "-" * 49 + "1", "http://" + "a" * 2_000]
)
def test_a_word_without_end_is_broken_up(text: str) -> None:
    said = speakable(text).text
    assert max(map(len, said.split())) <= MAX_TOKEN_CHARS
    assert said.replace(" ", "") == text.removeprefix("http://")


@given(st.text(alphabet="ab .!?\n你。", max_size=2_000))
def test_parts_are_short_and_lose_no_word(text: str) -> None:
    said = speakable(text)
    parts = said.parts()
    assert all(len(part.text) <= MAX_PART_CHARS and part for part in parts)
    letters = [c for c in said.text if c.isalnum()]
    assert [c for part in parts for c in part.text if c.isalnum()] == letters
    for part in parts:
        assert [text[at] for at in part.origins] == list(part.text)


def test_long_text_is_cut_at_sentences_where_it_can_be() -> None:
    parts = speakable("This is a sentence of some length. " * 30).parts()
    assert len(parts) > 3
    assert all(part.text.rstrip().endswith(".") for part in parts)
    words = speakable("word " * 200).parts()
    assert all(part.text.endswith(" ") for part in words)
    assert [len(part.text) for part in speakable("好" * 700).parts()] == [300, 300, 100]
