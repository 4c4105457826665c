"""The extension's wrapper around a dialect, without any connection."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.commands import (
    AnyCommand,
    Command,
    CreateReply,
    GoOnPlaying,
    PausePlayback,
    Played,
    SetOptions,
)
from duologue.core.errors import ClientError, StateConflict
from duologue.core.facts import AskId
from duologue.core.notices import FloorChanged, HeardSoFar, Problem, ReplyBegan, ReplyState
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenWord
from duologue.wire.dialect import Binary
from duologue.wire.extension import Extended, is_wanted
from duologue.wire.extension_frames import Frame
from duologue.wire.opus import OpusEncoder
from duologue.wire.realtime import RealtimeWire
from duologue.wire.realtime_webrtc import OverWebRtc
from duologue.wire.session_document import SessionDocument

Event = dict[str, Any]


def extended(*, frames: bool = True) -> Extended:
    wire = Extended(_ga())
    wire.has_frames = frames
    return wire


def ask(wire: Any, kind: str, **fields: Any) -> list[AnyCommand | Event]:
    steps = wire.receive(json.dumps({"type": kind, **fields}).encode())
    return [json.loads(step) if isinstance(step, bytes) else step for step in steps]


def command(wire: Any, kind: str, **fields: Any) -> AnyCommand:
    (step,) = ask(wire, kind, **fields)
    assert isinstance(step, Command)
    return step


def refused(wire: Any, kind: str, **fields: Any) -> Event:
    (step,) = ask(wire, kind, **fields)
    assert isinstance(step, dict)
    assert step["type"] == "error"
    error: Event = step["error"]
    return error


def told(wire: Any, notice: Any) -> list[Event]:
    return [json.loads(data) for data in wire.encode(notice)]


def test_what_a_client_may_say() -> None:
    wire = extended()
    played = command(wire, "duologue.played", item_id="item_1", played_ms=1234.9, more="ignored")
    assert isinstance(played, Played)
    assert (played.item_id, played.played_ms) == ("item_1", 1234)
    assert isinstance(command(wire, "duologue.output.hold"), PausePlayback)
    assert isinstance(command(wire, "duologue.output.resume", event_id="e"), GoOnPlaying)
    heard: list[int] = []
    wire.on_ack = heard.append
    assert ask(wire, "duologue.ack", sequence=7) == []
    assert heard == [7]


@pytest.mark.parametrize(
    ("kind", "fields", "code", "param"),
    [
        ("duologue.nothing", {}, "invalid_value", "type"),
        ("duologue.", {}, "invalid_value", "type"),
        ("duologue.played", {"item_id": "i"}, "missing_required_parameter", "played_ms"),
        ("duologue.played", {"played_ms": 1}, "missing_required_parameter", "item_id"),
        ("duologue.played", {"item_id": "i", "played_ms": -1}, "invalid_value", "played_ms"),
        ("duologue.played", {"item_id": "i", "played_ms": 1e300}, "invalid_value", "played_ms"),
        ("duologue.played", {"item_id": 5, "played_ms": 1}, "invalid_value", "item_id"),
        ("duologue.ack", {"sequence": 1.5}, "invalid_value", "sequence"),
        ("duologue.ack", {"sequence": -1}, "invalid_value", "sequence"),
        ("duologue.output.hold", {"event_id": "x" * 600}, "invalid_value", "event_id"),
        ("duologue.configure", {"event_id": "x" * 600}, "invalid_value", "event_id"),
        ("duologue.configure", {"turns": "hasty"}, "invalid_value", "turns"),
        ("duologue.configure", {"turns": 3}, "invalid_value", "turns"),
        ("duologue.configure", {"max_turn_ms": 999}, "invalid_value", "max_turn_ms"),
        ("duologue.configure", {"max_turn_ms": 600_001}, "invalid_value", "max_turn_ms"),
        ("duologue.configure", {"idle_timeout_ms": 4_999}, "invalid_value", "idle_timeout_ms"),
        ("duologue.configure", {"filler": "x" * 201}, "invalid_value", "filler"),
        ("duologue.configure", {"greeting": "x" * 1001}, "invalid_value", "greeting"),
        ("duologue.configure", {"hang_up": "yes"}, "invalid_value", "hang_up"),
        ("duologue.configure", {"echo": "on"}, "invalid_value", "echo"),
    ],
)
def test_what_it_may_not(kind: str, fields: Event, code: str, param: str) -> None:
    error = refused(extended(), kind, **{"event_id": "mine", **fields})
    assert (error["code"], error["param"]) == (code, param)
    assert error["event_id"] == fields.get("event_id", "mine")


words = st.sampled_from(
    ["type", "event_id", "item_id", "played_ms", "sequence", "turns", "hang_up", "duologue.ack"]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=6,
)


@given(
    st.dictionaries(words, plain, max_size=5),
    st.sampled_from(["played", "ack", "configure", "x", ""]),
)
def test_nothing_that_is_said_breaks_it(fields: Event, kind: str) -> None:
    event = {**fields, "type": f"duologue.{kind}"}
    for step in extended().receive(json.dumps(event).encode()):
        if isinstance(step, bytes):
            assert json.loads(step)["type"] in ("error", "duologue.configured")
        else:
            assert isinstance(step, Played | SetOptions)


@given(st.lists(st.binary(max_size=60), max_size=5), st.sampled_from(["pcm", "pcmu", "opus"]))
def test_no_binary_message_breaks_it(messages: list[bytes], codec: str) -> None:
    wire = extended()
    ask(wire, "session.update", session=_input({"type": f"audio/{codec}"}))
    for number, data in enumerate(messages):
        for message in (data, Frame(4, number, 0, data).pack()):
            try:
                pcm = wire.binary(message)
            except ClientError:
                continue
            assert len(pcm) % 2 == 0
            assert wire.take_gap_ms() >= 0


def _input(fmt: Event) -> Event:
    if fmt["type"] == "audio/pcm":
        fmt = {**fmt, "rate": 24_000}
    return {"type": "realtime", "audio": {"input": {"format": fmt}}}


def test_everything_else_is_the_wrapped_dialects() -> None:
    wire = extended()
    assert isinstance(command(wire, "response.create"), CreateReply)
    text = {"type": "input_text", "text": 'say "duologue.played" to me'}
    item = {"type": "message", "role": "user", "content": [text]}
    assert type(command(wire, "conversation.item.create", item=item)).__name__ == "CreateItem"
    assert list(wire.receive(b'"duologue.'))  # no JSON: an error of the wrapped dialect's
    assert refused(wire, "input_audio_buffer.explode")["code"] == "invalid_value"
    assert wire.greet_late() == ()


def test_frames_are_read_in_the_format_of_the_session() -> None:
    wire = extended()
    assert wire.binary(Frame(0, 0, 0, b"\1\2\3\4").pack()) == b"\1\2\3\4"
    (set_options, _) = ask(wire, "session.update", session=_input({"type": "audio/pcmu"}))
    assert isinstance(set_options, SetOptions)
    assert len(wire.binary(Frame(1, 1, 0, bytes(160)).pack())) == 320
    assert wire.take_gap_ms() == 0
    assert len(wire.binary(Frame(4, 2, 560, bytes(160)).pack())) == 320
    assert wire.take_gap_ms() == 50
    assert wire.take_gap_ms() == 0
    ask(wire, "session.update", session=_input({"type": "audio/opus"}))
    packet = OpusEncoder(24_000).encode(bytes(960))
    for number in range(4):
        wire.binary(Frame(0 if number else 1, 3 + number, 480 * number, packet).pack())
    assert wire.take_gap_ms() == 0
    assert wire.binary(Frame(0, 7, 4 * 480, b"").pack()) == b""


def test_a_key_may_bring_its_own_format() -> None:
    wire = extended()
    wire.adopt(_input({"type": "audio/pcmu"}))
    assert wire.options().input_format.codec == "pcmu"
    assert len(wire.binary(Frame(0, 0, 0, bytes(160)).pack())) == 320


def test_a_refusal_names_the_event_that_was_refused() -> None:
    wire = extended()
    first = command(wire, "duologue.output.hold", event_id="a")
    second = command(wire, "duologue.output.hold")
    error = StateConflict("nothing", "Nothing to hold.")
    assert told(wire, Problem(error, first.ask))[0]["error"]["event_id"] == "a"
    assert told(wire, Problem(error, second.ask))[0]["error"]["event_id"] is None
    theirs = command(wire, "response.cancel", event_id="b")
    assert told(wire, Problem(error, theirs.ask))[0]["error"]["event_id"] == "b"
    for _ in range(100):
        command(wire, "duologue.output.hold", event_id="c")
    assert told(wire, Problem(error, first.ask))[0]["error"]["event_id"] is None


def test_notices_of_its_own() -> None:
    wire = extended()
    (floor,) = told(wire, FloorChanged("user", 40))
    assert (floor["type"], floor["floor"], floor["at_ms"]) == ("duologue.floor", "user", 40)
    heard = HeardSoFar("resp_1", "item_1", 400, "Hi", (SpokenWord("Hi", 0, 380),), ended=False)
    (event,) = told(wire, heard)
    assert event["words"] == [{"text": "Hi", "start_ms": 0, "end_ms": 380}]
    assert event["event_id"] != floor["event_id"]


def test_over_webrtc_it_has_events_and_no_frames() -> None:
    for wire in (OverWebRtc(extended(frames=False)), Extended(OverWebRtc(_ga()))):
        kinds = [json.loads(data)["type"] for data in wire.greet()]
        assert kinds[:2] == ["session.created", "duologue.welcome"]
        assert isinstance(command(wire, "duologue.output.hold"), PausePlayback)
        assert told(wire, FloorChanged("user", 0))[0]["type"] == "duologue.floor"
        state = ReplyState("resp_1", ReplyOptions())
        assert told(wire, ReplyBegan(state))[0]["type"] == "response.created"
        assert not list(wire.encode_sound("resp_1", 0, "item_1", bytes(960)))
        with pytest.raises(ClientError):
            wire.binary(Frame(0, 0, 0, b"").pack())


def _ga() -> RealtimeWire:
    return RealtimeWire(SessionDocument("sess_1", "any", ""))


def test_sound_is_framed_only_for_those_who_have_frames() -> None:
    for frames in (True, False):
        wire = extended(frames=frames)
        list(wire.encode(ReplyBegan(ReplyState("resp_1", ReplyOptions()))))
        (data,) = wire.encode_sound("resp_1", 0, "item_1", bytes(960))
        assert (type(data) is Binary) is frames


def test_the_field_of_an_offer_is_taken_out() -> None:
    session: Event = {"type": "realtime", "duologue": "v1"}
    assert is_wanted(session)
    assert session == {"type": "realtime"}
    assert not is_wanted(session)
    with pytest.raises(ClientError) as caught:
        is_wanted({"duologue": "v2"})
    assert caught.value.param == "session.duologue"


def test_asks_do_not_meet_those_of_the_wrapped_dialect() -> None:
    wire = extended()
    ours, theirs = command(wire, "duologue.output.hold"), command(wire, "response.create")
    assert ours.ask > AskId(1 << 39) > theirs.ask
