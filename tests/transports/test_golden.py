"""Whole exchanges as they were once read and found right: client events, time, and all that comes back.

Each file of tests/transports/golden is one scene, a line an event: `>` what the client did, `<` what it was
sent. Ids are numbered in the order in which they appear, and the sound of an item is one line. After a
change that is meant: `python -m tests.transports.test_golden` writes them anew, to be read in the diff.
"""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.golden import Names
from tests.support.scripted import Event, TimingStt, connected

GOLDEN = Path(__file__).parent / "golden"


def update(**session: Any) -> tuple[str, Any]:
    return ("ask", {"type": "session.update", "session": {"type": "realtime", **session}})


def heard(**more: Any) -> dict[str, Any]:
    """The sound's settings in which the client is told what the user said."""
    return {"input": {"transcription": {"model": "any"}, **more}}


def typed(text: str, **more: Any) -> tuple[str, Any]:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content, **more}
    return ("ask", {"type": "conversation.item.create", "item": item})


def respond(**response: Any) -> tuple[str, Any]:
    event: Event = {"type": "response.create"}
    return ("ask", {**event, "response": response} if response else event)


LAMP = {"type": "function", "name": "lamp", "description": "Light it.", "parameters": {}}
SCENES: dict[str, list[tuple[str, Any]]] = {
    "a turn": [update(audio=heard()), ("speak", 800), ("quiet", 3_000)],
    "an interruption": [
        update(audio=heard()),
        ("speak", 800),
        ("quiet", 1_500),
        ("speak", 1_000),
        ("quiet", 3_600),
        ("about", ("truncate", 0, 400)),
    ],
    "a cough over an answer": [("speak", 800), ("quiet", 1_000), ("speak", 120), ("quiet", 4_000)],
    "push to talk": [
        update(audio=heard(turn_detection=None)),
        ("speak", 800),
        ("ask", {"type": "input_audio_buffer.commit", "event_id": "mine"}),
        respond(),
        ("muted", 3_000),
        ("speak", 200),
        ("ask", {"type": "input_audio_buffer.clear"}),
        ("ask", {"type": "input_audio_buffer.commit", "event_id": "empty"}),
    ],
    "text": [
        typed("ahoy", id="mine"),
        respond(output_modalities=["text"], metadata={"client_event_id": "7"}),
        ("about", ("retrieve", 1, 0)),
        ("about", ("delete", 0, 0)),
    ],
    "a function call": [
        update(tools=[LAMP], output_modalities=["text"]),
        typed("now call lamp"),
        respond(),
        (
            "ask",
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "function_call_output",
                    "call_id": "call_ebbcf0eb",
                    "output": "it is lit",
                },
            },
        ),
        respond(),
    ],
    "out of band": [
        typed("ahoy"),
        respond(
            conversation="none",
            output_modalities=["text"],
            metadata={"topic": "x"},
            input=[{"type": "item_reference", "id": "gone"}],
        ),
        respond(conversation="none", output_modalities=["text"], input=[]),
        respond(conversation="none", audio={"output": {"format": {"type": "audio/pcmu"}}}),
    ],
    "idle": [
        update(audio=heard(turn_detection={"type": "server_vad", "idle_timeout_ms": 5_000})),
        ("speak", 600),
        ("quiet", 8_000),
    ],
    "transcription": [
        (
            "ask",
            {
                "type": "session.update",
                "session": {"type": "transcription", "audio": heard()},
            },
        ),
        ("speak", 600),
        ("quiet", 900),
        respond(),
    ],
    "engines that fail": [
        update(audio=heard()),
        ("speak", 800),
        ("quiet", 1_500),
        typed("ahoy"),
        respond(),
        ("quiet", 400),
    ],
    "wrong events": [
        ("nonsense", b"{"),
        ("nonsense", b"[]"),
        ("ask", {"type": "session.fly", "event_id": "e1"}),
        ("ask", {"type": "response.cancel", "event_id": "e2"}),
        ("ask", {"type": "conversation.item.delete", "event_id": "e3"}),
        ("ask", {"type": "conversation.item.retrieve", "item_id": "gone"}),
        ("nonsense", b'{"type": "input_audio_buffer.append", "audio": "A"}'),
        ("binary", b"\0\0"),
        update(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 7}}}),
    ],
}


ENGINES: dict[str, dict[str, Any]] = {
    "engines that fail": {"stt": FakeStt("fail=1"), "llm": FakeLlm("fail=1")}
}
"""Other than the usual ones."""


def shown(step: tuple[str, Any]) -> str:
    kind, what = step
    return f"> {kind} {what.decode() if isinstance(what, bytes) else json.dumps(what)}"


def compact(events: list[Event]) -> list[Event]:
    """Without the events' own ids, and with the sound of one item as one line."""
    told: list[Event] = []
    for event in events:
        plain = {name: value for name, value in event.items() if name != "event_id"}
        if plain["type"] != "response.output_audio.delta":
            told.append(plain)
            continue
        size = len(base64.b64decode(plain.pop("delta")))
        before = next(
            (e for e in told if e.get("bytes") and e["item_id"] == plain["item_id"]), None
        )
        if before is None:
            told.append({**plain, "bytes": size})
        else:
            before["bytes"] += size
    return told


async def exchange(scene: str) -> str:
    dialect = RealtimeWire(SessionDocument("sess_test", "duologue", "Be brief."))
    names = Names()
    lines: list[str] = []
    seen = 0
    engines = {"stt": TimingStt(), "tts": FakeTts("tts_s=2"), **ENGINES.get(scene, {})}
    async with connected(dialect, **engines) as (client, wire):
        for step in (("muted", 20), *SCENES[scene]):
            await client.act(*step)
            lines.append(shown(step))
            lines += [f"< {json.dumps(e)}" for e in compact(wire.referee.seen[seen:])]
            seen = len(wire.referee.seen)
        return names.rename("\n".join(lines)) + "\n"


@pytest.mark.parametrize("scene", SCENES)
def test_an_exchange_is_as_it_was(scene: str) -> None:
    kept = (GOLDEN / f"{scene.replace(' ', '-')}.txt").read_text(encoding="utf-8")
    assert asyncio.run(exchange(scene)).splitlines() == kept.splitlines()


def write() -> None:
    """Write all scenes anew."""
    GOLDEN.mkdir(exist_ok=True)
    for scene in SCENES:
        path = GOLDEN / f"{scene.replace(' ', '-')}.txt"
        path.write_text(asyncio.run(exchange(scene)), encoding="utf-8")


if __name__ == "__main__":
    write()
