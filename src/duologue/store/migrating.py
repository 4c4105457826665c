"""The schema, in numbered steps that are applied once each, in order.

A step is a file `migrations/NNNN_name.sql`, written for PostgreSQL; what SQLite calls otherwise is translated. No
statement has a semicolon in it, for that is where they are parted. A step that was released is never edited.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from duologue.core.errors import SetupError

Row = tuple[Any, ...]
Run = Callable[[str, Sequence[Any]], Sequence[Row]]
"""Runs one statement, with `?` for each value, and returns what it finds."""

TABLE = "duologue_migrations"

_FILE = re.compile(r"(\d{4})_\w+\.sql")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        number: 1 and up, without a hole.
        name: of its file.
        statements: one SQL statement each.
    """

    number: int
    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a database calls otherwise.

    Attributes:
        words: PostgreSQL's word for a type -> this database's.
        has_table: finds a row if the table of this name is there.
    """

    words: Mapping[str, str]
    has_table: str

    def speak(self, statement: str) -> str:
        """The statement in this database's words."""
        for word, own in self.words.items():
            statement = re.sub(rf"\b{word}\b", own, statement)
        return statement


@cache
def known_migrations() -> tuple[Migration, ...]:
    """All steps that this version knows, in order."""
    found = [
        Migration(int(match[1]), file.name, _parted(file.read_text(encoding="utf-8")))
        for file in (files("duologue.store") / "migrations").iterdir()
        if (match := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda step: step.number))


def migrate(
    run: Run, dialect: Dialect, now_s: float, steps: Sequence[Migration] | None = None
) -> int:
    """Bring the schema up to date; returns how many steps that took.

    To be called in a transaction that no second caller can be in at the same time; then it is all or nothing.

    Args:
        now_s: what is noted as the time of application, seconds since 1970.
        steps: all there are, in order; those that this version knows if not given.

    Raises:
        SetupError: the schema is newer than the steps.
    """
    steps = known_migrations() if steps is None else steps
    if not run(dialect.has_table, (TABLE,)):
        run(_CREATE, ())
    applied = {int(row[0]) for row in run(f"SELECT number FROM {TABLE}", ())}
    if applied and max(applied) > len(steps):
        raise SetupError(
            "store_too_new",
            f"The database was written by a newer Duologue (schema {max(applied)}; this one knows {len(steps)}).",
            remedy="Run that version, or give this one another database: DUOLOGUE_DATABASE_URL.",
        )
    missing = [step for step in steps if step.number not in applied]
    for step in missing:
        for statement in step.statements:
            run(dialect.speak(statement), ())
        run(f"INSERT INTO {TABLE} VALUES (?, ?, ?)", (step.number, step.name, now_s))
    return len(missing)


_CREATE = (
    f"CREATE TABLE {TABLE} (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, "
    "applied_s DOUBLE PRECISION NOT NULL)"
)


def _parted(script: str) -> tuple[str, ...]:
    bare = _COMMENT.sub("", script)
    return tuple(part.strip() for part in bare.split(";") if part.strip())
