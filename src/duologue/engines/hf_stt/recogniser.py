"""What the recognisers on Transformers have in common: how they are opened, warmed up, shared and failed."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from duologue.core.audio import STREAM, ms_to_samples
from duologue.core.capabilities import Capabilities
from duologue.core.errors import EngineError, EngineLost, EngineRefused, EngineUnavailable
from duologue.core.languages import family
from duologue.core.placement import Placement
from duologue.engines.base import BlockingEngine, Emit, Inbox
from duologue.engines.hf_stt import files
from duologue.engines.hf_stt.stream import Heard, Manner, Stream, Work
from duologue.engines.torchkit import device as devices
from duologue.engines.torchkit import host, loading, oom, precision
from duologue.engines.torchkit.device import Device
from duologue.engines.torchkit.fastest import VERDICTS, Place, fastest
from duologue.engines.torchkit.ways import Asked, Way, ways
from duologue.engines.voices import model_files
from duologue.engines.whisper.shared_model import SharedModel, wall_ms
from duologue.engines.whisper.speech_window import Samples
from duologue.ports import Clock, StreamOptions, SttOptions

log = logging.getLogger("duologue.engines")

MAX_STREAMS = 32
MIN_STREAMS = 2
"""A speaker may go on while the previous utterance is still being transcribed."""

ANSWER_WITHIN_S = 4.0
"""If all streams ask at once, the last is to be answered within this, as with `engines.whisper`."""

WARM_UP_MS = 3_000
"""As long as a spoken command."""

WARM_UP_RUNS = 5
STEADY = 1.3
"""The warm-up is over once the third or a later run takes at most so many times the best."""

SLOW_MS = 1_500
"""A call of this length makes a conversation halting; the log says so."""

TOKENS_PER_S = 20
TOKENS_AT_LEAST = 24
TOKENS_AT_MOST = 220
"""Bound for an answer: fast English is 5 tokens a second; scripts that are spelled in bytes three times that."""


PROBE_TOKENS = 8
"""Words after `WARM_UP_MS` of sound by which ways to run the model are compared."""

PROBE_FROM = 25
"""The first of them, by its number; the others are each 7 further. Voxtral's 24 would stand for sound."""


class Recogniser(BlockingEngine):
    """A recogniser that is given whole stretches of sound.

    Args:
        argument: see `core.placement`.
        verdicts: a folder; see `torchkit.contest.remembered`.
        clock: by which the model's calls are timed.

    Attributes:
        name: what users write.
        kind: "model_type" of its checkpoints.
        model_class: of Transformers.
        vocabularies: files of which the tokenizer needs one.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    model_class: ClassVar[str]
    vocabularies: ClassVar[tuple[str, ...]]
    declared: ClassVar[Capabilities]

    def __init__(
        self, argument: str = "", *, verdicts: Path = VERDICTS, clock: Clock = wall_ms
    ) -> None:
        self.capabilities = self.declared
        self._placement = Placement.parse(argument)
        self._verdicts = verdicts
        self._clock = clock
        self._torch: Any = None
        self._model: Any = None
        self._processor: Any = None
        self._device: Device
        self._shared: SharedModel[Work, Heard] | None = None

    def load(self) -> None:
        """Open the model on the first device that works, in the way that proves the fastest there.

        Raises:
            EngineUnavailable: a library, the model or a file of it is missing, or no device works.
            EngineOutOfMemory: the model does not fit.
            SetupError: there is no such precision, or an option has no such value.
        """
        asked = Asked.of(self._placement)
        folder = model_files.place_of(self._placement, self.name)
        self._torch = devices.library()
        transformers = loading.transformers()
        files.check(folder, self.kind, self.name)
        cls = getattr(transformers, self.model_class, None)
        if cls is None:
            raise EngineUnavailable(
                "transformers_too_old",
                f"Transformers {transformers.__version__} does not know {self.model_class}.",
                remedy="Run `pip install -U 'duologue[transformers]'`.",
            )
        self._processor = self._opened(transformers, folder)
        self._device = devices.find(self._placement)
        chosen = precision.choose(self._device, self._placement.precision)
        way = fastest(
            Place(self._torch, self._device, self._verdicts, self._clock),
            folder,
            ways(chosen, asked),
            lambda way: self._loaded(cls, folder, way),
            self._tried,
            chosen.why,
        )
        self._model = self._loaded(cls, folder, way)
        self.fit(folder)
        self._shared = SharedModel(self._called, clock=self._clock)

    def warm_up(self) -> None:
        """Transcribe until it takes no less time, and see how many streams can be answered in time."""
        assert self._shared is not None
        work = Work(_noise(), Manner(self.capabilities.languages[0]))
        took_ms: list[float] = []
        while len(took_ms) < WARM_UP_RUNS:
            job = self._shared.ask(self, work, is_final=True)
            job.wait(None)
            job.answer()
            took_ms.append(self._shared.last_call_ms)
            is_slow = took_ms[-1] > 4 * SLOW_MS
            if is_slow or (len(took_ms) > 2 and took_ms[-1] <= STEADY * min(took_ms)):
                break
        best_ms = max(min(took_ms), 1.0)
        streams = max(MIN_STREAMS, min(MAX_STREAMS, int(ANSWER_WITHIN_S * 1000 / best_ms)))
        self.capabilities = replace(self.capabilities, max_streams=streams)
        level = logging.WARNING if best_ms > SLOW_MS else logging.INFO
        log.log(
            level,
            "~ %s takes %.0f ms a call on %s: %d streams",
            self.name,
            best_ms,
            self._device.device,
            streams,
        )

    def close(self) -> None:
        """Stop the model's thread and let the model go."""
        if self._shared is not None:
            self._shared.close()
        self._shared = self._processor = None
        if self._model is not None:
            self._model = None
            oom.release(self._torch, self._device)

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`.

        Raises:
            EngineRefused: a translation is wanted of a model that cannot translate.
            EngineLost: the model failed; `EngineOutOfMemory` where it was for want of memory.
        """
        assert isinstance(options, SttOptions)
        assert self._shared is not None
        if options.task == "translate" and not self.capabilities.translates:
            raise EngineRefused(
                "stt_translation_not_supported",
                f"This model of {self.name} translates nothing.",
                remedy="Use a multilingual Whisper.",
            )
        stream = Stream(self._shared, self._asked(options), inbox, emit)
        try:
            for item in inbox:
                stream.take(item)
        finally:
            stream.leave()

    def _asked(self, options: SttOptions) -> Manner:
        language = family(options.language)
        if language and language not in self.capabilities.languages:
            log.info("~ %s does not know the language '%s', and detects it", self.name, language)
            language = ""
        return Manner(language, options.hints, options.task == "translate")

    def _opened(self, transformers: Any, folder: Path) -> Any:
        if not any((folder / file).is_file() for file in self.vocabularies):
            raise EngineUnavailable(  # Transformers would go on with an empty one
                "stt_processor_missing",
                f"The model in {folder} is without its tokenizer: {self.vocabularies[0]} is missing.",
                remedy=self.processor_remedy(folder),
            )
        try:
            return transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
            raise EngineUnavailable(
                "stt_processor_missing",
                f"The processor of the model in {folder} cannot be loaded: {host.first_line(error)}.",
                remedy=self.processor_remedy(folder),
            ) from error

    def _loaded(self, cls: Any, folder: Path, way: Way) -> Any:
        model = loading.load_model(
            cls,
            folder,
            self._device,
            way.precision,
            max_memory=self._placement.option("max_memory") or None,
            attention=way.attention,
        )
        made = self._processor.feature_extractor.feature_size
        wanted = self.mel_bands(model)
        if made != wanted:
            raise EngineUnavailable(
                "stt_features_differ",
                f"The model of {self.name} in {folder} takes {wanted} mel bands, and its files say {made}.",
                remedy=f"Place the model's own preprocessor_config.json (feature_size {wanted}) in {folder}.",
            )
        return model

    def _tried(self, model: Any) -> Any:
        """The logits of a few words, always the same, after what the engine is warmed up with."""
        torch, logits = self._torch, []
        tokens = (
            torch.arange(PROBE_TOKENS, device=self._device.device)[:, None, None] * 7 + PROBE_FROM
        )
        with torch.inference_mode():
            given, word = self.given(model, Work(_noise()))
            out = model(**given, use_cache=True)
            for token in tokens:
                logits.append(out.logits[0, -1])
                rest = {name: given[name] for name in given if name == "encoder_outputs"}
                out = model(
                    **{word: token}, **rest, past_key_values=out.past_key_values, use_cache=True
                )
            return torch.stack([*logits, out.logits[0, -1]]).float().cpu()

    def _called(self, works: Sequence[Work]) -> list[Heard]:
        """One call of the model, which does one thing at a time; in the model's thread."""
        try:
            with oom.told("Speech was being recognised"), self._torch.inference_mode():
                return [self.transcribe(work) for work in works]
        except EngineError:
            raise
        except (RuntimeError, ValueError, IndexError) as error:
            raise EngineLost(
                "stt_failed",
                f"Speech recognition by {self.name} failed: {host.first_line(error)}.",
                remedy=f"If it goes on, use a smaller model or another device ({self.name}:NAME@cpu).",
            ) from error

    def bound(self, work: Work) -> dict[str, Any]:
        """For `generate`: how much may come of some sound, and that it ends once nobody wants it."""
        seconds = len(work.sound) / STREAM.rate_hz
        torch = self._torch

        def is_dropped(ids: Any, _: Any, **__: Any) -> Any:
            return torch.full((len(ids),), work.dropped.is_set(), device=ids.device)

        return {
            "max_new_tokens": min(TOKENS_AT_MOST, TOKENS_AT_LEAST + int(seconds * TOKENS_PER_S)),
            "stopping_criteria": [is_dropped],
        }

    @abstractmethod
    def fit(self, folder: Path) -> None:
        """Narrow `capabilities` to what is there."""

    @abstractmethod
    def mel_bands(self, model: Any) -> int:
        """Those that a model takes."""

    @abstractmethod
    def given(self, model: Any, work: Work) -> tuple[dict[str, Any], str]:
        """For one step of a model over some sound: what it is given, and under which name it takes a word."""

    @abstractmethod
    def transcribe(self, work: Work) -> Heard:
        """What is said in some sound; in the model's thread."""

    @abstractmethod
    def processor_remedy(self, folder: Path) -> str:
        """What to do where the processor cannot be loaded."""


def _noise() -> Samples:
    """As long as a spoken command, always the same."""
    sound = np.random.default_rng(0).normal(0, 0.05, ms_to_samples(WARM_UP_MS))
    return sound.astype(np.float32)
