"""`duologue models`, as a person at a terminal meets it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from duologue import settings
from duologue.cli import models
from duologue.core.errors import DuologueError, SetupError
from duologue.engines.models import store
from duologue.engines.models.forms import LocalSource
from duologue.engines.models.means import Means
from tests.engines.models.web import Page, web

Run = Callable[..., int]


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


@pytest.fixture
def run(folder: Path) -> Run:
    return lambda *argv, **options: models.run([str(arg) for arg in argv], folder, **options)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


# --- pull ---
def test_pull_says_what_it_does_and_does_it_once(
    run: Run, here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pull", here) == 0
    assert lines(capsys) == [f"fetching here from {here} …", f"here is ready: {folder / 'here'}"]
    (here / "model.bin").write_bytes(b"other")
    assert run("pull", here) == 0
    assert "is there already" in lines(capsys)[0]
    assert (folder / "here" / "model.bin").read_bytes() == b"weights"
    assert run("pull", here, "--again") == 0
    assert (folder / "here" / "model.bin").read_bytes() == b"other"
    assert run("pull", here, "--as", "mine") == 0
    assert [model.name for model in store.installed(folder)] == ["here", "mine"]


def test_a_relative_source_is_recorded_whole(
    run: Run, here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here.parent)
    assert run("pull", "./here") == 0
    assert store.installed(folder)[0].source == str(here)


def test_one_that_cannot_be_had_does_not_keep_the_others_from_coming(
    run: Run, here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pull", "nonsense", here, "/nowhere") == 1
    said = capsys.readouterr().err
    assert "nonsense: 'nonsense' is no model" in said
    assert "(model_source_invalid)" in said
    assert "(model_source_missing)" in said
    assert [model.name for model in store.installed(folder)] == ["here"]
    with pytest.raises(SetupError, match="--as names one"):
        run("pull", here, here, "--as", "x")


def test_a_download_is_told_in_lines_where_nobody_watches(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with web() as site:
        assert run("pull", site.put("/net.onnx", Page(bytes(3_000_000)))) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("net.onnx  3.0 of 3.0 MB  100 %")
    assert len(said.err.splitlines()) <= 10
    assert "is ready" in said.out


def test_a_name_that_is_taken_is_not_given_to_another_model_unasked(
    run: Run, here: Path, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.bin").write_bytes(b"another")
    (folder / "hand").mkdir(parents=True)
    (folder / "hand" / "model.bin").write_bytes(b"by hand")
    assert run("pull", here, "--as", "mine") == 0
    for name, came in (("mine", f"came from {here}"), ("hand", "was placed by hand")):
        before = (folder / name / "model.bin").read_bytes()
        with pytest.raises(SetupError, match=came) as caught:
            run("pull", other, "--as", name)
        assert caught.value.code == "model_name_taken"
        assert "--again" in caught.value.remedy
        assert (folder / name / "model.bin").read_bytes() == before
    assert run("pull", other, "--as", "mine", "--again") == 0
    assert (folder / "mine" / "model.bin").read_bytes() == b"another"


def test_without_a_network_a_line_tells_of_each_attempt(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    means = partial(Means, sleep=slept.append)
    monkeypatch.setattr(models, "Means", means)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DuologueError, match="no connection"):
        run("pull", "http://127.0.0.1:9/net.onnx")
    said = capsys.readouterr().err.splitlines()
    assert slept == [2.0, 4.0]
    assert [line.rpartition(", ")[2] for line in said] == [
        "trying again in 2 s …",
        "trying again in 4 s …",
    ]


@pytest.mark.parametrize("by_flag", [True, False])
def test_offline_says_which_files_go_where(by_flag: bool, run: Run, folder: Path) -> None:
    flags = ("--offline",) if by_flag else ()
    with pytest.raises(DuologueError, match="offline") as caught:
        run("pull", "en_US-lessac-medium", *flags, is_offline=not by_flag)
    assert "en/en_US/lessac/medium/en_US-lessac-medium.onnx" in caught.value.remedy
    assert str(folder / "en_US-lessac-medium") in caught.value.remedy


@pytest.mark.full
def test_known_models_come_out_of_the_published_wheels(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("pull", "silero-vad", "smart-turn") == 0, capsys.readouterr().err
    assert store.find("silero-vad", folder) == folder / "silero-vad" / "silero_vad.onnx"
    assert all(model.source.endswith(model.sha256) for model in store.installed(folder))
    assert run("verify") == 0


# --- list ---
def test_list_shows_what_is_there_and_what_could_be(
    run: Run, here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    assert lines(capsys)[0] == f"There are no models in {folder} yet."
    store.pull(LocalSource(str(here)), "small", folder)
    used = {"small": ["stt whisper:small"], "kokoro-v1.0": ["tts kokoro:kokoro-v1.0"]}
    assert run("list", used_by=used) == 0
    there, known = capsys.readouterr().out.split("Known by name")
    small, together, missing = there.splitlines()[1:]
    assert small.split()[:3] == ["small", "0.0", "MB"]
    assert small.endswith(f"{here}  <- stt whisper:small")
    assert together.split()[0] == "together"
    assert missing.split()[:2] == ["kokoro-v1.0", "missing"]
    assert "large-v3-turbo" in known
    assert "  small " not in known
    assert run("list", "--json", used_by=used) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["size"], shown["used_by"]) == ("small", 9, ["stt whisper:small"])
    assert len(shown["sha256"]) == 64


def test_a_download_that_broke_off_is_shown(
    run: Run, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".pull-it").mkdir(parents=True)
    (folder / ".pull-it" / "it.onnx.part").write_bytes(bytes(2_000_000))
    assert run("list") == 0
    assert "2.0 MB  begun: pull it again to go on, or rm it" in capsys.readouterr().out


def test_the_settings_tell_what_is_used(folder: Path) -> None:
    (folder / "mine").mkdir(parents=True)
    chosen = settings.Settings(
        models_dir=str(folder),
        stt=f"whisper:base@cuda:0/int8>whisper:mine, whisper:{folder / 'mine'}, pocketsphinx:dictation",
        tts="kokoro:kokoro-v1.0?speed=1,espeak",
        llm="openai:http://127.0.0.1:1/v1|x",
        turn_end="smart-turn",
    )
    assert models._used(chosen) == {
        "base": ["stt whisper:base@cuda:0/int8"],
        "mine": ["stt whisper:mine", f"stt whisper:{folder / 'mine'}"],
        "kokoro-v1.0": ["tts kokoro:kokoro-v1.0?speed=1"],
        "smart-turn": ["turn_end smart-turn"],
    }


# --- rm ---
def test_rm_tells_what_is_free_and_who_misses_it(
    run: Run, here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        store.pull(LocalSource(str(here)), name, folder)
    with pytest.raises(SetupError, match="nothing is deleted"):
        run("rm", "a", "nothing")
    assert len(store.installed(folder)) == 3
    assert run("rm", "a", "b", used_by={"b": ["stt whisper:b"]}) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "a is deleted: 0.0 MB are free again"
    assert said.out.splitlines()[-1] == "0.0 MB in all"
    assert said.err == "The settings still name it: stt whisper:b.\n"
    assert [model.name for model in store.installed(folder)] == ["c"]


# --- verify ---
def test_verify_ends_with_1_where_something_is_damaged(
    run: Run, here: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("good", "bad"):
        store.pull(LocalSource(str(here)), name, folder)
    (folder / "hand").mkdir()
    (folder / "hand" / "a.bin").write_bytes(b"a")
    assert run("verify") == 0
    (folder / "bad" / "model.bin").write_bytes(b"other")
    assert run("verify") == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-4:] == [
        "bad: DAMAGED",
        "  model.bin has 5 bytes instead of 7",
        "good: whole",
        "hand: placed by hand, without a record to compare with (--adopt writes one)",
    ]
    assert "`duologue models pull SOURCE --as bad --again`" in said.err
    assert run("verify", "good", "hand", "--adopt") == 0
    assert run("verify", "hand") == 0
    assert lines(capsys) == ["good: whole", "hand: now on record as it is", "hand: whole"]
    with pytest.raises(DuologueError, match="no model 'nothing'"):
        run("verify", "nothing")


# --- export, import ---
def test_a_model_is_carried_to_another_machine(
    run: Run, here: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.pull(LocalSource(str(here)), "mine", folder)
    file = tmp_path / "mine.tar"
    assert run("export", "mine", file) == 0
    assert lines(capsys) == [f"mine is in {file}: 0.0 MB"]
    other = tmp_path / "other"
    assert models.run(["import", str(file), "--as", "yours"], other) == 0
    assert lines(capsys) == [f"yours is ready: {other / 'yours'}"]
    assert models.run(["verify"], other) == 0


# --- as a command ---
def duologue(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "duologue.cli", "models", *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **env},
    )


def test_the_command_uses_the_folder_of_the_settings_and_tells_failures(
    here: Path, tmp_path: Path
) -> None:
    home = {"XDG_DATA_HOME": str(tmp_path / "home")}
    done = duologue("pull", str(here), **home)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "duologue" / "models" / "here" / "model.bin").is_file()
    done = duologue("pull", "huge", **home)
    assert done.returncode == 1
    assert done.stderr.startswith("duologue: 'huge' is no model")
    assert "one of: tiny" in done.stderr
    assert "(model_source_invalid)" in done.stderr


@pytest.mark.parametrize("argv", [[], ["push"], ["pull"], ["rm"], ["export", "x"]])
def test_a_wrong_call_exits_with_2(
    argv: list[str], run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2
    assert "usage: duologue models" in capsys.readouterr().err
