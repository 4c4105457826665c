"""By what means models are fetched, and what all ways of fetching ask and tell alike."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.models.forms import LocalSource, Source
from duologue.engines.models.progress import Progress


@dataclass(frozen=True, slots=True)
class Means:
    """What may be used.

    Attributes:
        is_offline: the network is not touched.
        mirror: in place of the scheme and host of addresses; or anything with "{url}" in it, which the whole
            address takes the place of. Empty for none.
        progress: who is told how far it is.
        sleep: waits between attempts, in seconds.
    """

    is_offline: bool = False
    mirror: str = ""
    progress: Progress = field(default_factory=Progress)
    sleep: Callable[[float], None] = time.sleep


def by_hand(source: Source, place: Path) -> str:
    """The way without us: which files go where."""
    return f"place its files ({', '.join(source.wanted)}) in {place}"


def offline(source: Source, place: Path) -> EngineUnavailable:
    """A model would have to be fetched, and must not be."""
    return EngineUnavailable(
        "model_offline",
        f"The model '{place.name}' is not there, and offline it is not fetched from {source}.",
        remedy=f"Get it elsewhere and {by_hand(source, place)}; or run `duologue models export {place.name} "
        "FILE.tar` on a machine that has it, and `duologue models import FILE.tar` here.",
    )


def needs_network(source: Source) -> bool:
    """It is not on this machine."""
    return not isinstance(source, LocalSource)


def check_room(folder: Path, needed: int, what: str) -> None:
    """See that so many bytes can still be stored.

    Args:
        folder: where; it exists.

    Raises:
        SetupError: they cannot.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SetupError(
            "disk_full",
            f"{what} needs {needed / 1e6:.0f} MB in {folder}, and {free / 1e6:.0f} MB are free.",
            remedy="Free some space (`duologue models rm NAME`), or choose another folder with DUOLOGUE_MODELS_DIR.",
        )
