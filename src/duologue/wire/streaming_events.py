"""What a client of the session API is told, as JSON (docs/session-wire.md).

Each field is there flat and under `data`, in snake_case and in camelCase: the server from which this API comes wrote
the one, and its page reads the other. Sound is large, and is only where both agree: under `data`.
"""

import time
from collections.abc import Mapping
from typing import Any

from duologue.core.errors import DuologueError, EngineError
from duologue.core.streaming import (
    ChunkReceived,
    ChunksMissing,
    Configured,
    GapMarked,
    Joined,
    Partial,
    Pong,
    Renewed,
    ResetDone,
    SpeechQueued,
    SpeechStopped,
    Spoken,
    StatsTold,
    StreamEnded,
    StreamNotice,
    StreamProblem,
    StreamStats,
    Transcribed,
)
from duologue.core.words import Word
from duologue.wire.streaming_fields import both
from duologue.wire.streaming_settings import options_json

Json = dict[str, Any]
Told = tuple[str, Json]

SURE = 1.0
"""Confidence where the recogniser knows none. The page that this API comes from passes on only what has more than
0.7, and a transcript that is final is as good as it becomes; `confidence_known` tells the two apart."""

_ENDINGS = {
    "deleted": "The session was ended.",
    "idle": "Nothing has come for too long.",
    "too_long": "The session has lasted its full length.",
    "server": "The server ends its sessions.",
    "failed": "The session cannot go on.",
}


def notice_json(notice: StreamNotice, *, audio: bool = True, now_s: float | None = None) -> Json:
    """A notice as one JSON message.

    Args:
        audio: with the sound of a response, in hexadecimal.
        now_s: its timestamp, seconds since 1970; the present if it is not given.
    """
    kind, fields = _tell(notice)
    told = message(kind, fields, now_s)
    if audio and isinstance(notice, Spoken) and notice.audio:
        told["data"]["audio_data"] = notice.audio.hex()
    return told


def message(kind: str, fields: Mapping[str, Any], now_s: float | None = None) -> Json:
    """Any message: its fields flat and under `data`, in both cases."""
    told = both(fields)
    stamp = time.time() if now_s is None else now_s
    return {**told, "type": kind, "timestamp": stamp, "data": dict(told)}


def stats_json(stats: StreamStats) -> Json:
    """How a session stands, in both cases. Times are seconds since 1970."""
    return both(
        {
            **stats.more,
            "session_id": stats.session_id,
            "created_at": stats.created_s,
            "last_activity": stats.active_s,
            "expires_at": stats.expires_s,
            "is_active": stats.is_active,
            "language": stats.language or "auto",
            "conversation_entries": stats.conversation_entries,
            "buffer_chunks": stats.buffer_chunks,
            "buffer_size": stats.buffer_size,
            "pending_transcriptions": stats.pending_transcriptions,
            "pending_responses": stats.pending_responses,
            "received": stats.received,
            "committed": stats.committed,
            "last_number": stats.last_number,
            "heard_s": stats.heard_s,
        }
    )


def error_fields(error: DuologueError, chunk_index: int = -1, request_id: str = "") -> Json:
    """What is told of an error. `retryable`: the same may succeed later."""
    told: Json = {
        "code": error.code,
        "message": str(error),
        "param": getattr(error, "param", None),
        "culprit": error.culprit,
        "retryable": isinstance(error, EngineError) and error.retryable,
    }
    if chunk_index >= 0:
        told["chunk_index"] = chunk_index
    if request_id:
        told["request_id"] = request_id
    return told


def _tell(notice: StreamNotice) -> Told:
    match notice:
        case ChunkReceived() | ChunksMissing() | GapMarked() | Partial() | Transcribed():
            return _tell_heard(notice)
        case SpeechQueued() | Spoken() | SpeechStopped():
            return _tell_spoken(notice)
        case _:
            return _tell_session(notice)


def _tell_heard(
    notice: ChunkReceived | ChunksMissing | GapMarked | Partial | Transcribed,
) -> Told:
    match notice:
        case ChunkReceived():
            told = {
                "chunk_id": notice.chunk_id,
                "chunk_index": notice.index,
                "size": notice.size,
                "is_final": notice.is_final,
                "is_new": notice.is_new,
                "received": notice.received,
                "committed": notice.committed,
            }
            return "chunk_received", told
        case ChunksMissing(first=first, last=last):
            return "chunks_missing", {"first_chunk": first, "last_chunk": last}
        case GapMarked():
            told = {"number": notice.number, "id": notice.id, **_place(notice)}
            return "gap", {**told, "reason": notice.reason}
        case Partial():
            told = {"text": notice.text, "tentative": notice.tentative, "is_final": False}
            told |= {"language": notice.language or "unknown", "confidence": 0.0}
            return "partial_transcription", {**told, **_place(notice)}
        case Transcribed():
            return "transcription", _transcription(notice)


def _transcription(notice: Transcribed) -> Json:
    start_s, end_s = notice.start_ms / 1000, notice.end_ms / 1000
    return {
        "number": notice.number,
        "id": notice.id,
        "text": notice.text,
        "language": notice.language or "unknown",
        "confidence": SURE if notice.confidence is None else notice.confidence,
        "confidence_known": notice.confidence is not None,
        "duration": round(end_s - start_s, 3),
        "segments": [{"start": start_s, "end": end_s, "text": notice.text}],
        "words": [_word(word) for word in notice.words],
        "is_final": True,
        "ends_utterance": notice.ends_utterance,
        "committed": notice.committed,
        **_place(notice),
    }


def _place(notice: GapMarked | Partial | Transcribed) -> Json:
    return {
        "start_ms": notice.start_ms,
        "end_ms": notice.end_ms,
        "first_chunk": notice.first_chunk,
        "last_chunk": notice.last_chunk,
    }


def _word(word: Word) -> Json:
    return {
        "word": word.text,
        "start": word.start_ms / 1000,
        "end": word.end_ms / 1000,
        "start_ms": word.start_ms,
        "end_ms": word.end_ms,
    }


def _tell_spoken(notice: SpeechQueued | Spoken | SpeechStopped) -> Told:
    match notice:
        case SpeechQueued(response_id=response_id, request_id=request_id, waiting=waiting):
            told: Json = {"response_id": response_id, "request_id": request_id}
            return "tts_queued", {**told, "waiting": waiting}
        case SpeechStopped():
            told = {"response_id": notice.response_id, "heard_ms": notice.heard_ms}
            return "speech_stopped", {**told, "heard": notice.heard, "reason": notice.reason}
        case Spoken():
            told = {
                "number": notice.number,
                "response_id": notice.response_id,
                "request_id": notice.request_id,
                "part": notice.part,
                "is_last": notice.is_last,
                "text": notice.text,
                "language": notice.language or "unknown",
            }
            if not (notice.audio or notice.audio_lost):
                return "text_response", told
            told |= {
                "size": len(notice.audio),
                "format": "wav",
                "duration": notice.duration_ms / 1000,
                "duration_ms": notice.duration_ms,
                "audio_lost": notice.audio_lost,
            }
            return "audio_response", told


def _tell_session(
    notice: Joined
    | StatsTold
    | Pong
    | ResetDone
    | Configured
    | Renewed
    | StreamEnded
    | StreamProblem,
) -> Told:
    match notice:
        case Joined():
            return "connection_established", _joined(notice)
        case StatsTold(stats=stats):
            return "stats_response", {"stats": stats_json(stats)}
        case Pong():
            return "pong", {}
        case ResetDone():
            return "reset_complete", {"message": "The session is as new."}
        case Configured(options=options):
            return "configured", {"options": options_json(options)}
        case Renewed(expires_s=expires_s):
            return "renewed", {"expires_at": expires_s}
        case StreamEnded(reason=reason):
            return "session_ended", {"reason": reason, "message": _ENDINGS[reason]}
        case StreamProblem(error=error, chunk_index=index, request_id=request_id):
            return "error", error_fields(error, index, request_id)


def _joined(notice: Joined) -> Json:
    return {
        "session_id": notice.session_id,
        "message": "The session goes on." if notice.resumed else "The session is there.",
        "language": notice.options.language or "auto",
        "resume_token": notice.resume_token,
        "resumed": notice.resumed,
        "next_chunk": notice.next_chunk,
        "next_chunk_ms": notice.next_chunk_ms,
        "last_number": notice.last_number,
        "complete": notice.complete,
        "expires_at": notice.expires_s,
        "options": options_json(notice.options),
    }
