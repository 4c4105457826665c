"""What a session tells, in unmute's order, and the strict client that judges it."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from duologue.core.conversation import Message, Part, Status
from duologue.core.errors import EngineLost, OurError, StateConflict
from duologue.core.notices import (
    Cleared,
    Committed,
    Notice,
    OutputBegan,
    OutputEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    SpeechBegan,
    SpeechEnded,
    TextGrew,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenText
from duologue.wire.unmute_events import MAX_HISTORY
from duologue.wire.unmute_sound import Outlet
from tests.support.sounds import tone
from tests.support.unmute_client import Illegal, Referee
from tests.wire.unmuted import (
    spoken_by,
    told,
    types,
    wire,
)


# --- what is told ---
def spoken(text: str, ms: float) -> SpokenText:
    spoken = SpokenText()
    spoken.add_sound(spoken.add_piece(text), ms)
    spoken.finish()
    return spoken


def answer(text: str, ms: int) -> tuple[ReplyState, Message, list[Notice]]:
    """The notices of an answer up to its sound."""
    state = ReplyState("resp_1", ReplyOptions(voice="alice"))
    item = Message(
        "item_1", "assistant", (Part("output_audio", "", spoken(text, ms)),), "in_progress"
    )
    began = OutputBegan("resp_1", 0, item, None)
    return state, item, [ReplyBegan(state), began, TextGrew("resp_1", 0, "item_1", text, True)]


def ended(state: ReplyState, item: Message, text: str, told: str, **how: Any) -> list[Notice]:
    is_whole = how.get("status", "completed") == "completed"
    status: Status = "completed" if is_whole else "incomplete"
    part = replace(item.parts[0], text=text)
    done = replace(item, parts=(part,), status=status)
    over = replace(state, **{"status": "completed", **how})
    return [OutputEnded("resp_1", 0, done, told, None), ReplyEnded(over)]


def test_an_answer_in_unmute_s_order() -> None:
    w, referee = wire(), Referee()
    text = "Ahoy there, sailor of the seas. "
    state, item, notices = answer(text, 400)
    events = told(w, *notices)
    events += spoken_by(w, tone(440, 400))
    events += told(w, *ended(state, item, text, text))
    for event in events:
        referee.see(json.dumps(event))
    kinds = types(events)
    assert kinds[0] == "response.created"
    assert events[0]["response"]["voice"] == "alice"
    assert kinds[1:7] == ["unmute.response.text.delta.ready"] * 6
    assert "".join(e["delta"] for e in events[1:7]) == text.rstrip()
    assert kinds[-3:] == ["response.text.done", "unmute.additional_outputs", "response.audio.done"]
    words = [e["delta"] for e in events if e["type"] == "response.text.delta"]
    assert words == text.split()
    at = [n for n, kind in enumerate(kinds) if kind == "response.text.delta"]
    sounds = [kinds[:n].count("response.audio.delta") for n in at]
    assert sounds == sorted(sounds)
    assert sounds[0] < 6 < 14 < sounds[-1]  # spread over the twenty frames
    assert events[-2]["args"]["chat_history"] == [{"role": "assistant", "content": text.strip()}]


def test_an_interrupted_answer_keeps_the_words_that_were_heard() -> None:
    w, referee = wire(), Referee()
    text = "One two three four five six. "
    state, item, notices = answer(text, 600)
    events = told(w, *notices) + spoken_by(w, tone(440, 300))
    events += told(
        w, *ended(state, item, "One two", text, status="cancelled", reason="turn_detected")
    )
    for event in events:
        referee.see(json.dumps(event))
    assert types(events)[-3:] == [
        "response.text.done", "unmute.additional_outputs", "unmute.interrupted_by_vad",
    ]  # fmt: skip
    assert "response.audio.done" not in types(events)
    assert events[-2]["args"]["chat_history"][-1]["content"] == "One two"
    words = [e["delta"] for e in events if e["type"] == "response.text.delta"]
    assert 2 <= len(words) < 6
    created = told(w, answer("x", 20)[2][0])[0]
    assert created["response"]["chat_history"][-1]["content"] == "One two"


def test_an_answer_that_fails_before_its_first_word() -> None:
    w, referee = wire(), Referee()
    state = ReplyState("resp_1", ReplyOptions())
    failed = replace(state, status="failed", error=EngineLost("llm_lost", "It is gone."))
    heard = TranscriptDone("item_0", "hello", 500)
    events = told(w, heard, ReplyBegan(state), ReplyEnded(failed), ReplyBegan(state))
    for event in events:
        referee.see(json.dumps(event))
    assert types(events)[1:] == [
        "response.created", "error", "unmute.additional_outputs", "response.audio.done",
        "response.created",
    ]  # fmt: skip
    assert events[2]["error"]["type"] == "warning"


def test_the_user_s_words_one_by_one_with_their_times() -> None:
    w = wire()
    events = told(
        w,
        SpeechBegan("item_1", 1_000),
        SpeechEnded("item_1", 3_000),
        Committed("item_1", None),
        TranscriptGrew("item_1", "red green  blue yellow"),
        TranscriptDone("item_1", "red green  blue yellow", 2_000),
    )
    delta = "conversation.item.input_audio_transcription.delta"
    assert types(events) == [
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
        *[delta] * 4, "unmute.additional_outputs",
    ]  # fmt: skip
    words = [(e["delta"], e["start_time"]) for e in events if e["type"] == delta]
    assert words == [("red", 1.0), ("green", 1.5), ("blue", 2.0), ("yellow", 2.5)]
    assert set(events[0]) == {"type", "event_id"}
    assert events[-1]["args"]["chat_history"] == [
        {"role": "user", "content": "red green  blue yellow"}
    ]


def test_silence_is_no_message() -> None:
    assert told(wire(), TranscriptDone("item_1", " ", 500), Cleared()) == []


def test_the_history_shown_is_bounded() -> None:
    w = wire()
    notices = [TranscriptDone("item_1", f"{number}", 500) for number in range(MAX_HISTORY + 5)]
    history = told(w, *notices)[-1]["args"]["chat_history"]
    assert (len(history), history[0]["content"]) == (MAX_HISTORY, "5")


def test_errors_by_whose_they_are() -> None:
    w = wire()
    cases: list[tuple[Notice, str]] = [
        (Problem(StateConflict("a", "b")), "invalid_request_error"),
        (Problem(EngineLost("a", "b")), "warning"),
        (Problem(OurError("a", "b")), "fatal"),
        (TranscriptBroke("item_1", "stt_lost", "Gone."), "warning"),
    ]
    for notice, kind in cases:
        (event,) = told(w, notice)
        Referee().see(json.dumps(event))
        assert event["error"]["type"] == kind


# --- the strict client itself ---
def test_the_referee_knows_a_broken_stream() -> None:
    created: dict[str, Any] = {"type": "response.created", "response": {
        "object": "realtime.response", "status": "in_progress", "voice": "x", "chat_history": [],
    }}  # fmt: skip
    ready = {"type": "unmute.response.text.delta.ready", "delta": "Hi"}
    done = {"type": "response.audio.done"}
    history = {"chat_history": [{"role": "assistant", "content": "Hi"}]}
    outputs = {"type": "unmute.additional_outputs", "args": history}
    sound = {
        "type": "response.audio.delta",
        "delta": base64.b64encode(Outlet().encode(bytes(960))).decode(),
    }
    broken: list[list[dict[str, Any]]] = [
        [{"type": "session.created"}],
        [{"type": "response.done"}],
        [{"type": "input_audio_buffer.speech_started", "item_id": "x"}],
        [{"type": "response.text.done"}],
        [{"type": "response.text.delta", "delta": "Hi"}],
        [created, created],
        [created, {"type": "response.text.delta", "delta": "Hi"}],
        [created, ready, {"type": "response.text.delta", "delta": "Hi "}],
        [created, ready, {"type": "response.text.done", "text": "Ho"}],
        [created, done],
        [created, outputs, sound, done],
        [sound],
        [created, sound, sound],
        [created, {"type": "unmute.additional_outputs", "args": {"chat_history": []}}],
        [{"type": "unmute.interrupted_by_vad"}],
        [{"type": "session.updated", "session": {"voice": None}}],
    ]

    def show(referee: Referee, events: list[dict[str, Any]]) -> None:
        for number, event in enumerate(events):
            referee.see(json.dumps({"event_id": f"e{number}", **event}))

    for events in broken:
        with pytest.raises(Illegal):
            show(Referee(), events)
    fine = Referee()
    show(fine, [created, ready, sound, outputs, done, created])
    with pytest.raises(Illegal, match="twice"):
        fine.see(json.dumps({"event_id": "e0", "type": "input_audio_buffer.speech_started"}))
