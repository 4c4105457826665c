"""Whole conversations as they were when somebody last looked at them: tests/wire/golden/*.json, an event a line.

Ids are numbered in the order of their appearance, and runs of sound counted. To look again, delete the file and run
the test twice.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from duologue.transports.realtime import RealtimeConnection
from duologue.wire.dialect import Dialect
from tests.support.scripted import Client
from tests.support.stage import HandClock, LoudnessVad, scripted_world

GOLDEN = Path(__file__).parent.parent / "wire" / "golden"
_ID = re.compile(r"(item|resp|conv|call)_[0-9a-f]{8,}")

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
    """A whole connection in scripted time with fake engines; at the end it must still have been well."""
    clock, vad, tape = HandClock(), LoudnessVad(), Tape()
    world = scripted_world(clock, vad, **engines)
    connection = RealtimeConnection(dialect, world, "sess_test")
    connection.on_open(tape)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(connection.converse())
            await asyncio.sleep(0)
            yield Client(clock, connection, tape), tape  # type: ignore[arg-type]
            assert not tape.closed
            assert connection.session is not None
            assert connection.session.error is None
            connection.on_close()
    finally:
        world.hearing.close()


def normal(events: list[Event]) -> list[Event]:
    """Events without what differs from run to run."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}

    def name(found: "re.Match[str]") -> str:
        kind = found[1]
        if found[0] not in names:
            counts[kind] = counts.get(kind, 0) + 1
            names[found[0]] = f"{kind}_{counts[kind]}"
        return names[found[0]]

    shown: list[Event] = []
    for event in events:
        if event["type"].endswith("audio.delta"):
            if shown and shown[-1]["type"] == event["type"]:
                shown[-1]["times"] += 1
            else:
                shown.append({"type": event["type"], "times": 1})
            continue
        rest = {key: value for key, value in event.items() if key != "event_id"}
        shown.append(json.loads(_ID.sub(name, json.dumps(rest))))
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
