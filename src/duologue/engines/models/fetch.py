"""Brings a model's files from where its source says. All failures name what could be done instead."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from duologue.core.errors import EngineUnavailable
from duologue.engines.models import hub, wheel
from duologue.engines.models.forms import HubSource, LocalSource, Source, UrlSource, WheelSource
from duologue.engines.models.means import Means, by_hand, check_room, needs_network, offline
from duologue.engines.models.unpack import unpack
from duologue.engines.models.url import download


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came.

    Attributes:
        entry: the name of the file, if the model is a single one.
        revision: which it is, where the source knows several by one name.
    """

    entry: str = ""
    revision: str = ""


def fetch(source: Source, into: Path, *, place: Path, means: Means) -> Fetched:
    """Put the files into a folder.

    Args:
        into: for wheels and local files a folder that does not exist yet; for others it may hold what came before
            an earlier attempt broke off. Its parent is for whatever else is needed meanwhile.
        place: where an operator would put them, for the remedies.

    Raises:
        EngineUnavailable: it cannot be had.
        SetupError: it is larger than the disk.
        OSError: it cannot be stored.
    """
    if means.is_offline and needs_network(source):
        raise offline(source, place)
    match source:
        case LocalSource():
            return Fetched(_copy(source, into, means))
        case WheelSource():
            return Fetched(wheel.fetch(source, into, means, place))
        case HubSource():
            return Fetched(revision=hub.fetch(source, into, means, place))
        case UrlSource():
            return Fetched(_from_urls(source, into, means, place))


# --- a folder or file of this machine ---
def _copy(source: LocalSource, into: Path, means: Means) -> str:
    path = Path(source.path).expanduser()
    if path.is_file():
        check_room(into.parent, path.stat().st_size, str(path))
        into.mkdir()
        shutil.copyfile(path, into / path.name)
        return path.name
    if not path.is_dir():
        raise EngineUnavailable(
            "model_source_missing", f"There is no folder or file {path} to take a model from."
        )
    files = [file for file in path.rglob("*") if file.is_file()]
    if not files:
        raise EngineUnavailable("model_source_empty", f"The folder {path} holds no files.")
    total = sum(file.stat().st_size for file in files)
    check_room(into.parent, total, str(path))
    means.progress.begin(path.name, total)
    have = 0

    def copy(one: str, other: str) -> str:
        nonlocal have
        shutil.copyfile(one, other)
        have += Path(other).stat().st_size
        means.progress.reach(have)
        return other

    try:
        shutil.copytree(path, into, copy_function=copy)
    finally:
        means.progress.end()
    return ""


# --- addresses ---
def _from_urls(source: UrlSource, into: Path, means: Means, place: Path) -> str:
    """Archives are kept beside the folder until all of them are there."""
    into.mkdir(exist_ok=True)
    packed = into.parent / "archives"
    packed.mkdir(exist_ok=True)
    way_out = f"download it elsewhere and {by_hand(source, place)}"
    for link in source.links:
        target = (packed if link.is_archive else into) / link.file
        if not target.is_file():
            download(link, target, means, way_out)
    try:
        for link in source.links:
            if link.is_archive:
                unpack(packed / link.file, into)
    except EngineUnavailable:
        shutil.rmtree(packed)  # they are not good for another attempt
        raise
    only = source.links[0]
    return only.file if len(source.links) == 1 and not only.is_archive else ""
