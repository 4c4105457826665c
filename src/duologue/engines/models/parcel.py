"""Carries a model to a machine without network: one tar file, the same for the same model, byte for byte.

small/duologue-model.json    the record, first, so that what follows can be checked as it comes
small/config.json            its files, by name
small/model.bin
"""

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.models import record as records
from duologue.engines.models import store
from duologue.engines.models.means import check_room
from duologue.engines.models.progress import Progress
from duologue.engines.models.record import FileRecord, Record

CHUNK = 1 << 20


def pack(name: str, folder: Path, file: Path, progress: Progress) -> int:
    """Write a model to a tar file that does not exist yet.

    Returns:
        Its bytes.

    Raises:
        EngineUnavailable: the model is not there, or is damaged.
        SetupError: the file is there, or cannot be written.
    """
    store.find(name, folder)
    place = folder / name
    record = _whole(name, folder)
    if file.exists():
        raise SetupError("parcel_exists", f"There is a file {file} already.", remedy="Remove it.")
    part = file.with_name(f"{file.name}.part")
    try:
        check_room(file.absolute().parent, record.size, str(file))
        with _told(progress, file.name, record.size), tarfile.open(part, "w") as tar:
            text = record.to_json().encode()
            tar.addfile(_entry(f"{name}/{records.NAME}", len(text)), io.BytesIO(text))
            have = 0
            for path, about in sorted(record.files.items()):
                with (place / path).open("rb") as data:
                    tar.addfile(_entry(f"{name}/{path}", about.size), data)
                have += about.size
                progress.reach(have)
        part.rename(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SetupError(
            "parcel_not_written", f"{file} cannot be written: {error.strerror or error}."
        ) from error
    return file.stat().st_size


def _whole(name: str, folder: Path) -> Record:
    """The record of a model that is as recorded; one that was placed by hand gets one now, for the parcel."""
    found = store.verify(name, folder)
    if found.state == "damaged":
        raise EngineUnavailable(
            "model_damaged",
            f"The model '{name}' is not as it came: {'; '.join(found.problems)}.",
            remedy=f"Fetch it again: {store.how_to_get(name, again=True)}.",
        )
    place = folder / name
    record = records.read(place)
    if record is None:
        lies = store.find(name, folder)
        record = records.of(place, name, entry="" if lies == place else lies.name)
    if not record.files:
        raise EngineUnavailable("model_empty", f"The folder {place} holds no files.")
    return record


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Nothing of who packed it, and when."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, 0, 0o644
    return entry


def unpack(
    file: Path, folder: Path, progress: Progress, *, name: str = "", replace: bool = False
) -> str:
    """Put a model out of a tar file into the models folder; it appears when all of it is checked.

    Args:
        name: what to call it; the name that it had if empty.
        replace: even if there is one of that name.

    Returns:
        What it is called.

    Raises:
        EngineUnavailable: it is no such file, is damaged, or holds what it should not.
        SetupError: it cannot be stored, or there is a model of that name.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            old_name, record = _record(tar, file)
            name = name or old_name
            store.check_name(name)
            if store.is_there(name, folder) and not replace:
                raise SetupError(
                    "model_exists",
                    f"There is a model '{name}' in {folder} already.",
                    remedy="Say --again to replace it, or --as to call this one otherwise.",
                )
            with store.stored(name, folder):
                _store(tar, file, old_name, record, folder, name, progress)
    except (tarfile.TarError, UnicodeError, EOFError) as error:
        raise _refused(file, f"it is no tar file, or not a whole one ({error})") from error
    except OSError as error:
        raise EngineUnavailable(
            "parcel_unreadable", f"{file} cannot be read: {error.strerror or error}."
        ) from error
    return name


def _record(tar: tarfile.TarFile, file: Path) -> tuple[str, Record]:
    first = tar.next()
    name, _, rest = first.name.partition("/") if first else ("", "", "")
    if first is None or not first.isreg() or rest != records.NAME or first.size > records.MAX_BYTES:
        raise _refused(file, f"it does not begin with a model's record ({records.NAME})")
    data = tar.extractfile(first)
    assert data is not None  # it is a file
    try:
        return name, records.parse(data.read())
    except ValueError as error:
        raise _refused(file, f"its record is damaged: {error}") from error


def _store(
    tar: tarfile.TarFile,
    file: Path,
    old_name: str,
    record: Record,
    folder: Path,
    name: str,
    progress: Progress,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    check_room(folder, record.size, f"The model '{name}'")
    left = dict(record.files)
    have = 0
    with tempfile.TemporaryDirectory(prefix=".import-", dir=folder) as scratch:
        files = Path(scratch) / "files"
        files.mkdir()
        with _told(progress, name, record.size):
            while (member := tar.next()) is not None:
                top, _, path = member.name.partition("/")
                about = left.pop(path, None) if top == old_name else None
                if about is None or not member.isreg() or member.size != about.size:
                    raise _refused(file, f"'{member.name}' is not in its record, or not like this")
                packed = tar.extractfile(member)
                assert packed is not None  # it is a file
                _copy(packed, files / path, about, file)
                have += about.size
                progress.reach(have)
        if left:
            raise _refused(file, f"{', '.join(left)} is missing")
        renamed = Record(name, record.source, record.revision, record.entry, record.files)
        (files / records.NAME).write_text(renamed.to_json())
        store.put(files, folder / name, Path(scratch) / "old")


def _copy(packed: IO[bytes], target: Path, about: FileRecord, file: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while chunk := packed.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != about.sha256:
        raise _refused(
            file, f"'{target.name}' in it is damaged: its SHA-256 is {digest.hexdigest()}"
        )


@contextmanager
def _told(progress: Progress, what: str, total: int) -> Iterator[None]:
    progress.begin(what, total)
    try:
        yield
    finally:
        progress.end()


def _refused(file: Path, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "parcel_refused",
        f"{file} is not taken in: {why}.",
        remedy="Make it again with `duologue models export NAME FILE.tar`.",
    )
