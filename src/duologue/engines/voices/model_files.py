"""Where a voice's model lies, and which of its files is meant."""

from collections.abc import Sequence
from pathlib import Path

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.models import store as models


def place_of(placement: Placement, engine: str) -> Path:
    """A model's folder, or its file.

    Raises:
        EngineUnavailable: none is named, or there is none.
    """
    if not placement.model:
        raise EngineUnavailable(
            f"{engine}_model_unnamed",
            f"{engine} was asked for without a model.",
            remedy=f"Write {engine}:NAME or {engine}:/path/to/model; `duologue models list` shows names.",
        )
    if not placement.is_path:
        return models.find(placement.model, models.DEFAULT_FOLDER)
    place = Path(placement.model).expanduser()
    if not place.exists():
        name = place.stem if place.suffix == ".onnx" else place.name
        raise EngineUnavailable(
            f"{engine}_model_missing",
            f"There is no model of {engine}: {place} does not exist.",
            remedy=f"Run {models.how_to_get(name)}, or place its files there.",
        )
    return place


def missing(engine: str, place: Path, what: str, remedy: str) -> EngineUnavailable:
    """A file of a model is not there."""
    return EngineUnavailable(
        f"{engine}_file_missing",
        f"The model of {engine} in {place} is not whole: {what} is missing.",
        remedy=remedy,
    )


def of_precision(files: Sequence[Path], precision: str, aliases: Sequence[str]) -> Path | None:
    """The file whose name tells a precision; without one, that of the shortest name.

    Args:
        aliases: other names by which publishers call it.
    """
    names = (precision, *aliases) if precision else ("",)
    fit = [file for file in files if any(name in file.stem.lower() for name in names)]
    return min(fit, key=lambda file: (len(file.name), file.name), default=None)
