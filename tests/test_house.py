"""The promises that the whole house makes: who may import whom, what is covered, how fast it opens its door."""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "duologue"
BIN = Path(sys.executable).parent


def run(*command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **env}
    )


def tracked() -> list[Path]:
    listed = run("git", "ls-files")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_imports_go_down_only() -> None:
    done = run(str(BIN / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Contracts: 3 kept, 0 broken" in done.stdout


@pytest.mark.timeout(180)
def test_the_core_is_covered_to_the_last_branch_by_its_own_tests(tmp_path: Path) -> None:
    data = str(tmp_path / "coverage")
    tests = run(
        *(sys.executable, "-m", "coverage", "run", "--branch", "--source=duologue.core"),
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/core"),
        COVERAGE_FILE=data,
    )
    assert tests.returncode == 0, tests.stdout[-2000:]
    report = run(sys.executable, "-m", "coverage", "json", "-q", "-o", "-", COVERAGE_FILE=data)
    files = json.loads(report.stdout)["files"]
    open_ends = {
        name: (about["missing_lines"], about["missing_branches"])
        for name, about in files.items()
        if about["missing_lines"] or about.get("missing_branches")
    }
    assert len(files) > 10
    assert not open_ends


def test_every_room_of_the_source_has_its_tests() -> None:
    rooms = {p.parent.relative_to(SOURCE) for p in SOURCE.rglob("*.py")}
    missing = [room for room in rooms if not list((ROOT / "tests" / room).glob("test_*.py"))]
    assert not [room for room in missing if str(room) != "."]


HEAVY = ("pydantic", "fastapi", "openai", "numpy", "onnxruntime", "uvicorn", "av", "msgspec")


@pytest.mark.parametrize("command", [("-c", "import duologue"), ("-m", "duologue.cli", "--help")])
def test_the_door_opens_at_once(command: tuple[str, ...]) -> None:
    """At most 300 ms beyond what Python itself takes; nothing heavy is imported."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        done = run(sys.executable, *command)
        took.append(time.perf_counter() - began)
        assert done.returncode in (0, 2)
    assert statistics.median(took) < 0.3
    names = run(sys.executable, "-X", "importtime", *command).stderr
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in names.splitlines()}
    assert not loaded & set(HEAVY)


def test_no_file_names_a_registry_or_a_path_of_somebodys_machine() -> None:
    forbidden = re.compile(
        "|".join(
            ("pypi" + r"\.org", "pythonhosted" + r"\.", "registry" + r"\.npmjs", "/wo" + "rk/")
        )
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix not in (".flac", ".onnx", ".png")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found


def test_files_stay_readable() -> None:
    """About four hundred lines; past that, a room is missing."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in SOURCE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert not long


def test_no_model_file_is_committed() -> None:
    models = [p for p in tracked() if p.suffix in (".onnx", ".bin", ".pt", ".gguf", ".safetensors")]
    assert not models
    clips = sum(p.stat().st_size for p in tracked() if p.suffix == ".flac")
    assert clips < 5 * 2**20
