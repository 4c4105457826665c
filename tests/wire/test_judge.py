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


NEEDLESS = {"response.output_audio.done", "conversation.item.done", "response.output_audio.delta"}
"""Leaving one of these out makes no illegal order, only a poorer one."""


@pytest.mark.parametrize("at", range(len(events())))
def test_an_event_left_out_is_noticed(at: int) -> None:
    stream = events()
    if stream[at]["type"] in NEEDLESS | {
        "response.content_part.done",
        "response.output_audio_transcript.done",
        "input_audio_buffer.speech_stopped",
        "response.done",
        "input_audio_buffer.committed",
        "input_audio_buffer.speech_started",
    }:
        return
    with pytest.raises(Illegal):
        judge(stream[:at] + stream[at + 1 :])


@pytest.mark.parametrize("at", range(1, len(events()) - 1))
def test_two_events_in_the_wrong_order_are_noticed(at: int) -> None:
    stream = events()
    stream[at], stream[at + 1] = stream[at + 1], stream[at]
    kinds = {stream[at]["type"], stream[at + 1]["type"]}
    if kinds & NEEDLESS or all(k.endswith((".done", ".delta")) for k in kinds):
        return
    if kinds == {"input_audio_buffer.committed", "conversation.item.added"}:
        return
    if any(k.startswith("response.") for k in kinds) and any(
        k.startswith("conversation.") for k in kinds
    ):
        return
    with pytest.raises(Illegal):
        judge(stream)


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
