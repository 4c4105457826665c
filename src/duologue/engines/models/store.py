"""The models folder: model files that were fetched once, each under a name of its own.

    FOLDER/small/model.bin …            the files
    FOLDER/small/duologue-model.json    where they came from, their sizes and hashes (`record`)
    FOLDER/.pull-small/                 what came of it before a download broke off

A model appears whole or not at all. One placed by hand, without the record, is as good as any other.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.models import record as records
from duologue.engines.models.fetch import fetch
from duologue.engines.models.forms import HubSource, Source, UrlSource
from duologue.engines.models.hub import size_of
from duologue.engines.models.means import Means, by_hand, needs_network, offline
from duologue.engines.models.sources import CATALOGUE

RECORD = records.NAME

DEFAULT_FOLDER = Path("~/.local/share/duologue/models")
"""Where engines look when they are not told (XDG base directory specification); `~` is not expanded yet."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STAGE = ".pull-"


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is there.

    Attributes:
        size: bytes of all its files.
        source: where it came from; empty if it was placed by hand.
        sha256: of the file, or of the sorted lines "sha256  path" of all files; empty if there is no record.
    """

    name: str
    size: int
    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a model has found.

    Attributes:
        problems: what is not as recorded, a line each.
        strangers: files that are there besides.
    """

    name: str
    state: Literal["whole", "damaged", "unrecorded"]
    problems: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


def pull(source: Source, name: str, folder: Path, means: Means | None = None) -> Path:
    """Fetch a model and put it into the models folder, in place of one of the same name.

    Returns:
        Where it lies; see `find`.

    Raises:
        SetupError: the name cannot be a folder's, the folder cannot be written to, the disk is too small, or
            somebody else fetches it already.
        EngineUnavailable: the source does not give it.
    """
    check_name(name)
    means = means or Means()
    if means.is_offline and needs_network(source):
        raise offline(source, folder / name)
    with stored(name, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _staged(source, name, folder) as stage:
            files = stage / "files"
            got = fetch(source, files, place=folder / name, means=means)
            record = records.of(files, name, str(source), got.revision, got.entry)
            (files / RECORD).write_text(record.to_json())
            put(files, folder / name, stage / "old")
    return find(name, folder)


def check_name(name: str) -> None:
    """See that a model can be called so.

    Raises:
        SetupError: it cannot be a folder's name.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(
            "model_name_invalid",
            f"'{name}' cannot be the name of a model.",
            remedy="Use letters, digits, '.', '_' and '-'; choose one with --as.",
        )


@contextmanager
def stored(name: str, folder: Path) -> Iterator[None]:
    """What the disk refuses is the operator's affair."""
    try:
        yield
    except OSError as error:
        raise SetupError(
            "models_folder_failed",
            f"The model '{name}' cannot be stored in {folder}: {error.strerror or error}.",
            remedy="Free some space, or choose another folder with DUOLOGUE_MODELS_DIR.",
        ) from error


@contextmanager
def _staged(source: Source, name: str, folder: Path) -> Iterator[Path]:
    """A folder to fetch into, for one process at a time; it stays if what came can be gone on with."""
    stage = folder / f"{_STAGE}{name}"
    stage.mkdir(exist_ok=True)
    lock = os.open(stage, os.O_RDONLY)
    try:
        _lock(lock, name, stage)
        note = stage / "source.txt"
        resumes = isinstance(source, (HubSource, UrlSource))
        if not (resumes and note.is_file() and note.read_text() == str(source)):
            _empty(stage)
        note.write_text(str(source))
        try:
            yield stage
        except BaseException:
            if not (resumes and size_of(stage / "files") + size_of(stage / "archives")):
                shutil.rmtree(stage)
            raise
        shutil.rmtree(stage)
    finally:
        os.close(lock)


def _lock(lock: int, name: str, stage: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino == stage.stat().st_ino:
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise SetupError(
        "model_being_fetched",
        f"The model '{name}' is being fetched by another process.",
        remedy="Wait until it is done.",
    )


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def put(new: Path, place: Path, old: Path) -> None:
    """Move a whole model to its place; what was there before comes back if that fails."""
    if not place.exists():
        new.rename(place)
        return
    place.rename(old)
    try:
        new.rename(place)
    except OSError:
        old.rename(place)
        raise


def find(name: str, folder: Path) -> Path:
    """Where a model lies: its folder, or its file where it is a single one.

    Raises:
        EngineUnavailable: it is not there.
    """
    place = folder.expanduser() / name
    if _NAME.fullmatch(name) and place.is_dir():
        return place / _entry(place)
    known = CATALOGUE.get(name)
    hand = by_hand(known.source, place) if known else f"place its files in {place}"
    more = (
        "" if known else " `duologue models list` shows what is there, and what is known by name."
    )
    raise EngineUnavailable(
        "model_not_installed",
        f"There is no model '{name}' in {folder.expanduser()}.",
        remedy=f"Run {how_to_get(name)}, or {hand}.{more}",
    )


def how_to_get(name: str, *, instead: str = "", again: bool = False) -> str:
    """The command that fetches a model, for remedies.

    Args:
        name: what it is called, or is to be called.
        instead: a name of the catalogue that does as well, where `name` is none.
        again: something of that name is there already.
    """
    if name not in CATALOGUE and instead:
        return f"`duologue models pull {instead}`"
    what = name if name in CATALOGUE else f"SOURCE --as {name}"
    return f"`duologue models pull {what}{' --again' if again else ''}`"


def is_there(name: str, folder: Path) -> bool:
    """There is such a model."""
    return _NAME.fullmatch(name) is not None and (folder / name).is_dir()


def in_folder(argument: str, folder: Path) -> str:
    """An engine's argument (`core.placement`) with a model's bare name written out as its path in a models folder."""
    placement = Placement.parse(argument)
    if not placement.model or placement.is_path:
        return argument
    return str(placement.at(str(folder.expanduser() / placement.model)))


def installed(folder: Path) -> list[InstalledModel]:
    """The models that are there, by name."""
    if not folder.is_dir():
        return []
    places = sorted(p for p in folder.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))
    return [_describe(place) for place in places]


def begun(folder: Path) -> dict[str, int]:
    """Models whose download broke off, and the bytes that came of each."""
    if not folder.is_dir():
        return {}
    stages = sorted(path for path in folder.iterdir() if path.name.startswith(_STAGE))
    return {path.name.removeprefix(_STAGE): size_of(path) for path in stages}


def remove(name: str, folder: Path) -> int:
    """Delete a model, and what came of one.

    Returns:
        Bytes that are free now.

    Raises:
        EngineUnavailable: there is neither.
        SetupError: it cannot be deleted.
    """
    place, stage = folder / name, folder / f"{_STAGE}{name}"
    if not is_there(name, folder) and not (_NAME.fullmatch(name) and stage.is_dir()):
        raise EngineUnavailable(
            "model_not_installed",
            f"There is no model '{name}' in {folder}.",
            remedy="`duologue models list` shows what is there.",
        )
    with stored(name, folder):
        freed = size_of(stage) + (0 if place.is_symlink() else size_of(place))
        with suppress(FileNotFoundError):
            shutil.rmtree(stage)
        if place.is_symlink():
            place.unlink()
        elif place.is_dir():
            going = folder / f".rm-{name}"  # half a model is never found
            place.rename(going)
            shutil.rmtree(going)
    return freed


def verify(name: str, folder: Path) -> Verdict:
    """Read every file of a model, and compare it with the record.

    Raises:
        EngineUnavailable: it is not there.
    """
    find(name, folder)
    place = folder / name
    record = records.read(place)
    if record is None and (place / RECORD).exists():
        return Verdict(name, "damaged", (f"{RECORD} is damaged",))
    if record is None:
        return Verdict(name, "unrecorded")
    problems = tuple(records.differences(place, record))
    state: Literal["whole", "damaged"] = "damaged" if problems else "whole"
    return Verdict(name, state, problems, tuple(records.strangers(place, record)))


def adopt(name: str, folder: Path) -> None:
    """Write the record of a model that was placed by hand, as it lies there now.

    Raises:
        EngineUnavailable: it is not there, or holds nothing.
        SetupError: it cannot be written.
    """
    place = folder / name
    found = find(name, folder)
    with stored(name, folder):
        record = records.of(place, name, entry="" if found == place else found.name)
        if not record.files:
            raise EngineUnavailable("model_empty", f"The folder {place} holds no files.")
        (place / RECORD).write_text(record.to_json())


def _describe(place: Path) -> InstalledModel:
    record = records.read(place)
    size = sum(path.stat().st_size for path in records.files_in(place))
    if record is None:
        return InstalledModel(place.name, size, "", "")
    return InstalledModel(place.name, size, record.source, record.sha256)


def _entry(place: Path) -> str:
    """The name of the file, where the model is a single one."""
    if record := records.read(place):
        return record.entry
    files = records.files_in(place)
    return files[0].relative_to(place).as_posix() if len(files) == 1 else ""
