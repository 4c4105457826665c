"""PostgreSQL, by psycopg 3 (the extra `postgres`).

A lost connection is opened again, and what was under way is tried again by the archive's thread. What PostgreSQL says
of a refused row is not passed on, for it quotes the row; the password is in no message either.
"""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from duologue.core.errors import OurError, SetupError
from duologue.store.backend import Away, Bound, failed
from duologue.store.migrating import Dialect, Migration, Row, migrate

if TYPE_CHECKING:
    import psycopg

LOCK = 0x6475_6F6C_6F67_7565
"""Of the schema's changes, among the advisory locks of the database: "duologue" in ASCII."""

STATEMENT_S = 10
"""A statement that takes longer is broken off."""

CANCEL_S = 1.0
"""To ask the server for that, over a connection of its own."""

CONNECTION = {
    "connect_timeout": 5,
    "application_name": "duologue",
    # A server that vanished without a word is noticed within about 15 s, waiting for it or sending to it.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""libpq's settings ("Database Connection Control Functions" of PostgreSQL's manual); the URL's own come first."""

DIALECT = Dialect(words={}, has_table="SELECT 1 WHERE to_regclass(?) IS NOT NULL")

_PORTS = re.compile(r"[0-9,]*")

_PASSING = ("08", "40", "57P", "53300", "25006", "55P03")
"""SQLSTATE of what another try may mend: lost connections, deadlocks, a restart, too many clients, a standby."""


class PostgresBackend:
    """A connection to a PostgreSQL database.

    Args:
        url: `postgresql://user:password@host:port/database?settings`, as libpq takes it.
        steps: of the schema; those that this version knows if not given.

    Raises:
        SetupError: psycopg is missing, or the URL is none.
    """

    name = "PostgreSQL"

    def __init__(self, url: str, steps: Sequence[Migration] | None = None) -> None:
        self._psycopg = _load()
        self._settings = _parsed(self._psycopg, url)
        self._steps = steps
        self._connection: psycopg.Connection[Row] | None = None
        self._was_open = False

    def open(self) -> None:
        """See `Backend`."""
        if self._connection is not None:
            return
        try:
            self._connection = self._connect()
        except self._psycopg.Error as error:
            if self._was_open:
                raise Away("it cannot be reached") from None
            raise self._unusable(error) from None
        self._was_open = True

    def write(self, statements: Sequence[Bound]) -> int:
        """See `Backend`. One statement is a transaction of its own: one way there and back."""
        connection = self._open_connection()
        try:
            if len(statements) == 1:
                return connection.execute(*_bound(statements[0])).rowcount
            touched = 0
            # The pipeline sends all of them before it waits for the first answer.
            with connection.pipeline(), connection.transaction():
                cursors = [connection.execute(*_bound(statement)) for statement in statements]
            for cursor in cursors:
                touched = cursor.rowcount
            return touched
        except (self._psycopg.Error, OverflowError) as error:
            raise self._told(error) from None

    def read(self, statement: Bound) -> Sequence[Row]:
        """See `Backend`."""
        try:
            return self._open_connection().execute(*_bound(statement)).fetchall()
        except (self._psycopg.Error, OverflowError) as error:
            raise self._told(error) from None

    def erased(self) -> None:
        """PostgreSQL's own vacuum sees to it."""

    def interrupt(self) -> None:
        """See `Backend`."""
        connection = self._connection
        if connection is not None:
            with suppress(self._psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_S)

    def close(self) -> None:
        """See `Backend`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(self._psycopg.Error):
                connection.close()

    def _open_connection(self) -> "psycopg.Connection[Row]":
        assert self._connection is not None
        return self._connection

    def _connect(self) -> "psycopg.Connection[Row]":
        connection: psycopg.Connection[Row] = self._psycopg.connect(
            **self._settings, autocommit=True
        )
        try:
            from psycopg.types.string import TextLoader

            connection.adapters.register_loader("jsonb", TextLoader)
            connection.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
                migrate(
                    lambda statement, values: _rows(connection, statement, values),
                    DIALECT,
                    time.time(),
                    self._steps,
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _unusable(self, error: "psycopg.Error") -> SetupError:
        where = f"{self._settings.get('host', 'its socket')}, database {self._settings.get('dbname', '')!r}"
        # Nothing of this was said by people: the schema is all that a connection sends while it opens.
        reason = str(error.diag.message_primary or error)
        return SetupError(
            "store_unreachable",
            f"PostgreSQL at {where} cannot be used: {' '.join(reason.split())}.",
            remedy="Look at DUOLOGUE_DATABASE_URL (postgresql://USER:PASSWORD@HOST:5432/DATABASE), and whether the "
            "server runs and the user may create tables there.",
        )

    def _told(self, error: "psycopg.Error | OverflowError") -> Away | OurError:
        if not isinstance(error, self._psycopg.Error):
            return failed("a number is too large")
        state = error.sqlstate or ""
        reason = f"{type(error).__name__} {state}".rstrip()
        if self._open_connection().closed or state.startswith(_PASSING):
            self.close()
            return Away(reason)
        return failed(reason)


def _load() -> ModuleType:
    try:
        import psycopg
    except ImportError as error:
        raise SetupError(
            "store_driver_missing",
            "DUOLOGUE_DATABASE_URL names a PostgreSQL database, whose driver (psycopg) is not installed.",
            remedy="Install it: pip install 'duologue[postgres]'.",
        ) from error
    return psycopg


def _parsed(psycopg: ModuleType, url: str) -> dict[str, Any]:
    with suppress(psycopg.Error):  # its text quotes the URL
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(url)
        # A password with a bare '@' or '/' is read as a host, a port or a name, and would be shown as such.
        places = f"{given.get('host', '')}{given.get('dbname', '')}"
        if "@" not in places and _PORTS.fullmatch(str(given.get("port", ""))):
            return CONNECTION | given
    raise SetupError(
        "store_url_invalid",
        "DUOLOGUE_DATABASE_URL is no URL of a PostgreSQL database.",
        remedy="It looks so: postgresql://USER:PASSWORD@HOST:5432/DATABASE; in a password '@' is written %40, "
        "'/' %2F, '%' %25.",
    )


@cache
def _in_its_marks(statement: str) -> str:
    return statement.replace("?", "%s")


def _bound(statement: Bound) -> tuple[str, tuple[Any, ...]]:
    return _in_its_marks(statement[0]), statement[1]


def _rows(
    connection: "psycopg.Connection[Row]", statement: str, values: Sequence[Any]
) -> Sequence[Row]:
    cursor = connection.execute(_in_its_marks(statement), values or None)
    return cursor.fetchall() if cursor.description else ()
