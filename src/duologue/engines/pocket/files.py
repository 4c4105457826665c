"""The files of a Pocket TTS model, and the configuration that opens them from here instead of from a hub.

As `kyutai/pocket-tts-without-voice-cloning` has them, for each language a folder:

    languages/english/model.safetensors
    languages/english/tokenizer.json           (or tokenizer.model)
    languages/english/embeddings/alba.safetensors …

A voice is a state of the network after it has heard somebody; `pocket-tts export-voice` makes one of a recording.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.models.store import how_to_get
from duologue.engines.voices import model_files

LANGUAGES = {
    "english": "en",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "portuguese": "pt",
    "spanish": "es",
    "dutch": "nl",
}
"""First word of a configuration's name -> ISO-639-1."""

FAVOURITES = ("alba", "estelle", "juergen", "giovanni", "rafael", "lola", "daan")
"""The default voice of each language, in the package's own list."""

KNOWN = "pocket-tts"
"""As the catalogue of models names the English one."""


@dataclass(frozen=True, slots=True)
class PocketFiles:
    """A model's files.

    Attributes:
        name: of the configuration: "english", "german_24l".
        config: the model's own YAML; None for the one that the package has under that name.
        voices: name -> state.
    """

    name: str
    weights: Path
    tokenizer: Path
    config: Path | None
    voices: dict[str, Path]

    @property
    def language(self) -> str:
        """ISO-639-1; English where the name does not tell."""
        return LANGUAGES.get(self.name.partition("_")[0], "en")


def read(placement: Placement) -> PocketFiles:
    """Find a model.

    Raises:
        EngineUnavailable: it is missing, not whole, or one of several.
    """
    place = model_files.place_of(placement, "pocket")
    folder = _folder(place if place.is_dir() else place.parent, placement.option("language"))
    tokenizers = [folder / name for name in ("tokenizer.json", "tokenizer.model")]
    tokenizer = next((file for file in tokenizers if file.is_file()), None)
    if tokenizer is None:
        raise model_files.missing("pocket", folder, "tokenizer.json", _remedy(place))
    states = [*folder.glob("embeddings/*.safetensors"), *folder.glob("voices/*.safetensors")]
    if not states:
        raise model_files.missing("pocket", folder, "embeddings/*.safetensors", _remedy(place))
    config = folder / "config.yaml"
    return PocketFiles(
        placement.option("config") or folder.name,
        folder / "model.safetensors",
        tokenizer,
        config if config.is_file() else None,
        {file.stem: file for file in sorted(states)},
    )


def configuration(library: Any, files: PocketFiles) -> str:
    """The model's configuration with the paths of its files; as JSON, which YAML is a superset of.

    Args:
        library: the module `pocket_tts.utils.config`.

    Raises:
        EngineUnavailable: the package has no configuration of that name.
    """
    path = files.config or library.CONFIGS_DIR / f"{files.name}.yaml"
    try:
        config = library.load_config(path).model_dump(mode="json")
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in library.CONFIGS_DIR.glob("*.yaml")))
        raise EngineUnavailable(
            "pocket_config_unknown",
            f"Pocket TTS knows no model '{files.name}'.",
            remedy=f"Name the folder for one of these, or write ?config=NAME: {known}.",
        ) from error
    config["weights_path"] = str(files.weights)
    config["weights_path_without_voice_cloning"] = None
    config["flow_lm"]["weights_path"] = config["mimi"]["weights_path"] = None
    config["flow_lm"]["lookup_table"]["tokenizer_path"] = str(files.tokenizer)
    return json.dumps(config)


def _folder(place: Path, language: str) -> Path:
    found = sorted(file.parent for file in place.rglob("model.safetensors"))
    if not found:
        raise model_files.missing("pocket", place, "model.safetensors", _remedy(place))
    fit = [folder for folder in found if folder.name == (language or "english")]
    if len(found) == 1 and not language:
        return found[0]
    if fit:
        return fit[0]
    raise EngineUnavailable(
        "pocket_language_unknown",
        f"There is no model '{language or 'english'}' in {place}.",
        remedy=f"Write ?language=NAME; there are: {', '.join(folder.name for folder in found)}.",
    )


def _remedy(folder: Path) -> str:
    return (
        f"Run {how_to_get(folder.name, instead=KNOWN, again=True)}, or place model.safetensors, tokenizer.json "
        "and embeddings/ of one language in a folder of its name."
    )
