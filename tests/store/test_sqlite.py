"""What only a file has."""

import sqlite3
import stat
from pathlib import Path

import pytest

from duologue.core.errors import SetupError
from duologue.store import sqlite
from duologue.store.archive import DatabaseArchive
from duologue.store.sqlite import SqliteBackend
from tests.store.records import a_session, an_item


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_nobody_else_may_read_it(sqlite_file: Path) -> None:
    archive = DatabaseArchive(SqliteBackend(sqlite_file))
    await archive.start()
    await archive.write(a_session())
    files = list(sqlite_file.parent.iterdir())
    assert {file.name for file in files} == {"duologue.db", "duologue.db-wal", "duologue.db-shm"}
    assert {_mode(file) for file in files} == {0o600}
    assert _mode(sqlite_file.parent) == 0o700
    await archive.aclose()


async def test_it_is_set_up_as_is_said(sqlite_file: Path) -> None:
    backend = SqliteBackend(sqlite_file)
    backend.open()
    asked = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "secure_delete": 1}
    assert {name: backend.read((f"PRAGMA {name}", ()))[0][0] for name in asked} == asked
    backend.close()


def test_whoever_holds_the_file_at_the_start_is_waited_for(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another server does that makes the same file."""
    monkeypatch.setattr(sqlite, "BUSY_MS", 1)
    _write(sqlite_file, b"")
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("duologue.store.sqlite.time.sleep", lambda _s: other.execute("ROLLBACK"))
    backend = SqliteBackend(sqlite_file)
    backend.open()
    assert backend.read(("PRAGMA journal_mode", ())) == [("wal",)]
    backend.close()
    other.close()


async def test_what_was_erased_is_in_none_of_its_files(sqlite_file: Path) -> None:
    archive = DatabaseArchive(SqliteBackend(sqlite_file))
    await archive.start()
    await archive.write(a_session(), *(an_item(n, text="walnut" * 3_000) for n in range(1, 4)))
    assert b"walnut" in _all_bytes(sqlite_file)
    await archive.erase("s")
    assert b"walnut" not in _all_bytes(sqlite_file)
    await archive.aclose()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def _all_bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


async def test_a_copy_can_be_made_while_it_is_used(sqlite_file: Path, tmp_path: Path) -> None:
    archive = DatabaseArchive(SqliteBackend(sqlite_file))
    await archive.start()
    await archive.write(a_session(), an_item(1))
    copy = tmp_path / "copy.db"
    other = sqlite3.connect(sqlite_file)
    other.execute("VACUUM INTO ?", (str(copy),))
    other.close()
    await archive.write(an_item(2))
    await archive.aclose()
    copied = DatabaseArchive(SqliteBackend(copy))
    await copied.start()
    assert await copied.items("s") == [an_item(1)]
    await copied.aclose()


@pytest.mark.parametrize("content", [b"this is not a database, it is prose " * 40, b"\0" * 4_096])
async def test_what_is_no_database_is_left_alone(sqlite_file: Path, content: bytes) -> None:
    _write(sqlite_file, content)
    archive = DatabaseArchive(SqliteBackend(sqlite_file))
    with pytest.raises(SetupError, match="no SQLite database") as caught:
        await archive.start()
    assert caught.value.code == "store_unreadable"
    assert _all_bytes(sqlite_file) == content


async def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "duologue.db", tmp_path):
        archive = DatabaseArchive(SqliteBackend(path))
        with pytest.raises(SetupError, match="cannot be opened") as caught:
            await archive.start()
        assert caught.value.code == "store_unusable"
        assert "DUOLOGUE_DATABASE_URL" in caught.value.remedy
