"""Which Whisper model is meant, where it lies, and whether it is whole: known before anything is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.models import store as models
from duologue.engines.models.sources import CATALOGUE

REQUIRED = ("model.bin", "config.json", "tokenizer.json")
"""Without `tokenizer.json` faster-whisper would go and download one."""

VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
"""Either will do; older conversions have the second."""

_DEVICE = re.compile(r"@(?P<device>cpu|cuda)(:(?P<number>\d+))?$")


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands behind "whisper:".

    Attributes:
        model: a folder, or the name of a model in the models folder.
        device: "cpu", "cuda", or "" for the best that works.
        number: threads of a CPU, index of a GPU; None for as it fits.
    """

    model: str
    device: str = ""
    number: int | None = None

    @classmethod
    def parse(cls, argument: str) -> "Choice":
        """Read MODEL[@cpu[:THREADS]] or MODEL[@cuda[:INDEX]].

        Raises:
            SetupError: no threads at all.
        """
        found = _DEVICE.search(argument)
        if found is None:
            return cls(argument)
        number = found["number"]
        if found["device"] == "cpu" and number is not None and int(number) < 1:
            raise SetupError(
                "whisper_threads_invalid", f"'{argument}' leaves Whisper no thread to run in."
            )
        model = argument[: found.start()]
        return cls(model, found["device"], None if number is None else int(number))

    @property
    def is_path(self) -> bool:
        """It names a folder, and no model of the models folder."""
        return "/" in self.model or self.model.startswith((".", "~"))

    def folder(self, models_folder: Path) -> Path:
        """Where the model lies.

        Raises:
            EngineUnavailable: none is named, or it is not in the models folder.
        """
        if not self.model:
            raise EngineUnavailable(
                "whisper_model_unnamed",
                "Whisper was asked for without a model.",
                remedy="Write whisper:NAME or whisper:/path/to/model; `duologue models list` shows names.",
            )
        if self.is_path:
            return Path(self.model).expanduser()
        return models.find(self.model, models_folder)


def in_folder(argument: str, models_folder: Path) -> str:
    """The same argument with a model's bare name written out as its path in another models folder."""
    choice = Choice.parse(argument)
    if not choice.model or choice.is_path:
        return argument
    return f"{models_folder.expanduser() / choice.model}{argument[len(choice.model) :]}"


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
