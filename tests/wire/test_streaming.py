"""The session API's protocol: what its two kinds of clients send is read, and both can read what they are told."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import AtCapacity, ClientError, MalformedEvent
from duologue.core.streaming import (
    AskStats,
    AudioChunk,
    ChunkReceived,
    ChunksMissing,
    Configure,
    Configured,
    GapMarked,
    Joined,
    Partial,
    Ping,
    PlayedSoFar,
    Pong,
    Renew,
    Renewed,
    Reset,
    ResetDone,
    SpeechQueued,
    SpeechStopped,
    Spoken,
    StatsTold,
    StopSpeaking,
    StreamCommand,
    StreamEnded,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    StreamStats,
    TextRequest,
    Transcribed,
)
from duologue.core.words import Word
from duologue.wire import streaming
from duologue.wire.dialect import Binary
from duologue.wire.streaming import StreamWire, notice_json, options, options_json, stats_json
from duologue.wire.streaming_fields import both, camel

SOUND = bytes(range(256))


def received(event: Any, **wire: Any) -> StreamCommand:
    (command,) = StreamWire(**wire).receive(json.dumps(event).encode())
    return command


def refused(event: Any, **wire: Any) -> ClientError:
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(ClientError) as caught:
        list(StreamWire(**wire).receive(data))
    return caught.value


# --- sound ---
@pytest.mark.parametrize(
    "event",
    [
        {"data": {"audio_data": SOUND.hex(), "is_final": True, "chunk_index": 3}},
        {"data": {"audioData": SOUND.hex().upper(), "isFinal": True, "chunkIndex": 3}},
        {"audio_data": "0x" + SOUND.hex(), "is_final": True, "chunk_index": 3},
        {"audioData": SOUND.hex(), "isFinal": True, "chunkIndex": 3.0, "timestamp": 1},
        {
            "chunk_index": 3,
            "data": {"audio_base64": base64.b64encode(SOUND).decode(), "is_final": True},
        },
        {"data": {"audioBase64": base64.b64encode(SOUND).decode()}, "index": 3, "isFinal": True},
    ],
)
def test_a_chunk_however_it_is_written(event: dict[str, Any]) -> None:
    assert received({"type": "audio_chunk", **event}) == AudioChunk(SOUND, 3, is_final=True)


def test_what_a_chunk_does_not_say() -> None:
    assert received({"type": "audio_chunk", "data": {"audio_data": "abcd"}}) == AudioChunk(
        b"\xab\xcd"
    )
    assert received({"type": "audio_chunk", "data": {"is_final": True}}) == AudioChunk(
        b"", None, True
    )
    chunk = {"type": "audio_chunk", "audio_data": "00ff", "format": "pcm", "sample_rate": 24_000}
    assert received(chunk) == AudioChunk(b"\0\xff", format="pcm16", rate_hz=24_000)
    chunk |= {"format": "audio/webm;codecs=opus"}
    assert received(chunk) == AudioChunk(b"\0\xff", format="container", rate_hz=24_000)
    of_wire = {"type": "audio_chunk", "audio_data": "00ff"}
    assert received(of_wire, format="pcm16", rate_hz=8_000) == AudioChunk(
        b"\0\xff", None, False, "pcm16", 8_000
    )


def test_sound_that_is_too_large_is_not_decoded() -> None:
    just = {"type": "audio_chunk", "audio_data": "ab" * 100, "chunk_index": 7}
    assert received(just, max_chunk_bytes=100) == AudioChunk(b"\xab" * 100, 7)
    for field in ({"audio_data": "zz" * 101}, {"audio_base64": "!" * 137}):
        error = refused(
            {"type": "audio_chunk", "data": field, "chunk_index": 7}, max_chunk_bytes=100
        )
        assert error.code == "chunk_too_large"
    assert refused(b"[" * 300_000, max_chunk_bytes=100).code == "chunk_too_large"
    for frames, head in (("raw", b""), ("framed", bytes(8))):
        with pytest.raises(ClientError):
            StreamWire(frames=frames, max_chunk_bytes=100).binary(head + bytes(101))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        (b"no json", "invalid_json", None),
        (b"[1]", "invalid_event", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[" * 5_000, "invalid_json", None),
        ({}, "missing_required_parameter", "type"),
        ({"type": 3}, "invalid_value", "type"),
        ({"type": "audio"}, "invalid_value", "type"),
        ({"type": "control"}, "missing_required_parameter", "command"),
        ({"type": "control", "command": "played"}, "invalid_value", "command"),
        ({"type": "control", "data": {"command": ["ping"]}}, "invalid_value", "command"),
        ({"type": "control", "command": "ping", "parameters": 3}, "invalid_value", "parameters"),
        ({"type": "audio_chunk"}, "missing_required_parameter", "audio_data"),
        ({"type": "audio_chunk", "audio_data": ""}, "missing_required_parameter", "audio_data"),
        ({"type": "audio_chunk", "audio_data": "abc"}, "invalid_value", "audio_data"),
        ({"type": "audio_chunk", "audio_data": "ab cd"}, "invalid_value", "audio_data"),
        ({"type": "audio_chunk", "audio_data": "äö"}, "invalid_value", "audio_data"),
        ({"type": "audio_chunk", "audio_data": [1]}, "invalid_value", "audio_data"),
        ({"type": "audio_chunk", "audio_base64": "abc"}, "invalid_value", "audio_base64"),
        (
            {"type": "audio_chunk", "audio_data": "00", "is_final": "yes"},
            "invalid_value",
            "is_final",
        ),
        (
            {"type": "audio_chunk", "audio_data": "00", "chunk_index": -1},
            "invalid_value",
            "chunk_index",
        ),
        (
            {"type": "audio_chunk", "audio_data": "00", "chunk_index": 1.5},
            "invalid_value",
            "chunk_index",
        ),
        (
            {"type": "audio_chunk", "audio_data": "00", "chunk_index": True},
            "invalid_value",
            "chunk_index",
        ),
        ({"type": "audio_chunk", "audio_data": "00", "format": "tape"}, "invalid_value", "format"),
        (
            {"type": "audio_chunk", "audio_data": "00", "sample_rate": 96_000},
            "invalid_value",
            "sample_rate",
        ),
        ({"type": "text_request", "data": {"text": "  "}}, "missing_required_parameter", "text"),
        ({"type": "text_request", "text": "x" * 4_097}, "invalid_value", "text"),
        (
            {"type": "text_request", "text": "x", "language": "Klingon!"},
            "invalid_value",
            "language",
        ),
        (
            {"type": "text_request", "text": "x", "voice_settings": {"speed": 9}},
            "invalid_value",
            "voice_settings.speed",
        ),
        ({"type": "played", "played_ms": 3}, "missing_required_parameter", "response_id"),
        ({"type": "played", "response_id": "r"}, "missing_required_parameter", "played_ms"),
        ({"type": "configure", "vad": "on"}, "invalid_value", "vad"),
    ],
)
def test_what_cannot_be_read_is_said(event: Any, code: str, param: str | None) -> None:
    error = refused(event)
    assert isinstance(error, MalformedEvent)
    assert (error.code, error.param) == (code, param)
    told = json.loads(StreamWire().error(error))
    assert told["type"] == "error"
    assert told["data"]["message"] == told["message"] == str(error)


def test_an_error_names_the_chunk_or_the_request() -> None:
    wire = StreamWire()
    chunk = refused({"type": "audio_chunk", "audio_data": "x", "chunk_index": 12})
    assert json.loads(wire.error(chunk))["data"]["chunk_index"] == 12
    text = refused({"type": "text_request", "text": "", "requestId": "mine"})
    assert json.loads(wire.error(text))["requestId"] == "mine"
    framed = StreamWire(frames="framed", max_chunk_bytes=10)
    with pytest.raises(ClientError) as caught:
        framed.binary(streaming.HEADER.pack(1, 0, 0, 5) + bytes(11))
    assert json.loads(wire.error(caught.value))["chunkIndex"] == 5


# --- binary messages ---
def test_raw_binary_messages_are_sound_and_nothing_else() -> None:
    wire = StreamWire()
    assert wire.binary(b"\1\0\0\0\0\0\0\7sound") == AudioChunk(b"\1\0\0\0\0\0\0\7sound")
    assert wire.binary(b"") == AudioChunk(b"", None, is_final=True)


def test_framed_binary_messages_are_as_documented() -> None:
    wire = StreamWire(frames="framed")
    frame = bytes.fromhex("01 01 0000 00000102") + b"sound"
    assert wire.binary(frame) == AudioChunk(b"sound", 258, is_final=True)
    assert wire.binary(bytes.fromhex("01 02 0000 00000102")) == AudioChunk(b"")
    for wrong in (b"", bytes(7), bytes(8), b"\2" + bytes(20)):
        with pytest.raises(MalformedEvent) as caught:
            wire.binary(wrong)
        assert caught.value.code == "invalid_frame"


# --- everything else that is asked ---
def test_texts_are_asked_for() -> None:
    settings = {"voice": "amy", "speed": 1.5}
    asked = {"text": "Hello.", "language": "zh", "voice_settings": settings, "requestId": "r1"}
    wanted = TextRequest("Hello.", "zh", "amy", 1.5, request_id="r1")
    assert received({"type": "text_request", "data": asked}) == wanted
    assert received({"type": "text_request", **asked}) == wanted
    plain = received({"type": "text_request", "text": "Hi", "language": None, "respond": True})
    assert isinstance(plain, TextRequest)
    assert (plain.language, plain.voice, plain.speed, plain.answers) == ("", "", 0.0, True)
    assert plain.request_id.startswith("text_")


@pytest.mark.parametrize(
    ("event", "command"),
    [
        ({"type": "control", "data": {"command": "ping"}}, Ping()),
        ({"type": "control", "command": "stats", "parameters": {}}, AskStats()),
        ({"type": "control", "data": {"command": "reset", "parameters": {"x": 1}}}, Reset()),
        ({"type": "control", "data": {"command": "stop"}}, StopSpeaking()),
        ({"type": "control", "data": {"command": "renew"}}, Renew()),
        ({"type": "ping"}, Ping()),
        ({"type": "stop"}, StopSpeaking()),
        ({"type": "renew", "data": None}, Renew()),
        ({"type": "played", "data": {"responseId": "r", "playedMs": 12.7}}, PlayedSoFar("r", 12)),
        ({"type": "configure"}, Configure()),
        (
            {"type": "configure", "data": {"language": "auto", "enableTTS": False, "vad": True}},
            Configure(language="", vad=True, speaks=False),
        ),
        (
            {"type": "control", "data": {"command": "configure", "parameters": {"record": True}}},
            Configure(records=True),
        ),
        ({"type": "control", "command": "configure", "voice": "amy"}, Configure(voice="amy")),
    ],
)
def test_commands(event: dict[str, Any], command: StreamCommand) -> None:
    assert received(event) == command


def test_an_acknowledgement_asks_for_nothing() -> None:
    assert list(StreamWire().receive(b'{"type": "ack", "number": 7}')) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    "audio_data audioData audio_base64 is_final chunk_index text language voice_settings speed command "
    "parameters response_id playedMs vad enableTTS request_id format sample_rate instructions data".split()
)
TYPES = st.sampled_from([*streaming._TYPES, "x", "", None, 3])


@given(
    st.one_of(
        st.binary(max_size=40),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.tuples(TYPES, st.dictionaries(NAMES, JSON, max_size=4), JSON).map(
            lambda t: json.dumps({"type": t[0], **t[1], "data": t[1] if t[2] else t[2]}).encode()
        ),
    )
)
def test_no_message_does_more_than_be_refused(data: bytes) -> None:
    for wire in (StreamWire(), StreamWire(frames="framed")):
        for text in (True, False):
            try:
                list(wire.receive(data)) if text else wire.binary(data)
            except ClientError as error:
                assert json.loads(wire.error(error))["code"] == error.code  # noqa: PT017


# --- what is told ---
STATS = StreamStats(
    session_id="s1",
    created_s=1.5,
    active_s=2.5,
    expires_s=3.5,
    is_active=True,
    language="",
    conversation_entries=4,
    buffer_chunks=5,
    buffer_size=6,
    pending_transcriptions=7,
    pending_responses=8,
    received=9,
    committed=10,
    last_number=11,
    heard_s=12.5,
    more={"max_wait_ms": 13},
)
OPTIONS = StreamOptions(language="en", answers=True)
FINAL = Transcribed(
    7, "i7", "hello there", "en", None, 1_000, 2_250, (Word("hello", 1_000, 1_400),), 1, 2, True, 2
)
SPEECH = Spoken(8, "resp", "req", 0, True, "Hello.", "en", b"RIFFwav", 1_250)

TOLD: list[tuple[StreamNotice, str, dict[str, Any]]] = [
    (
        Joined("s1", "token", 4, 20, 9, True, True, 3.5, OPTIONS),
        "connection_established",
        {
            "session_id": "s1",
            "message": "The session goes on.",
            "language": "en",
            "resume_token": "token",
            "resumed": True,
            "next_chunk": 4,
            "next_chunk_ms": 20,
            "last_number": 9,
            "complete": True,
            "expires_at": 3.5,
            "options": options_json(OPTIONS),
        },
    ),
    (
        ChunkReceived("c1", 3, 640, False, True, 3, 1),
        "chunk_received",
        {
            "chunk_id": "c1",
            "chunk_index": 3,
            "size": 640,
            "is_final": False,
            "is_new": True,
            "received": 3,
            "committed": 1,
        },
    ),
    (ChunksMissing(4, 6), "chunks_missing", {"first_chunk": 4, "last_chunk": 6}),
    (
        GapMarked(5, "g5", 4, 6, 100, 200, "chunks_missing"),
        "gap",
        {
            "number": 5,
            "id": "g5",
            "start_ms": 100,
            "end_ms": 200,
            "first_chunk": 4,
            "last_chunk": 6,
            "reason": "chunks_missing",
        },
    ),
    (
        Partial("hello", "the", "", 1_000, 1_800, 1, 2),
        "partial_transcription",
        {
            "text": "hello",
            "tentative": "the",
            "is_final": False,
            "language": "unknown",
            "confidence": 0.0,
            "start_ms": 1_000,
            "end_ms": 1_800,
            "first_chunk": 1,
            "last_chunk": 2,
        },
    ),
    (
        FINAL,
        "transcription",
        {
            "number": 7,
            "id": "i7",
            "text": "hello there",
            "language": "en",
            "confidence": 1.0,
            "confidence_known": False,
            "duration": 1.25,
            "segments": [{"start": 1.0, "end": 2.25, "text": "hello there"}],
            "words": [
                {"word": "hello", "start": 1.0, "end": 1.4, "start_ms": 1_000, "end_ms": 1_400}
            ],
            "is_final": True,
            "ends_utterance": True,
            "committed": 2,
            "start_ms": 1_000,
            "end_ms": 2_250,
            "first_chunk": 1,
            "last_chunk": 2,
        },
    ),
    (
        SpeechQueued("resp", "req", 2),
        "tts_queued",
        {"response_id": "resp", "request_id": "req", "waiting": 2},
    ),
    (
        Spoken(9, "resp", "req", 1, True, "Hello.", "en"),
        "text_response",
        {
            "number": 9,
            "response_id": "resp",
            "request_id": "req",
            "part": 1,
            "is_last": True,
            "text": "Hello.",
            "language": "en",
        },
    ),
    (
        Spoken(9, "resp", "req", 1, True, "Hello.", "en", duration_ms=1_250, audio_lost=True),
        "audio_response",
        {
            "number": 9,
            "response_id": "resp",
            "request_id": "req",
            "part": 1,
            "is_last": True,
            "text": "Hello.",
            "language": "en",
            "size": 0,
            "format": "wav",
            "duration": 1.25,
            "duration_ms": 1_250,
            "audio_lost": True,
        },
    ),
    (
        SpeechStopped("resp", 700, "He", "stopped"),
        "speech_stopped",
        {"response_id": "resp", "heard_ms": 700, "heard": "He", "reason": "stopped"},
    ),
    (StatsTold(STATS), "stats_response", {"stats": stats_json(STATS)}),
    (Pong(), "pong", {}),
    (ResetDone(), "reset_complete", {"message": "The session is as new."}),
    (Configured(OPTIONS), "configured", {"options": options_json(OPTIONS)}),
    (Renewed(4.5), "renewed", {"expires_at": 4.5}),
    (
        StreamEnded("idle"),
        "session_ended",
        {"reason": "idle", "message": "Nothing has come for too long."},
    ),
    (
        StreamProblem(AtCapacity("buffer_full", "Full.", remedy="Wait."), 3, "req"),
        "error",
        {
            "code": "buffer_full",
            "message": "Full. Wait.",
            "param": None,
            "culprit": "engine",
            "retryable": True,
            "chunk_index": 3,
            "request_id": "req",
        },
    ),
]


@pytest.mark.parametrize(
    ("notice", "kind", "fields"), TOLD, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_notice_is_told_flat_and_under_data_in_both_cases(
    notice: StreamNotice, kind: str, fields: dict[str, Any]
) -> None:
    expected = both(fields)
    told = notice_json(notice, now_s=99.5)
    assert told == {"type": kind, "timestamp": 99.5, **expected, "data": expected}
    (written,) = StreamWire().encode(notice)
    again = json.loads(written)
    assert again["type"] == kind
    assert {name: again["data"][name] for name in expected} == json.loads(json.dumps(expected))


def test_every_notice_is_told() -> None:
    kinds = {type(notice) for notice, _, _ in TOLD} | {type(SPEECH)}
    assert kinds == set(StreamNotice.__args__)


def test_stats_are_in_both_cases() -> None:
    told = stats_json(STATS)
    assert told["sessionId"] == told["session_id"] == "s1"
    assert (told["createdAt"], told["last_activity"], told["language"]) == (1.5, 2.5, "auto")
    assert (told["pendingTranscriptions"], told["max_wait_ms"], told["maxWaitMs"]) == (7, 13, 13)
    assert camel("is_active") == "isActive"


def test_sound_goes_out_once_and_as_the_client_wants_it() -> None:
    (told,) = StreamWire(audio="hex").encode(SPEECH)
    assert told.count(SPEECH.audio.hex().encode()) == 1
    assert bytes.fromhex(json.loads(told)["data"]["audio_data"]) == SPEECH.audio
    (told,) = StreamWire(audio="base64").encode(SPEECH)
    assert base64.b64decode(json.loads(told)["data"]["audio_base64"]) == SPEECH.audio
    assert b"audio_data" not in told
    (told,) = StreamWire(audio="none").encode(SPEECH)
    assert json.loads(told)["size"] == 7
    told, sound = StreamWire(audio="binary").encode(SPEECH)
    assert json.loads(told)["data"]["binary"] is True
    assert (type(sound), sound) == (Binary, SPEECH.audio)
    _, sound = StreamWire(audio="binary", frames="framed").encode(SPEECH)
    assert sound == bytes.fromhex("01 01 0000 00000008") + SPEECH.audio
    assert type(sound) is Binary
    assert "audio_data" not in notice_json(SPEECH, audio=False)["data"]


def test_the_greeting_says_how_sound_travels() -> None:
    wire = StreamWire.of(
        {"audio": "binary", "binary": "framed", "format": "pcm16", "sample_rate": "24000"},
        max_chunk_bytes=1_000,
    )
    (told,) = wire.encode(TOLD[0][0])
    data = json.loads(told)["data"]
    assert (data["audio"], data["binary"], data["maxChunkSize"]) == ("binary", "framed", 1_000)
    frame = streaming.HEADER.pack(1, 2, 0, 0) + b"ab"
    assert wire.binary(frame) == AudioChunk(b"ab", None, False, "pcm16", 24_000)


@pytest.mark.parametrize(
    "query",
    [
        {"audio": "tape"},
        {"binary": "x"},
        {"format": "tape"},
        {"sample_rate": "7"},
        {"sample_rate": "²"},
    ],
)
def test_an_address_that_cannot_be(query: dict[str, str]) -> None:
    with pytest.raises(MalformedEvent) as caught:
        StreamWire.of(query)
    assert caught.value.param == next(iter(query))


def test_what_is_queued_is_shown_as_it_was_asked_for() -> None:
    wire = StreamWire()
    (asked,) = wire.receive(json.dumps({"type": "text_request", "text": "x" * 60}).encode())
    assert isinstance(asked, TextRequest)
    (told,) = wire.encode(SpeechQueued("resp", asked.request_id, 0))
    assert json.loads(told)["text"] == "x" * 50 + "..."
    for number in range(100):
        list(wire.receive(json.dumps({"type": "text_request", "text": f"{number}"}).encode()))
    assert len(wire._asked) == streaming.MAX_REMEMBERED_TEXTS


# --- the two kinds of clients ---
class Page:
    """Reads as the page of the API's origin does: everything under `data`, camelCase statistics."""

    def __init__(self) -> None:
        self.complete: list[str] = []
        self.buffer = ""
        self.sounds: list[bytes] = []
        self.problems: list[str] = []

    def take(self, data: bytes) -> None:
        message = json.loads(data)
        inner = message["data"]
        match message["type"]:
            case "transcription":
                if inner and inner["text"]:
                    self.buffer += " " + inner["text"]
                    if inner["confidence"] > 0.7:
                        self.complete.append(inner["text"])
                        self.buffer = ""
            case "audio_response":
                if inner.get("audio_data"):
                    self.sounds.append(bytes.fromhex(inner["audio_data"]))
            case "chunk_received":
                assert isinstance(inner["chunk_index"], int)
            case "stats_response":
                assert inner["stats"]["bufferChunks"] == 5
            case "error":
                self.problems.append(inner["message"])
            case _:
                pass


class Script:
    """Reads as the server of the API's origin writes: acknowledgements flat, snake_case statistics."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def take(self, data: bytes) -> None:
        message = json.loads(data)
        assert isinstance(message["timestamp"], float)
        self.seen.append(message["type"])
        match message["type"]:
            case "connection_established":
                assert (message["session_id"], bool(message["message"])) == ("s1", True)
            case "chunk_received":
                found = [message[name] for name in ("chunk_id", "chunk_index", "size", "is_final")]
                assert found == ["c1", 3, 640, False]
            case "transcription":
                data_ = message["data"]
                assert data_["segments"][0]["text"] == data_["text"]
                assert data_["duration"] == 1.25
            case "audio_response":
                assert message["data"]["size"] in (0, 7)
            case "stats_response":
                assert message["stats"]["pending_responses"] == 8
            case "error":
                assert message["message"]
            case _:
                pass


def test_both_readings_are_satisfied() -> None:
    page, script, wire = Page(), Script(), StreamWire()
    for notice in [*(notice for notice, _, _ in TOLD), SPEECH]:
        for data in wire.encode(notice):
            page.take(data)
            script.take(data)
    assert page.complete == ["hello there"]
    assert page.buffer == "", "a partial transcript is not taken for a final one"
    assert page.sounds == [SPEECH.audio]
    assert page.problems == ["Full. Wait."]
    assert len(script.seen) == len(TOLD) + 1


# --- settings ---
def test_how_a_session_is_set_up() -> None:
    body = {
        "language": "auto",
        "sampleRate": 24_000,
        "enableTTS": False,
        "respond": True,
        "vad": True,
        "voice": "amy",
        "instructions": "Be brief.",
        "record": True,
        "chunkDuration": 3,
        "overlap_duration": 0.25,
        "needsToken": True,
        "whole": False,
        "voice_settings": {"speed": 2},
        "maxSessionDuration": 3_600,
    }
    wanted = StreamOptions(
        "", 24_000, True, True, False, False, "Be brief.", "amy", 2, True, True, 3_000, 250
    )
    assert options(body) == wanted
    assert options({"data": body}) == wanted
    assert options(options_json(wanted)) == wanted
    assert options({}) == StreamOptions()
    assert options({}, "zh").language == "zh"
    assert options({"language": "en"}, "zh").language == "en"
    assert options({"language": "auto"}, "zh").language == ""
    slow = StreamOptions(window_ms=4_000)
    assert options({"vad": True}, defaults=slow) == StreamOptions(vad=True, window_ms=4_000)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"language": "not a language"}, "language"),
        ({"language": "en\n"}, "language"),
        ({"language": 3}, "language"),
        ({"sample_rate": 4_000}, "sample_rate"),
        ({"sample_rate": 16_000.5}, "sample_rate"),
        ({"vad": 1}, "vad"),
        ({"chunk_duration": 0.1}, "chunk_duration"),
        ({"chunk_duration": 1, "overlapDuration": 0.6}, "overlap_duration"),
        ({"instructions": "x" * 32_001}, "instructions"),
        ({"voice_settings": "loud"}, "voice_settings"),
        ({"speed": 5}, "speed"),
    ],
)
def test_settings_that_cannot_be(body: dict[str, Any], param: str) -> None:
    with pytest.raises(MalformedEvent) as caught:
        options(body)
    assert caught.value.param == param


def test_what_is_described_is_what_is_read() -> None:
    known = options_json(StreamOptions())
    for schema in (streaming.OPTIONS_SCHEMA, streaming.CONFIGURE_SCHEMA):
        assert set(schema["properties"]) <= set(known)
    for name, about in streaming.OPTIONS_SCHEMA["properties"].items():
        low, high = about.get("minimum"), about.get("maximum")
        if low is not None:
            options({name: low, "overlap_duration": 0})
            with pytest.raises(MalformedEvent):
                options({name: high + 1})
