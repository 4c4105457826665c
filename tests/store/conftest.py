"""The databases that the tests run on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from duologue.store.archive import PATIENCE_S, DatabaseArchive
from duologue.store.backend import Backend
from duologue.store.migrating import Migration
from duologue.store.postgres import PostgresBackend
from duologue.store.sqlite import SqliteBackend
from tests.store.postgres_server import RunningPostgres, postgres_server, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningPostgres]:
    """Started when the first test asks for it. Without the package it is skipped, but not in CI."""
    found = programs()
    if found is None:
        reason = "PostgreSQL is not installed (apt-get install postgresql; .ci/setup does)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with postgres_server(found) as running:
        yield running


@dataclass
class Database:
    """One that nobody else uses."""

    url: str

    def backend(self, steps: tuple[Migration, ...] | None = None) -> Backend:
        path = self.url.removeprefix("sqlite:///")
        return PostgresBackend(self.url, steps) if path == self.url else SqliteBackend(path, steps)

    def archive(self, *, patience_s: float = PATIENCE_S, drain_s: float = 5.0) -> DatabaseArchive:
        return DatabaseArchive(self.backend(), patience_s=patience_s, drain_s=drain_s)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Database(f"sqlite:///{tmp_path / 'made' / 'duologue.db'}")
    running: RunningPostgres = request.getfixturevalue("postgres")
    return Database(running.url())


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "made" / "duologue.db"
