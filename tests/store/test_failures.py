"""Databases that are slow, full, held by others or away; nobody's conversation ends of it."""

import asyncio
import gc
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from duologue.core.errors import OurError
from duologue.store import archive as archives
from duologue.store import sqlite
from duologue.store.archive import DatabaseArchive
from duologue.store.backend import Bound
from duologue.store.migrating import Row
from duologue.store.postgres import PostgresBackend
from duologue.store.sqlite import SqliteBackend
from tests.store.postgres_server import RunningPostgres
from tests.store.records import a_session, an_item


class Gated(SqliteBackend):
    """Writes and reads when it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def write(self, statements: Sequence[Bound]) -> int:
        self.reached.set()
        self.gate.wait(20)
        return super().write(statements)

    def read(self, statement: Bound) -> Sequence[Row]:
        self.gate.wait(20)
        return super().read(statement)


@pytest.fixture
def gated(sqlite_file: Path) -> Iterator[Gated]:
    backend = Gated(sqlite_file)
    yield backend
    backend.gate.set()


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 20)


async def test_more_than_it_takes_fails_at_once(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_WAITING", 3)
    archive = DatabaseArchive(gated)
    await archive.start()
    await archive.write(a_session())
    gated.gate.clear()
    waiting = [archive.write(an_item(n)) for n in (1, 2, 3)]
    with pytest.raises(OurError) as caught:
        await archive.write(an_item(4))
    assert caught.value.code == "store_overrun"
    with pytest.raises(OurError):
        await archive.items("s")
    assert (archive.stats.overruns, archive.stats.failed, archive.stats.waiting) == (2, 2, 3)
    gated.gate.set()
    await asyncio.gather(*waiting)
    await archive.write(an_item(5))
    assert [i.number for i in await archive.items("s")] == [1, 2, 3, 5]
    await archive.aclose()


async def test_so_does_more_than_memory_is_for(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_WAITING_BYTES", 10_000)
    archive = DatabaseArchive(gated)
    await archive.start()
    await archive.write(a_session())
    gated.gate.clear()
    first = archive.write(an_item(1, text="x" * 20_000))  # alone it may be larger
    with pytest.raises(OurError) as caught:
        await archive.write(an_item(2))
    assert caught.value.code == "store_overrun"
    gated.gate.set()
    await first
    await archive.aclose()


async def test_whoever_does_not_look_misses_nothing(
    sqlite_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    archive = DatabaseArchive(SqliteBackend(sqlite_file))
    await archive.start()
    for number in range(5):
        archive.write(an_item(number, text="a secret", body={"text": "a secret"}))
    archive.write(an_item(6, body={"a secret": float("nan")}))
    await archive.write(a_session())
    await archive.aclose()
    archive.write(a_session())
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert archive.stats.failed == 7
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == 3  # it began, it works again, it is closed; not one for each
    assert "secret" not in caplog.text


async def test_a_write_is_done_even_if_its_caller_was_cancelled(gated: Gated) -> None:
    archive = DatabaseArchive(gated)
    await archive.start()
    await archive.write(a_session())
    gated.gate.clear()
    first, second = archive.write(an_item(1)), archive.write(an_item(2))
    first.cancel()
    second.cancel()
    gated.gate.set()
    assert len(await archive.items("s")) == 2
    await archive.aclose()


async def test_a_reader_is_not_kept_waiting_for_ever(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "READ_S", 0.02)
    archive = DatabaseArchive(gated)
    await archive.start()
    gated.gate.clear()
    with pytest.raises(OurError, match="nothing came back"):
        await archive.session("s")
    gated.gate.set()
    await archive.write(a_session())
    assert archive.stats.waiting == 0
    await archive.aclose()


async def test_closing_takes_a_bounded_time(gated: Gated) -> None:
    archive = DatabaseArchive(gated, drain_s=0.05)
    await archive.start()
    gated.gate.clear()
    gated.reached.clear()
    futures = [archive.write(a_session()) for _ in range(3)]
    await reached(gated.reached)
    await archive.aclose()
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [getattr(o, "code", None) for o in outcomes] == ["store_failed"] * 3
    assert archive.stats.waiting == 0


async def test_a_full_disk_fails_the_write_and_is_told_as_one(sqlite_file: Path) -> None:
    class SmallDisk(SqliteBackend):
        def _prepare(self, connection: sqlite3.Connection) -> None:
            super()._prepare(connection)
            connection.execute("PRAGMA max_page_count = 40")

    archive = DatabaseArchive(SmallDisk(sqlite_file))
    await archive.start()
    await archive.write(a_session())
    with pytest.raises(OurError, match="SQLITE_FULL"):
        await archive.write(an_item(1), an_item(2, text="x" * 2**20))
    await archive.write(an_item(3))
    assert [i.number for i in await archive.items("s")] == [3]
    await archive.aclose()


async def test_a_file_that_another_program_holds_is_waited_for(
    sqlite_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 1)
    absent = threading.Event()
    archive = DatabaseArchive(_watched_sqlite(sqlite_file, absent))
    await archive.start()
    await archive.write(a_session())
    with sqlite3.connect(sqlite_file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        future = archive.write(an_item(1))
        await reached(absent)
        assert not future.done()
        other.execute("ROLLBACK")
    other.close()
    await future
    assert archive.stats.absences >= 1
    await archive.aclose()


async def test_but_not_for_ever(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_MS", 1)
    archive = DatabaseArchive(SqliteBackend(sqlite_file), patience_s=0.1)
    await archive.start()
    await archive.write(a_session())
    with sqlite3.connect(sqlite_file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OurError, match="SQLite is away: another program"):
            await archive.write(an_item(1))
        other.execute("ROLLBACK")
    other.close()
    await archive.write(an_item(2))
    assert [i.number for i in await archive.items("s")] == [2]
    await archive.aclose()


def _watched_sqlite(path: Path, absent: threading.Event) -> SqliteBackend:
    class Watched(SqliteBackend):
        def write(self, statements: Sequence[Bound]) -> int:
            try:
                return super().write(statements)
            except Exception:
                absent.set()
                raise

    return Watched(path)


# --- PostgreSQL ---
def _terminate(postgres: RunningPostgres) -> int:
    """Cut all connections of archives."""
    gone = postgres.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'duologue' AND pid <> "
        "pg_backend_pid()"
    )
    return len(gone)


async def test_a_lost_connection_loses_nothing(postgres: RunningPostgres) -> None:
    archive = DatabaseArchive(PostgresBackend(postgres.url()))
    await archive.start()
    await archive.write(a_session())
    for first in (1, 101, 201):
        futures = [archive.write(an_item(n)) for n in range(first, first + 50)]
        assert await asyncio.to_thread(_terminate, postgres) == 1
        futures += [archive.write(an_item(n)) for n in range(first + 50, first + 100)]
        await asyncio.gather(*futures)
    assert [i.number for i in await archive.items("s")] == list(range(1, 301))
    assert archive.stats.absences >= 1
    await asyncio.to_thread(_terminate, postgres)
    assert await archive.session("s") is not None
    await archive.aclose()


class WatchedPostgres(PostgresBackend):
    """Says when it was found away."""

    absent: threading.Event

    def open(self) -> None:
        try:
            super().open()
        except Exception:
            self.absent.set()
            raise


async def test_an_outage_shorter_than_our_patience_loses_nothing(postgres: RunningPostgres) -> None:
    backend = WatchedPostgres(postgres.url())
    backend.absent = threading.Event()
    archive = DatabaseArchive(backend)
    await archive.start()
    await archive.write(a_session())
    socket = postgres.folder / ".s.PGSQL.5432"
    await asyncio.to_thread(_terminate, postgres)
    socket.rename(socket.with_name("away"))
    try:
        futures = [archive.write(an_item(n)) for n in range(1, 6)]
        await reached(backend.absent)
        assert archive.stats.waiting == 5
    finally:
        socket.with_name("away").rename(socket)
    await asyncio.gather(*futures)
    assert [i.number for i in await archive.items("s")] == [1, 2, 3, 4, 5]
    await archive.aclose()


async def test_a_longer_one_loses_what_is_older(postgres: RunningPostgres) -> None:
    archive = DatabaseArchive(PostgresBackend(postgres.url()), patience_s=0.1)
    await archive.start()
    await archive.write(a_session())
    socket = postgres.folder / ".s.PGSQL.5432"
    await asyncio.to_thread(_terminate, postgres)
    socket.rename(socket.with_name("away"))
    try:
        lost = [archive.write(an_item(n)) for n in range(1, 6)]
        outcomes = await asyncio.gather(*lost, return_exceptions=True)
    finally:
        socket.with_name("away").rename(socket)
    assert {getattr(o, "code", None) for o in outcomes} == {"store_failed"}
    assert "PostgreSQL is away" in str(outcomes[0])
    await archive.write(an_item(6))
    assert [i.number for i in await archive.items("s")] == [6]
    await archive.aclose()


async def test_closing_while_it_is_away_takes_a_bounded_time(postgres: RunningPostgres) -> None:
    archive = DatabaseArchive(PostgresBackend(postgres.url()), drain_s=0.1)
    await archive.start()
    socket = postgres.folder / ".s.PGSQL.5432"
    await asyncio.to_thread(_terminate, postgres)
    socket.rename(socket.with_name("away"))
    try:
        future = archive.write(a_session())
        await archive.aclose()
    finally:
        socket.with_name("away").rename(socket)
    with pytest.raises(OurError, match="closed"):
        await future


async def test_a_statement_that_hangs_is_broken_off_at_the_end(postgres: RunningPostgres) -> None:
    url = postgres.url()
    archive = DatabaseArchive(PostgresBackend(url), drain_s=0.1)
    await archive.start()
    import psycopg

    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE duologue_sessions")
        future = archive.write(a_session())
        await archive.aclose()
    with pytest.raises(OurError, match="QueryCanceled"):
        await future
