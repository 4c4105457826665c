"""Settled words, gathered into parts of a transcript."""

from hypothesis import given
from hypothesis import strategies as st

from duologue.core.segments import LONGEST_MS, PAUSE_MS, SENTENCE_MS, Segments, joined
from duologue.core.words import Word


def words(text: str, at: int = 0, each_ms: int = 300) -> list[Word]:
    return [
        Word(word, at + n * each_ms, at + n * each_ms + each_ms - 50)
        for n, word in enumerate(text.split())
    ]


def test_the_end_of_an_utterance_ends_a_part() -> None:
    segments = Segments()
    assert not segments.push(words("so it goes"))
    assert (segments.text, segments.start_ms) == ("so it goes", 0)
    (part,) = segments.push(words("on", 900), ended=True)
    assert part.text == "so it goes on"
    assert part.ends_utterance
    assert (segments.text, segments.start_ms) == ("", None)
    assert not segments.push([], ended=True)


def test_a_pause_ends_a_part_and_less_does_not() -> None:
    segments = Segments()
    assert not segments.push([Word("a", 0, 100), Word("b", 100 + PAUSE_MS - 1, 900)])
    (part,) = segments.push([Word("c", 900 + PAUSE_MS, 1_700)])
    assert part.text == "a b"
    assert not part.ends_utterance


def test_a_long_sentence_ends_with_its_full_stop_and_a_short_one_goes_on() -> None:
    segments = Segments()
    assert not segments.push(words("No. Yes."))
    (part,) = segments.push([Word("done.", 600, SENTENCE_MS), Word("Then", SENTENCE_MS, 3_100)])
    assert part.text == "No. Yes. done."


@given(st.lists(st.integers(50, 900), min_size=1, max_size=200))
def test_no_part_is_longer_than_the_longest_and_no_word_is_lost(lengths: list[int]) -> None:
    segments, at, told = Segments(), 0, []
    said = []
    for number, length in enumerate(lengths):
        said.append(Word(str(number), at, at + length))
        told += segments.push([said[-1]])
        at += length
    told += segments.push([], ended=True)
    assert [word for part in told for word in part.words] == said
    assert all(part.words[-1].end_ms - part.words[0].start_ms <= LONGEST_MS for part in told)


def test_chinese_is_written_without_spaces_and_other_words_beside_it_too() -> None:
    assert joined(["你", "好", "，", "Anna", "!"]) == "你好，Anna !"
    assert joined(["a", "", "b"]) == "a b"
    assert joined([]) == ""


def test_all_that_is_held_can_be_taken() -> None:
    segments = Segments()
    assert not segments.take_all()
    segments.push(words("so it goes"))
    (part,) = segments.take_all()
    assert (part.text, part.ends_utterance) == ("so it goes", False)
