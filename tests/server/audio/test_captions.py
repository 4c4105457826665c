"""Documents of what was heard."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from openai.types.audio import TranscriptionSegment, TranscriptionWord

from duologue.ports import Word
from duologue.server.audio import captions
from duologue.server.audio.captions import Segment, segments, srt, vtt
from duologue.server.audio.listening import Heard


def heard(text: str, *, at: int = 0, each_ms: int = 300, gap_ms: int = 0) -> Heard:
    """Words of equal length."""
    words, start = [], at
    for word in text.split():
        words.append(Word(word, start, start + each_ms, -0.2))
        start += each_ms + gap_ms
    return Heard(at, start - gap_ms, text, tuple(words), 0.1)


def untimed(text: str, start_ms: int, end_ms: int) -> Heard:
    return Heard(start_ms, end_ms, text, (), 0.1)


def texts(*each: Heard) -> list[str]:
    return [segment.text for segment in segments(each)]


def test_without_times_of_words_a_stretch_is_a_caption() -> None:
    found = segments([untimed("One two. Three.", 500, 9_900), untimed("Four.", 11_000, 12_000)])
    assert [(s.start_ms, s.end_ms, s.text) for s in found] == [
        (500, 9_900, "One two. Three."),
        (11_000, 12_000, "Four."),
    ]


def test_a_caption_has_the_times_of_its_words() -> None:
    (only,) = segments([heard("so it is", at=1_000)])
    assert (only.start_ms, only.end_ms) == (1_000, 1_900)


def test_captions_end_with_sentences_pauses_and_when_they_are_full() -> None:
    assert texts(heard("This is one sentence here. And this another.")) == [
        "This is one sentence here.",
        "And this another.",
    ]
    assert texts(heard("Yes. And so on and so on.")) == ["Yes. And so on and so on."]  # too short
    assert texts(heard("one two", gap_ms=800)) == ["one", "two"]
    long = texts(heard("word " * 40))
    assert all(len(text) <= captions.MAX_CHARS for text in long)
    slow = segments([heard("word " * 20, each_ms=900)])
    assert all(s.end_ms - s.start_ms <= captions.MAX_MS for s in slow)
    assert len(slow) == 3


def test_scripts_without_spaces_keep_theirs() -> None:
    words = tuple(
        Word(char, n * 500, n * 500 + 500) for n, char in enumerate("今日は晴れ。明日は雨。")
    )
    (first, second) = segments([Heard(0, 5_500, "今日は晴れ。明日は雨。", words, 0.0)])
    assert (first.text, second.text) == ("今日は晴れ。", "明日は雨。")


def test_words_that_are_not_in_the_text_part_nothing() -> None:
    words = (Word("other", 0, 500), Word("words", 500, 9_000))
    assert texts(Heard(0, 9_000, "What was said.", words, 0.0)) == ["What was said."]


HOUR = 3_600_000
TWO = [
    Segment(0, 1_250, "Tom & Jerry <3", (), 0.0),
    Segment(HOUR + 62_003, HOUR + 65_000, "a\n\nb --> c", (), 0.0),
]


def test_subrip() -> None:
    assert srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:01,250\nTom & Jerry <3\n\n"
        "2\n01:01:02,003 --> 01:01:05,000\na b -> c\n\n"
    )
    assert srt([]) == ""


def test_webvtt() -> None:
    assert vtt(TWO) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.250\nTom &amp; Jerry &lt;3\n\n"
        "01:01:02.003 --> 01:01:05.000\na b -&gt; c\n\n"
    )
    assert vtt([]) == "WEBVTT\n\n"


def test_json_is_what_the_sdk_knows() -> None:
    (segment,) = segments([heard("so it is", at=1_000)])
    doc = captions.segment_json(4, segment)
    model = TranscriptionSegment.model_validate(doc)
    assert (model.id, model.start, model.end, model.text) == (4, 1.0, 1.9, "so it is")
    assert (model.avg_logprob, model.no_speech_prob) == (-0.2, 0.1)
    assert set(doc) == set(TranscriptionSegment.model_fields)
    word = TranscriptionWord.model_validate(captions.word_json(segment.words[1]))
    assert (word.word, word.start, word.end) == ("it", 1.3, 1.6)


def test_words_of_unknown_probability_are_no_logprobs() -> None:
    mixed = Heard(0, 1, "so é", (Word("so", 0, 1), Word("é", 0, 1, -1.5)), 0.0)
    (only,) = captions.logprobs_json([mixed])
    assert only == {"token": "é", "bytes": [195, 169], "logprob": -1.5}


said = st.lists(
    st.sampled_from(["so", "then.", "Why?", "extraordinarily,", "I"]), min_size=1, max_size=60
)


@given(said, st.integers(1, 2_000), st.integers(0, 1_500))
def test_captions_say_everything_once_and_in_order(
    words: list[str], each_ms: int, gap_ms: int
) -> None:
    stretch = heard(" ".join(words), each_ms=each_ms, gap_ms=gap_ms)
    found = segments([stretch])
    assert " ".join(s.text for s in found) == stretch.text
    assert [w for s in found for w in s.words] == list(stretch.words)
    assert all(a.end_ms <= b.start_ms for a, b in pairwise(found))
    assert len(re.findall(r"-->", srt(found))) == len(found)
