"""Counts of word sequences -> a trigram language model in the ARPA text format, which every decoder reads.

Smoothing is Witten and Bell's, interpolated (Bell, Cleary and Witten, "Text Compression", 1990): after a
history seen with total weight c and T different followers, the share T' / (c + T') of the probability goes to
the shorter history, T' = T times an openness. It needs no held-out text, takes fractional counts, and is
exact as a back-off model. Under the unigrams lies a background: words that may come at any place.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import log10
from typing import TypeVar

START, END = "<s>", "</s>"

OPENNESS = 0.3
"""How readily an unseen follower is believed in, beside Witten and Bell's 1. The phrases are many examples of few
patterns: of 0.3, 1 and 3 the first had the least perplexity on 84 other sentences (13, 15, 21), and word errors."""

BACKGROUND_SHARE = 0.3
"""Of the unigrams' probability, what the background has. 0.1, 0.3 and 0.5 differ little in word errors."""

_LEAST = 1e-9
"""No word is impossible."""

_H = TypeVar("_H")
Followers = dict[str, float]


class Trigrams:
    """Weights of words after no, one and two words of history."""

    def __init__(self) -> None:
        self.words: Followers = {}
        self.pairs: dict[str, Followers] = {}
        self.triples: dict[tuple[str, str], Followers] = {}

    def add_sentence(self, words: Sequence[str], weight: float) -> None:
        """Count something that is said as a whole: it begins and ends where the utterance does."""
        self.add_fragment((START, *words, END), weight)

    def add_fragment(self, words: Sequence[str], weight: float) -> None:
        """Count something that may be said anywhere inside an utterance."""
        for at, word in enumerate(words):
            if word != START:
                _add(self.words, word, weight)
            if at >= 1:
                _add(self.pairs.setdefault(words[at - 1], {}), word, weight)
            if at >= 2:
                _add(self.triples.setdefault((words[at - 2], words[at - 1]), {}), word, weight)

    def with_more(self, more: "Trigrams") -> "Trigrams":
        """The sum. What `more` does not touch is shared, not copied."""
        total = Trigrams()
        total.words = _sum(self.words, more.words)
        total.pairs = self.pairs | _sums(self.pairs, more.pairs)
        total.triples = self.triples | _sums(self.triples, more.triples)
        return total


class ArpaModel:
    """A language model, as text by history, so that a variant of it is made in a tenth of the time.

    Args:
        counts: of what is said.
        background: words that may come anywhere, with weights of any scale.
    """

    def __init__(self, counts: Trigrams, background: Mapping[str, float]) -> None:
        self._counts = counts
        self._background = background
        self._unigrams = _unigrams(counts.words, background)
        self._pairs = {history: self._pair_lines(history) for history in counts.pairs}
        self._triples = {history: self._triple_lines(history) for history in counts.triples}

    def with_more(self, more: Trigrams) -> "ArpaModel":
        """The model of these counts and more.

        Histories that `more` does not touch keep their probabilities. These lean on unigrams that were, so the
        sums over all words miss 1 by a few hundredths; a decoder compares, and does not mind.
        """
        model = object.__new__(ArpaModel)
        model._background = self._background
        model._counts = self._counts.with_more(more)
        model._unigrams = _unigrams(model._counts.words, self._background)
        model._pairs = self._pairs | {h: model._pair_lines(h) for h in more.pairs}
        model._triples = self._triples | {h: model._triple_lines(h) for h in more.triples}
        return model

    def text(self) -> str:
        """The ARPA file."""
        unigrams = [f"-99 {START} {self._backoff(START)}"]
        unigrams += [f"{log10(p):.4f} {w} {self._backoff(w)}" for w, p in self._unigrams.items()]
        pairs = [line for lines in self._pairs.values() for line in lines]
        triples = [line for lines in self._triples.values() for line in lines]
        sections = (unigrams, pairs, triples)
        head = [f"ngram {n}={len(lines)}" for n, lines in enumerate(sections, 1)]
        body = [f"\n\\{n}-grams:\n" + "\n".join(lines) for n, lines in enumerate(sections, 1)]
        return "\n".join(["\\data\\", *head, *body, "", "\\end\\", ""])

    def _backoff(self, history: str) -> str:
        seen = self._counts.pairs.get(history)
        return f"{log10(_left(seen)):.4f}" if seen else "0"

    def _after(self, history: str) -> Followers:
        """Probabilities of the words seen after one word."""
        return _followers(self._counts.pairs[history], self._unigrams)

    def _pair_lines(self, history: str) -> list[str]:
        triples = self._counts.triples
        lines = []
        for word, p in self._after(history).items():
            seen = triples.get((history, word))
            backoff = f"{log10(_left(seen)):.4f}" if seen else "0"
            lines.append(f"{log10(p):.4f} {history} {word} {backoff}")
        return lines

    def _triple_lines(self, history: tuple[str, str]) -> list[str]:
        before, last = history
        followers = _followers(self._counts.triples[history], self._after(last))
        return [f"{log10(p):.4f} {before} {last} {word}" for word, p in followers.items()]


def _unigrams(words: Followers, background: Mapping[str, float]) -> Followers:
    seen, under = sum(words.values()), sum(background.values())
    share = BACKGROUND_SHARE if words and background else float(not words)
    found = {word: share * weight / under for word, weight in background.items()}
    for word, weight in words.items():
        found[word] = found.get(word, 0.0) + (1 - share) * weight / seen
    return {word: max(p, _LEAST) for word, p in found.items()}


def _followers(seen: Followers, shorter: Mapping[str, float]) -> Followers:
    """Probabilities of a history's seen followers, given those after the shorter history."""
    left = _left(seen)
    total = sum(seen.values()) / (1 - left)
    return {word: weight / total + left * shorter[word] for word, weight in seen.items()}


def _left(seen: Followers) -> float:
    """The share of the probability that goes to the shorter history."""
    room = OPENNESS * len(seen)
    return room / (sum(seen.values()) + room)


def _add(followers: Followers, word: str, weight: float) -> None:
    followers[word] = followers.get(word, 0.0) + weight


def _sum(one: Followers, other: Followers) -> Followers:
    return one | {word: one.get(word, 0.0) + weight for word, weight in other.items()}


def _sums(one: Mapping[_H, Followers], other: Mapping[_H, Followers]) -> dict[_H, Followers]:
    return {history: _sum(one.get(history, {}), seen) for history, seen in other.items()}


def fragments(phrases: Iterable[Sequence[str]], weight: float) -> Trigrams:
    """Counts of phrases that may come anywhere."""
    counts = Trigrams()
    for words in phrases:
        counts.add_fragment(words, weight)
    return counts
