"""The referee itself, on streams that are broken on purpose."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from duologue.core.conversation import Message, Part
from duologue.core.notices import (
    Committed,
    ItemAdded,
    Notice,
    OutputBegan,
    OutputEnded,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
)
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenText
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.judge import Illegal, Referee

ITEM = Message("a1", "assistant", (Part("output_audio", "", SpokenText()),), "in_progress")
DONE = Message("a1", "assistant", (Part("output_audio", "Hello.", SpokenText()),))
USER = Message("u1", "user", (Part("input_audio", None),))
REPLY = ReplyState("r1", ReplyOptions())
TURN: list[Notice] = [
    SpeechBegan("u1", 0),
    SpeechEnded("u1", 900),
    Committed("u1", None),
    ItemAdded(USER, None),
    ReplyBegan(REPLY),
    OutputBegan("r1", 0, ITEM, "u1"),
    TextGrew("r1", 0, "a1", "Hello.", True),
    OutputEnded("r1", 0, DONE, "Hello.", "u1"),
    ReplyEnded(ReplyState("r1", ReplyOptions(), "completed", output=(DONE,))),
]


def events() -> list[dict[str, Any]]:
    wire = RealtimeWire(SessionDocument("s1", "m", "i"))
    found = [json.loads(wire.greet()[0])]
    for notice in TURN:
        found += [json.loads(data) for data in wire.encode(notice)]
        if isinstance(notice, TextGrew):
            found.append(json.loads(wire.encode_sound("r1", 0, "a1", b"\0\0")[0]))
    return found


def judge(stream: list[dict[str, Any]]) -> Referee:
    referee = Referee()
    for event in stream:
        referee.see(json.dumps(event))
    return referee


def test_a_whole_turn_is_legal_and_in_the_documented_order() -> None:
    assert judge(events()).types() == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]


MAY_LACK = {
    "response.output_audio.delta",  # a poorer stream, and no illegal one
    "input_audio_buffer.speech_started",  # a client may commit what nobody took for speech
    "input_audio_buffer.speech_stopped",  # or switch detection off in the middle
    "input_audio_buffer.committed",  # or create an item of its own
    "response.done",  # it may still come
}
LOOSE = {
    frozenset(pair)
    for pair in (
        ("response.output_audio_transcript.delta", "response.output_audio.delta"),
        ("response.output_audio.done", "response.output_audio_transcript.done"),
        ("response.output_audio.delta", "response.output_audio_transcript.done"),
        ("response.output_item.done", "conversation.item.done"),
        ("input_audio_buffer.committed", "conversation.item.added"),
        ("conversation.item.done", "response.created"),
        ("response.output_item.added", "conversation.item.added"),
        ("conversation.item.added", "response.content_part.added"),
    )
}
"""Neighbours that the protocol leaves in either order."""


@pytest.mark.parametrize("at", range(len(events())))
def test_an_event_left_out_is_noticed(at: int) -> None:
    stream = events()
    kind = stream[at]["type"]
    if kind in MAY_LACK or (kind, stream[at].get("item", {}).get("id")) == (
        "conversation.item.done",
        "u1",
    ):
        return
    with pytest.raises(Illegal):
        judge(stream[:at] + stream[at + 1 :])


@pytest.mark.parametrize("at", range(len(events()) - 1))
def test_two_events_in_the_wrong_order_are_noticed(at: int) -> None:
    stream = events()
    stream[at], stream[at + 1] = stream[at + 1], stream[at]
    if frozenset((stream[at]["type"], stream[at + 1]["type"])) in LOOSE:
        return
    with pytest.raises(Illegal):
        judge(stream)


def test_answers_out_of_band_run_beside_the_others_and_join_no_conversation() -> None:
    wire = RealtimeWire(SessionDocument("s1", "m", "i"))
    options = ReplyOptions(out_of_band=True, spoken=False)
    item = Message("b1", "assistant", (Part("output_text", ""),), "in_progress")
    done = Message("b1", "assistant", (Part("output_text", "Aside."),))
    aside: list[Notice] = [
        ReplyBegan(ReplyState("r2", options)),
        OutputBegan("r2", 0, item, None, aside=True),
        TextGrew("r2", 0, "b1", "Aside.", False),
        OutputEnded("r2", 0, done, "Aside.", None, aside=True),
        ReplyEnded(ReplyState("r2", options, "completed", output=(done,))),
    ]
    found = [json.loads(wire.greet()[0])]
    for notice in (*TURN[:6], *aside, *TURN[6:]):
        found += [json.loads(data) for data in wire.encode(notice)]
    assert judge(found).types().count("response.done") == 2
    assert not [e for e in found if e.get("item", {}).get("id") == "b1" and "conv" in e["type"]]


def test_wrong_values_and_unknown_types_are_noticed() -> None:
    for change in ({"type": "duologue.surprise"}, {"event_id": "same"}):
        stream = events()
        stream[0]["event_id"] = "same"
        stream[1] = {**stream[1], **change}
        with pytest.raises(Illegal):
            judge(stream)
    stream = events()
    stream[1]["audio_start_ms"] = "soon"
    with pytest.raises(ValidationError):
        judge(stream)
