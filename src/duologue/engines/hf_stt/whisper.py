"""Whisper as OpenAI published it, on Transformers: for GPUs that CTranslate2 does not know (Apple's, AMD's), and for
models fine-tuned there. Elsewhere `whisper:` does the same faster, in 8 bits.

    --stt transformers-whisper:whisper-large-v3-turbo@mps
    --stt transformers-whisper:/path/to/model@cuda:1/fp16?beams=5

Whatever its length, sound is padded to the 30 s that Whisper was trained on.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from duologue.core.audio import STREAM
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import SetupError
from duologue.engines.base import EngineSpec
from duologue.engines.hf_stt.recogniser import MAX_STREAMS, Recogniser
from duologue.engines.hf_stt.stream import Heard, Work
from duologue.engines.models import store as models
from duologue.engines.whisper.transcriber import ISO

NO_SPEECH = 0.6
"""Sound is no speech if the model gives that more probability than this, and is less sure of the text ..."""

LOG_PROBABILITY = -1.0
"""... than this on average. Both from the Whisper paper, section 4.5."""

HINT_CHARS = 600
"""Hints are cut after this, at a phrase: about 150 tokens of English, of which Whisper takes up to 223."""

MOST_BEAMS = 10


class TransformersWhisper(Recogniser):
    """See the module."""

    name = "transformers-whisper"
    kind = "whisper"
    model_class = "WhisperForConditionalGeneration"
    vocabularies = ("tokenizer.json", "vocab.json")
    declared = Capabilities(
        rate_hz=STREAM.rate_hz,
        streaming=False,
        holds_gil=True,
        max_streams=MAX_STREAMS,
        ram_mib=1_200,
    )
    _is_multilingual = False
    _beams = 1

    def fit(self, folder: Path) -> None:
        """See `Recogniser`."""
        self._beams = _beams(self._placement.option("beams"))
        known = getattr(self._model.generation_config, "lang_to_id", None) or {}
        self._is_multilingual = len(known) > 1
        languages = tuple(mark.strip("<|>") for mark in known) if self._is_multilingual else ("en",)
        self.capabilities = replace(
            self.capabilities, languages=languages, translates=self._is_multilingual
        )

    def mel_bands(self, model: Any) -> int:
        """See `Recogniser`."""
        return int(model.config.num_mel_bins)

    def given(self, model: Any, work: Work) -> tuple[dict[str, Any], str]:
        """See `Recogniser`."""
        start = self._torch.tensor(
            [[model.config.decoder_start_token_id]], device=self._device.device
        )
        encoded = model.get_encoder()(self._features(model, work))
        return {"encoder_outputs": encoded, "decoder_input_ids": start}, "decoder_input_ids"

    def transcribe(self, work: Work) -> Heard:
        """See `Recogniser`."""
        features = self._features(self._model, work)
        language = work.manner.language
        if self._is_multilingual and not language:
            language = self._detected(features)
        ids = self._model.generate(
            features,
            **self.bound(work),
            **self._how(work, language),
            num_beams=self._beams,
            temperature=0.0,
            return_timestamps=False,
            no_speech_threshold=NO_SPEECH,
            logprob_threshold=LOG_PROBABILITY,
        )
        text: str = self._processor.tokenizer.decode(ids[0], skip_special_tokens=True)
        detected = language if text.strip() and not work.manner.language else ""
        return Heard(text.strip(), ISO.get(detected, detected))

    def _detected(self, features: Any) -> str:
        """The language that is spoken, as Whisper names it; `generate` would find out in the same way."""
        (found,) = self._model.detect_language(input_features=features).tolist()
        marks = self._model.generation_config.lang_to_id
        return str(next(mark for mark, number in marks.items() if number == found)).strip("<|>")

    def _features(self, model: Any, work: Work) -> Any:
        return self._processor.feature_extractor(
            work.sound,
            sampling_rate=STREAM.rate_hz,
            return_tensors="pt",
            device=self._device.device if self._device.kind == "cuda" else "cpu",
        ).input_features.to(self._device.device, model.dtype)

    def _how(self, work: Work, language: str) -> dict[str, Any]:
        how: dict[str, Any] = {}
        if self._is_multilingual:
            how["language"] = language
            how["task"] = "translate" if work.manner.translates else "transcribe"
        if hints := _prompt(work.manner.hints):
            ids = self._processor.tokenizer.get_prompt_ids(hints, return_tensors="pt")
            how["prompt_ids"] = ids.to(self._device.device)
        return how

    def processor_remedy(self, folder: Path) -> str:
        """See `Recogniser`."""
        return (
            "Place the checkpoint's tokenizer.json, tokenizer_config.json and preprocessor_config.json "
            f"in {folder}."
        )


def _prompt(hints: tuple[str, ...]) -> str:
    """Hints as one line; a hint must not hold what the model takes for a control token."""
    line = ""
    for hint in hints:
        phrase = " ".join(hint.replace("<|", " ").split())
        longer = f"{line}, {phrase}" if line else phrase
        if len(longer) > HINT_CHARS:
            break
        line = longer
    return line


def _beams(text: str) -> int:
    if not text:
        return 1
    if not text.isdecimal() or not 1 <= int(text) <= MOST_BEAMS:
        raise SetupError(
            "stt_option_invalid",
            f"beams={text} cannot be used for Whisper.",
            remedy=f"Write a number from 1 to {MOST_BEAMS}; without it, 1 is used.",
        )
    return int(text)


SPEC = EngineSpec(
    TransformersWhisper.name,
    Role.STT,
    TransformersWhisper.declared,
    TransformersWhisper,
    is_own_process=True,
    about="Whisper (MIT) on PyTorch: for GPUs and models that `whisper` does not take",
    locate=models.in_folder,
)
