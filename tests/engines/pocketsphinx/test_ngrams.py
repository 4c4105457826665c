"""The language model: judged by reading the ARPA text as the format says, and by the decoder's own reader."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import log10
from pathlib import Path

import pocketsphinx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.pocketsphinx.decoders import AssistantSearches
from duologue.engines.pocketsphinx.ngrams import (
    BACKGROUND_SHARE,
    END,
    OPENNESS,
    START,
    ArpaModel,
    Trigrams,
    fragments,
)
from duologue.engines.pocketsphinx.phrases import assistant_phrases

Gram = tuple[str, ...]
Sentences = list[tuple[list[str], float]]

SENTENCES: Sentences = [
    ("turn on the light".split(), 1.0),
    ("turn off the light".split(), 2.0),
    ("turn the light on please".split(), 0.5),
    ("the the the".split(), 0.25),
    (["stop"], 1.0),
]
BACKGROUND = {"the": 5.0, "a": 3.0, "zebra": 0.5}


@dataclass
class Arpa:
    """An ARPA text, read."""

    logs: dict[Gram, float]
    backoffs: dict[Gram, float]

    @property
    def words(self) -> list[str]:
        """What may come: all but the beginning."""
        return [gram[0] for gram in self.logs if len(gram) == 1 and gram != (START,)]

    def p(self, word: str, *history: str) -> float:
        if (gram := (*history, word)) in self.logs:
            return float(10 ** self.logs[gram])
        return float(10 ** self.backoffs.get(history, 0.0)) * self.p(word, *history[1:])

    def total(self, *history: str) -> float:
        return sum(self.p(word, *history) for word in self.words)

    def histories(self) -> Iterator[Gram]:
        yield ()
        yield from {gram[:-1] for gram in self.logs if len(gram) > 1}


def read(text: str) -> Arpa:
    head, *sections, end = text.split("\n\\")
    assert head.startswith("\\data\\\n")
    assert end == "end\\\n"
    arpa = Arpa({}, {})
    for order, section in enumerate(sections, 1):
        title, *lines = section.strip().splitlines()
        assert title == f"{order}-grams:"
        assert f"ngram {order}={len(lines)}" in head.splitlines()
        for line in lines:
            log, *rest = line.split()
            gram = tuple(rest[:order])
            assert gram not in arpa.logs
            arpa.logs[gram] = float(log)
            if len(rest) > order:
                arpa.backoffs[gram] = float(rest[order])
            if order > 1:
                assert {gram[:-1], gram[1:]} <= arpa.logs.keys()
    return arpa


def counted(sentences: Sentences) -> Trigrams:
    counts = Trigrams()
    for words, weight in sentences:
        counts.add_sentence(words, weight)
    return counts


def model(
    sentences: Sentences = SENTENCES, background: Mapping[str, float] = BACKGROUND
) -> ArpaModel:
    return ArpaModel(counted(sentences), background)


def witten_bell(sentences: Sentences, background: Mapping[str, float]) -> Callable[..., float]:
    """The probability of a word after a history, from the sentences themselves."""

    def p(word: str, *history: str) -> float:
        after: dict[str, float] = {}
        for words, weight in sentences:
            whole = [START, *words, END]
            for at in range(1, len(whole)):
                if at >= len(history) and tuple(whole[at - len(history) : at]) == history:
                    after[whole[at]] = after.get(whole[at], 0.0) + weight
        seen = sum(after.values())
        if not history:
            under = background.get(word, 0.0) / sum(background.values())
            return BACKGROUND_SHARE * under + (1 - BACKGROUND_SHARE) * after.get(word, 0.0) / seen
        if not after:
            return p(word, *history[1:])
        room = OPENNESS * len(after)
        return (after.get(word, 0.0) + room * p(word, *history[1:])) / (seen + room)

    return p


# --- the mathematics ---
def test_what_may_come_after_each_history_adds_up_to_one() -> None:
    arpa = read(model().text())
    assert len(list(arpa.histories())) > 20
    for history in arpa.histories():
        assert arpa.total(*history) == pytest.approx(1, abs=1e-3), history
    assert arpa.total("zebra", "never") == pytest.approx(1, abs=1e-3)


def test_the_probabilities_are_witten_and_bells_whether_listed_or_backed_off_to() -> None:
    arpa, exact = read(model().text()), witten_bell(SENTENCES, BACKGROUND)
    for history in arpa.histories():
        for word in arpa.words:
            assert arpa.p(word, *history) == pytest.approx(exact(word, *history), rel=1e-3)
    assert arpa.p("light", "turn", "the") > arpa.p("light", "the") > arpa.p("light")


words = st.sampled_from("abcd")
some_sentences = st.lists(
    st.tuples(st.lists(words, min_size=1, max_size=5), st.floats(0.05, 30)), min_size=1, max_size=6
)
some_background = st.dictionaries(st.sampled_from("abcdxyz"), st.floats(0.01, 10), min_size=1)


@given(some_sentences, some_background)
def test_that_holds_for_any_sentences(sentences: Sentences, background: dict[str, float]) -> None:
    arpa, exact = read(model(sentences, background).text()), witten_bell(sentences, background)
    for history in arpa.histories():
        assert arpa.total(*history) == pytest.approx(1, abs=1e-3)
        for word in arpa.words:
            assert arpa.p(word, *history) == pytest.approx(exact(word, *history), rel=2e-3)


def test_no_word_is_impossible() -> None:
    arpa = read(model(background={"x": 1.0, "rare": 0.0}).text())
    for history in arpa.histories():
        assert arpa.p("rare", *history) > 1e-11
        assert arpa.p("stop", *history) > 1e-11


@pytest.mark.parametrize("sentences", [SENTENCES, []])
@pytest.mark.parametrize("background", [BACKGROUND, {}])
def test_either_side_may_be_missing(sentences: Sentences, background: dict[str, float]) -> None:
    arpa = read(model(sentences, background).text())
    assert bool(arpa.words) == bool(sentences or background)
    for history in arpa.histories():
        assert arpa.total(*history) == pytest.approx(1 if arpa.words else 0, abs=1e-3)


def test_a_weight_counts_as_often_as_it_says() -> None:
    twice = [*SENTENCES, SENTENCES[0]]
    double = [(words, 2 * w if n == 0 else w) for n, (words, w) in enumerate(SENTENCES)]
    assert model(twice).text() == model(double).text()


# --- hints ---
MORE = [["light", "on"], ["zigbee", "hub", "on"], ["hub"]]


def test_a_model_with_more_is_the_model_of_all_where_it_was_touched() -> None:
    more = fragments(MORE, 3.0)
    varied = read(model().with_more(more).text())
    whole = read(ArpaModel(counted(SENTENCES).with_more(more), BACKGROUND).text())
    assert varied.logs.keys() == whole.logs.keys()
    touched = {(), *((word,) for word in more.pairs), *more.triples}
    assert len(touched) == 5
    for gram, log in whole.logs.items():
        if gram[:-1] in touched:
            assert varied.logs[gram] == log
    assert varied.backoffs == whole.backoffs
    for history in varied.histories():
        assert varied.total(*history) == pytest.approx(1, abs=1e-3 if history in touched else 0.1)


def test_a_hint_makes_its_words_likelier_anywhere_and_changes_no_other_model() -> None:
    plain = model()
    before = plain.text()
    varied = read(plain.with_more(fragments(MORE, 3.0)).text())
    other = read(plain.with_more(fragments([["stop", "now"]], 1.0)).text())
    assert plain.text() == before
    assert varied.p("hub", "zigbee") > 0.5
    assert varied.p("on", "zigbee", "hub") > varied.p("on", "hub") * 0.9
    assert varied.p("zigbee", "turn", "on") > 1e-3
    assert varied.p("on", "light") > read(before).p("on", "light")
    assert "zigbee" not in other.words
    assert ("zigbee",) not in read(before).logs


def test_nothing_more_is_the_same_model() -> None:
    assert model().with_more(fragments([], 1.0)).text() == model().text()
    assert model().with_more(fragments([()], 1.0)).text() == model().text()


# --- the decoder's reader ---
def in_decoder(text: str, folder: Path) -> Callable[..., float]:
    path = folder / "it.lm"
    path.write_text(text)
    logmath = pocketsphinx.LogMath()
    trigrams = pocketsphinx.NGramModel(pocketsphinx.Config(), logmath, str(path))
    return lambda *gram: logmath.exp(trigrams.prob(gram[::-1]))


def test_the_decoder_reads_the_same_probabilities(tmp_path: Path) -> None:
    for made in (model(), model().with_more(fragments(MORE, 3.0)), model([])):
        arpa = read(made.text())
        said = in_decoder(made.text(), tmp_path)
        for history in arpa.histories():
            for word in arpa.words:
                assert said(*history, word) == pytest.approx(arpa.p(word, *history), rel=0.02)


def test_the_decoder_reads_the_shipped_phrases(tmp_path: Path) -> None:
    counts = Trigrams()
    for phrase in assistant_phrases():
        counts.add_sentence(phrase.words, phrase.weight)
    text = ArpaModel(counts, BACKGROUND).text()
    arpa, said = read(text), in_decoder(text, tmp_path)
    assert len(arpa.logs) > 20_000
    for history in [(), ("turn",), ("set", "a"), (START,), (START, "what's"), ("zebra",)]:
        assert arpa.total(*history) == pytest.approx(1, abs=1e-3)
    for gram in list(arpa.logs)[1::53]:
        assert said(*gram) == pytest.approx(10 ** arpa.logs[gram], rel=0.02)


def test_a_search_expects_what_ships_and_what_is_hinted_at(searches: AssistantSearches) -> None:
    logmath = pocketsphinx.LogMath()

    def log(model: object, *gram: str) -> float:
        said = logmath.exp(model.prob(gram[::-1]))  # type: ignore[attr-defined]
        return log10(said) if said else -99.0

    plain = searches.search(()).model
    hinted = searches.search((("zigbee", "bridge"),)).model
    assert log(plain, "turn", "the", "light") > log(plain, "turn", "the", "money") > -9
    assert log(plain, "zigbee") < -90
    assert log(hinted, "zigbee") > -4
    assert log(hinted, "zigbee", "bridge") > -0.5
    assert log(hinted, "turn", "the", "light") == pytest.approx(
        log(plain, "turn", "the", "light"), abs=0.01
    )
