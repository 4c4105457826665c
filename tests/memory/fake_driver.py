"""NVIDIA's driver, made of files: NVML and CUDA as libraries that the real bindings load, with any cards.

`fake_driver.c` is compiled once a run, into both. In this process they are loaded before anybody looks for them by
their names; for another process, `env` has their folder searched. Without NVML_FAKE no driver is loaded.
"""

import atexit
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")

CONTEXT_MIB = 300
"""As in the source."""


@dataclass(frozen=True)
class FakeCard:
    total_mib: int = 8_192
    used_mib: int = 500
    capability: tuple[int, int] = (8, 9)
    uuid: str = "GPU-1111"
    name: str = "Fake 4060"


class FakeDriver:
    """Cards in a file; what processes took of them in another."""

    def __init__(self, folder: Path, libraries: Path) -> None:
        self.file = folder / "cards"
        self.taken = folder / "cards.taken"
        self.env = {"NVML_FAKE": str(self.file), "LD_LIBRARY_PATH": str(libraries)}

    def has(self, *cards: FakeCard) -> None:
        lines = (
            f"{c.total_mib} {c.used_mib} {c.capability[0]} {c.capability[1]} {c.uuid} {c.name}\n"
            for c in cards
        )
        new = self.file.with_suffix(".new")
        new.write_text("".join(lines))
        new.replace(self.file)  # whoever reads meanwhile sees all cards or all others

    def holds(self, pid: int, card: int, mib: int) -> None:
        """Let a process take memory, without its doing anything."""
        with self.taken.open("a") as out:
            out.write(f"{pid} {card} {mib} 1\n")


@cache
def _libraries() -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = Path(tempfile.mkdtemp(prefix="duologue-driver-"))
    for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
        flags = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run([compiler, *flags, str(SOURCE)], check=True)
        ctypes.CDLL(str(folder / name))  # found by its name from now on
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def fake_driver(folder: Path, *cards: FakeCard) -> Iterator[FakeDriver]:
    """A driver with these cards, for this process as long as it lasts, and by its `env` for others."""
    driver = FakeDriver(folder, _libraries())
    driver.has(*cards)
    os.environ["NVML_FAKE"] = str(driver.file)
    try:
        yield driver
    finally:
        del os.environ["NVML_FAKE"]


@contextmanager
def no_driver() -> Iterator[dict[str, str]]:
    """NVML is there and says that no driver is loaded, whatever this machine has."""
    yield {"LD_LIBRARY_PATH": str(_libraries())}
