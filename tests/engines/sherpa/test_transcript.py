from types import SimpleNamespace
from typing import Any

import pytest

from duologue.core.audio import AudioFrame
from duologue.engines.sherpa.transcript import hotwords, words_of
from duologue.engines.timeline import Timeline
from duologue.ports import Word


def timeline(start: int = 0, seconds: float = 10) -> Timeline:
    line = Timeline()
    line.add(AudioFrame(bytes(int(seconds * 32_000)), start))
    return line


def result(*tokens: tuple[str, float], sure: float | None = -0.5) -> Any:
    return SimpleNamespace(
        tokens=[token for token, _ in tokens],
        timestamps=[at for _, at in tokens],
        ys_probs=[sure] * len(tokens) if sure is not None else [],
    )


def test_a_word_begins_with_a_space_and_ends_with_the_next_or_soon() -> None:
    heard = result((" HE", 0.4), ("LLO", 0.52), (" THE", 0.6), ("RE", 1.0), (" YOU", 3.0))
    assert list(words_of(heard, timeline(16_000), "hello there you")) == [
        Word("hello", 1_400, 1_600, -1.0),
        Word("there", 1_600, 2_200, -1.0),
        Word("you", 4_000, 4_200, -0.5),
    ]


def test_characters_are_words_and_latin_beside_them_too() -> None:
    heard = result(("你", 0.1), ("好", 0.3), (" ONE", 0.5), ("S", 0.6), ("吗", 0.9), sure=None)
    assert [(w.text, w.logprob) for w in words_of(heard, timeline(), "你好 ONES吗")] == [
        ("你", None),
        ("好", None),
        ("ONES", None),
        ("吗", None),
    ]


def test_a_space_by_itself_begins_a_word() -> None:
    heard = result((" ", 0.1), ("a", 0.2), (" ", 0.4), ("b", 0.5))
    assert [(w.text, w.start_ms) for w in words_of(heard, timeline(), "a b")] == [
        ("a", 100),
        ("b", 400),
    ]


def test_the_last_word_ends_with_the_sound_at_the_latest() -> None:
    (word,) = words_of(result((" late", 0.95)), timeline(seconds=1), "late")
    assert (word.start_ms, word.end_ms) == (950, 1_000)


@pytest.mark.parametrize(
    ("heard", "text"),
    [
        (result((" ƌŁ", 0.1), ("ţ", 0.2)), "嗯"),
        (SimpleNamespace(tokens=[" a"], timestamps=[0.1, 0.2], ys_probs=[]), "a"),
        (result(), ""),
    ],
)
def test_tokens_that_do_not_spell_the_text_give_no_words(heard: Any, text: str) -> None:
    assert list(words_of(heard, timeline(), text)) == []


def test_hints_become_phrases_without_marks_in_the_models_case() -> None:
    hints = ("Flat White", "a/b :2.0 #x", "", "  ", "don't", "東京", "x" * 61)
    assert hotwords(hints, upper=False) == "flat white/a b 2 0 x/don't/東京"
    assert hotwords(hints[:1], upper=True) == "FLAT WHITE"
    assert hotwords(("", "//"), upper=False) == ""
    assert hotwords(("a",) * 500, upper=False).count("a") == 100
