"""A recogniser that knows what is said: for showing that a pipeline of windows loses no word and doubles none.

    ReferenceStt("hour.json?ms=200,seed=3")

The file has the true words with their times on the session's clock: [{"text": "so", "start_ms": 120, "end_ms": 300}].
For the sound that it is offered up to a flush it answers with the words in it, as a recogniser would: a word that is
whole in the sound is heard right, its times a little off; one that an edge cuts is left out, halved or garbled. What
is so wrong follows from the seed and the window, so a run can be repeated.

Sound that is nothing but zeros counts as not offered, for so gaps are filled where windows bridge them: what goes
with the words must be more than that (`sound_of`).
"""

import json
import random
import string
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from duologue.core.audio import SAMPLE_BYTES, AudioFrame, ms_to_samples, samples_to_ms
from duologue.core.capabilities import Capabilities, Role
from duologue.engines.base import EngineSpec, NativeEngine
from duologue.engines.fakes import FakeStream
from duologue.ports import Final, Offer, StreamOptions, SttOptions, Word

LOGPROB = -0.1

HEARD_MS = 40
"""Of a cut word at least so much is there, or nothing is heard of it."""

Span = tuple[int, int]
"""From where to where there is sound, in ms."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How it errs.

    Attributes:
        ms: from a flush to its answer.
        jitter_ms: how far the times of a word may be off.
        seed: of what goes wrong.
        silent: so often an answer is empty.
    """

    ms: float = 0
    jitter_ms: int = 80
    seed: int = 0
    silent: float = 0

    @classmethod
    def parse(cls, text: str) -> "Manner":
        """Read "ms=200,seed=3"."""
        kinds = {field.name: int if field.type is int else float for field in fields(cls)}
        given = (part.partition("=") for part in text.split(",") if part)
        return cls(**{name: kinds[name](value) for name, _, value in given})  # type: ignore[arg-type]


class Reference:
    """The words of one recording.

    Args:
        words: the true ones, in order; none overlap.
    """

    def __init__(self, words: Sequence[Word], manner: Manner) -> None:
        self._words = words
        self._ends = [word.end_ms for word in words]
        self._manner = manner

    @classmethod
    def read(cls, file: Path, manner: Manner) -> "Reference":
        """From a file."""
        data = json.loads(file.read_text(encoding="utf-8"))
        words = [Word(each["text"], each["start_ms"], each["end_ms"]) for each in data]
        return cls(words, manner)

    def hear(self, spans: Sequence[Span]) -> tuple[Word, ...]:
        """The words in these stretches of sound, as this recogniser hears them."""
        dice = random.Random(f"{self._manner.seed} {spans}")
        if dice.random() < self._manner.silent:
            return ()
        return tuple(word for span in spans for word in self._in(span, dice))

    def _in(self, span: Span, dice: random.Random) -> list[Word]:
        begin, end = span
        found = []
        for number in range(bisect_left(self._ends, begin + 1), len(self._words)):
            word = self._words[number]
            if word.start_ms >= end:
                break
            first, last = max(begin, word.start_ms), min(end, word.end_ms)
            text = word.text
            if (first, last) != (word.start_ms, word.end_ms):
                text = "" if last - first < HEARD_MS else _wrong(word, first, dice)
            if text:
                found.append(self._off(Word(text, first, last, LOGPROB), span, dice))
        return found

    def _off(self, word: Word, span: Span, dice: random.Random) -> Word:
        jitter = self._manner.jitter_ms
        start = min(max(word.start_ms + dice.randint(-jitter, jitter), span[0]), span[1])
        end = min(max(word.end_ms + dice.randint(-jitter, jitter), start), span[1])
        return Word(word.text, start, end, word.logprob)


def _wrong(word: Word, first_ms: int, dice: random.Random) -> str:
    """What is made of a part of a word."""
    how = dice.choice(("nothing", "half", "other"))
    if how == "nothing":
        return ""
    if how == "other":
        return "".join(dice.choices(string.ascii_lowercase, k=len(word.text)))
    middle = (len(word.text) + 1) // 2
    return word.text[:middle] if first_ms == word.start_ms else word.text[middle:] or word.text


class ReferenceStt(NativeEngine):
    """See the module. The argument is FILE, or FILE?ms=200,jitter_ms=80,seed=0,silent=0."""

    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        name, _, manner = argument.partition("?")
        self._file = Path(name)
        self.manner = Manner.parse(manner)
        self.reference = Reference((), self.manner)

    def load(self) -> None:
        """Read the file."""
        self.reference = Reference.read(self._file, self.manner)

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        """A stream; windows may follow one another in it."""
        assert isinstance(options, SttOptions)
        return _Stream(self, options)


class _Stream(FakeStream):
    def __init__(self, engine: ReferenceStt, options: SttOptions) -> None:
        super().__init__(SPEC.capabilities.rate_hz)
        self._engine = engine
        self._options = options
        self._upto = 0
        self._spans: list[tuple[int, int]] = []  # samples

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        self._upto = item.end
        for start, end in sounding(item):
            if self._spans and self._spans[-1][1] == start:
                self._spans[-1] = self._spans[-1][0], end
            else:
                self._spans.append((start, end))
        return True

    def flush(self, flush_id: int) -> None:
        spans = [(samples_to_ms(start), samples_to_ms(end)) for start, end in self._spans]
        self._spans.clear()
        words = self._engine.reference.hear(spans)
        text = " ".join(word.text for word in words)
        told = words if self._options.word_times else ()
        answer = Final(flush_id, self._upto, text, told)
        self.after(self._engine.manner.ms, lambda: self._out.put(answer))


def sound_of(words: Sequence[Word], length_ms: int, seed: int = 0) -> bytes:
    """Sound to go with words: loud where one is said, a quiet room elsewhere."""
    dice = np.random.default_rng(seed)
    sound = dice.integers(-12, 12, ms_to_samples(length_ms)).astype("<i2")
    for word in words:
        part = sound[ms_to_samples(word.start_ms) : ms_to_samples(word.end_ms)]
        part[:] = dice.integers(-4_000, 4_000, len(part))
    return sound.tobytes()


ZEROS = 800
"""So many samples without a sound, 50 ms, are a gap."""


def sounding(frame: AudioFrame) -> list[tuple[int, int]]:
    """From where to where there is any sound in it, in samples of the session."""
    blocks = [
        any(frame.pcm[at : at + ZEROS * SAMPLE_BYTES])
        for at in range(0, len(frame.pcm), ZEROS * SAMPLE_BYTES)
    ]
    found: list[tuple[int, int]] = []
    for number, is_sound in enumerate(blocks):
        start = frame.start + number * ZEROS
        end = min(start + ZEROS, frame.end)
        if is_sound and found and found[-1][1] == start:
            found[-1] = found[-1][0], end
        elif is_sound:
            found.append((start, end))
    return found


SPEC = EngineSpec(
    "reference",
    Role.STT,
    Capabilities(streaming=False, word_times=True, max_streams=100_000),
    ReferenceStt,
    about="bench: says what it was told is said",
)
