"""A session as a file: every fact with the orders that followed, one JSON line each; and its replay.

Facts are values and time is in them, so a journal replays to the same decisions without sound, GPU or
time. It holds transcripts: it is written only when asked for.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from duologue.core import facts as vocabulary
from duologue.core.errors import ClientError
from duologue.core.facts import Fact, Order
from duologue.core.policy import TurnPolicy
from duologue.core.turn import TurnMachine

VERSION = 1

_NEVER = 2**31
_BEFORE = {
    "speculate": False,
    "barge_in_words": 1,
    "max_turn_ms": _NEVER,
    "breath_ms": _NEVER,
}
"""Manners that a journal does not name were not there yet when it was written."""

_KINDS = {
    kind.__name__: kind
    for kind in vars(vocabulary).values()
    if hasattr(kind, "__dataclass_fields__")
}


def _dress(value: Any) -> dict[str, Any]:
    return {"kind": type(value).__name__, **msgspec.to_builtins(value)}


def _undress(plain: dict[str, Any]) -> Any:
    fields = dict(plain)
    kind = _KINDS[fields.pop("kind")]
    return msgspec.convert(fields, kind)


class Journal:
    """Writes one session down. Lines are flushed one by one: a crash loses at most the last."""

    def __init__(self, path: Path, session_id: str, policy: TurnPolicy) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        head = {"journal": VERSION, "session": session_id, "policy": msgspec.to_builtins(policy)}
        self._write(head)

    def note(self, fact: Fact, orders: Iterable[Order]) -> None:
        """A fact and what it led to."""
        self._write({"fact": _dress(fact), "orders": [_dress(order) for order in orders]})

    def close(self) -> None:
        """The session is over."""
        self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(msgspec.json.encode(line).decode() + "\n")


class Step(msgspec.Struct):
    """One line of a replay.

    Attributes:
        line: of the journal's file, from 1.
        then: what was ordered when it happened; now: what is ordered today.
    """

    line: int
    fact: Fact
    floor: str
    then: tuple[Order, ...]
    now: tuple[Order, ...]

    @property
    def same(self) -> bool:
        """Today's rules decide as they did."""
        return self.then == self.now


def replay(lines: Iterable[str]) -> Iterator[Step]:
    """Feed a journal's facts to a fresh machine.

    Raises:
        ClientError: it is not a journal, or one of another version.
    """
    turn: TurnMachine | None = None
    for number, line in enumerate(lines, start=1):
        try:
            entry = msgspec.json.decode(line)
            if turn is None:
                if entry["journal"] != VERSION:
                    raise ValueError(f"it has version {entry['journal']}, and this reads {VERSION}")
                turn = TurnMachine(msgspec.convert({**_BEFORE, **entry["policy"]}, TurnPolicy))
                continue
            fact = _undress(entry["fact"])
            then = tuple(_undress(order) for order in entry["orders"])
        except (KeyError, TypeError, ValueError) as error:
            raise ClientError(
                "not_a_journal", f"Line {number} is no journal line: {error}."
            ) from error
        now = turn.feed(fact)
        yield Step(number, fact, turn.floor.name, then, now)
