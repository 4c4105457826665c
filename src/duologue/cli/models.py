"""`duologue models`: get model files, list them, check them, carry them to other machines."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from duologue import settings
from duologue.core.errors import DuologueError, SetupError
from duologue.core.placement import Placement
from duologue.engines.models import parcel, store
from duologue.engines.models.forms import FORMS, LocalSource, Source
from duologue.engines.models.means import Means
from duologue.engines.models.progress import Line, Progress
from duologue.engines.models.sources import CATALOGUE, parse


def main(argv: list[str]) -> int:
    """Do it, in the folder that the settings name."""
    chosen = settings.load({})
    used_by = _used(chosen)
    return run(argv, chosen.models_folder, used_by=used_by, is_offline=chosen.offline)


def run(
    argv: list[str],
    folder: Path,
    *,
    used_by: dict[str, list[str]] | None = None,
    is_offline: bool = False,
) -> int:
    """The command.

    Args:
        used_by: of the models that the settings name, where.
        is_offline: the network is not to be touched, also if the command line does not say so.

    Returns:
        0 if all went well, 1 if something did not or is damaged.

    Raises:
        DuologueError: it could not be done at all.
    """
    given = parser(folder).parse_args(argv)
    used = used_by or {}
    match given.verb:
        case "list":
            _list(folder, used, as_json=given.json)
        case "pull":
            return _pull_all(given, folder, is_offline=is_offline)
        case "rm":
            _remove(given.names, folder, used)
        case "verify":
            return _verify(given.names, folder, adopt=given.adopt)
        case "export":
            size = parcel.pack(given.name, folder, given.file, _progress())
            print(f"{given.name} is in {given.file}: {size / 1e6:.1f} MB")
        case _:
            name = parcel.unpack(
                given.file, folder, _progress(), name=given.name, replace=given.again
            )
            print(f"{name} is ready: {store.find(name, folder)}")
    return 0


def parser(folder: Path) -> argparse.ArgumentParser:
    """The verbs and their options."""
    p = argparse.ArgumentParser(
        prog="duologue models",
        description=f"Model files in {folder}. Known by name: {', '.join(CATALOGUE)}.",
    )
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    show = verbs.add_parser("list", help="show the models that are there, and those known by name")
    show.add_argument("--json", action="store_true", help="only those that are there, for programs")
    _add_pull(verbs.add_parser("pull", help="fetch models; goes on with what broke off"))
    rm = verbs.add_parser("rm", help="delete models, and what came of them")
    rm.add_argument("names", nargs="+", metavar="NAME")
    check = verbs.add_parser("verify", help="read every file and compare it with the record")
    check.add_argument("names", nargs="*", metavar="NAME", help="all if none is named")
    check.add_argument(
        "--adopt", action="store_true", help="write the record of those placed by hand"
    )
    out = verbs.add_parser(
        "export", help="write a model to a tar file, for a machine without network"
    )
    out.add_argument("name", metavar="NAME")
    out.add_argument("file", type=Path, metavar="FILE.tar")
    take = verbs.add_parser("import", help="take a model out of such a file, checked")
    take.add_argument("file", type=Path, metavar="FILE.tar")
    take.add_argument("--as", dest="name", default="", metavar="NAME", help="what to call it here")
    take.add_argument("--again", action="store_true", help="even if there is one of that name")
    return p


def _add_pull(p: argparse.ArgumentParser) -> None:
    p.add_argument("sources", nargs="+", metavar="NAME|SOURCE", help=f"a known name, or {FORMS}")
    p.add_argument("--as", dest="name", default="", metavar="NAME", help="what to call it here")
    p.add_argument("--again", action="store_true", help="even if it is there")
    p.add_argument(
        "--offline", action="store_true", help="only say which files are missing, and where they go"
    )
    p.add_argument(
        "--mirror",
        default="",
        metavar="PREFIX",
        help="for https:// sources: in place of scheme and host, or with {url} in it (hubs: HF_ENDPOINT; wheels: "
        "PIP_INDEX_URL; proxies: HTTPS_PROXY)",
    )


# --- pull ---
def _pull_all(given: argparse.Namespace, folder: Path, *, is_offline: bool) -> int:
    """One that cannot be had does not keep the others from coming."""
    if given.name and len(given.sources) > 1:
        raise SetupError(
            "model_name_for_several", "--as names one model, and several are asked for."
        )
    means = Means(is_offline or given.offline, given.mirror, _progress())
    failures = 0
    for text in given.sources:
        try:
            _pull(text, given.name, folder, means, again=given.again)
        except DuologueError as error:
            if len(given.sources) == 1:
                raise
            failures += 1
            _note(f"{text}: {error.message}\n  {error.remedy}\n  ({error.code})")
    return 1 if failures else 0


def _pull(text: str, name: str, folder: Path, means: Means, *, again: bool) -> None:
    source = parse(text)
    known = CATALOGUE.get(text)
    if isinstance(source, LocalSource):
        source = LocalSource(str(Path(source.path).expanduser().resolve()))
    name = name or (text if known is not None else source.name)
    have = {model.name: model for model in store.installed(folder)}
    if not again and name in have:
        if have[name].source != str(source):
            raise _taken(have[name], source)
        place = store.find(name, folder)
        print(f"{name} is there already (--again fetches it anew): {place}")
        return
    if not means.is_offline:
        size = f", {known.megabytes} MB" if known is not None else ""
        print(f"fetching {name} from {source}{size} …", flush=True)
    place = store.pull(source, name, folder, means)
    print(f"{name} is ready: {place}")
    if known is not None and known.use:
        print(f"use it: {known.use.replace(f':{text}', f':{name}').replace('FOLDER', str(place))}")


def _taken(there: store.InstalledModel, source: Source) -> SetupError:
    came = f"came from {there.source}" if there.source else "was placed by hand"
    return SetupError(
        "model_name_taken",
        f"There is a model '{there.name}' already, which {came}, and not from {source}.",
        remedy="Choose another name with --as, or say --again to have this one in its place.",
    )


def _progress() -> Progress:
    return Line(sys.stderr, is_tty=sys.stderr.isatty())


# --- list ---
def _list(folder: Path, used: dict[str, list[str]], *, as_json: bool) -> None:
    have = store.installed(folder)
    if as_json:
        shown = [{**asdict(model), "used_by": used.get(model.name, [])} for model in have]
        print(json.dumps(shown, indent=2))
        return
    print(f"In {folder}:" if have else f"There are no models in {folder} yet.")
    for model in have:
        source = model.source or "placed by hand"
        where = f"  <- {', '.join(used[model.name])}" if model.name in used else ""
        print(f"  {model.name:<18} {model.size / 1e6:>8.1f} MB  {source}{where}")
    if have:
        print(f"  {'together':<18} {sum(model.size for model in have) / 1e6:>8.1f} MB")
    for name, size in store.begun(folder).items():
        print(f"  {name:<18} {size / 1e6:>8.1f} MB  begun: pull it again to go on, or rm it")
    there = {model.name for model in have}
    for name in sorted(used.keys() - there):
        print(f"  {name:<18}  missing     <- {', '.join(used[name])}")
    print("Known by name (duologue models pull NAME):")
    for name, known in CATALOGUE.items():
        if name not in there:
            print(f"  {name:<30} {known.megabytes:>6} MB  {known.about}")


def _used(chosen: settings.Settings) -> dict[str, list[str]]:
    """Which models of the folder the settings name, and where."""
    found: dict[str, list[str]] = {}
    for setting in ("stt", "tts", "llm", "turn_end"):
        for engine in settings.listed(getattr(chosen, setting).replace(">", ",")):
            for name in _model_of(engine, chosen.models_folder):
                found.setdefault(name, []).append(f"{setting} {engine}")
    return found


def _model_of(engine: str, folder: Path) -> Iterator[str]:
    name, _, argument = engine.partition(":")
    try:
        placement = Placement.parse(argument or (name if name in CATALOGUE else ""))
    except SetupError:
        return
    if not placement.is_path and (
        placement.model in CATALOGUE or store.is_there(placement.model, folder)
    ):
        yield placement.model
    elif placement.is_path:
        path = Path(placement.model).expanduser()
        if path.is_relative_to(folder) and path != folder:
            yield path.relative_to(folder).parts[0]


# --- rm, verify ---
def _remove(names: list[str], folder: Path, used: dict[str, list[str]]) -> None:
    """All or none: a name that is wrong is found before anything is deleted."""
    there = {model.name for model in store.installed(folder)} | store.begun(folder).keys()
    if missing := [name for name in names if name not in there]:
        raise SetupError(
            "model_not_installed",
            f"There is no model '{missing[0]}' in {folder}; nothing is deleted.",
            remedy="`duologue models list` shows what is there.",
        )
    freed = 0
    for name in dict.fromkeys(names):
        size = store.remove(name, folder)
        freed += size
        print(f"{name} is deleted: {size / 1e6:.1f} MB are free again")
        if name in used:
            _note(f"The settings still name it: {', '.join(used[name])}.")
    if len(names) > 1:
        print(f"{freed / 1e6:.1f} MB in all")


def _verify(names: list[str], folder: Path, *, adopt: bool) -> int:
    damaged = []
    for name in names or [model.name for model in store.installed(folder)]:
        found = store.verify(name, folder)
        if found.state == "unrecorded" and adopt:
            store.adopt(name, folder)
            print(f"{name}: now on record as it is")
            continue
        print(f"{name}: {_STATES[found.state]}")
        for problem in found.problems:
            print(f"  {problem}")
        if found.strangers:
            print(f"  also there, and not of it: {', '.join(found.strangers)}")
        if found.state == "damaged":
            damaged.append(store.how_to_get(name, again=True))
    if damaged:
        _note(f"Fetch what is damaged again: {', '.join(damaged)}.")
    return 1 if damaged else 0


_STATES = {
    "whole": "whole",
    "damaged": "DAMAGED",
    "unrecorded": "placed by hand, without a record to compare with (--adopt writes one)",
}


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
