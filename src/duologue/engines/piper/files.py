"""The files of a Piper voice: a network, and beside it what it was trained with, under its name with `.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable
from duologue.core.languages import family
from duologue.core.placement import Placement
from duologue.engines.models.store import how_to_get
from duologue.engines.voices import model_files

KNOWN = "en_US-lessac-medium"
"""As the catalogue of models names a voice."""

READ_HERE = ("espeak", "text")
"""How a voice's letters become its symbols, of what the library knows; the others (Chinese, Japanese, Hebrew, Thai)
want packages or downloads of their own."""


@dataclass(frozen=True, slots=True)
class PiperFiles:
    """A voice's files.

    Attributes:
        config: what the JSON file says.
    """

    network: Path
    config: dict[str, Any]

    @property
    def language(self) -> str:
        """ISO-639-1, of its tag ("en_US") or of espeak-ng's voice ("en-us")."""
        tag = self.config.get("language", {}).get("code") or self.config["espeak"]["voice"]
        return family(str(tag))


def read(placement: Placement) -> PiperFiles:
    """Find a voice and read its description.

    Raises:
        EngineUnavailable: there is none, it is one of several, or it is none that we can use.
    """
    place = model_files.place_of(placement, "piper")
    network = place if place.is_file() else _only(place, placement.option("voice"))
    described = network.with_name(f"{network.name}.json")
    if not described.is_file():
        raise model_files.missing("piper", network.parent, described.name, _remedy(network.parent))
    try:
        config = json.loads(described.read_text(encoding="utf-8"))
        config["audio"]["sample_rate"], config["espeak"]["voice"], config["phoneme_id_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineUnavailable(
            "piper_config_invalid",
            f"{described} does not describe a voice of Piper: {error!r}.",
            remedy=_remedy(network.parent),
        ) from error
    kind = config.get("phoneme_type", "espeak")
    if kind not in READ_HERE:
        raise EngineUnavailable(
            "piper_phonemes_unsupported",
            f"The voice {network.stem} reads its language by '{kind}', which is not supported here.",
            remedy=f"Choose a voice whose phoneme_type is one of: {', '.join(READ_HERE)}.",
        )
    return PiperFiles(network, config)


def _only(folder: Path, wanted: str) -> Path:
    found = sorted(folder.rglob("*.onnx"))
    fit = [file for file in found if not wanted or file.stem == wanted]
    if len(fit) == 1:
        return fit[0]
    if not found:
        raise model_files.missing("piper", folder, "a network (*.onnx)", _remedy(folder))
    raise EngineUnavailable(
        "piper_voice_unknown",
        f"There is no voice '{wanted}' in {folder}." if wanted else f"{folder} has several voices.",
        remedy=f"Write ?voice=NAME behind the model; there are: {', '.join(f.stem for f in found)}.",
    )


def _remedy(folder: Path) -> str:
    return (
        f"A voice is two files, for example {KNOWN}.onnx and {KNOWN}.onnx.json of rhasspy/piper-voices. Run "
        f"{how_to_get(folder.name, instead=KNOWN, again=True)}, or place both in one folder, and name that or the "
        "first of them."
    )
