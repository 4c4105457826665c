"""Takes files out of a published wheel, which pip downloads and nobody installs."""

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from duologue.core.errors import EngineUnavailable
from duologue.engines.models.forms import WheelSource
from duologue.engines.models.means import Means, check_room
from duologue.engines.models.unpack import safe
from duologue.engines.models.url import mismatch, sha256

PIP = (sys.executable, "-m", "pip")

RETRIES = "2"
"""Enough for a hiccup; and pip tells that the index cannot be reached only when it tries again."""

UNREACHABLE = ("connection broken", "Connection", "Max retries", "timed out", "Proxy", "SSL")
"""Of these words pip's complaints hold one where the index cannot be reached."""

RAW_PROGRESS = (24, 1)
"""The release of pip since which it can tell a program how far it is (its news, 24.1: `--progress-bar=raw`)."""


def fetch(source: WheelSource, into: Path, means: Means, place: Path) -> str:
    """Put the files into a folder that does not exist yet.

    Args:
        place: where somebody would put them by hand.

    Returns:
        The name of the file, if there is one; otherwise nothing.

    Raises:
        EngineUnavailable: the wheel cannot be had, or does not hold them.
    """
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        wheel = _download(source, Path(scratch), means, place)
        into.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            files = dict(_chosen(source, archive, wheel))
            total = sum(archive.getinfo(member).file_size for member in files)
            check_room(into, total, f"The part of {wheel.name}")
            for member, name in files.items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as packed, (into / name).open("wb") as out:
                    shutil.copyfileobj(packed, out)
    names = list(files.values())
    if source.sha256 and (found := sha256(into / names[0])) != source.sha256:
        raise mismatch(f"'{source.member}' of {wheel.name}", found, source.sha256)
    return names[0] if len(names) == 1 else ""


def _chosen(
    source: WheelSource, archive: zipfile.ZipFile, wheel: Path
) -> Iterator[tuple[str, str]]:
    """Each member that is wanted, and its name among the model's files."""
    for wanted in source.members:
        is_folder = wanted[-1] == "/"
        found = [
            member
            for member in archive.namelist()
            if member[-1] != "/" and (member.startswith(wanted) if is_folder else member == wanted)
        ]
        if not found:
            raise EngineUnavailable(
                "wheel_member_missing",
                f"The wheel {wheel.name} holds no file '{wanted}'.",
                remedy=f"List what it holds with `python -m zipfile -l {wheel.name}`.",
            )
        for member in found:
            below = PurePosixPath(member)
            name = below.relative_to(wanted) if is_folder else PurePosixPath(below.name)
            yield member, str(safe(str(name), wheel))


def _download(source: WheelSource, scratch: Path, means: Means, place: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    command = [*PIP, "download", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--progress-bar", "raw"] if _tells_progress() else ["--quiet"]
    command += ["--retries", RETRIES, "--only-binary", ":all:", "--dest", str(scratch), requirement]
    with (scratch / "complaints").open("w+") as complaints:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True
        ) as running:
            assert running.stdout is not None
            _follow(running.stdout, requirement, means)
        complaints.seek(0)
        said = complaints.read()
    if running.returncode == 0:
        return next(scratch.glob("*.whl"))
    raise _download_error(requirement, said, place)


def _follow(lines: Iterator[str], what: str, means: Means) -> None:
    """pip says "Progress 1234 of 5678", in bytes, among other things."""
    is_begun = False
    try:
        for line in lines:
            words = line.split()
            if words[:1] != ["Progress"] or len(words) != 4 or not words[1].isdecimal():
                continue
            if not is_begun:
                total = int(words[3]) if words[3].isdecimal() else 0
                means.progress.begin(what, total or None)
                is_begun = True
            means.progress.reach(int(words[1]))
    finally:
        means.progress.end()


def _tells_progress() -> bool:
    try:
        numbers = importlib.metadata.version("pip").split(".")
        return (int(numbers[0]), int(numbers[1])) >= RAW_PROGRESS
    except (importlib.metadata.PackageNotFoundError, ValueError, IndexError):
        return False


def _download_error(requirement: str, said: str, place: Path) -> EngineUnavailable:
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
    cause = lines[-1] if lines else "it gave no reason"
    if "No module named pip" in said:
        return EngineUnavailable(
            "pip_missing",
            f"The wheel {requirement} cannot be fetched: this Python has no pip.",
            remedy="Run `python -m ensurepip`, or use the Python that has it.",
        )
    if any(word in said for word in UNREACHABLE):
        return EngineUnavailable(
            "package_index_unreachable",
            f"The wheel {requirement} cannot be fetched: the package index does not answer ({cause}).",
            remedy="Check the network and which index pip uses (`pip config list`; a mirror: PIP_INDEX_URL; a proxy: "
            f"HTTPS_PROXY), or take the file out of the wheel elsewhere and place it in {place}.",
        )
    return EngineUnavailable(
        "wheel_not_found",
        f"The wheel {requirement} cannot be fetched: {cause}",
        remedy="Check its name and version; it may have no wheel for this machine.",
    )
