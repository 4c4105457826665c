"""Whole conversations as they were when somebody last looked at them: tests/wire/golden/*.json, an event a line.

Ids are numbered in the order of their appearance, and runs of sound counted. To look again, delete the file and run
the test twice.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from duologue.wire.dialect import Dialect
from tests.support.scripted import Client, connected_by

GOLDEN = Path(__file__).parent.parent / "wire" / "golden"
_ID = re.compile(r"\b(event|item|resp|conv|call)_[0-9a-f]{8,}(_\d+)?")

Event = dict[str, Any]


class Tape:
    """A socket that keeps what is sent, and judges nothing."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.items: list[str] = []
        self.responses: list[str] = []
        self.closed: list[tuple[int, str]] = []

    def send(self, data: bytes) -> None:
        self.events.append(json.loads(data))

    def close(self, code: int, reason: str = "") -> None:
        self.closed.append((code, reason))

    def unsent(self) -> int:
        return 0

    def types(self) -> list[str]:
        """What came, without the deltas."""
        return [e["type"] for e in self.events if "delta" not in e["type"]]

    def of(self, kind: str) -> list[Event]:
        return [e for e in self.events if e["type"] == kind]


@asynccontextmanager
async def taped(dialect: Dialect, **engines: Any) -> AsyncIterator[tuple[Client, Tape]]:
    """A whole connection in scripted time with fake engines, and all that it sends."""
    tape = Tape()
    async with connected_by(tape, dialect, **engines) as client:
        yield client, tape


class Names:
    """Random ids -> names in the order in which they came."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def rename(self, text: str) -> str:
        return _ID.sub(self._name, text)

    def _name(self, found: "re.Match[str]") -> str:
        if found[0] not in self._names:
            self._counts[found[1]] = self._counts.get(found[1], 0) + 1
            self._names[found[0]] = f"{found[1]}_{self._counts[found[1]]}"
        return self._names[found[0]]


def normal(events: list[Event]) -> list[Event]:
    """Events without what differs from run to run."""
    names = Names()
    shown: list[Event] = []
    for event in events:
        if event["type"].endswith("audio.delta"):
            if shown and shown[-1]["type"] == event["type"]:
                shown[-1]["times"] += 1
            else:
                shown.append({"type": event["type"], "times": 1})
            continue
        rest = {key: value for key, value in event.items() if key != "event_id"}
        shown.append(json.loads(names.rename(json.dumps(rest))))
    return shown


def assert_golden(name: str, events: list[Event]) -> None:
    """These events are those of the file."""
    path = GOLDEN / f"{name}.json"
    lines = [json.dumps(event, ensure_ascii=False) for event in normal(events)]
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        raise AssertionError(f"{path.name} was not there and has been written: read it")
    assert normal(events) == json.loads(path.read_text(encoding="utf-8"))
