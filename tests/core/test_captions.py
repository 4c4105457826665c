"""Captions of what was said."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from duologue.core import captions
from duologue.core.captions import Heard, Segment, segments, srt, text_of, vtt
from duologue.core.words import Word


def heard(text: str, *, at: int = 0, each_ms: int = 300, gap_ms: int = 0) -> Heard:
    words, start = [], at
    for word in text.split():
        words.append(Word(word, start, start + each_ms))
        start += each_ms + gap_ms
    return Heard(at, start - gap_ms, text, tuple(words))


def texts(each: Heard) -> list[str]:
    return [segment.text for segment in segments([each])]


def test_without_times_of_words_a_stretch_is_a_caption() -> None:
    (only,) = segments([Heard(500, 9_900, "One two. Three.")])
    assert (only.start_ms, only.end_ms, only.text) == (500, 9_900, "One two. Three.")


def test_captions_end_with_sentences_pauses_and_when_they_are_full() -> None:
    assert texts(heard("This is one sentence here. And this another.")) == [
        "This is one sentence here.",
        "And this another.",
    ]
    assert texts(heard("Yes. And so on.")) == ["Yes. And so on."]
    assert texts(heard("one two", gap_ms=captions.PAUSE_MS)) == ["one", "two"]
    assert all(len(text) <= captions.MAX_CHARS for text in texts(heard("word " * 40)))
    assert len(texts(heard("word " * 20, each_ms=900))) == 3


def test_words_that_are_not_in_the_text_part_nothing() -> None:
    words = (Word("other", 0, 500), Word("words", 500, 9_000))
    assert texts(Heard(0, 9_000, "What was said.", words)) == ["What was said."]


def test_the_text_of_all() -> None:
    assert text_of([heard("so it"), heard("is.")]) == "so it is."
    assert text_of([heard("今日は晴れ。"), heard("明日は雨。")]) == "今日は晴れ。明日は雨。"


def test_documents() -> None:
    hour = 3_600_000
    two = [Segment(0, 1_250, "Tom & <3", (), 0.0), Segment(hour, hour + 1, "a\n\nb --> c", (), 0.0)]
    assert srt(two) == (
        "1\n00:00:00,000 --> 00:00:01,250\nTom & <3\n\n"
        "2\n01:00:00,000 --> 01:00:00,001\na b -> c\n\n"
    )
    assert vtt(two) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nTom &amp; &lt;3\n\n"
        "01:00:00.000 --> 01:00:00.001\na b -&gt; c\n\n"
    )


@given(
    st.lists(st.sampled_from(["so", "then.", "Why?", "extraordinarily,"]), min_size=1, max_size=60),
    st.integers(1, 2_000),
    st.integers(0, 1_500),
)
def test_captions_say_everything_once_and_in_order(
    words: list[str], each_ms: int, gap_ms: int
) -> None:
    stretch = heard(" ".join(words), each_ms=each_ms, gap_ms=gap_ms)
    found = segments([stretch])
    assert " ".join(s.text for s in found) == stretch.text
    assert [w for s in found for w in s.words] == list(stretch.words)
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(found))
