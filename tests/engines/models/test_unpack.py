"""Archives of all kinds, and what they may not hold."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from duologue.core.errors import DuologueError, SetupError
from duologue.engines.models import unpack as module
from duologue.engines.models.unpack import unpack


def tarred(file: Path, members: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def unpacked(archive: Path, folder: Path) -> dict[str, bytes]:
    into = folder / "into"
    into.mkdir()
    unpack(archive, into)
    return {p.relative_to(into).as_posix(): p.read_bytes() for p in into.rglob("*") if p.is_file()}


def refused(archive: Path, folder: Path) -> DuologueError:
    with pytest.raises(DuologueError) as caught:
        unpacked(archive, folder)
    assert [p for p in folder.rglob("*") if "evil" in p.name] == []
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_one_folder_around_everything_is_left_out(mode: str, tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a", {"m-1.0/net.onnx": b"net", "m-1.0/d/t.txt": b"t"}, mode)
    assert unpacked(archive, tmp_path) == {"net.onnx": b"net", "d/t.txt": b"t"}


def test_a_zip_without_a_folder_around_it_is_as_good(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"net.onnx": b"net", "d/": b"", "d/t.txt": b"t"})
    assert unpacked(archive, tmp_path) == {"net.onnx": b"net", "d/t.txt": b"t"}


@pytest.mark.parametrize("name", ["../evil", "m/../../evil", "/tmp/evil", "m/..\\..\\evil"])
@pytest.mark.parametrize("pack", [tarred, zipped])
def test_no_file_lands_outside(name: str, pack: object, tmp_path: Path) -> None:
    make = tarred if pack is tarred else zipped
    archive = make(tmp_path / "a", {"m/good": b"x", name: b"evil"})
    assert refused(archive, tmp_path).code == "archive_refused"
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as tar:
        info = tarfile.TarInfo("m/evil")
        info.type, info.linkname = kind, "../../outside"
        tar.addfile(info)
    assert "link or a device" in refused(tmp_path / "a", tmp_path).message


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        info = zipfile.ZipInfo("evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "link or a device" in refused(tmp_path / "a", tmp_path).message


def test_what_is_larger_than_the_disk_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "a", {"bomb": bytes(1_000_000)})
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 500_000})())
    error = refused(archive, tmp_path)
    assert isinstance(error, SetupError)
    assert error.code == "disk_full"


def test_an_archive_of_countless_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    archive = tarred(tmp_path / "a", {f"m/{n}": b"" for n in range(4)})
    assert "more than 3 files" in refused(archive, tmp_path).message


def test_what_is_no_archive_or_half_of_one_is_told(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "whole", {"m/net.onnx": bytes(range(256)) * 4_000}).read_bytes()
    for n, data in enumerate(
        (b"", b"hello", whole[: len(whole) // 2], zipped(tmp_path / "z", {}).read_bytes())
    ):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "a").write_bytes(data)
        assert refused(folder / "a", folder).code == "archive_refused"
