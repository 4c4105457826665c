"""The asset step: model files that the package carries and the repository does not.

Takes Silero's batchable ONNX file (MIT) out of the pinned, hash-checked `silero-vad` wheel, without
installing that wheel (which would bring torch). Runs before every build of the package, so an editable
install has it too, and by hand: `python hatch_build.py`. Nothing is downloaded when the file is there.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HERE = Path(__file__).resolve().parent
TARGET = HERE / "src" / "duologue" / "assets" / "silero_vad.onnx"
MEMBER = "silero_vad/data/silero_vad.onnx"
SHA256 = "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"


def fetch() -> None:
    """Put the model where the package looks for it.

    Raises:
        SystemExit: the wheel could not be had, or does not hold the expected bytes.
    """
    if TARGET.exists() and _digest(TARGET.read_bytes()) == SHA256:
        return
    with tempfile.TemporaryDirectory() as folder:
        pins = str(HERE / "requirements" / "assets.txt")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "-r", pins, "-d", folder]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(
                "The voice-activity model could not be downloaded. Check the network and the package "
                f"index that pip uses, or place the file yourself: {TARGET}"
            )
        wheel = next(Path(folder).glob("silero_vad-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            model = archive.read(MEMBER)
    if _digest(model) != SHA256:
        raise SystemExit(f"{MEMBER} in {wheel.name} is not the file that was tested.")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(model)


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
