"""A dialect over WebRTC: what is different from the same dialect over a WebSocket."""

import json
from dataclasses import replace
from typing import Any

from duologue.core.commands import ClearOutput, CreateReply, SetOptions
from duologue.core.errors import StateConflict
from duologue.core.notices import (
    ItemTruncated,
    Notice,
    PlaybackBegan,
    PlaybackEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
)
from duologue.core.options import ReplyOptions
from duologue.wire.realtime import RealtimeWire
from duologue.wire.realtime_webrtc import LOUDSPEAKER, MICROPHONE, OverWebRtc
from duologue.wire.session_document import SessionDocument
from tests.support.judge import Referee


def over() -> OverWebRtc:
    return OverWebRtc(RealtimeWire(SessionDocument("sess_1", "duologue", "")))


def told(wire: OverWebRtc, notice: Any) -> list[dict[str, Any]]:
    return [json.loads(data) for data in wire.encode(notice)]


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def test_formats_are_the_tracks_whatever_the_client_says() -> None:
    wire = over()
    assert wire.options().input_format == MICROPHONE
    assert wire.options().reply.format == LOUDSPEAKER
    pcmu = {"format": {"type": "audio/pcmu"}}
    session = {"type": "realtime", "audio": {"input": pcmu, "output": pcmu}}
    update, shown = wire.receive(event("session.update", session=session))
    assert isinstance(update, SetOptions)
    assert update.options.input_format == MICROPHONE
    assert update.options.reply.format == LOUDSPEAKER
    assert isinstance(shown, bytes)
    assert json.loads(shown)["session"]["audio"]["input"]["format"]["type"] == "audio/pcmu"
    (create,) = wire.receive(event("response.create"))
    assert isinstance(create, CreateReply)
    assert create.options.format == LOUDSPEAKER
    aside = {"conversation": "none", "output_modalities": ["audio"]}
    (create,) = wire.receive(event("response.create", response=aside))
    assert isinstance(create, CreateReply)
    assert create.options.format.codec == "pcmu"


def test_sound_goes_in_events_only_where_nobody_hears_it() -> None:
    wire = over()
    state = ReplyState("resp_1", ReplyOptions())
    told(wire, ReplyBegan(state))
    assert list(wire.encode_sound("resp_1", 0, "item_1", bytes(960))) == []
    aside = replace(state, id="resp_2", options=ReplyOptions(out_of_band=True))
    told(wire, ReplyBegan(aside))
    (delta,) = wire.encode_sound("resp_2", 0, "item_2", bytes(960))
    assert json.loads(delta)["type"] == "response.output_audio.delta"
    told(wire, ReplyEnded(replace(aside, status="completed")))
    assert not wire.asides


def test_the_client_is_told_what_it_hears() -> None:
    wire, referee = over(), Referee()
    for data in wire.greet():
        referee.see(data)
    notices: list[Notice] = [
        PlaybackBegan("resp_1"),
        PlaybackEnded("resp_1", "item_1", 900, cut=False),
        PlaybackBegan("resp_2"),
        PlaybackEnded("resp_2", "item_2", 440, cut=True),
    ]
    for data in [data for notice in notices for data in wire.encode(notice)]:
        referee.see(data)
    assert referee.types()[1:] == [
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.started",
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    assert referee.seen[-2]["response_id"] == "resp_2"
    assert (referee.seen[-1]["item_id"], referee.seen[-1]["audio_end_ms"]) == ("item_2", 440)


def test_who_truncated_by_himself_is_not_told_a_second_time() -> None:
    wire = over()
    (truncated,) = told(wire, ItemTruncated("item_1", 0, 300))
    assert truncated["audio_end_ms"] == 300
    (cleared,) = told(wire, PlaybackEnded("resp_1", "item_1", 440, cut=True))
    assert cleared["type"] == "output_audio_buffer.cleared"


def test_clearing_is_a_command_and_its_refusal_names_the_event() -> None:
    wire = over()
    (clear,) = wire.receive(event("output_audio_buffer.clear", event_id="mine"))
    assert isinstance(clear, ClearOutput)
    (error,) = told(wire, Problem(StateConflict("some_code", "No."), clear.ask))
    assert error["error"]["event_id"] == "mine"
    (update, _) = wire.receive(event("session.update", session={"instructions": "x"}, event_id="u"))
    assert isinstance(update, SetOptions)
    (error,) = told(wire, Problem(StateConflict("some_code", "No."), update.ask))
    assert error["error"]["event_id"] == "u"


def test_sound_in_messages_is_refused() -> None:
    wire = over()
    append = event("input_audio_buffer.append", audio="AAAA", event_id="a")
    assert wire.sound(append) is None
    (answer,) = wire.receive(append)
    assert isinstance(answer, bytes)
    assert json.loads(answer)["error"]["event_id"] == "a"


def test_texts_that_only_mention_the_events_are_texts() -> None:
    wire = over()
    for text in ("say output_audio_buffer.clear", "input_audio_buffer.append"):
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        }
        (step,) = wire.receive(event("conversation.item.create", item=item))
        assert type(step).__name__ == "CreateItem"
    (answer,) = wire.receive(b'{"type": "output_audio_buffer.clear"')
    assert isinstance(answer, bytes)
    assert json.loads(answer)["error"]["code"] == "invalid_json"
