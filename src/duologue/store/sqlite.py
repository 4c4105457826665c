"""SQLite: a file of the own machine.

WAL with synchronous=NORMAL: a commit is handed to the kernel and not waited for on the disk. It survives the end of
this process, however it ends; of a machine that loses power, the last commits may be missing, and what is there is
consistent ("PRAGMA synchronous" in SQLite's documentation). Waiting for the disk would cost each item milliseconds.

Erased data is overwritten (`secure_delete`) and the log of changes emptied after it, so that what was erased is in
none of the files.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from duologue.core.errors import OurError, SetupError
from duologue.store.backend import Away, Bound, failed
from duologue.store.migrating import Dialect, Migration, Row, migrate

MEMORY = ":memory:"

BUSY_MS = 2_000
"""How long a statement waits for another writer of the same file."""

OPENING_TRIES = 50
"""A change to WAL fails at once, without waiting, while another process changes to it too."""

DIALECT = Dialect(
    words={"JSONB": "TEXT", "BYTEA": "BLOB"},
    has_table="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
)

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class SqliteBackend:
    """A file, or nothing but memory.

    Args:
        path: of the file; its folder is made if it is not there. `MEMORY` for none.
        steps: of the schema; those that this version knows if not given.
    """

    name = "SQLite"

    def __init__(self, path: Path | str, steps: Sequence[Migration] | None = None) -> None:
        self._path = path
        self._steps = steps
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """See `Backend`."""
        if self._connection is not None:
            return
        try:
            if self._path != MEMORY:
                _make_private(Path(self._path))
            connection = sqlite3.connect(self._path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._unusable(error) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def write(self, statements: Sequence[Bound]) -> int:
        """See `Backend`."""
        connection = self._open_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            touched = 0
            for statement, values in statements:
                touched = connection.execute(statement, values).rowcount
            connection.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if isinstance(error, (sqlite3.Error, OverflowError)):
                raise _told(error) from None
            raise
        return touched

    def read(self, statement: Bound) -> Sequence[Row]:
        """See `Backend`."""
        try:
            return self._open_connection().execute(*statement).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise _told(error) from None

    def erased(self) -> None:
        """Empty the log of changes, which still has the pages as they were; not while others read it."""
        with suppress(sqlite3.Error):
            self._open_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def interrupt(self) -> None:
        """See `Backend`."""
        connection = self._connection
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.interrupt()

    def close(self) -> None:
        """See `Backend`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open_connection(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        migrate(
            lambda statement, values: connection.execute(statement, values).fetchall(),
            DIALECT,
            time.time(),
            self._steps,
        )
        connection.execute("COMMIT")

    def _unusable(self, error: OSError | sqlite3.Error) -> SetupError:
        if isinstance(error, sqlite3.Error) and _primary(error) in _NO_DATABASE:
            return SetupError(
                "store_unreadable",
                f"{self._path} is no SQLite database, or a damaged one.",
                remedy="Bring back a copy of it, or move it away: a new one is made.",
            )
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return SetupError(
            "store_unusable",
            f"The database {self._path} cannot be opened: {reason}.",
            remedy="The user that runs the server must be able to write it and its folder; "
            "DUOLOGUE_DATABASE_URL names another, or none ('off').",
        )


def _make_private(path: Path) -> None:
    """What people said is nobody else's: SQLite gives its other files the mode of this one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _use_wal(connection: sqlite3.Connection) -> None:
    for left in reversed(range(OPENING_TRIES)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _primary(error) not in _BUSY or not left:
                raise
            time.sleep(BUSY_MS / OPENING_TRIES / 1_000)
        else:
            return


def _primary(error: sqlite3.Error) -> int:
    """The first byte of the code, without its refinement; 0 where the error is Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _told(error: sqlite3.Error | OverflowError) -> Away | OurError:
    if not isinstance(error, sqlite3.Error):
        return failed("a number is too large")
    if _primary(error) in _BUSY:
        return Away("another program holds the database")
    return failed(f"{getattr(error, 'sqlite_errorname', type(error).__name__)}")
