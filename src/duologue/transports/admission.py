"""Who comes in: what the doors of every transport ask, and what they are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def _nothing() -> None:
    """No books are kept of this visitor."""


def _never(end: Callable[[], None]) -> None:
    """There is no key that could be revoked."""


def _no_limits() -> list[dict[str, Any]]:
    """There is nothing to tell."""
    return []


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who was let in.

    Attributes:
        name: the key's name; empty where no key is asked for.
        session: the settings that an ephemeral key is bound to, as in a `session.update`.
        leave: to be called exactly once, when the connection is over.
        on_revoked: takes what is to be called, once, if the key is revoked before that.
        rate_limits: the list in the protocol's `rate_limits.updated`, as it is now; empty: do not send one.
    """

    name: str = ""
    session: Mapping[str, Any] | None = None
    leave: Callable[[], None] = _nothing
    on_revoked: Callable[[Callable[[], None]], None] = _never
    rate_limits: Callable[[], list[dict[str, Any]]] = _no_limits
