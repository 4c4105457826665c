"""One call of a Whisper model: some pieces of sound in, what was said in each out.

faster-whisper takes one piece a call, or cuts one long recording into a batch; here a batch is pieces of sound of
different sessions. Each gets what it would get alone: nothing of a piece depends on its neighbours but a last digit
where floating-point sums are grouped otherwise, and the bound on an answer's length belongs to the `kind`.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import STREAM
from duologue.core.errors import EngineLost, EngineOutOfMemory
from duologue.core.oom import is_out_of_memory
from duologue.engines.whisper.load import reason
from duologue.engines.whisper.speech_window import Samples

NO_SPEECH = 0.6
"""Sound is no speech if the model gives that more probability than this, and is less sure of the text ..."""

LOG_PROBABILITY = -1.0
"""... than this on average. Both from the Whisper paper, section 4.5."""

TOKENS_PER_S = 20
"""Bound for an answer: fast English is 5 tokens a second; scripts that Whisper spells in bytes three times that.
Without one, a model that has begun to repeat itself goes on until its context is full."""

TOKENS_AT_LEAST = 24

TOKEN_BOUNDS = (64, 128, 220)
"""The bound is one of these, so that pieces of about one length may share a call: up to 2 s, up to 5.2 s, longer.
The last is half of Whisper's context of 448, less the few tokens of its prompt; the other half is for hints."""

LEAST_PROBABILITY = 1e-6
"""Nothing is as sure as 0, of which there is no logarithm."""

ISO = {"jw": "jv"}
"""Whisper's own names of languages that have another in ISO 639-1."""

PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"
"""Marks that belong to the word behind, or before; faster-whisper's own, without which it times no words."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a stream's sound is to be transcribed: `language` is empty if it is to be detected."""

    language: str = ""
    hotwords: str = ""
    translates: bool = False
    word_times: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of sound.

    Attributes:
        with_words: its words are to be timed.
    """

    sound: Samples
    beams: int
    manner: Manner = Manner()
    with_words: bool = False

    @property
    def token_bound(self) -> int:
        """Tokens of its answer at most."""
        fair = TOKENS_AT_LEAST + TOKENS_PER_S * len(self.sound) // STREAM.rate_hz
        return next((bound for bound in TOKEN_BOUNDS if fair <= bound), TOKEN_BOUNDS[-1])


@dataclass(frozen=True, slots=True)
class Timed:
    """A word and when it was said, in samples of its sound."""

    text: str
    start: int
    end: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a piece.

    Attributes:
        language: that was detected in it; empty if it was known before, or nothing was said.
    """

    text: str
    words: tuple[Timed, ...] = ()
    language: str = ""


def kind(work: Work) -> Hashable:
    """What pieces of one call have in common; None for one that goes alone.

    Their prompts must be equally long, so their hints must be the same; their languages may differ. Words are
    timed in a pass of their own, which takes one language: those pieces go alone.
    """
    if work.with_words:
        return None
    return work.beams, work.token_bound, work.manner.hotwords


class Transcriber:
    """Does the calls; not for two threads at a time.

    Args:
        model: a `faster_whisper.WhisperModel`.
    """

    def __init__(self, model: Any) -> None:
        from faster_whisper.transcribe import get_suppressed_tokens

        self._model = model
        self._suppressed = get_suppressed_tokens(self._tokenizer("en", "transcribe"), [-1])

    def __call__(self, works: Sequence[Work]) -> list[Heard]:
        """Transcribe pieces of one `kind`, at least one.

        Raises:
            EngineOutOfMemory: fewer pieces, a smaller model or another device may fit.
            EngineLost: the model failed.
        """
        try:
            return self._transcribe(works)
        except (RuntimeError, ValueError, MemoryError) as error:
            remedy = "If it goes on, use a smaller model or another device (whisper:NAME@cpu)."
            why = f"Speech recognition by Whisper failed: {reason(error)}."
            if is_out_of_memory(error):
                raise EngineOutOfMemory("whisper_out_of_memory", why, remedy=remedy) from error
            raise EngineLost("whisper_failed", why, remedy=remedy) from error

    def _transcribe(self, works: Sequence[Work]) -> list[Heard]:
        windows, frames = zip(*(self._window(work.sound) for work in works), strict=True)
        encoded = self._model.encode(np.stack(windows))
        detected = self._detected(works, encoded)
        tokenizers = self._tokenizers(works, detected)
        first = works[0]
        prompts = [
            self._model.get_prompt(
                tokenizer, [], without_timestamps=True, hotwords=first.manner.hotwords or None
            )
            for tokenizer in tokenizers
        ]
        results = self._model.model.generate(
            encoded,
            prompts,
            beam_size=first.beams,
            max_length=len(prompts[0]) + first.token_bound,
            suppress_tokens=self._suppressed,
            return_scores=True,
            return_no_speech_prob=True,
        )
        heard = [_heard(*each) for each in zip(tokenizers, results, detected, strict=True)]
        if first.with_words and heard[0].text:
            words = self._words(tokenizers[0], results[0], encoded, frames[0])
            heard[0] = replace(heard[0], words=words)
        return heard

    def _window(self, sound: Samples) -> tuple[NDArray[np.float32], int]:
        """The spectrum of a piece, padded to the 30 s that the encoder takes, and the frames that are the piece's."""
        from faster_whisper.audio import pad_or_trim

        extractor = self._model.feature_extractor
        spectrum = extractor(sound)
        frames = min(extractor.nb_max_frames, spectrum.shape[-1] - 1)
        return pad_or_trim(spectrum[:, :frames]), frames

    def _detected(self, works: Sequence[Work], encoded: Any) -> list[str]:
        """The language of each, by the encoder's output, where it is not known; empty for the others."""
        if all(work.manner.language for work in works):
            return [""] * len(works)
        found = self._model.model.detect_language(encoded)
        return [
            "" if work.manner.language else ranked[0][0].strip("<|>")
            for work, ranked in zip(works, found, strict=True)
        ]

    def _tokenizers(self, works: Sequence[Work], detected: Sequence[str]) -> list[Any]:
        return [
            self._tokenizer(
                work.manner.language or language,
                "translate" if work.manner.translates else "transcribe",
            )
            for language, work in zip(detected, works, strict=True)
        ]

    def _tokenizer(self, language: str, task: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        is_multilingual = self._model.model.is_multilingual
        return Tokenizer(self._model.hf_tokenizer, is_multilingual, task=task, language=language)

    def _words(self, tokenizer: Any, result: Any, encoded: Any, frames: int) -> tuple[Timed, ...]:
        """The words of the only piece of a call."""
        segment = {"seek": 0, "tokens": result.sequences_ids[0], "start": 0.0, "end": frames / 100}
        self._model.add_word_timestamps(
            [[segment]], tokenizer, encoded, frames, PREPENDED, APPENDED, last_speech_timestamp=0.0
        )
        return tuple(_timed(word) for word in segment["words"] if word["word"].strip())


def _heard(tokenizer: Any, result: Any, language: str) -> Heard:
    """Nothing, where the model takes the sound for no speech."""
    tokens = result.sequences_ids[0]
    mean_logprob = result.scores[0] * len(tokens) / (len(tokens) + 1)
    if result.no_speech_prob > NO_SPEECH and mean_logprob <= LOG_PROBABILITY:
        return Heard("")
    text = tokenizer.decode(tokens).strip()
    return Heard(text, language=ISO.get(language, language) if text else "")


def _timed(word: dict[str, Any]) -> Timed:
    """faster-whisper's word, whose times are seconds; a probability may come out as 0."""
    return Timed(
        word["word"].strip(),
        round(word["start"] * STREAM.rate_hz),
        round(word["end"] * STREAM.rate_hz),
        math.log(max(LEAST_PROBABILITY, min(1.0, word["probability"]))),
    )
