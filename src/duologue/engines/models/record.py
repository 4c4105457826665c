"""The record of a model: where it came from, and the size and hash of each of its files.

    {"name": "base", "source": "hub:…", "revision": "…", "entry": "", "sha256": "…",
     "files": {"model.bin": {"bytes": 145217532, "sha256": "…"}, …}}

`sha256` of the whole is that of the only file ("entry"), or of the sorted lines "sha256  path" of all.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from duologue.engines.models.url import sha256

NAME = "duologue-model.json"
"""Of its file, in the model's folder."""

MAX_BYTES = 8 << 20
"""Of a record: some ten thousand files."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file.

    Attributes:
        size: bytes.
        sha256: in hexadecimal.
    """

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """See the module.

    Attributes:
        source: where it came from; empty if it was placed by hand.
        revision: which it was, where the source knows several by one name; empty where it does not.
        entry: the name of the file, where the model is a single one.
    """

    name: str
    source: str
    revision: str
    entry: str
    files: Mapping[str, FileRecord]

    @property
    def sha256(self) -> str:
        """Of the whole."""
        if self.entry:
            return self.files[self.entry].sha256
        lines = "".join(f"{about.sha256}  {path}\n" for path, about in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(about.size for about in self.files.values())

    def to_json(self) -> str:
        """As it is written to its file."""
        files = {path: {"bytes": f.size, "sha256": f.sha256} for path, f in self.files.items()}
        known = {"name": self.name, "source": self.source, "revision": self.revision}
        known |= {"entry": self.entry, "sha256": self.sha256}
        if not self.revision:
            del known["revision"]
        return json.dumps({**known, "files": files}, indent=2) + "\n"


def of(place: Path, name: str, source: str = "", revision: str = "", entry: str = "") -> Record:
    """Of the files that lie in a folder now."""
    files = {
        path.relative_to(place).as_posix(): FileRecord(path.stat().st_size, sha256(path))
        for path in files_in(place)
    }
    return Record(name, source, revision, entry, files)


def files_in(place: Path) -> list[Path]:
    """A model's own files."""
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != NAME)


def read(place: Path) -> Record | None:
    """The record in a folder; None if there is none, or it is damaged."""
    try:
        return parse((place / NAME).read_bytes())
    except (OSError, ValueError):
        return None


def parse(data: bytes) -> Record:
    """Read a record that anybody may have written.

    Raises:
        ValueError: it is none, contradicts itself, or names files outside the model's folder.
    """
    if len(data) > MAX_BYTES:
        raise ValueError("it is too large")
    raw = json.loads(data)
    try:
        files = {
            path: FileRecord(_size(about), _hash(about)) for path, about in raw["files"].items()
        }
        texts = [raw["name"], raw["source"], raw.get("revision", ""), raw["entry"]]
        whole = raw["sha256"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it lacks {error}") from error
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a text is none")
    record = Record(texts[0], texts[1], texts[2], texts[3], files)
    if not files or (record.entry and record.entry not in files):
        raise ValueError("it names no files")
    for path in files:
        parts = PurePosixPath(path).parts
        if "/".join(parts) != path or not {"/", "..", NAME}.isdisjoint(parts) or "\\" in path:
            raise ValueError(f"'{path}' lies outside")
    if record.sha256 != whole:
        raise ValueError("its hash is not that of its files")
    return record


def _size(about: Any) -> int:
    size = about["bytes"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"{size!r} is no size")
    return size


def _hash(about: Any) -> str:
    text = str(about["sha256"])
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"'{text}' is no hash")
    return text


def differences(place: Path, record: Record) -> Iterator[str]:
    """What is not as recorded, a line each; files that the record does not know are no matter of it."""
    for path, about in record.files.items():
        file = place / path
        if not file.is_file():
            yield f"{path} is missing"
        elif (size := file.stat().st_size) != about.size:
            yield f"{path} has {size} bytes instead of {about.size}"
        elif (found := sha256(file)) != about.sha256:
            yield f"{path} has the SHA-256 {found} instead of {about.sha256}"


def strangers(place: Path, record: Record) -> list[str]:
    """Files in the folder that the record does not know."""
    there = (path.relative_to(place).as_posix() for path in files_in(place))
    return [path for path in there if path not in record.files]
