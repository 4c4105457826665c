"""Who comes in: what the doors of every transport ask, and what they are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def _nothing() -> None:
    """No books are kept of this visitor."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who was let in.

    Attributes:
        name: the key's name; empty where no key is asked for.
        session: the settings that an ephemeral key is bound to, as in a `session.update`.
        leave: to be called exactly once, when the connection is over.
    """

    name: str = ""
    session: Mapping[str, Any] | None = None
    leave: Callable[[], None] = _nothing
