"""What the archive needs of a database: one connection, used by one thread."""

from collections.abc import Sequence
from typing import Any, Protocol

from duologue.core.errors import OurError
from duologue.store.migrating import Row

Bound = tuple[str, tuple[Any, ...]]
"""A statement with `?` for each value, and the values."""


class Away(Exception):
    """The database cannot be had at the moment: worth another try. Its text holds nothing that was said."""


class Backend(Protocol):
    """A connection. All but `interrupt` is called by one thread, which may wait."""

    name: str

    def open(self) -> None:
        """Connect and bring the schema up to date; nothing if that is so already.

        Raises:
            SetupError: it cannot be used as it is.
            Away: it could not be reached now, but was before.
        """

    def write(self, statements: Sequence[Bound]) -> int:
        """All of them in one commit, or none; returns how many rows the last one touched.

        Raises:
            Away: after which `open` is called again.
            OurError: it was refused.
        """

    def read(self, statement: Bound) -> Sequence[Row]:
        """What the statement finds; raises as `write` does. JSON columns come as text."""

    def erased(self) -> None:
        """Much was deleted: let go of what still holds it."""

    def interrupt(self) -> None:
        """Break off what it is doing. From any thread."""

    def close(self) -> None:
        """Disconnect."""


def failed(reason: str) -> OurError:
    """What a call fails with; the reason holds nothing that was said."""
    return OurError("store_failed", f"The store could not do this: {reason}.")
