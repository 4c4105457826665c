"""Mistral's Voxtral, on Transformers: a language model that listens. Of eight languages, and for a GPU: 3 billion
parameters and more, 10 GB in bfloat16 with what they work on.

    --stt voxtral:voxtral-mini-3b                 a model of the models folder, on the best device that works
    --stt voxtral:/path/to/model@cuda:1/bf16

It is asked in the form of a transcription request, whose tokens mistral-common makes, so that package is needed, with
soundfile and soxr (`mistral-common[audio]`). Sound is padded to 30 s. It takes no hints and translates nothing.
"""

from pathlib import Path
from typing import Any

from duologue.core.audio import STREAM
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.engines.base import EngineSpec
from duologue.engines.hf_stt.recogniser import MAX_STREAMS, Recogniser
from duologue.engines.hf_stt.stream import Heard, Work
from duologue.engines.models import store as models

LANGUAGES = ("en", "es", "fr", "pt", "hi", "de", "nl", "it")
"""Those of its model card."""

LIBRARIES = ("mistral_common", "soundfile", "soxr")


class Voxtral(Recogniser):
    """See the module."""

    name = "voxtral"
    kind = "voxtral"
    model_class = "VoxtralForConditionalGeneration"
    vocabularies = ("tekken.json",)
    declared = Capabilities(
        languages=LANGUAGES,
        rate_hz=STREAM.rate_hz,
        streaming=False,
        holds_gil=True,
        max_streams=MAX_STREAMS,
        ram_mib=3_000,
    )

    def load(self) -> None:
        """See `Recogniser`."""
        for name in LIBRARIES:
            try:
                __import__(name)
            except (ImportError, OSError) as error:  # OSError: soundfile without its library
                raise EngineUnavailable(
                    "voxtral_missing",
                    f"Voxtral cannot run: {name} is not installed ({error}).",
                    remedy="Run `make setup EXTRAS=voxtral`, or `pip install 'duologue[voxtral]'`.",
                ) from error
        super().load()

    def fit(self, folder: Path) -> None:
        """See `Recogniser`."""

    def mel_bands(self, model: Any) -> int:
        """See `Recogniser`."""
        return int(model.config.audio_config.num_mel_bins)

    def given(self, model: Any, work: Work) -> tuple[dict[str, Any], str]:
        """See `Recogniser`."""
        return dict(self._request(model, work)), "input_ids"

    def transcribe(self, work: Work) -> Heard:
        """See `Recogniser`."""
        asked = self._request(self._model, work)
        ids = self._model.generate(**asked, **self.bound(work), do_sample=False)
        said = ids[0, asked["input_ids"].shape[1] :]
        text: str = self._processor.tokenizer.decode(said, skip_special_tokens=True)
        return Heard(text.strip())  # it does not say which language it took it for

    def _request(self, model: Any, work: Work) -> Any:
        return self._processor.apply_transcription_request(
            audio=work.sound,
            model_id=self.name,
            language=work.manner.language or None,
            sampling_rate=STREAM.rate_hz,
            format="wav",
        ).to(self._device.device, dtype=model.dtype)

    def processor_remedy(self, folder: Path) -> str:
        """See `Recogniser`."""
        return f"Place the checkpoint's tekken.json and preprocessor_config.json in {folder}."


SPEC = EngineSpec(
    Voxtral.name,
    Role.STT,
    Voxtral.declared,
    Voxtral,
    is_own_process=True,
    about="Mistral's Voxtral (Apache-2.0) on PyTorch: accurate, eight languages; needs a GPU",
    locate=models.in_folder,
)
