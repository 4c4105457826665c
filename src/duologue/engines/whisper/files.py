"""Which Whisper model is meant, where it lies, and whether it is whole: known before anything is loaded."""

from pathlib import Path

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.models import store as models
from duologue.engines.models.sources import CATALOGUE

REQUIRED = ("model.bin", "config.json", "tokenizer.json")
"""Without `tokenizer.json` faster-whisper would go and download one."""

VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
"""Either will do; older conversions have the second."""

PRECISIONS = (
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "float16",
    "bfloat16",
    "float32",
)
"""Of weights, and after the underscore of what is computed (CTranslate2's documentation, "Quantization")."""

_ALIASES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "int8_fp16": "int8_float16"}

MAX_BATCH = 32
"""Sessions in a call, where somebody sets it."""


def placed(argument: str) -> Placement:
    """What stands behind "whisper:": MODEL[@cpu[:THREADS] | @cuda[:INDEX]][/PRECISION][?batch=N].

    Raises:
        SetupError: a device, precision or option that is none of CTranslate2's, or no threads at all.
    """
    placement = Placement.parse(argument)
    if placement.device == "mps":
        raise SetupError(
            "whisper_device_unknown",
            "Whisper runs on CTranslate2, which knows no Apple GPU.",
            remedy="Use whisper:NAME@cpu.",
        )
    if placement.precision and precision_of(placement) not in PRECISIONS:
        raise SetupError(
            "whisper_precision_unknown",
            f"Whisper has no precision '{placement.precision}'.",
            remedy=f"Use one of: {', '.join(PRECISIONS)}.",
        )
    for key, value in placement.options:
        if key != "batch" or not value.isdecimal() or not 1 <= int(value) <= MAX_BATCH:
            raise SetupError(
                "whisper_option_unknown",
                f"Whisper has no option '{key}={value}'.",
                remedy=f"The only one is batch=N: how many sessions in a call, from 1 to {MAX_BATCH}.",
            )
    return placement


def precision_of(placement: Placement) -> str:
    """The precision that was asked for, as CTranslate2 calls it; empty if none was."""
    return _ALIASES.get(placement.precision, placement.precision)


def folder_of(placement: Placement, models_folder: Path) -> Path:
    """Where the model lies.

    Raises:
        EngineUnavailable: none is named, or it is not in the models folder.
    """
    if not placement.model:
        raise EngineUnavailable(
            "whisper_model_unnamed",
            "Whisper was asked for without a model.",
            remedy="Write whisper:NAME or whisper:/path/to/model; `duologue models list` shows names.",
        )
    if placement.is_path:
        return Path(placement.model).expanduser()
    return models.find(placement.model, models_folder)


def check(folder: Path) -> None:
    """See that a model in CTranslate2's format is there and whole.

    Raises:
        EngineUnavailable: what is missing, and the command that gets it.
    """
    if not folder.is_dir():
        raise EngineUnavailable(
            "whisper_folder_missing",
            f"There is no Whisper model: the folder {folder} does not exist.",
            remedy=_remedy(folder),
        )
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in VOCABULARIES):
        missing.append(VOCABULARIES[0])
    if not missing:
        return
    if "model.bin" in missing and any(folder.glob("*.safetensors")):
        raise EngineUnavailable(
            "whisper_not_converted",
            f"The Whisper model in {folder} is in the format of Transformers, not of CTranslate2.",
            remedy=f"Convert it: ct2-transformers-converter --model {folder} --output_dir {folder}-ct2 "
            "--quantization int8 --copy_files tokenizer.json preprocessor_config.json",
        )
    raise EngineUnavailable(
        "whisper_file_missing",
        f"The Whisper model in {folder} is not whole: {', '.join(missing)} is missing.",
        remedy=_remedy(folder),
    )


def _remedy(folder: Path) -> str:
    name = folder.name if folder.name in CATALOGUE else "small"
    return (
        f"Run `duologue models pull {name}` and use whisper:{name}, or copy a model in CTranslate2's "
        f"format there ({', '.join((*REQUIRED, VOCABULARIES[0]))})."
    )
