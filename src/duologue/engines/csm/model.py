"""CSM as Transformers has it, opened, and what goes into it: texts, sound that was said, codes.

A turn of a conversation is, in the backbone's positions: the tokens of the text with its speaker, then a frame of
codes for each 80 ms of its sound, then the frame that ends it. A frame's position is the sum of the embeddings of
its codes. 2048 positions are all there are: some 160 s of speech, text counted in.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.csm import codec
from duologue.engines.csm.codec import Samples
from duologue.engines.models.store import how_to_get
from duologue.engines.torchkit import device as devices
from duologue.engines.torchkit import host, loading, precision
from duologue.engines.torchkit.device import Device
from duologue.engines.torchkit.fastest import Place, fastest
from duologue.engines.torchkit.ways import Asked, Way, ways
from duologue.ports import Clock

KNOWN = "csm-1b"
"""As the catalogue of models names it."""

RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_MS = 80.0

END_CODE = 0
"""A frame of nothing but these, the last codebook aside, ends a speech. (`CsmConfig.codebook_eos_token_id`.)"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to run, and where.

    Attributes:
        torch: the module.
        model: a `CsmForConditionalGeneration`.
        processor: its `CsmProcessor`.
        precision: of backbone and depth decoder; the codec is in float32.
    """

    torch: Any
    model: Any
    processor: Any
    device: Device
    precision: str

    @property
    def positions(self) -> int:
        """Of the backbone's context."""
        return int(self.model.config.max_position_embeddings)

    @property
    def codebooks(self) -> int:
        """Codes of a frame."""
        return int(self.model.config.num_codebooks)

    @property
    def codes(self) -> int:
        """Sizes of a codebook: ids from there on stand for no sound, and the codec must not meet them."""
        return int(self.model.codec_model.config.codebook_size)

    def of_text(self, text: str, speaker: str) -> Any:
        """A turn's text as the backbone takes it: [1, positions, width]."""
        turn = [{"role": speaker, "content": [{"type": "text", "text": text}]}]
        made = self.processor.apply_chat_template(turn, tokenize=True, return_dict=True)
        return self.model.embed_text_tokens(made["input_ids"].to(self.device.device))

    def of_codes(self, codes: Any) -> Any:
        """Frames as the backbone takes them.

        Args:
            codes: [1, frames, codebooks].
        """
        return self.model.backbone_model.embed_tokens(codes)

    def end(self) -> Any:
        """The frame that ends a turn's sound."""
        codes = self.torch.full((1, 1, self.codebooks), END_CODE, device=self.device.device)
        return self.of_codes(codes)

    def encoded(self, sound: Samples) -> Any:
        """The codes of some sound: [1, frames, codebooks]."""
        values = self.torch.from_numpy(sound).to(self.device.device)[None, None]
        codes = self.model.codec_model.encode(values).audio_codes
        return codes[:, : self.codebooks].transpose(1, 2)


def load(
    placement: Placement,
    folder: Path,
    tried: Callable[[Loaded], Any],
    verdicts: Path,
    clock: Clock,
) -> Loaded:
    """Open a checkpoint on the device that works, in the way that proves the fastest there.

    Args:
        tried: what ways are compared by: see `trial.tried`.
        verdicts: a folder; see `torchkit.contest.remembered`.

    Raises:
        EngineUnavailable: a library, a device or a file is missing, or the model is another one.
        EngineOutOfMemory: it does not fit.
        SetupError: there is no such precision, or an option has no such value.
    """
    asked = Asked.of(placement)
    torch = devices.library()
    transformers = loading.transformers()
    check(transformers, folder)
    device = devices.find(placement)
    chosen = precision.choose(device, placement.precision)
    heard_alike = tuple(name for name in chosen.rivals if name != "int8")  # it is the codec's, too
    processor = _processor(transformers, folder)

    def opened(way: Way) -> Loaded:
        model = loading.load_model(
            transformers.CsmForConditionalGeneration,
            folder,
            device,
            way.precision,
            max_memory=placement.option("max_memory") or None,
            attention=way.attention,
        )
        codec.check(model.codec_model)
        model.codec_model.float()  # 8 bits of bfloat16's fraction would be heard as noise at -50 dB
        return Loaded(torch, model, processor, device, way.precision)

    place = Place(torch, device, verdicts, clock)
    candidates = ways(replace(chosen, rivals=heard_alike), asked)
    return opened(fastest(place, folder, candidates, opened, tried, chosen.why))


def check(transformers: Any, folder: Path) -> None:
    """See that a folder holds CSM, and that this Transformers knows it.

    Raises:
        EngineUnavailable: what is missing.
    """
    loading.check(folder)
    if not hasattr(transformers, "CsmForConditionalGeneration"):
        raise EngineUnavailable(
            "transformers_too_old",
            f"Transformers {transformers.__version__} does not know CSM.",
            remedy="Run `pip install -U 'duologue[transformers]'`.",
        )
    try:
        kind = json.loads((folder / "config.json").read_text()).get("model_type", "")
    except (OSError, ValueError, AttributeError):
        kind = ""
    if kind != "csm":
        raise EngineUnavailable(
            "csm_other_model",
            f"The model in {folder} is not CSM: its config.json says '{kind}'.",
            remedy=f"Run {how_to_get(KNOWN)}; `duologue models list` shows names.",
        )


def _processor(transformers: Any, folder: Path) -> Any:
    try:
        return transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise EngineUnavailable(
            "csm_processor_missing",
            f"The processor of CSM in {folder} cannot be loaded: {host.first_line(error)}.",
            remedy="Place the checkpoint's tokenizer.json, tokenizer_config.json, "
            f"preprocessor_config.json and chat template in {folder}.",
        ) from error
