import json
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.models import store as models
from duologue.engines.models.forms import LocalSource
from duologue.engines.models.means import Means
from duologue.engines.models.sources import parse
from duologue.engines.models.store import (
    InstalledModel,
    Verdict,
    adopt,
    begun,
    find,
    installed,
    pull,
    remove,
    verify,
)
from tests.engines.models.test_unpack import tarred, zipped
from tests.engines.models.web import Page, Web, web


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
    with pytest.raises(EngineUnavailable, match=r"`duologue models pull SOURCE --as mine`.* list`"):
        find("mine", folder)


# --- from addresses ---
@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with web() as found:
        yield found


HURRIED = Means(sleep=lambda _: None)
NEVER = [0] * 5
"""Attempts that bring nothing, as many as are made on end."""


def test_a_file_from_the_web_is_the_model(site: Web, folder: Path) -> None:
    source = parse(site.put("/net.onnx", Page(b"net")))
    assert pull(source, source.name, folder) == folder / "net" / "net.onnx"
    assert installed(folder)[0].source == f"{site.url}/net.onnx"
    assert left_over(folder) == []


def test_what_broke_off_waits_for_the_next_pull_and_is_shown(site: Web, folder: Path) -> None:
    first = site.put("/net.onnx", Page(b"n" * 5_000))
    second = site.put("/voices.bin", Page(b"v" * 9_000, breaks=[4_000, *NEVER]))
    source = parse(f"{first},{second}")
    with pytest.raises(EngineUnavailable, match="kept"):
        pull(source, "it", folder, HURRIED)
    assert installed(folder) == []
    assert begun(folder).keys() == {"it"}
    assert begun(folder)["it"] >= 9_000
    site.asked.clear()
    assert pull(source, "it", folder, HURRIED) == folder / "it"
    assert site.asked == [("/voices.bin", "bytes=4000-", '"one"')]
    names = sorted(path.name for path in (folder / "it").iterdir())
    assert names == [models.RECORD, "net.onnx", "voices.bin"]
    assert left_over(folder) == []


def test_what_came_of_another_source_is_not_gone_on_with(site: Web, folder: Path) -> None:
    whole = site.put("/a/net.onnx", Page(b"a" * 9_000))
    part = site.put("/a/voices.bin", Page(b"a" * 9_000, breaks=[4_000, *NEVER]))
    with pytest.raises(EngineUnavailable):
        pull(parse(f"{whole},{part}"), "net", folder, HURRIED)
    other = parse(site.put("/b/net.onnx", Page(b"b" * 9_000)))
    assert pull(other, "net", folder).read_bytes() == b"b" * 9_000
    assert site.asked[-1][1] is None
    assert sorted(p.name for p in (folder / "net").iterdir()) == [models.RECORD, "net.onnx"]


def test_a_refusal_leaves_nothing_behind(site: Web, folder: Path) -> None:
    with pytest.raises(EngineUnavailable):
        pull(parse(f"{site.url}/nothing.onnx"), "it", folder)
    assert begun(folder) == {}


def test_archives_are_unpacked_and_not_kept(site: Web, folder: Path, tmp_path: Path) -> None:
    tar = tarred(tmp_path / "m.tar.gz", {"m/net.onnx": b"net", "m/tokens.txt": b"t"}).read_bytes()
    zip_ = zipped(tmp_path / "v.zip", {"voices/a.bin": b"a", "voices/b.bin": b"b"}).read_bytes()
    tar_at, zip_at = site.put("/m.tar.gz", Page(tar)), site.put("/v.zip", Page(zip_))
    source = parse(f"{tar_at}#sha256={sha256(tar).hexdigest()},{zip_at}")
    assert source.name == "m"
    pull(source, "m", folder)
    files = [p.relative_to(folder / "m").as_posix() for p in (folder / "m").rglob("*")]
    assert sorted(files) == ["a.bin", "b.bin", models.RECORD, "net.onnx", "tokens.txt"]
    assert left_over(folder) == []


def test_an_evil_archive_leaves_nothing_behind(site: Web, folder: Path, tmp_path: Path) -> None:
    tar = tarred(tmp_path / "m.tar.gz", {"m/a": b"", "../evil": b"e"}).read_bytes()
    with pytest.raises(EngineUnavailable, match="lies outside"):
        pull(parse(site.put("/m.tar.gz", Page(tar))), "m", folder)
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_two_do_not_fetch_the_same_model_at_once(folder: Path, site: Web) -> None:
    (folder / ".pull-it").mkdir(parents=True)
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / ".pull-it")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        source = parse(site.put("/net.onnx", Page(b"net")))
        with pytest.raises(SetupError) as caught:
            pull(source, "it", folder)
        assert caught.value.code == "model_being_fetched"
        assert pull(source, "other", folder).is_file()
        other.communicate(b"\n")
    assert pull(source, "it", folder).is_file()


def test_a_disk_that_is_too_small_is_told_before(
    here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 8})())
    with pytest.raises(SetupError, match="0 MB are free") as caught:
        pull(LocalSource(str(here)), "it", folder)
    assert caught.value.code == "disk_full"
    assert left_over(folder) == []
    assert pull(LocalSource(str(here / "model.bin")), "it", folder).is_file()


# --- without network ---
def test_offline_the_missing_files_and_their_place_are_named(folder: Path, here: Path) -> None:
    off = Means(is_offline=True)
    with pytest.raises(EngineUnavailable) as caught:
        pull(parse("kokoro-v1.0"), "kokoro-v1.0", folder, off)
    assert caught.value.code == "model_offline"
    assert (
        f"place its files (kokoro-v1.0.onnx, voices-v1.0.bin) in {folder / 'kokoro-v1.0'}"
        in caught.value.remedy
    )
    assert "duologue models import" in caught.value.remedy
    assert not folder.exists()
    assert pull(LocalSource(str(here)), "mine", folder, off) == folder / "mine"


def test_offline_no_server_is_asked(folder: Path, site: Web) -> None:
    source = parse(site.put("/net.onnx", Page(b"net")))
    with pytest.raises(EngineUnavailable):
        pull(source, "net", folder, Means(is_offline=True))
    assert site.asked == []


def test_what_is_not_there_is_named_with_its_files(folder: Path) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        find("kokoro-v1.0", folder)
    assert "place its files (kokoro-v1.0.onnx, voices-v1.0.bin) in" in caught.value.remedy


# --- rm ---
def test_a_model_is_removed_with_what_it_took(here: Path, folder: Path) -> None:
    pull(LocalSource(str(here)), "mine", folder)
    assert remove("mine", folder) > 9
    assert list(folder.iterdir()) == []
    with pytest.raises(EngineUnavailable, match="no model 'mine'"):
        remove("mine", folder)


def test_what_is_only_begun_is_removed_too(site: Web, folder: Path) -> None:
    source = parse(site.put("/net.onnx", Page(b"n" * 9_000, breaks=[4_000, *NEVER])))
    with pytest.raises(EngineUnavailable):
        pull(source, "net", folder, HURRIED)
    assert remove("net", folder) >= 4_000
    assert list(folder.iterdir()) == []


def test_of_a_link_only_the_link_is_removed(here: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "mine").symlink_to(here)
    assert remove("mine", folder) == 0
    assert not (folder / "mine").exists()
    assert (here / "model.bin").exists()


@pytest.mark.parametrize("name", ["..", "../here", ".", "", "/", ".pull-x"])
def test_nothing_outside_is_removed(name: str, here: Path, folder: Path) -> None:
    (folder / ".pull-x").mkdir(parents=True)
    with pytest.raises(EngineUnavailable):
        remove(name, folder)
    assert (here / "model.bin").exists()
    assert folder.exists()


# --- verify ---
def test_a_whole_model_is_whole_and_a_stranger_is_named(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here)), "mine", folder)
    assert verify("mine", folder) == Verdict("mine", "whole")
    (place / "more.bin").write_bytes(b"")
    assert verify("mine", folder) == Verdict("mine", "whole", (), ("more.bin",))


def test_every_damage_is_found(here: Path, folder: Path) -> None:
    (here / "third.bin").write_bytes(b"3")
    place = pull(LocalSource(str(here)), "mine", folder)
    (place / "model.bin").write_bytes(b"Weights")
    (place / "config.json").write_bytes(b"{ }")
    (place / "third.bin").unlink()
    found = verify("mine", folder)
    assert found.state == "damaged"
    wrong = sha256(b"Weights").hexdigest()
    assert found.problems == (
        "config.json has 3 bytes instead of 2",
        f"model.bin has the SHA-256 {wrong} instead of {sha256(b'weights').hexdigest()}",
        "third.bin is missing",
    )


def test_a_damaged_record_is_a_damage(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here)), "mine", folder)
    record = place / models.RECORD
    record.write_text(record.read_text().replace(sha256(b"weights").hexdigest(), "0" * 64))
    assert verify("mine", folder).problems == (f"{models.RECORD} is damaged",)


def test_one_placed_by_hand_can_be_put_on_record(folder: Path) -> None:
    (folder / "net").mkdir(parents=True)
    (folder / "net" / "net.onnx").write_bytes(b"x")
    assert verify("net", folder) == Verdict("net", "unrecorded")
    adopt("net", folder)
    assert verify("net", folder) == Verdict("net", "whole")
    assert find("net", folder) == folder / "net" / "net.onnx"
    assert installed(folder) == [InstalledModel("net", 1, "", sha256(b"x").hexdigest())]
    (folder / "bare").mkdir()
    with pytest.raises(EngineUnavailable, match="holds no files"):
        adopt("bare", folder)


def test_a_record_that_leads_elsewhere_is_no_record(here: Path, folder: Path) -> None:
    place = pull(LocalSource(str(here / "model.bin")), "mine", folder).parent
    record = json.loads((place / models.RECORD).read_text())
    record["entry"] = "../../here/model.bin"
    record["files"] = {record["entry"]: record["files"]["model.bin"]}
    (place / models.RECORD).write_text(json.dumps(record))
    assert find("mine", folder) == place / "model.bin"
    assert verify("mine", folder).state == "damaged"
