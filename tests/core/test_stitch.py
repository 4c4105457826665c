"""Words of overlapping windows: what is the same, and what is new."""

import pytest

from duologue.core.segments import joined
from duologue.core.stitch import (
    Stitcher,
    already_said,
    is_anchor,
    longest_agreement,
    normal,
    same,
    shared_out,
    tokens,
)
from duologue.core.words import Word

SLACK_MS = 200


def row(text: str, start_ms: int = 0, each_ms: int = 300) -> list[Word]:
    return [
        Word(word, start_ms + n * each_ms, start_ms + (n + 1) * each_ms)
        for n, word in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello, world!", ["Hello,", "world!"]),
        ("今日は「晴れ」。", ["今", "日", "は「", "晴", "れ」。"]),
        ("3月のiPhone15です", ["3", "月", "の", "iPhone15", "で", "す"]),
        ("“so” — it's", ["“so”", "—", "it's"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("नमस्ते", ["नमस्ते"]),
        (" \n", []),
    ],
)
def test_tokens_are_words_or_single_characters(text: str, parts: list[str]) -> None:
    assert tokens(text) == parts
    assert "".join(parts) == "".join(text.split())


def test_tokens_are_joined_as_they_were() -> None:
    for text in ("今日は「晴れ」。明日は雨。", "So it is, today."):
        assert joined(tokens(text)) == text


def test_case_and_punctuation_make_no_difference() -> None:
    assert normal("“Seven,") == normal("seven") == normal("ＳＥＶＥＮ")
    assert normal("—") == "—"
    assert normal("straße") == normal("STRASSE")


def test_a_text_is_shared_out_by_its_characters() -> None:
    assert shared_out("a bcd", 1_000, 2_000, -0.5) == [
        Word("a", 1_000, 1_250, -0.5),
        Word("bcd", 1_250, 2_000, -0.5),
    ]
    assert shared_out(" ", 0, 100) == []


def test_same_counts_from_the_beginning() -> None:
    assert same(row("So it is"), row("so, it was so")) == 2
    assert same(row("so"), row("so it")) == 1
    assert same([], row("so")) == 0


# --- anchors ---
def test_an_anchor_cannot_be_taken_for_another() -> None:
    words = row("one two two three")
    assert is_anchor(words, 0, 1_200, SLACK_MS)
    assert not is_anchor(words, 1, 1_200, SLACK_MS)
    assert not is_anchor(words, 2, 1_200, SLACK_MS)
    assert is_anchor(row("two one three two"), 0, 1_200, SLACK_MS)  # far enough away


def test_what_may_follow_unseen_must_not_be_taken_for_an_anchor() -> None:
    words = row("one")
    assert not is_anchor(words, 0, 400, SLACK_MS)
    assert is_anchor(words, 0, 401, SLACK_MS)


def test_what_comes_after_the_anchor_is_new() -> None:
    anchor = Word("two", 300, 600)
    assert already_said(anchor, [], row("arb two three"), SLACK_MS) == 2
    assert already_said(anchor, row("three", 600), row("two Three! four", 300), SLACK_MS) == 2
    assert already_said(None, [], row("two three"), SLACK_MS) == 0
    assert already_said(None, row("two"), row("two three"), SLACK_MS) == 1


def test_halves_that_an_edge_left_are_before_the_anchor() -> None:
    anchor = Word("no", 300, 600)
    assert already_said(anchor, [], [Word("no", 200, 250), *row("no yes", 320)], SLACK_MS) == 2


def test_an_anchor_that_is_none_for_sure_is_the_nearest() -> None:
    anchor, heard = Word("no", 300, 400), row("no no no no", 190, 100)
    assert already_said(anchor, [], heard, SLACK_MS) == 4
    assert already_said(anchor, [], heard, SLACK_MS, is_sure=False) == 2
    assert already_said(anchor, [], row("yes", 300, 100), SLACK_MS, is_sure=False) == 1  # by time


def test_without_the_anchor_the_last_agreed_word_and_times_decide() -> None:
    said = row("one two three")
    heard = row("two free four", 300)
    assert already_said(said[0], said[1:], heard, SLACK_MS) == 2
    assert already_said(said[2], [], row("she four", 620), SLACK_MS) == 1
    assert already_said(said[2], [], row("two four five", 900), SLACK_MS) == 0
    assert already_said(None, said, row("one too three four"), SLACK_MS) == 3


def test_settled_words_that_are_heard_otherwise_are_found_by_the_last_that_is_not() -> None:
    anchor, since = Word("two", 300, 600), row("three", 600)
    heard = [*row("two ah", 300), Word("three", 640, 900), *row("four", 900)]
    assert already_said(anchor, since, heard, SLACK_MS) == 3


def timed(stitcher: Stitcher, words: list[Word], end_ms: int) -> list[str]:
    hearing = stitcher.hear(words, "", (0, end_ms), (0, end_ms))
    return [word.text for word in stitcher.stay(hearing, stitcher.agreed(hearing))]


def test_two_windows_agree_about_words_that_no_edge_has_touched() -> None:
    """The same half of a long word, heard twice, is no word."""
    stitcher = Stitcher(100, 1_500)
    assert timed(stitcher, row("so it extra"), 900) == []
    assert timed(stitcher, row("so it extra"), 900) == ["so", "it"]
    assert timed(stitcher, row("so it extra was"), 1_800) == []
    assert timed(stitcher, row("so it extra was"), 2_000) == ["extra", "was"]


def test_without_times_the_last_word_may_be_a_half() -> None:
    stitcher = Stitcher(100, 1_500)
    settled: list[Word] = []
    for _ in range(2):
        hearing = stitcher.hear([], "so it extra", (0, 900), (0, 900))
        settled += stitcher.stay(hearing, stitcher.agreed(hearing))
    assert [word.text for word in settled] == ["so", "it"]


def test_a_cut_at_a_word_among_its_likes_goes_by_time() -> None:
    stitcher = Stitcher(100, 1_500)
    hearing = stitcher.hear(row("no no no no no no no no", 2_400, 100), "", (0, 3_300), (0, 0))
    assert stitcher.anchor(hearing, 0) is None
    settled, place_ms = stitcher.cut(hearing, 0, 0)
    assert (len(settled), place_ms) == (8, 2_900)
    after = stitcher.hear(
        row("no no no no", 3_000, 100) + row("yes", 3_600), "", (2_900, 5_000), (0, 0)
    )
    assert [word.text for word in after.words] == ["no", "no", "yes"]


# --- without times ---
@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        ("a b c d", "c d e", (4, 2)),
        ("a b c dx", "xb c d e", (3, 2)),  # the edges have cut a word each
        ("a b c x b", "b c y", (3, 2)),  # the longest
        ("no no no", "no no no yes", (3, 3)),
        ("a", "b", (0, 0)),
        ("", "b", (0, 0)),
        ("a b a", "a", (1, 1)),  # of equal ones the nearest in time
    ],
)
def test_the_longest_agreement(before: str, after: str, answer: tuple[int, int]) -> None:
    assert longest_agreement(row(before), row(after), 9_000) == answer


def test_an_agreement_is_not_of_words_far_apart() -> None:
    assert longest_agreement(row("a b a b a b"), row("a b c", 1_200), 500) == (6, 2)
    assert longest_agreement(row("a b"), row("a b", 5_000), 500) == (0, 0)


def test_a_blind_cut_goes_over_where_both_agree() -> None:
    stitcher = Stitcher(100, 1_000)
    first = stitcher.hear([], "a b c d e f g h i jx", (0, 5_000), (0, 5_000))
    assert not first.is_timed
    settled, place_ms = stitcher.cut(first, 0, 0)
    assert [word.text for word in settled] == ["a", "b", "c", "d", "e", "f"]
    assert place_ms == 3_000
    second = stitcher.hear([], "xg h i j k", (3_000, 6_000), (3_000, 6_000))
    assert [word.text for word in second.words] == ["g", "h", "i", "j", "k"]
    # it stays, and is longer
    settled = stitcher.stay(second, stitcher.agreed(second))
    assert [word.text for word in settled] == ["g", "h", "i"]
    third = stitcher.hear([], "xg h i j k l", (3_000, 7_000), (3_000, 7_000))
    assert [word.text for word in third.words] == ["j", "k", "l"]


def test_where_nothing_agrees_shares_of_the_time_decide() -> None:
    stitcher = Stitcher(100, 1_000)
    first = stitcher.hear([], "a b c d e", (0, 5_000), (0, 5_000))
    settled, _ = stitcher.cut(first, 0, 0)
    second = stitcher.hear([], "x y z", (3_000, 6_000), (3_000, 6_000))
    assert [word.text for word in settled] == ["a", "b", "c"]
    assert [word.text for word in second.words] == ["d", "y", "z"]


def test_a_cut_without_a_place_to_begin_before_a_word() -> None:
    stitcher = Stitcher(100, 1_000)
    hearing = stitcher.hear([Word("a", 0, 3_000)], "", (0, 5_000), (0, 5_000))
    settled, place_ms = stitcher.cut(hearing, 0, 1_000)
    assert (len(settled), place_ms) == (1, 3_000)
    hearing = stitcher.hear([Word("b", 4_000, 8_000)], "", (3_000, 8_000), (0, 0))
    assert hearing.sure == 0
    assert stitcher.cut(hearing, 0, 3_500) == ((), 6_000)
