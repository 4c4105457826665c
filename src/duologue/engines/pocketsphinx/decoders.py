"""Decoders of pocketsphinx, each set up for one language model, leased to one stream at a time.

Two kinds of search. *Assistant*: a trigram model of the shipped phrases over a background of frequent words,
with the phrases that a session hints at counted in; built here, in tens of milliseconds, and remembered.
*Dictation*: the model that comes with pocketsphinx, for anything that is said in English; hints do not
change it, for nothing in it can be weighted up.
"""

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.errors import AtCapacity, EngineLost, EngineUnavailable
from duologue.engines.pocketsphinx.hints import Phrases
from duologue.engines.pocketsphinx.ngrams import ArpaModel, Trigrams, fragments
from duologue.engines.pocketsphinx.phrases import assistant_phrases
from duologue.engines.pocketsphinx.pronunciation import Entries, Lexicon

RATE_HZ = 16_000

BACKGROUND_WORDS = 5_000
"""Frequent English words that the assistant search knows beside its phrases. With none, read sentences have
a word error rate of 96 %, with 1 000 85, with 5 000 76, with 10 000 75; commands 10, 10, 11 and 11 %."""

HINTS_SHARE = 1.0
"""Weight of all hints together beside that of all shipped phrases: a menu of 45 phrases brings the recall
of spoken orders' words from .38 to .82 at 0.3 and to .84 at 1, and costs the commands nothing."""

HINT_MAX_WEIGHT = 30.0
"""Weight of one hint, in sentences: a session with one hint must still hear everything else."""

MAX_REMEMBERED = 16
"""Hinted models kept, 2 MiB each: sessions of one application give the same hints."""

BEAMS: dict[str, float] = {"beam": 1e-60, "pbeam": 1e-60, "wbeam": 1e-40, "maxwpf": 20}
"""Wider than pocketsphinx's own (1e-48, 1e-48, 7e-29), which a small model can afford: a fifth more time, a quarter
fewer errors on commands."""

LONGEST_SEARCHED = 20 * RATE_HZ
"""Samples of the longest utterance whose alternatives are weighed at its end. That takes 0.1 s after 20 s, and grows
with the square: 0.8 s after a minute of speech, 2 s after one of silence."""

NEUTRAL_CMN = "40,3,-1,0,0,0,0,0,0,0,0,0,0"
"""The acoustic model's own first guess at a speaker's cepstral mean."""

_COARSE = re.compile("fuck|shit|cunt|bitch|nigg|whore|pussy|asshole|faggot")
"""Never guessed: what is heard is said back, in kitchens with children in them."""

_NO_WORD = re.compile(r"<[^>]*>|\[[^\]]*\]")
"""Silence and noises, as a hypothesis spells them."""

_VARIANT = re.compile(r"\(\d+\)$")
"""The mark of a word's second pronunciation in a segmentation."""

FRAME_SAMPLES = RATE_HZ // 100
"""Samples of one of the decoder's frames, in which it says when a word was spoken."""

LEAST_PROBABILITY = 1e-6
"""The decoder's own arithmetic knows 0; nothing is as sure as that."""

Decoder = Any
"""A `pocketsphinx.Decoder`; the package has no types."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a decoder is set up with: a language model, a dictionary for its words, and how hard to search."""

    model: Any
    dictionary: bytes
    settings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word of an utterance.

    Attributes:
        start: in samples since the utterance began; `end` likewise, just after it.
        probability: of this word among all that it may have been; None if they were not weighed.
    """

    text: str
    start: int
    end: int
    probability: float | None


def sphinx() -> Any:
    """The package.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        import pocketsphinx
    except ImportError as error:
        raise EngineUnavailable(
            "pocketsphinx_missing",
            "Speech cannot be recognised: pocketsphinx is not installed.",
            remedy="Install duologue[server].",
        ) from error
    return pocketsphinx


class AssistantSearches:
    """Makes the small searches. See `Decoders` for who calls it."""

    def __init__(self) -> None:
        ps = sphinx()
        self._logmath = ps.LogMath()
        self._lexicon = _lexicon(ps)
        everything = _model(ps, self._logmath, _bundled(ps, "en-us/en-us.lm.bin"))
        odds = {word: everything.prob([word]) for word in self._lexicon.words()}
        clean = (word for word in odds if not _COARSE.search(word))
        frequent = sorted(clean, key=odds.__getitem__, reverse=True)[:BACKGROUND_WORDS]
        background = {word: self._logmath.exp(odds[word]) for word in frequent}
        said = {word for phrase in assistant_phrases() for word in phrase.words}
        self._entries = self._lexicon.entries(said | set(frequent))
        counts = Trigrams()
        self._weight = 0.0
        for phrase in assistant_phrases():
            if self._entries.keys() >= set(phrase.words):
                counts.add_sentence(phrase.words, phrase.weight)
                self._weight += phrase.weight
        self._model = ArpaModel(counts, background)
        self.search = lru_cache(MAX_REMEMBERED)(self._build)

    def _build(self, hints: Phrases) -> Search:
        """The search for a session's hints. Words that cannot be pronounced are left out."""
        entries = dict(self._entries)
        for word in {word for phrase in hints for word in phrase}.difference(entries):
            if said := self._lexicon.say(word):
                entries[word] = said
        sayable = [tuple(word for word in phrase if word in entries) for phrase in hints]
        weight = min(HINT_MAX_WEIGHT, HINTS_SHARE * self._weight / max(1, len(hints)))
        text = self._model.with_more(fragments(sayable, weight)).text()
        with _file(text.encode(), ".lm") as path:
            model = _model(sphinx(), self._logmath, path)
        return Search(model, _dictionary(entries), BEAMS)


class DictationSearch:
    """The open-vocabulary search: everything that the bundled model has a word for."""

    def __init__(self) -> None:
        ps = sphinx()
        model = _model(ps, ps.LogMath(), _bundled(ps, "en-us/en-us.lm.bin"))
        lexicon = _lexicon(ps)
        known = [word for word in lexicon.words() if model.prob([word]) > _UNKNOWN]
        self._search = Search(model, _dictionary(lexicon.entries(known)), {})

    def search(self, hints: Phrases) -> Search:
        """Always the same."""
        del hints
        return self._search


_UNKNOWN = -500_000_000
"""Below any word's log probability: what a model answers for a word that it does not have."""


class Utterances:
    """One decoder at work for one stream: any number of utterances after one another.

    It keeps what it has learnt of the speaker (the cepstral mean) from one to the next. Every method raises
    `EngineLost` if the decoder fails; it must not be used again then.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self._begun = False
        self._samples = 0  # of the utterance begun
        with _failures():
            decoder.set_cmn(NEUTRAL_CMN)

    def feed(self, pcm: bytes) -> None:
        """More sound; the first begins an utterance. Less than a sample is nothing."""
        if len(pcm) < SAMPLE_BYTES:
            return
        with _failures():
            if not self._begun:
                self.decoder.start_utt()
                self._begun, self._samples = True, 0
            self.decoder.process_raw(pcm)
        self._samples += len(pcm) // SAMPLE_BYTES

    def text(self) -> str:
        """What the utterance begun seems to say so far; empty if none is."""
        if not self._begun:
            return ""
        with _failures():
            found = self.decoder.hyp()
        return " ".join(_NO_WORD.sub(" ", found.hypstr).split()) if found is not None else ""

    def finish(self) -> str:
        """End the utterance begun, and say what it was; empty if none was begun.

        The second look, through the lattice of alternatives, finds nothing at all where none of them reaches the
        end; what the first pass heard stands then, and where it would take too long.
        """
        return self._end(with_words=False)[0]

    def finish_with_words(self) -> tuple[str, list[Spoken]]:
        """The same, and when each word was said. It costs less than half a millisecond more."""
        return self._end(with_words=True)

    def _end(self, *, with_words: bool) -> tuple[str, list[Spoken]]:
        if not self._begun:
            return "", []
        first, words = self.text(), self._words(weighed=False) if with_words else []
        with _failures():
            self.decoder.end_utt()
            is_short = self._samples <= LONGEST_SEARCHED
            is_found = is_short and self.decoder.hyp() is not None
        if is_found:
            first, words = self.text(), self._words(weighed=True) if with_words else []
        self._begun = False
        return first, words

    def _words(self, *, weighed: bool) -> list[Spoken]:
        """The hypothesis word by word; the probability is 1 for every word until alternatives are weighed."""
        with _failures():
            found = [(s.word, s.start_frame, s.end_frame, s.prob) for s in self.decoder.seg() or ()]
        return [
            Spoken(
                _VARIANT.sub("", word),
                start * FRAME_SAMPLES,
                (end + 1) * FRAME_SAMPLES,
                max(LEAST_PROBABILITY, min(1.0, probability)) if weighed else None,
            )
            for word, start, end, probability in found
            if not _NO_WORD.fullmatch(word)
        ]

    def abandon(self) -> None:
        """End the utterance begun, whatever it was: without the search through its alternatives."""
        if self._begun:
            self._begun = False
            with _failures():
                self.decoder.end_utt()


class Decoders:
    """A bounded number of decoders, each serving one stream at a time.

    A decoder that is idle and set up for the same hints costs nothing; otherwise one is set up (20 ms for
    the assistant search), first a new one, then, when there are `most`, in place of the one idle longest.

    Args:
        search: gives the search for some hints.
        most: decoders there may be.
    """

    def __init__(self, search: Callable[[Phrases], Search], most: int) -> None:
        self._search = search
        self._most = most
        self._leased = 0
        self._idle: list[tuple[Phrases, Decoder]] = []  # the one idle longest first
        self._lock = threading.Lock()

    @contextmanager
    def lease(self, hints: Phrases) -> Iterator[Utterances]:
        """A decoder that has forgotten whom it heard before, for the `with` block.

        Raises:
            AtCapacity: all are leased.
            EngineLost: the decoder failed, now or inside the block; it is thrown away.
        """
        decoder = self._take(hints)
        try:
            decoder = decoder or make(self._search(hints))
            utterances = Utterances(decoder)
            try:
                yield utterances
            finally:
                utterances.abandon()
        except EngineLost:
            decoder = None
            raise
        finally:
            self._give_back(hints, decoder)

    def fill(self, count: int) -> None:
        """Set up so many decoders, without hints, before the first is leased."""
        self._idle += [((), make(self._search(()))) for _ in range(count)]

    def _take(self, hints: Phrases) -> Decoder | None:
        """An idle one with these hints; None where one must be set up, for which there is room then."""
        with self._lock:
            if self._leased >= self._most:
                raise AtCapacity("stt_at_capacity", f"All {self._most} decoders are taken.")
            self._leased += 1
            for at in range(len(self._idle) - 1, -1, -1):
                if self._idle[at][0] == hints:
                    return self._idle.pop(at)[1]
            if self._leased + len(self._idle) > self._most:
                del self._idle[0]
            return None

    def _give_back(self, hints: Phrases, decoder: Decoder | None) -> None:
        with self._lock:
            self._leased -= 1
            if decoder is not None:
                self._idle.append((hints, decoder))


def make(search: Search) -> Decoder:
    """A decoder of its own for a search; several may share the search's language model.

    Raises:
        EngineLost: the package refuses.
    """
    with _file(search.dictionary, ".dict") as dictionary, _failures():
        decoder = sphinx().Decoder(
            samprate=RATE_HZ,
            loglevel="FATAL",
            fwdflat=False,  # a second pass after the utterance's end: 0.5 s, for one word in fifty
            lm=None,
            dict=dictionary,
            **search.settings,
        )
        decoder.add_lm("search", search.model)
        decoder.activate_search("search")
    return decoder


@contextmanager
def _failures() -> Iterator[None]:
    """The package raises one of two errors for every failure of the C library."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise EngineLost("pocketsphinx_failed", f"The recogniser failed: {error}.") from error


@contextmanager
def _file(content: bytes, suffix: str) -> Iterator[str]:
    """A file's name, for a library that reads only files."""
    with tempfile.TemporaryDirectory(prefix="duologue-") as folder:
        path = Path(folder) / f"it{suffix}"
        path.write_bytes(content)
        yield str(path)


def _bundled(ps: Any, name: str) -> str:
    """A file that comes with the package.

    Raises:
        EngineUnavailable: this build of it has none.
    """
    path = Path(ps.get_model_path(name))
    if not path.is_file():
        raise EngineUnavailable(
            "pocketsphinx_model_missing",
            f"Speech cannot be recognised: pocketsphinx came without its model ({path} is missing).",
            remedy="Install pocketsphinx from a wheel of its project.",
        )
    return str(path)


def _model(ps: Any, logmath: Any, path: str) -> Any:
    with _failures():
        return ps.NGramModel(ps.Config(), logmath, path)


def _lexicon(ps: Any) -> Lexicon:
    return Lexicon(Path(_bundled(ps, "en-us/cmudict-en-us.dict")).read_bytes())


def _dictionary(entries: Mapping[str, Entries]) -> bytes:
    return "\n".join(line for lines in entries.values() for line in lines).encode() + b"\n"
