"""What engines found, kept by the hash of what they were shown: the second policy pays nothing for the first's work,
and the second run nothing at all."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

MOST = 500_000
"""Findings kept; beyond it the file is begun anew. About 100 MB."""


def digest(*parts: bytes | str) -> bytes:
    """A key for all of these together."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        h.update(part.encode() if isinstance(part, str) else part)
        h.update(b"\0")
    return h.digest()


class Store:
    """Texts by key, in memory, and in a file between runs.

    Args:
        path: of the file; None for memory alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[bytes, str] = {}
        self._new: dict[bytes, str] = {}
        self.hits = self.misses = 0
        if path is not None and path.is_file():
            with _open(path) as db:
                self._known = dict(db.execute("select key, text from found"))

    def get(self, key: bytes) -> str | None:
        """What was found; None if nobody has looked."""
        text = self._known.get(key)
        if text is None:
            self.misses += 1
        else:
            self.hits += 1
        return text

    def put(self, key: bytes, text: str) -> None:
        """This was found."""
        self._known[key] = self._new[key] = text

    def save(self) -> None:
        """Keep what is new for the next run; several processes may do so."""
        if self._path is None or not self._new:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with _open(self._path) as db:
            if db.execute("select count(*) from found").fetchone()[0] > MOST:
                db.execute("delete from found")
            db.executemany("insert or ignore into found values (?, ?)", self._new.items())
        self._new.clear()


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=60)) as db, db:
        db.execute("create table if not exists found (key blob primary key, text text)")
        yield db
