"""From DUOLOGUE_DATABASE_URL to a store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from duologue.core.errors import SetupError
from duologue.store.archive import DatabaseArchive, Store
from duologue.store.nothing import NoArchive
from duologue.store.postgres import PostgresBackend
from duologue.store.sqlite import MEMORY, SqliteBackend

FILE = "duologue.db"

OFF = ("off", "none")

_POSTGRES = ("postgresql", "postgres")


def open_archive(url: str, default_folder: Path) -> Store:
    """The store that a URL names; it is opened by its `start`.

    Args:
        url: `postgresql://…`; `sqlite:///relative/path` or `sqlite:////absolute/path`; "memory" for as long as this
            process lives; "off" or "none" for nothing; empty for `duologue.db` in the default folder.

    Raises:
        SetupError: it names none, or the driver of its database is not installed.
    """
    url = url.strip()
    if not url:
        return DatabaseArchive(SqliteBackend(default_folder / FILE))
    if url in OFF:
        return NoArchive()
    if url == "memory":
        return DatabaseArchive(SqliteBackend(MEMORY))
    scheme = url.partition(":")[0]
    if scheme in _POSTGRES and url.startswith(f"{scheme}://"):
        return DatabaseArchive(PostgresBackend(url))
    if path := _sqlite_path(url):
        return DatabaseArchive(SqliteBackend(path))
    raise SetupError(
        "store_url_invalid",
        "DUOLOGUE_DATABASE_URL names no database that can be used.",  # its text may hold a password
        remedy="It is postgresql://USER:PASSWORD@HOST:5432/DATABASE, sqlite:////PATH/TO/FILE, 'off' for none, "
        "or empty for SQLite in the data directory.",
    )


def place_of(url: str, default_folder: Path) -> str:
    """Where that store is, for a person; empty where nothing is kept. Never a password."""
    url = url.strip()
    if url in OFF:
        return ""
    if url == "memory":
        return "memory, until it stops"
    if url.partition(":")[0] in _POSTGRES:
        return "PostgreSQL"
    return str(_sqlite_path(url) or default_folder / FILE)


def _sqlite_path(url: str) -> Path | None:
    """As SQLAlchemy and others read it: what follows the third slash; a fourth makes it absolute."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment:
        return None
    name = unquote(parts.path)[1:]
    return Path(name).expanduser() if name and "\0" not in name else None
