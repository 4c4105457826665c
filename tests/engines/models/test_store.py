import json
from hashlib import sha256
from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.models import store as models
from duologue.engines.models.sources import LocalSource
from duologue.engines.models.store import InstalledModel, command, find, installed, pull


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a model in it."""
    source = tmp_path / "here"
    source.mkdir()
    (source / "model.bin").write_bytes(b"weights")
    (source / "config.json").write_bytes(b"{}")
    return source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_pulled_model_is_found_and_listed(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here)), "mine", folder)
    assert place == folder / "mine" == find("mine", folder)
    assert (place / "model.bin").read_bytes() == b"weights"
    lines = "".join(
        f"{sha256(data).hexdigest()}  {name}\n"
        for name, data in (("config.json", b"{}"), ("model.bin", b"weights"))
    )
    whole = sha256(lines.encode()).hexdigest()
    assert installed(folder) == [InstalledModel("mine", 9, str(here), whole)]
    record = json.loads((place / models.RECORD).read_text())
    assert record["files"]["model.bin"] == {
        "bytes": 7,
        "sha256": sha256(b"weights").hexdigest(),
    }
    assert left_over(folder) == []


def test_a_single_file_is_found_itself(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here / "model.bin")), "net", folder)
    assert place == folder / "net" / "model.bin"
    (model,) = installed(folder)
    assert (model.size, model.sha256) == (7, sha256(b"weights").hexdigest())


def test_a_new_model_takes_the_place_of_an_old_one(here: Path, folder: Path) -> None:
    pull(LocalSource(str(here)), "mine", folder)
    (here / "config.json").unlink()
    (here / "model.bin").write_bytes(b"better")
    place = pull(LocalSource(str(here)), "mine", folder)
    assert sorted(path.name for path in place.iterdir()) == [models.RECORD, "model.bin"]
    assert (place / "model.bin").read_bytes() == b"better"
    assert left_over(folder) == []


def test_a_pull_that_fails_changes_nothing(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here)), "mine", folder)
    before = installed(folder)
    with pytest.raises(EngineUnavailable):
        pull(LocalSource(str(here / "no")), "mine", folder)
    with pytest.raises(EngineUnavailable):
        pull(LocalSource(str(here / "no")), "other", folder)
    assert installed(folder) == before
    assert (place / "model.bin").read_bytes() == b"weights"
    assert left_over(folder) == []


def test_the_old_model_comes_back_if_the_new_one_cannot_take_its_place(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pull(LocalSource(str(here)), "mine", folder)
    real = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name == "files":
            raise OSError(28, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(SetupError, match="No space left on device") as caught:
        pull(LocalSource(str(here)), "mine", folder)
    assert caught.value.code == "models_folder_failed"
    assert (place / "model.bin").read_bytes() == b"weights"
    assert left_over(folder) == []


def test_a_folder_that_cannot_be_written_is_the_operators_affair(here: Path, folder: Path) -> None:
    folder.write_text("a file in the way")
    with pytest.raises(SetupError) as caught:
        pull(LocalSource(str(here)), "mine", folder)
    assert caught.value.code == "models_folder_failed"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "x" * 101])
def test_a_name_stays_within_the_folder(here: Path, folder: Path, name: str) -> None:
    with pytest.raises(SetupError):
        pull(LocalSource(str(here)), name, folder)
    assert not folder.exists()
    (folder / ".hidden").mkdir(parents=True)
    (folder.parent / "x").mkdir()
    with pytest.raises(EngineUnavailable):
        find(name, folder)


def test_a_model_placed_by_hand_is_as_good(folder: Path) -> None:
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "model.bin").write_bytes(b"abc")
    (folder / "mine" / "config.json").write_bytes(b"")
    (folder / "net").mkdir()
    (folder / "net" / "net.onnx").write_bytes(b"x")
    (folder / "odd").mkdir()
    (folder / "odd" / "a").write_bytes(b"")
    (folder / "odd" / models.RECORD).write_text("no json")
    (folder / "a file").write_text("")
    assert installed(folder) == [
        InstalledModel("mine", 3, "", ""),
        InstalledModel("net", 1, "", ""),
        InstalledModel("odd", 0, "", ""),
    ]
    assert find("mine", folder) == folder / "mine"
    assert find("net", folder) == folder / "net" / "net.onnx"


def test_what_is_not_there_is_named_with_the_command_that_gets_it(folder: Path) -> None:
    assert installed(folder) == []
    with pytest.raises(EngineUnavailable, match=r"Run `duologue models pull small`,") as caught:
        find("small", folder)
    assert caught.value.code == "model_not_installed"
    with pytest.raises(EngineUnavailable, match=r"`duologue models pull SOURCE --as mine`"):
        find("mine", folder)


# --- the command ---
def test_pull_says_what_it_does_and_does_it_once(
    here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["pull", str(here)], folder) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"fetching here from {here} …",
        f"here is ready: {folder / 'here'}",
    ]
    (here / "model.bin").write_bytes(b"other")
    assert command(["pull", str(here)], folder) == 0
    assert "is there already" in capsys.readouterr().out
    assert (folder / "here" / "model.bin").read_bytes() == b"weights"
    assert command(["pull", str(here), "--again"], folder) == 0
    assert (folder / "here" / "model.bin").read_bytes() == b"other"
    assert command(["pull", str(here), "--as", "mine"], folder) == 0
    assert [model.name for model in installed(folder)] == ["here", "mine"]


def test_a_relative_source_is_recorded_whole(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)
    assert command(["pull", "./here"], folder) == 0
    assert installed(folder)[0].source == str(here)


def test_list_shows_what_is_there_and_what_could_be(
    here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["list"], folder) == 0
    assert capsys.readouterr().out.startswith(f"There are no models in {folder} yet.")
    pull(LocalSource(str(here)), "small", folder)
    assert command(["list"], folder) == 0
    out = capsys.readouterr().out
    there, known = out.split("Known by name")
    assert "small" in there
    assert str(here) in there
    assert "large-v3-turbo" in known
    assert "small " not in known
    assert command(["list", "--json"], folder) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert shown["name"] == "small"
    assert shown["size"] == 9
    assert len(shown["sha256"]) == 64


def test_a_failure_is_told_with_its_code_and_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["pull", "huge"], folder) == 1
    err = capsys.readouterr().err
    assert err.startswith("model_source_invalid: 'huge' is no model")
    assert "one of: tiny" in err


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["push"], 2), (["pull"], 2), (["--help"], 0)])
def test_usage_is_told_by_the_exit_code(
    argv: list[str], code: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(argv, folder) == code
    said = capsys.readouterr()
    assert "usage: duologue models" in said.out + said.err


@pytest.mark.full
def test_the_command_fetches_from_the_published_wheel(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["pull", "silero-vad"], folder) == 0, capsys.readouterr().err
    assert find("silero-vad", folder) == folder / "silero-vad" / "silero_vad.onnx"
    (model,) = installed(folder)
    assert model.source.startswith("wheel:silero-vad==")
    assert model.source.endswith(model.sha256)
