"""Transcription sessions: they listen, and show what the protocol shows of them."""

import json
from typing import Any

from openai.types.realtime import RealtimeTranscriptionSessionCreateResponse

from duologue.core.commands import SetOptions
from duologue.core.notices import TranscriptDone
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.judge import server_events

UPDATE = {
    "type": "session.update",
    "session": {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "any", "language": "en", "prompt": "oat milk"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 300},
            }
        },
        "include": ["item.input_audio_transcription.logprobs"],
    },
}


def updated(w: RealtimeWire) -> tuple[Any, dict[str, Any]]:
    command, answer = w.receive(json.dumps(UPDATE).encode())
    assert isinstance(answer, bytes)
    return command, json.loads(answer)


def test_a_session_becomes_one_of_transcription_by_an_update() -> None:
    w = RealtimeWire(SessionDocument("sess_1", "m", "i"))
    command, answer = updated(w)
    assert isinstance(command, SetOptions)
    options = command.options
    assert (options.answers, options.turn.create_response) == (False, False)
    assert (options.language, options.hints) == ("en", ("oat milk",))
    shown = answer["session"]
    RealtimeTranscriptionSessionCreateResponse.model_validate(shown)
    assert shown["object"] == "realtime.transcription_session"
    assert set(shown) == {"type", "object", "id", "include", "audio"}
    assert set(shown["audio"]) == {"input"}


def test_a_client_may_say_so_in_the_address() -> None:
    w = RealtimeWire(SessionDocument("sess_1", "m", "i", transcribes=True))
    (greeting,) = w.greet()
    assert json.loads(greeting)["session"]["type"] == "transcription"
    assert not w.options().answers


def test_it_tells_what_was_said_unasked() -> None:
    w = RealtimeWire(SessionDocument("sess_1", "m", "i", transcribes=True))
    (event,) = w.encode(TranscriptDone("item_1", "hello", 1_000))
    assert json.loads(event)["transcript"] == "hello"
    talk = RealtimeWire(SessionDocument("sess_1", "m", "i"))
    assert list(talk.encode(TranscriptDone("item_1", "hello", 1_000))) == []


def test_it_tells_how_sure_it_is_where_it_is_asked() -> None:
    w = RealtimeWire(SessionDocument("sess_1", "m", "i"))
    command, _ = updated(w)
    assert command.options.logprobs
    for sure, told in (
        ((("go", -0.5),), [{"token": "go", "logprob": -0.5, "bytes": [103, 111]}]),
        ((), None),
    ):
        (event,) = w.encode(TranscriptDone("item_1", "go", 1_000, sure))
        server_events()["conversation.item.input_audio_transcription.completed"].model_validate(
            json.loads(event)
        )
        assert json.loads(event)["logprobs"] == told
    unasked = RealtimeWire(SessionDocument("sess_1", "m", "i", transcribes=True))
    assert not unasked.options().logprobs
    (event,) = unasked.encode(TranscriptDone("item_1", "go", 1_000))
    assert "logprobs" not in json.loads(event)
