"""What the tests of unmute's dialect share."""

import base64
import json
from typing import Any

from duologue.core.notices import (
    Notice,
)
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.wire.dialect import Dialect
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from duologue.wire.unmute import UnmuteOrGa, UnmuteWire

SMALLTALK = {"type": "smalltalk", "language": None}
UPDATE = {
    "type": "session.update",
    "session": {"instructions": SMALLTALK, "voice": "alice.wav", "allow_recording": False},
}


def wire() -> UnmuteWire:
    return UnmuteWire(SessionOptions(reply=ReplyOptions(instructions="Be brief.")))


def either() -> UnmuteOrGa:
    return UnmuteOrGa(RealtimeWire(SessionDocument("sess_1", "duologue", "Be brief.")))


def append(audio: bytes) -> bytes:
    event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}
    return json.dumps(event).encode()


def say(w: Dialect, event: Any) -> list[Any]:
    """Commands as they are, events as plain data."""
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    assert w.sound(data) is None
    return [s if not isinstance(s, bytes) else json.loads(s) for s in w.receive(data)]


def told(w: UnmuteWire, *notices: Notice) -> list[dict[str, Any]]:
    return [json.loads(data) for notice in notices for data in w.encode(notice)]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def refused(w: Dialect, data: bytes) -> str:
    try:
        pcm = w.sound(data)
    except Exception as error:  # noqa: BLE001 - a test names the kind
        return type(error).__name__
    return "none" if not pcm else "sound"


def spoken_by(w: UnmuteWire, pcm: bytes) -> list[dict[str, Any]]:
    return [
        json.loads(data)
        for at in range(0, len(pcm), 960)
        for data in w.encode_sound("resp_1", 0, "item_1", pcm[at : at + 960])
    ]
