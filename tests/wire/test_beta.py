"""The beta's names for what the protocol of today does: both ways, and nothing lost between."""

import base64
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent as ServerEventToday

from duologue.core.audio import AudioFormat
from duologue.core.commands import CreateItem, CreateReply, SetOptions
from duologue.core.conversation import FunctionResult, ItemReference, Message
from duologue.core.errors import EngineLost, StateConflict
from duologue.core.notices import IdleTimedOut, Problem, ReplyEnded, ReplyState
from duologue.core.options import ReplyOptions
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.wire.beta import RENAMED, UNKNOWN, BetaWire
from duologue.wire.beta_session import flat_param, from_flat, to_flat
from duologue.wire.session_document import SessionDocument
from tests.support.beta_judge import beta_events, judge
from tests.support.golden import assert_golden, taped

SOUND = base64.b64encode(bytes(960)).decode()


def wire(**how: Any) -> BetaWire:
    return BetaWire(SessionDocument("sess_1", "duologue", "Be brief.", **how))


def say(w: BetaWire, event: Any) -> list[Any]:
    """Commands as they are, events as plain data."""
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    assert w.sound(data) is None
    return [s if not isinstance(s, bytes) else json.loads(s) for s in w.receive(data)]


def told(messages: Any) -> list[dict[str, Any]]:
    events = [json.loads(message) for message in messages]
    for event in events:
        judge(event)
    return events


# --- the table of names ---
def test_every_event_of_today_has_a_beta_s_name_or_is_not_sent() -> None:
    today = {
        get_args(model.model_fields["type"].annotation)[0]
        for model in get_args(get_args(ServerEventToday)[0])
    }
    for kind in today:
        known = RENAMED.get(kind, kind) in beta_events()
        assert known != kind.startswith(UNKNOWN), kind
    assert set(RENAMED) <= today


# --- the session ---
def test_the_greeting_is_a_flat_session() -> None:
    (created,) = told(wire().greet())
    session = created["session"]
    assert created["type"] == "session.created"
    assert (session["modalities"], session["voice"]) == (["audio", "text"], "default")
    assert session["input_audio_format"] == session["output_audio_format"] == "pcm16"
    assert session["turn_detection"]["silence_duration_ms"] == 500
    assert "idle_timeout_ms" not in session["turn_detection"]
    assert (session["temperature"], session["max_response_output_tokens"]) == (0.8, "inf")
    assert not {"audio", "output_modalities", "max_output_tokens"} & set(session)


FLAT: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "instructions": "Speak like a sailor.",
    "voice": "shimmer",
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "g711_alaw",
    "input_audio_transcription": {"model": "whisper-1", "language": "de"},
    "input_audio_noise_reduction": {"type": "near_field"},
    "turn_detection": {"type": "server_vad", "silence_duration_ms": 700},
    "tools": [{"type": "function", "name": "lamp", "description": "x", "parameters": {}}],
    "tool_choice": "lamp",
    "temperature": 0.7,
    "max_response_output_tokens": 77,
    "speed": 1.2,
    "tracing": "auto",
    "model": "gpt-4o-realtime-preview",
}


def test_every_flat_setting_counts_and_is_echoed() -> None:
    w = wire()
    command, updated = say(w, {"type": "session.update", "session": FLAT})
    judge(updated)
    assert isinstance(command, SetOptions)
    options = command.options
    assert options.input_format == AudioFormat(8_000, "pcmu")
    assert options.reply.format == AudioFormat(8_000, "pcma")
    assert (options.language, options.noise, options.turn.silence_ms) == ("de", "near", 700)
    reply = options.reply
    assert (reply.voice, reply.speed, reply.spoken) == ("shimmer", 1.2, True)
    assert (reply.max_output_tokens, reply.tool_choice) == (77, "lamp")
    assert [tool.name for tool in reply.tools] == ["lamp"]
    echoed = updated["session"]
    for name, value in FLAT.items():
        if name not in ("model", "modalities", "turn_detection"):
            assert echoed[name] == value, name
    assert (echoed["model"], echoed["modalities"]) == ("duologue", ["audio", "text"])
    assert echoed["turn_detection"]["threshold"] == 0.5


def test_settings_are_merged_and_null_clears() -> None:
    w = wire()
    say(w, {"type": "session.update", "session": FLAT})
    command, updated = say(w, {"type": "session.update", "session": {"turn_detection": None}})
    assert command.options.turn.detect is False
    assert updated["session"]["turn_detection"] is None
    assert updated["session"]["voice"] == "shimmer"
    _, updated = say(w, {"type": "session.update", "session": {"modalities": ["text"]}})
    assert updated["session"]["modalities"] == ["text"]
    assert w.options().reply.spoken is False


@given(
    st.fixed_dictionaries({}, optional={n: st.just(v) for n, v in FLAT.items() if n != "model"}),
)
def test_there_and_back_is_the_same(flat: dict[str, Any]) -> None:
    document = SessionDocument("sess_1", "duologue", "")
    document.update(from_flat(flat))
    back = to_flat(document.json, flat.get("temperature", 0.8))
    again = SessionDocument("sess_1", "duologue", "")
    again.update(from_flat({n: v for n, v in back.items() if v is not None}))
    assert again.json == document.json


def test_a_refused_setting_is_named_as_the_client_named_it() -> None:
    for patch, param in (
        ({"input_audio_format": "mp3"}, "session.input_audio_format.type"),
        ({"modalities": ["smell"]}, "session.modalities[0]"),
        ({"turn_detection": {"threshold": 7}}, "session.turn_detection.threshold"),
        ({"speed": 9}, "session.speed"),
    ):
        (answer,) = say(wire(), {"type": "session.update", "session": patch, "event_id": "e1"})
        judge(answer)
        assert answer["error"]["event_id"] == "e1"
        assert answer["error"]["param"] == param
    assert flat_param("response.audio.output.format.type") == "response.output_audio_format.type"
    assert flat_param("item.content[0].type") == "item.content[0].type"
    assert flat_param(None) is None


def test_a_key_s_settings_in_either_form() -> None:
    flat, today = wire(), wire()
    flat.adopt({"voice": "shimmer", "modalities": ["text"], "temperature": 0.9})
    today.adopt({"type": "realtime", "audio": {"output": {"voice": "shimmer"}}})
    assert flat.options().reply.voice == today.options().reply.voice == "shimmer"
    assert told(flat.greet())[0]["session"]["temperature"] == 0.9


# --- transcription sessions ---
def test_a_transcription_session() -> None:
    w = wire(transcribes=True)
    (created,) = told(w.greet())
    assert created["type"] == "transcription_session.created"
    assert "voice" not in created["session"]
    session = {
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1", "language": "fr"},
        "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
        "include": ["item.input_audio_transcription.logprobs"],
    }
    command, updated = say(w, {"type": "transcription_session.update", "session": session})
    judge(updated)
    assert updated["type"] == "transcription_session.updated"
    assert updated["session"]["input_audio_transcription"]["language"] == "fr"
    assert updated["session"]["include"] == session["include"]
    assert command.options.answers is False
    assert command.options.language == "fr"


def test_a_conversation_may_become_one() -> None:
    w = wire()
    command, updated = say(w, {"type": "transcription_session.update", "session": {}})
    assert command.options.answers is False
    assert updated["type"] == "transcription_session.updated"


# --- items and responses ---
def test_an_assistant_s_text_is_called_text() -> None:
    content = [{"type": "text", "text": "Ahoy."}]
    item = {"type": "message", "role": "assistant", "content": content, "id": "a"}
    (command,) = say(wire(), {"type": "conversation.item.create", "item": item})
    assert isinstance(command, CreateItem)
    assert isinstance(command.item, Message)
    assert (command.item.parts[0].kind, command.item.text) == ("output_text", "Ahoy.")
    result = {"type": "function_call_output", "call_id": "c", "output": "it is lit"}
    (command,) = say(wire(), {"type": "conversation.item.create", "item": result})
    assert isinstance(command.item, FunctionResult)


def test_a_response_with_flat_parameters() -> None:
    params = {
        "modalities": ["text"],
        "instructions": "Rhyme.",
        "voice": "echo",
        "output_audio_format": "g711_ulaw",
        "tool_choice": "none",
        "temperature": 0.7,
        "max_response_output_tokens": 5,
        "conversation": "none",
        "metadata": {"topic": "x"},
        "input": [
            {"type": "item_reference", "id": "item_9"},
            {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
        ],
    }
    (command,) = say(wire(), {"type": "response.create", "response": params})
    assert isinstance(command, CreateReply)
    options = command.options
    assert (options.spoken, options.instructions, options.voice) == (False, "Rhyme.", "echo")
    assert options.format == AudioFormat(8_000, "pcmu")
    assert (options.tool_choice, options.max_output_tokens) == ("none", 5)
    assert (options.out_of_band, options.metadata) == (True, {"topic": "x"})
    assert options.context is not None
    assert [type(item) for item in options.context] == [ItemReference, Message]


def test_a_response_of_the_beta_s_form() -> None:
    state = ReplyState("resp_1", ReplyOptions(voice="echo"), "failed", error=EngineLost("x", "y"))
    (done,) = told(wire().encode(ReplyEnded(state)))
    response = done["response"]
    assert (response["modalities"], response["voice"]) == (["audio", "text"], "echo")
    assert (response["output_audio_format"], response["temperature"]) == ("pcm16", 0.8)
    assert response["status_details"]["error"]["code"] == "x"
    assert not {"audio", "output_modalities"} & set(response)


def test_what_the_beta_does_not_know_is_not_sent() -> None:
    assert told(wire().encode(IdleTimedOut("item_1", 0, 5_000))) == []


def test_a_problem_is_an_error_event() -> None:
    conflict = StateConflict("response_cancel_not_active", "There is none.")
    (error,) = told(wire().encode(Problem(conflict)))
    assert error["error"]["code"] == "response_cancel_not_active"
    (error,) = told([wire().error(conflict, "e7")])
    assert error["error"]["event_id"] == "e7"


# --- sound ---
def test_sound_both_ways() -> None:
    w = wire()
    event = {"type": "input_audio_buffer.append", "audio": SOUND}
    assert w.sound(json.dumps(event).encode()) == bytes(960)
    (delta,) = told(w.encode_sound("resp_1", 0, "item_1", b"response.output_audio.delta!"))
    assert delta["type"] == "response.audio.delta"
    assert base64.b64decode(delta["delta"]) == b"response.output_audio.delta!"


# --- what clients send wrongly ---
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
names = st.sampled_from([*FLAT, "audio", "type", "input", "content", "role", "conversation"])
sessions = st.dictionaries(names, anything | st.sampled_from([list(FLAT), "text", "message"]))
kinds = st.sampled_from(
    [
        "session.update",
        "transcription_session.update",
        "response.create",
        "conversation.item.create",
    ]
)


@given(
    st.builds(
        lambda kind, body, item: {"type": kind, "session": body, "response": body, "item": item},
        kinds | anything,
        sessions | anything,
        sessions
        | anything
        | st.builds(
            lambda content: {"type": "message", "role": "assistant", "content": content},
            st.lists(st.fixed_dictionaries({"type": anything}) | anything) | anything,
        ),
    )
    | anything
)
def test_nothing_but_error_events_comes_of_any_json(event: Any) -> None:
    w = wire()
    for step in w.receive(json.dumps(event).encode()):
        if isinstance(step, bytes):
            judge(json.loads(step))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"7", b'{"type": 7}'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    (answer,) = say(wire(), data)
    judge(answer)
    assert answer["error"]["type"] == "invalid_request_error"


# --- whole conversations ---
@pytest.fixture(autouse=True)
def plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake recogniser names every sound alike, for the golden transcripts."""
    monkeypatch.setattr("duologue.engines.fakes.name_of", lambda _sum: "red green blue")


async def test_three_turns_in_the_beta_s_order() -> None:
    engines = {
        "llm": FakeLlm("llm_tokens=6,llm_ms=0"),
        "tts": FakeTts("tts_s=0.3,tts_ms=0"),
        "stt": FakeStt("stt_ms=0"),
    }
    async with taped(wire(), **engines) as (client, tape):
        session = {"input_audio_transcription": {"model": "whisper-1"}, "temperature": 0.7}
        await client.act("ask", {"type": "session.update", "session": session})
        for _ in range(2):
            await client.act("speak", 800)
            await client.act("quiet", 1_500)
        content = [{"type": "input_text", "text": "ahoy"}]
        item = {"type": "message", "role": "user", "content": content}
        await client.act("ask", {"type": "conversation.item.create", "item": item})
        await client.act("ask", {"type": "response.create", "response": {"modalities": ["text"]}})
        await client.act("quiet", 500)
        for event in tape.events:
            judge(event)
    assert len(tape.of("response.done")) == 3
    assert_golden("beta_three_turns", tape.events)


async def test_an_interruption_and_a_function_in_the_beta_s_order() -> None:
    engines = {
        "llm": FakeLlm("llm_tokens=12,llm_ms=0"),
        "tts": FakeTts("tts_s=3,tts_ms=0"),
        "stt": FakeStt("stt_ms=0"),
    }
    async with taped(wire(), **engines) as (client, tape):
        await client.act("speak", 800)
        await client.act("quiet", 1_200)
        await client.act("speak", 1_000)
        await client.act("quiet", 4_500)
        tools = [{"type": "function", "name": "lamp", "description": "x", "parameters": {}}]
        await client.act("ask", {"type": "session.update", "session": {"tools": tools}})
        content = [{"type": "input_text", "text": "now call lamp"}]
        item = {"type": "message", "role": "user", "content": content}
        await client.act("ask", {"type": "conversation.item.create", "item": item})
        await client.act("ask", {"type": "response.create"})
        await client.act("quiet", 500)
        for event in tape.events:
            judge(event)
    reasons = [r["response"]["status"] for r in tape.of("response.done")]
    assert reasons == ["cancelled", "completed", "completed"]
    assert_golden("beta_interruption_and_function", tape.events)
