"""Unpacks archives that strangers made: files and folders only, none outside its place, none larger than the disk."""

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from duologue.core.errors import EngineUnavailable
from duologue.engines.models.means import check_room

MAX_FILES = 10_000
"""In an archive; models have a few, voices some hundred."""


def unpack(archive: Path, into: Path) -> None:
    """Unpack into a folder. A single folder that holds everything is left out.

    Raises:
        EngineUnavailable: it is damaged, or holds what no model does.
        SetupError: it is larger than the disk.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _store(archive, _zipped(opened, archive), into)
        else:
            with tarfile.open(archive) as tar:
                _store(archive, _tarred(tar, archive), into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, UnicodeError, RuntimeError) as error:
        raise _refused(archive, f"it cannot be read ({error})") from error


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of an archive, opened when its turn comes."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes] | None]


def _tarred(tar: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    for member in tar:
        if member.isdir():
            continue
        if not member.isreg():
            raise _refused(archive, f"'{member.name}' is no file but a link or a device")
        yield _Member(safe(member.name, archive), member.size, partial(tar.extractfile, member))


def _zipped(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for member in opened.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if member.is_dir():
            continue
        if kind not in (0, stat.S_IFREG):
            raise _refused(archive, f"'{member.filename}' is no file but a link or a device")
        place = safe(member.filename, archive)
        yield _Member(place, member.file_size, partial(opened.open, member))


def safe(name: str, archive: Path) -> PurePosixPath:
    """A path inside an archive that leads nowhere else.

    Raises:
        EngineUnavailable: it does.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise _refused(archive, f"'{name}' lies outside")
    return path


def _store(archive: Path, found: Iterator[_Member], into: Path) -> None:
    members = list(islice(found, MAX_FILES + 1))
    if not members:
        raise _refused(archive, "it holds no files")
    if len(members) > MAX_FILES:
        raise _refused(archive, f"it holds more than {MAX_FILES} files")
    check_room(into, sum(member.size for member in members), f"What is in {archive.name}")
    top = {member.path.parts[0] for member in members}
    cut = 1 if len(top) == 1 and all(len(member.path.parts) > 1 for member in members) else 0
    for member in members:
        place = into.joinpath(*member.path.parts[cut:])
        place.parent.mkdir(parents=True, exist_ok=True)
        packed = member.open()
        assert packed is not None  # only files are asked for
        with packed, place.open("wb") as out:
            shutil.copyfileobj(packed, out)


def _refused(archive: Path, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "archive_refused",
        f"The archive {archive.name} is not unpacked: {why}.",
        remedy="Unpack it yourself where you trust it, and pull the folder.",
    )
