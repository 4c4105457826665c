"""The asset step of the build, against a pip that is acted."""

import hashlib
import importlib.util
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
NEEDED, OPTIONAL = b"ears", b"judgement"


class Pip:
    """Answers `pip download` with wheels of these packages, and keeps what it was asked for."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        pins = Path(command[command.index("-r") + 1]).read_text()
        self.asked.append(pins)
        package = pins.partition("==")[0]
        if (data := self.files.get(package)) is None:
            said = "WARNING: no\nERROR: No matching distribution found.\n[notice] pip is old\n"
            return subprocess.CompletedProcess(command, 1, "", said)
        folder = Path(command[command.index("-d") + 1])
        with zipfile.ZipFile(folder / f"{package}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("data/it.onnx", data)
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with two small assets and a folder of its own."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "hatch_build", module)
    spec.loader.exec_module(module)
    pins = "needed==1 \\\n    --hash=sha256:aa\n    # via x\noptional==2 \\\n    --hash=sha256:bb\n"
    (tmp_path / "pins.txt").write_text(pins)
    needed = replace(
        module.ASSETS[0],
        file="needed.onnx",
        package="needed",
        member="data/it.onnx",
        sha256=hashlib.sha256(NEEDED).hexdigest(),
    )
    optional = replace(
        needed,
        file="optional.onnx",
        package="optional",
        sha256=hashlib.sha256(OPTIONAL).hexdigest(),
        what="the judge",
        without="nobody judges",
    )
    module.ASSETS = (needed, optional)  # type: ignore[attr-defined]
    module.FOLDER = tmp_path / "assets"  # type: ignore[attr-defined]
    module.PINS = tmp_path / "pins.txt"  # type: ignore[attr-defined]
    return module


def run(step: ModuleType, pip: Pip, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    monkeypatch.setattr("subprocess.run", pip)
    step.fetch()
    return {path.name: path.read_bytes() for path in step.FOLDER.iterdir()}


def test_each_file_comes_out_of_its_wheel_and_is_not_fetched_twice(
    step: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Pip(needed=NEEDED, optional=OPTIONAL)
    both = {"needed.onnx": NEEDED, "optional.onnx": OPTIONAL}
    assert run(step, pip, monkeypatch) == both
    assert [pins.splitlines()[:2] for pins in pip.asked] == [
        ["needed==1 \\", "    --hash=sha256:aa"],
        ["optional==2 \\", "    --hash=sha256:bb"],
    ]
    assert run(step, pip, monkeypatch) == both
    assert len(pip.asked) == 2


def test_a_checkout_that_lacks_one_file_gets_it(
    step: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(step, Pip(needed=NEEDED, optional=OPTIONAL), monkeypatch)
    (step.FOLDER / "optional.onnx").unlink()
    pip = Pip(optional=OPTIONAL)
    assert run(step, pip, monkeypatch)["optional.onnx"] == OPTIONAL
    assert len(pip.asked) == 1


@pytest.mark.parametrize("optional", [{}, {"optional": b"something else"}])
def test_without_an_optional_file_the_build_goes_on_and_one_line_says_so(
    optional: dict[str, bytes],
    step: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(step, Pip(needed=NEEDED, **optional), monkeypatch) == {"needed.onnx": NEEDED}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("No optional.onnx (the judge): ")
    assert ("not the file that was tested" if optional else "No matching distribution") in line
    assert "nobody judges" in line
    assert "python hatch_build.py" in line


@pytest.mark.parametrize("needed", [{}, {"needed": b"something else"}])
def test_without_a_needed_file_there_is_no_build(
    needed: dict[str, bytes], step: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"No needed\.onnx .* place the file yourself"):
        run(step, Pip(**needed), monkeypatch)


def test_every_asset_is_pinned_with_hashes_and_named_in_the_notice() -> None:
    pins = (ROOT / "requirements/assets.txt").read_text()
    for package in ("silero-vad", "pipecat-ai"):
        _, _, after = pins.partition(f"{package}==")
        assert after.splitlines()[1].strip().startswith("--hash=sha256:")
    notice = (ROOT / "NOTICE").read_text()
    assert "Silero" in notice
    assert "Smart Turn v3.2" in notice
