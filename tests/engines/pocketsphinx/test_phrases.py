"""The notation for what people say, and the sentences that ship in it."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from importlib.resources import files

import pytest

from duologue.engines.pocketsphinx.phrases import MAX_SENTENCES, Grammar, assistant_phrases
from duologue.engines.pocketsphinx.pronunciation import Lexicon

SHIPPED = (files("duologue.engines.pocketsphinx") / "assistant_phrases.txt").read_text("utf-8")


def sentences(text: str) -> set[str]:
    return {" ".join(phrase.words) for phrase in Grammar(text).phrases()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stop", {"stop"}),
        ("  stop it  \n\n# a comment\n", {"stop it"}),
        ("yes | no", {"yes", "no"}),
        ("turn (on|off) it", {"turn on it", "turn off it"}),
        ("stop [please]", {"stop", "stop please"}),
        ("go [left|right]", {"go", "go left", "go right"}),
        ("a (b [c|d (e|f)])", {"a b", "a b c", "a b d e", "a b d f"}),
        ("(a b|c)(d|e)", {"a b d", "a b e", "c d", "c e"}),
        (
            "x = one | two\n{x} times {x}",
            {f"{a} times {b}" for a in ("one", "two") for b in ("one", "two")},
        ),
        ("x = a | b\ny = {x} {x} | c\n[{y}] d", {"d", "a a d", "a b d", "b a d", "b b d", "c d"}),
        ("what's o'clock", {"what's o'clock"}),
        ("[please]", {"please"}),
        ("", set()),
    ],
)
def test_a_template_stands_for_its_sentences(text: str, expected: set[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize("text", ["go {nowhere}", "x = {nowhere}", "x = {y}\ny = b", "x = {x}"])
def test_a_slot_that_is_not_defined_before_it_is_used_is_an_error(text: str) -> None:
    with pytest.raises(KeyError):
        Grammar(text).phrases()


def test_a_template_of_few_sentences_gives_all_of_them() -> None:
    for columns in range(2, MAX_SENTENCES // 4 + 1):
        text = f"x = a | b | c | d\ny = {' | '.join('efghijklmn'[:columns])}\n{{x}} {{y}}"
        assert len(sentences(text)) == 4 * columns


def test_a_rich_template_is_sampled_and_weighs_more_than_a_single_sentence_but_not_as_its_size() -> (
    None
):
    ten = "(" + "|".join("abcdefghij") + ")"
    found = Grammar(f"stop\n{ten} {ten} {ten}").phrases()
    rich = [phrase for phrase in found if len(phrase.words) == 3]
    assert len({phrase.words for phrase in rich}) == len(rich) == MAX_SENTENCES
    assert len({word for phrase in rich for word in phrase.words}) == 10
    assert [p.weight for p in found if p.words == ("stop",)] == [1]
    assert sum(phrase.weight for phrase in rich) == pytest.approx(MAX_SENTENCES**0.5)


def test_the_sentences_are_the_same_in_every_process() -> None:
    code = (
        "from zlib import crc32; from duologue.engines.pocketsphinx.phrases import assistant_phrases;"
        "print(crc32(repr(assistant_phrases()).encode()))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


# --- what ships ---
def test_every_shipped_word_can_be_looked_up(lexicon: Lexicon) -> None:
    said = {word for phrase in assistant_phrases() for word in phrase.words}
    assert len(said) > 900
    assert said - lexicon.entries(said).keys() == set()


def test_the_shipped_text_is_written_in_the_notation() -> None:
    for line in SHIPPED.splitlines():
        if line.startswith("#"):
            continue
        assert re.fullmatch(r"(\w+ += )?[a-z0-9 '()\[\]|{}]*", line), line
        depth = Counter(line)
        assert all(depth[a] == depth[b] for a, b in ("()", "[]", "{}")), line
    assert all(re.fullmatch(r"[a-z']+", w) for phrase in assistant_phrases() for w in phrase.words)


def test_every_shipped_template_gives_sentences_and_every_slot_is_used() -> None:
    lines = [line.strip() for line in SHIPPED.splitlines()]
    slots = [
        line.split("=")[0].strip() for line in lines if "=" in line and not line.startswith("#")
    ]
    templates = [line for line in lines if line and "=" not in line and not line.startswith("#")]
    assert len(templates) == len(set(templates)) > 200
    assert len(slots) == len(set(slots))
    assert [slot for slot in slots if f"{{{slot}}}" not in SHIPPED] == []
    found = assistant_phrases()
    assert 5_000 < len(found) <= MAX_SENTENCES * len(templates)
    assert all(phrase.words and 0 < phrase.weight <= 1 for phrase in found)
    assert sum(phrase.weight for phrase in found) > len(templates)


def test_the_shipped_text_is_unrolled_fast() -> None:
    began = time.thread_time()
    Grammar(SHIPPED).phrases()
    assert time.thread_time() - began < 0.5  # 0.06 s
