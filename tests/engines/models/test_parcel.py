"""A model goes to another machine in one file, and nothing else comes with it."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from duologue.core.errors import DuologueError, EngineUnavailable, SetupError
from duologue.engines.models import parcel, store
from duologue.engines.models.forms import LocalSource
from duologue.engines.models.progress import Progress

QUIET = Progress()


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A models folder with a model in it."""
    source = tmp_path / "mine"
    (source / "voices").mkdir(parents=True)
    (source / "model.bin").write_bytes(b"weights" * 1_000)
    (source / "voices" / "a.bin").write_bytes(b"a")
    (source / "voices" / "none.bin").write_bytes(b"")
    store.pull(LocalSource(str(source)), "mine", tmp_path / "there")
    return tmp_path / "there"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The models folder of another machine, which does not exist yet."""
    return tmp_path / "here"


@pytest.fixture
def packed(there: Path, tmp_path: Path) -> Path:
    file = tmp_path / "mine.tar"
    parcel.pack("mine", there, file, QUIET)
    return file


def test_what_is_packed_there_is_whole_here(packed: Path, there: Path, here: Path) -> None:
    assert parcel.unpack(packed, here, QUIET) == "mine"
    assert store.verify("mine", here) == store.Verdict("mine", "whole")
    assert store.installed(here) == store.installed(there)
    assert (here / "mine" / "voices" / "a.bin").read_bytes() == b"a"
    assert [path.name for path in here.iterdir()] == ["mine"]


def test_the_same_model_gives_the_same_file(packed: Path, there: Path, tmp_path: Path) -> None:
    (there / "mine" / "model.bin").touch()
    (there / "mine" / "model.bin").chmod(0o600)
    size = parcel.pack("mine", there, tmp_path / "again.tar", QUIET)
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()
    assert size == packed.stat().st_size
    with tarfile.open(packed) as tar:
        first = tar.getmembers()[0]
    assert (first.name, first.mtime, first.uid, first.uname) == (
        "mine/duologue-model.json",
        0,
        0,
        "",
    )


def test_it_can_be_called_otherwise_and_replace_another(packed: Path, here: Path) -> None:
    assert parcel.unpack(packed, here, QUIET, name="yours") == "yours"
    assert json.loads((here / "yours" / store.RECORD).read_text())["name"] == "yours"
    with pytest.raises(SetupError) as caught:
        parcel.unpack(packed, here, QUIET, name="yours")
    assert caught.value.code == "model_exists"
    (here / "yours" / "stranger").write_bytes(b"")
    parcel.unpack(packed, here, QUIET, name="yours", replace=True)
    assert not (here / "yours" / "stranger").exists()
    with pytest.raises(SetupError):
        parcel.unpack(packed, here, QUIET, name="../yours")


def test_a_single_file_stays_one(tmp_path: Path, there: Path, here: Path) -> None:
    (there / "net").mkdir()
    (there / "net" / "net.onnx").write_bytes(b"net")  # placed by hand, without a record
    parcel.pack("net", there, tmp_path / "net.tar", QUIET)
    assert not (there / "net" / store.RECORD).exists()
    parcel.unpack(tmp_path / "net.tar", here, QUIET)
    assert store.find("net", here) == here / "net" / "net.onnx"
    assert store.verify("net", here).state == "whole"


def test_what_is_damaged_or_not_there_is_not_packed(there: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    (there / "mine" / "model.bin").write_bytes(b"other")
    with pytest.raises(EngineUnavailable, match="not as it came"):
        parcel.pack("mine", there, file, QUIET)
    with pytest.raises(EngineUnavailable, match="no model"):
        parcel.pack("nothing", there, file, QUIET)
    (there / "bare").mkdir()
    with pytest.raises(EngineUnavailable, match="holds no files"):
        parcel.pack("bare", there, file, QUIET)
    assert not file.exists()


def test_no_file_is_overwritten_and_none_is_left_half(
    there: Path, packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(SetupError) as caught:
        parcel.pack("mine", there, packed, QUIET)
    assert caught.value.code == "parcel_exists"
    with pytest.raises(SetupError) as caught:
        parcel.pack("mine", there, tmp_path / "no" / "it.tar", QUIET)
    assert caught.value.code == "parcel_not_written"


# --- files that somebody has changed ---
Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def changed(packed: Path, change: Change) -> Path:
    with tarfile.open(packed) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    change(members)
    file = packed.with_name("changed.tar")
    with tarfile.open(file, "w") as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return file


def refused(file: Path, here: Path) -> DuologueError:
    with pytest.raises(DuologueError) as caught:
        parcel.unpack(file, here, QUIET)
    assert not here.exists() or list(here.iterdir()) == []
    assert not (here.parent / "evil").exists()
    return caught.value


def _rename(members: list[tuple[tarfile.TarInfo, bytes]], name: str) -> None:
    members[1][0].name = name


def _damage(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], b"Weights" * 1_000)


def _lengthen(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1] = (members[1][0], members[1][1] + b"!")


def _link(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[1][0].type, members[1][0].linkname = tarfile.SYMTYPE, "/etc/passwd"


def _link_for_nothing(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[3][0].type, members[3][0].linkname = tarfile.SYMTYPE, "/etc/passwd"


def _in_record(members: list[tuple[tarfile.TarInfo, bytes]], old: str, new: str) -> None:
    members[0] = (members[0][0], members[0][1].decode().replace(old, new).encode())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_damage, "damaged"),
        (_lengthen, "not in its record"),
        (_link, "not in its record"),
        (_link_for_nothing, "not in its record"),
        (lambda m: m.pop(2), "is missing"),
        (lambda m: m.append(m[1]), "not in its record"),
        (lambda m: m.reverse(), "does not begin"),
        (lambda m: m.clear(), "does not begin"),
        (lambda m: _rename(m, "mine/../../evil"), "not in its record"),
        (lambda m: _rename(m, "/tmp/evil"), "not in its record"),
        (lambda m: _rename(m, "other/model.bin"), "not in its record"),
        (lambda m: _in_record(m, "model.bin", "../../evil"), "lies outside"),
        (lambda m: _in_record(m, "model.bin", "/tmp/evil"), "lies outside"),
        (lambda m: _in_record(m, "model.bin", store.RECORD), "lies outside"),
        (lambda m: _in_record(m, '"bytes": 7000', '"bytes": -1'), "no size"),
        (lambda m: _in_record(m, "{", "["), "record is damaged"),
        (lambda m: _in_record(m, '"files"', '"things"'), "record is damaged"),
    ],
)
def test_a_file_that_was_changed_is_not_taken_in(
    change: Change, words: str, packed: Path, here: Path
) -> None:
    error = refused(changed(packed, change), here)
    assert error.code == "parcel_refused"
    assert words in error.message


def test_half_a_file_or_no_tar_is_told(packed: Path, here: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for broken in (data[:2_000], data[:5_000], b"", b"hello" * 1_000):
        (tmp_path / "broken.tar").write_bytes(broken)
        assert refused(tmp_path / "broken.tar", here).code == "parcel_refused"
    assert refused(tmp_path / "nothing.tar", here).code == "parcel_unreadable"


def test_a_disk_that_is_too_small_is_told_before(
    packed: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 7_000})())
    assert refused(packed, here).code == "disk_full"
