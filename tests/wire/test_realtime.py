"""The protocol machine: what clients send, rightly and wrongly, and what they are sent."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.audio import AudioFormat
from duologue.core.commands import (
    AnyCommand,
    CancelReply,
    Clear,
    Commit,
    CreateItem,
    CreateReply,
    DeleteItem,
    RetrieveItem,
    SetOptions,
    TruncateItem,
)
from duologue.core.conversation import FunctionCall, FunctionResult, Message
from duologue.core.errors import EngineLost, StateConflict
from duologue.core.facts import AskId
from duologue.core.notices import (
    Cleared,
    ItemDeleted,
    ItemRetrieved,
    ItemTruncated,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.core.options import ReplyOptions
from duologue.wire import realtime
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from duologue.wire.validation import client_events
from tests.support.judge import server_events


def wire() -> RealtimeWire:
    return RealtimeWire(SessionDocument("sess_1", "duologue", "Be brief."))


def say(w: RealtimeWire, event: Any) -> list[Any]:
    """Commands as they are, events as plain data."""
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    assert w.sound(data) is None
    return [s if not isinstance(s, bytes) else json.loads(s) for s in w.receive(data)]


def error_of(w: RealtimeWire, event: Any) -> dict[str, Any]:
    (answer,) = say(w, event)
    server_events()["error"].model_validate(answer)
    error: dict[str, Any] = answer["error"]
    return error


def command(event: Any) -> AnyCommand:
    (made,) = say(wire(), event)
    assert not isinstance(made, dict)
    return made  # type: ignore[no-any-return]


# --- sound ---
def test_an_append_is_samples() -> None:
    pcm = bytes(range(256)) * 4
    event = {
        "event_id": "e",
        "audio": base64.b64encode(pcm).decode(),
        "type": "input_audio_buffer.append",
    }
    assert wire().sound(json.dumps(event).encode()) == pcm


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        ("AAA", "not base64"),
        ("A A=", "not base64"),
        ("ä", "not base64"),
        ("", "empty"),
        (base64.b64encode(b"abc").decode(), "3 bytes are no whole number of 16-bit samples"),
    ],
)
def test_sound_that_is_none_is_answered_with_what_is_wrong(audio: str, words: str) -> None:
    error = error_of(
        wire(), {"type": "input_audio_buffer.append", "event_id": "e7", "audio": audio}
    )
    assert (error["code"], error["param"], error["event_id"]) == ("invalid_value", "audio", "e7")
    assert words in error["message"]


@pytest.mark.parametrize("audio", [None, 5, ["x"]])
def test_sound_of_another_type_is_an_invalid_value(audio: Any) -> None:
    error = error_of(wire(), {"type": "input_audio_buffer.append", "audio": audio})
    assert (error["code"], error["param"]) == ("invalid_value", "audio")


def test_an_append_without_sound_misses_a_parameter() -> None:
    error = error_of(wire(), {"type": "input_audio_buffer.append"})
    assert (error["code"], error["param"]) == ("missing_required_parameter", "audio")


def test_an_append_beyond_the_limit_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "MAX_APPEND_BYTES", 1000)
    event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(1002)).decode()}
    error = error_of(wire(), event)
    assert (error["code"], error["param"]) == ("audio_too_long", "audio")
    assert "smaller pieces" in error["message"]


# --- what is no event ---
@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[]", "invalid_event", None),
        (b'"hello"', "invalid_event", None),
        (b"{}", "invalid_event", "type"),
        (b'{"type": 3}', "invalid_event", "type"),
        (b'{"type": "x.y"}', "invalid_value", "type"),
        (b'{"type": "response.create", "event_id": 3}', "invalid_value", "event_id"),
        (
            b'{"type": "response.cancel", "event_id": "' + b"x" * 600 + b'"}',
            "invalid_value",
            "event_id",
        ),
        (b'{"type": "output_audio_buffer.clear"}', "invalid_value", "type"),
        (b'{"type": "conversation.item.delete"}', "missing_required_parameter", "item_id"),
        (b'{"type": "conversation.item.create"}', "missing_required_parameter", "item"),
        (b'{"type": "session.update"}', "missing_required_parameter", "session"),
        (b'{"type": "session.update", "session": 3}', "invalid_value", "session"),
    ],
)
def test_what_is_no_event_gets_the_right_code(data: bytes, code: str, param: str | None) -> None:
    error = error_of(wire(), data)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


NAMES = st.sampled_from(
    "type session audio input item format rate turn_detection content role tools event_id".split()
)
PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(ANYTHING, st.sampled_from(sorted(client_events())))
def test_no_event_however_wrong_breaks_the_machine(body: Any, kind: str) -> None:
    w = wire()
    fields = (
        body if isinstance(body, dict) else dict.fromkeys(("session", "item", "response"), body)
    )
    data = json.dumps({**fields, "type": kind}).encode()
    if w.sound(data) is None:
        for step in w.receive(data):
            if isinstance(step, bytes):
                answer = json.loads(step)
                if answer["type"] != "session.updated":
                    server_events()[answer["type"]].model_validate(answer)
    server_events()["session.created"].model_validate(json.loads(w.greet()[0]))


# --- commands ---
def test_commands() -> None:
    assert isinstance(command({"type": "input_audio_buffer.commit"}), Commit)
    assert isinstance(command({"type": "input_audio_buffer.clear"}), Clear)
    assert command({"type": "conversation.item.delete", "item_id": "x"}) == DeleteItem(
        AskId(1), "x"
    )
    assert command({"type": "conversation.item.retrieve", "item_id": "x"}) == RetrieveItem(
        AskId(1), "x"
    )
    cut = {
        "type": "conversation.item.truncate",
        "item_id": "x",
        "content_index": 0,
        "audio_end_ms": 9,
    }
    assert command(cut) == TruncateItem(AskId(1), "x", 0, 9)
    assert command({"type": "response.cancel", "response_id": "r"}) == CancelReply(AskId(1), "r")
    assert command({"type": "response.cancel"}) == CancelReply(AskId(1), None)


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_messages_can_be_created_with_any_id(role: str) -> None:
    kind = "output_text" if role == "assistant" else "input_text"
    item = {
        "id": "0123abcd" * 4,
        "type": "message",
        "role": role,
        "content": [{"type": kind, "text": "hi"}],
    }
    made = command({"type": "conversation.item.create", "previous_item_id": "root", "item": item})
    assert isinstance(made, CreateItem)
    assert isinstance(made.item, Message)
    assert (made.after, made.item.id, made.item.role, made.item.text) == (
        "root",
        item["id"],
        role,
        "hi",
    )


def test_calls_and_results_can_be_created() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}
    made = command({"type": "conversation.item.create", "item": call})
    assert isinstance(made, CreateItem)
    assert isinstance(made.item, FunctionCall)
    result = {"type": "function_call_output", "call_id": "c", "output": "42"}
    made = command({"type": "conversation.item.create", "item": result})
    assert isinstance(made, CreateItem)
    assert isinstance(made.item, FunctionResult)
    assert made.item.id.startswith("item_")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_image", "image_url": "x"}],
            },
            "item.content[0].type",
        ),
        (
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_audio", "audio": "AAAA"}],
            },
            "item.content[0].type",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
            "item.content[0].text",
        ),
        ({"type": "message", "role": "nobody", "content": []}, "item.role"),
        ({"type": "message", "role": "user"}, "item.content"),
        (
            {"type": "mcp_list_tools", "id": "a", "server_label": "b", "tools": []},
            "item.type",
        ),
    ],
)
def test_items_that_cannot_be_are_refused_by_place(item: dict[str, Any], param: str) -> None:
    error = error_of(wire(), {"type": "conversation.item.create", "item": item})
    assert error["param"] == param


# --- the session ---
def update(session: dict[str, Any], w: RealtimeWire | None = None) -> tuple[Any, dict[str, Any]]:
    first, second = say(w or wire(), {"type": "session.update", "session": session})
    assert isinstance(first, SetOptions)
    server_events()["session.updated"].model_validate(second)
    return first.options, second["session"]


def test_the_session_is_shown_in_full_before_anything_else() -> None:
    created = json.loads(wire().greet()[0])
    server_events()["session.created"].model_validate(created)
    session = created["session"]
    assert (session["type"], session["object"], session["id"]) == (
        "realtime",
        "realtime.session",
        "sess_1",
    )
    turn = session["audio"]["input"]["turn_detection"]
    assert turn["interrupt_response"] is True
    assert turn["silence_duration_ms"] == 500
    assert session["instructions"] == "Be brief."


def test_only_what_is_present_changes_and_everything_is_echoed() -> None:
    w = wire()
    options, echo = update(
        {"type": "realtime", "instructions": "Sing.", "model": "other", "id": "x"}, w
    )
    assert options.reply.instructions == "Sing."
    assert (echo["model"], echo["id"]) == ("duologue", "sess_1")
    options, echo = update(
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}, w
    )
    turn = echo["audio"]["input"]["turn_detection"]
    assert (turn["threshold"], turn["prefix_padding_ms"], turn["create_response"]) == (
        0.7,
        300,
        True,
    )
    assert options.speech.threshold == 0.7
    assert options.reply.instructions == "Sing."
    options, echo = update({"instructions": "", "tools": []}, w)
    assert options.reply.instructions == ""


def test_turn_detection_in_all_its_forms() -> None:
    def turn(detection: Any) -> Any:
        options, _ = update({"audio": {"input": {"turn_detection": detection}}})
        return options.turn

    assert turn({"type": "server_vad", "silence_duration_ms": 900}).silence_ms == 900
    assert not turn({"type": "server_vad", "create_response": False}).create_response
    assert not turn({"type": "server_vad", "interrupt_response": False}).interrupt_response
    eager = [
        turn({"type": "semantic_vad", "eagerness": e}).silence_ms for e in ("high", "auto", "low")
    ]
    assert eager == sorted(eager)
    for off in (None, False):
        policy = turn(off)
        assert (policy.detect, policy.create_response) == (False, False)
    w = wire()
    update({"audio": {"input": {"turn_detection": None}}}, w)
    options, echo = update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}, w)
    assert options.turn.detect
    assert echo["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


def test_what_stock_clients_send_is_never_refused() -> None:
    """Section 0 of the protocol notes: a refusal ends pipecat, and the SDKs' sessions."""
    for session in (
        {"tracing": "auto"},
        {"audio": {"input": {"noise_reduction": {"type": "far_field"}}}},
        {"audio": {"input": {"noise_reduction": None}}, "tracing": None},
        {"audio": {"output": {"voice": "marin", "speed": 1.0}}},
        {"audio": {"output": {"voice": "no-such-voice"}}},
        {"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}},
        {"max_output_tokens": "inf", "tool_choice": "auto"},
        {
            "output_modalities": ["audio"],
            "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}},
        },
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "description": "d",
                    "parameters": {"$schema": "x", "type": "object", "additionalProperties": False},
                }
            ]
        },
        {
            "prompt": None,
            "include": None,
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
        },
    ):
        update({"type": "realtime", **session})


def test_formats() -> None:
    fmt = {"type": "audio/pcm", "rate": 16_000}
    output = {"format": {"type": "audio/pcm", "rate": 48_000}}
    event = {
        "type": "session.update",
        "session": {"audio": {"input": {"format": fmt}, "output": output}},
    }
    made, updated = say(wire(), event)  # beyond what the SDK's types know
    options, echo = made.options, updated["session"]
    assert (options.input_format, options.reply.format) == (
        AudioFormat(16_000),
        AudioFormat(48_000),
    )
    assert echo["audio"]["input"]["format"]["rate"] == 16_000


@pytest.mark.parametrize(
    ("session", "param"),
    [
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 3}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": "high"}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {
                "audio": {
                    "input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": -5}}
                }
            },
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 11_000}}}},
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"output": {"format": {"type": "audio/mp3"}}}},
            "session.audio.output.format.type",
        ),
        (
            {"tools": [{"type": "mcp", "server_label": "x", "server_url": "ftp://x"}]},
            "session.tools[0].server_url",
        ),
        ({"type": "translation"}, "session.type"),
        ({"instructions": 5}, "session.instructions"),
        ({"output_modalities": ["smell"]}, "session.output_modalities[0]"),
    ],
)
def test_settings_that_cannot_be_are_named_and_change_nothing(
    session: dict[str, Any], param: str
) -> None:
    w = wire()
    (before,) = w.greet()
    error = error_of(
        w, {"type": "session.update", "event_id": "e1", "session": {"type": "realtime", **session}}
    )
    assert (error["param"], error["event_id"]) == (param, "e1")
    assert json.loads(w.greet()[0])["session"] == json.loads(before)["session"]


def test_hints_come_from_the_transcription_prompt_and_the_tools() -> None:
    options, _ = update(
        {
            "tools": [{"type": "function", "name": "turn_on_lamp", "parameters": {}}],
            "audio": {
                "input": {
                    "transcription": {"language": "en", "prompt": "oat milk, flat white\n decaf"}
                }
            },
        }
    )
    assert options.hints == ("oat milk", "flat white", "decaf", "turn on lamp")
    assert options.language == "en"


def test_a_response_may_override_the_session_for_itself() -> None:
    w = wire()
    update(
        {"instructions": "Sing.", "tools": [{"type": "function", "name": "f", "parameters": {}}]}, w
    )
    (made,) = say(
        w,
        {
            "type": "response.create",
            "response": {
                "instructions": "Shout.",
                "output_modalities": ["text"],
                "max_output_tokens": 50,
                "tool_choice": {"type": "function", "name": "f"},
                "metadata": {"client_event_id": "abc"},
                "audio": {"output": {"voice": "nova"}},
            },
        },
    )
    assert isinstance(made, CreateReply)
    options = made.options
    assert (options.instructions, options.spoken, options.max_output_tokens) == (
        "Shout.",
        False,
        50,
    )
    assert (options.tool_choice, options.metadata) == ("f", {"client_event_id": "abc"})
    assert (options.voice, options.tools[0].name) == ("nova", "f")
    assert w.document.options().reply.instructions == "Sing."


# --- out ---
def told(w: RealtimeWire, notice: Any) -> list[dict[str, Any]]:
    events = [json.loads(data) for data in w.encode(notice)]
    for event in events:
        server_events()[event["type"]].model_validate(event)
    return events


def test_a_refusal_names_the_event_that_it_refuses() -> None:
    w = wire()
    (made,) = say(w, {"type": "response.cancel", "event_id": "mine"})
    error = StateConflict(
        "response_cancel_not_active", "Cancellation failed: no active response found."
    )
    (event,) = told(w, Problem(error, made.ask))
    assert event["error"]["event_id"] == "mine"
    assert event["error"]["type"] == "invalid_request_error"
    (event,) = told(w, Problem(EngineLost("lost", "It died.", remedy="Look at the log.")))
    assert (event["error"]["type"], event["error"]["event_id"]) == ("server_error", None)
    assert event["error"]["message"] == "It died. Look at the log."


def test_transcripts_are_shown_to_who_asked_for_them() -> None:
    w = wire()
    notices = [TranscriptGrew("i", "hello"), TranscriptDone("i", "hello", 1200)]
    assert [told(w, n) for n in notices] == [[], []]
    update({"audio": {"input": {"transcription": {"model": "any"}}}}, w)
    (delta,), (done,) = [told(w, n) for n in notices]
    assert (delta["delta"], done["transcript"]) == ("hello", "hello")
    assert done["usage"] == {"type": "duration", "seconds": 1.2}
    (failed,) = told(w, TranscriptBroke("i", "lost", "Not understood."))
    assert failed["error"]["code"] == "lost"


def test_small_acknowledgements() -> None:
    w = wire()
    item = Message("i", "user", ())
    assert told(w, Cleared())[0]["type"] == "input_audio_buffer.cleared"
    assert told(w, ItemDeleted("i"))[0]["item_id"] == "i"
    assert told(w, ItemTruncated("i", 0, 300))[0]["audio_end_ms"] == 300
    assert told(w, ItemRetrieved(item))[0]["item"]["id"] == "i"


@pytest.mark.parametrize(
    ("state", "details"),
    [
        (ReplyState("r", ReplyOptions(), "completed"), None),
        (
            ReplyState("r", ReplyOptions(), "cancelled", "turn_detected"),
            {"type": "cancelled", "reason": "turn_detected"},
        ),
        (
            ReplyState("r", ReplyOptions(), "incomplete", "max_output_tokens"),
            {"type": "incomplete", "reason": "max_output_tokens"},
        ),
        (
            ReplyState("r", ReplyOptions(), "failed", error=EngineLost("llm_lost", "Gone.")),
            {
                "type": "failed",
                "error": {"type": "server_error", "code": "llm_lost", "message": "Gone."},
            },
        ),
    ],
)
def test_how_an_answer_ended(state: ReplyState, details: Any) -> None:
    (event,) = told(wire(), ReplyEnded(state))
    response = event["response"]
    assert response["status_details"] == details
    usage = response["usage"]
    assert usage["input_token_details"]["cached_tokens_details"]["audio_tokens"] == 0
    assert usage["output_token_details"] == {"text_tokens": 0, "audio_tokens": 0}


def test_asks_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "MAX_REMEMBERED_ASKS", 3)
    w = wire()
    asks = [say(w, {"type": "response.cancel", "event_id": f"e{n}"})[0].ask for n in range(5)]
    error = StateConflict("x", "y")
    assert told(w, Problem(error, asks[0]))[0]["error"]["event_id"] is None
    assert told(w, Problem(error, asks[4]))[0]["error"]["event_id"] == "e4"


def test_limits_are_told_as_an_answer_begins_where_there_are_any() -> None:
    limits = [{"name": "requests", "limit": 60, "remaining": 59, "reset_seconds": 60.0}]
    w = RealtimeWire(SessionDocument("s", "m", "i"), lambda: limits)
    events = told(w, ReplyBegan(ReplyState("r", ReplyOptions())))
    assert [e["type"] for e in events] == ["response.created", "rate_limits.updated"]
    assert events[1]["rate_limits"] == limits


def test_half_a_character_is_sent_as_a_question_mark_and_breaks_nothing() -> None:
    (event,) = told(wire(), TextGrew("r", 0, "i", "so \ud83d it", True))
    assert event["delta"] == "so ? it"


@pytest.mark.parametrize(
    "session",
    [
        {"audio": None},
        {"audio": {"input": None}},
        {"audio": {"output": None, "input": {"noise_reduction": {"type": "near_field"}}}},
        {"format": 5, "turn_detection": "x", "audio": {"format": 7}},
        {"surprise": {"deep": [1, 2]}},
    ],
)
def test_sections_of_which_nothing_is_said_stay_as_they_are(session: dict[str, Any]) -> None:
    w = wire()
    (before,) = w.greet()
    options, echo = update(session, w)
    shown = json.loads(before)["session"]
    if "noise_reduction" in str(session):
        shown["audio"]["input"]["noise_reduction"] = {"type": "near_field"}
    assert echo == shown
    assert options.input_format == AudioFormat(24_000)


def test_a_session_can_only_grow_so_far() -> None:
    w = wire()
    tool = {"type": "function", "name": "f", "parameters": {"x": "y" * 2_000_000}}
    error = error_of(
        w, {"type": "session.update", "session": {"type": "realtime", "tools": [tool]}}
    )
    assert error["code"] == "session_too_large"
    assert w.document.json["tools"] == []


@pytest.mark.parametrize("limit", [0, -1])
def test_an_answer_of_no_words_cannot_be_asked_for(limit: int) -> None:
    for event in (
        {"type": "session.update", "session": {"type": "realtime", "max_output_tokens": limit}},
        {"type": "response.create", "response": {"max_output_tokens": limit}},
    ):
        assert error_of(wire(), event)["param"] == "max_output_tokens"
