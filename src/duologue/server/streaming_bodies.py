"""The bodies of the session API, as they are described and checked.

Its origin is a server and a page that disagree about names: fields are there in snake_case and in camelCase, and what
was asked for is there flat and under `data`. What these models do not name may be there, too.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from duologue.server.answers import ErrorBody

MAX_TEXT_CHARS = 4_096
"""As for `/v1/audio/speech`."""

Language = Annotated[
    str,
    Field(max_length=35, description="ISO-639-1; 'auto' or empty for whichever is spoken"),
]
Instructions = Annotated[str, Field(max_length=32_000)]
Voice = Annotated[str, Field(max_length=256)]
Speed = Annotated[float, Field(ge=0.25, le=4.0)]


class Refused(ErrorBody):
    """An error: in OpenAI's form, and as clients of this API look for it."""

    success: Literal[False] = False
    detail: str


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Done(_Open):
    """It is done."""

    success: Literal[True] = True
    message: str = ""


# --- what is asked ---
class TextWanted(BaseModel):
    """A text to be said, or answered."""

    text: str = Field(min_length=1, max_length=MAX_TEXT_CHARS)
    language: Language = ""
    voice: Voice = ""
    speed: Annotated[float, Field(ge=0.0, le=4.0, description="0 for the session's")] = 0.0
    answers: bool = Field(
        default=False, description="it is what the user says, in writing: an answer is wanted"
    )
    request_id: Annotated[str, Field(max_length=64)] = ""


class WorkersWanted(BaseModel):
    """How many pieces of work are done at a time; what is left out stays."""

    transcription: Annotated[int, Field(ge=1, le=64)] | None = None
    tts: Annotated[int, Field(ge=1, le=64)] | None = None


# --- what is answered ---
class SessionMade(Done):
    """A session, and the way to it."""

    session_id: str
    sessionId: str  # noqa: N815 - clients read either
    language: str
    websocket_url: str
    websocketUrl: str  # noqa: N815
    resume_token: str
    resumeToken: str  # noqa: N815
    expires_at: float = Field(description="seconds since 1970")
    expiresAt: float  # noqa: N815


class SessionTold(Done):
    """How a session stands."""

    session_id: str
    sessionId: str  # noqa: N815
    stats: dict[str, Any]


class Service(_Open):
    """What works."""

    isInitialized: bool  # noqa: N815
    ttsInitialized: bool  # noqa: N815
    modelSize: str = Field(description="the recogniser that is preferred")  # noqa: N815
    device: str
    transcriptionWorkers: int  # noqa: N815
    ttsWorkers: int  # noqa: N815


class Sessions(Done):
    """All sessions of the caller, and the service."""

    totalSessions: int  # noqa: N815
    total_sessions: int
    activeSessions: list[str]  # noqa: N815
    active_sessions: list[str]
    serviceStatus: Service  # noqa: N815
    service_status: dict[str, Any]
    stats: dict[str, Any]


class ChunkTaken(Done):
    """A chunk is here. It may be forgotten by its sender once `committed` has reached its index."""

    chunk_id: str
    chunk_index: int
    size: int
    is_final: bool
    is_new: bool
    received: int
    committed: int


class SpeechComing(Done):
    """A text is going to be said; `waiting` others are before it."""

    response_id: str
    request_id: str
    waiting: int


class Expiry(Done):
    """The session may last until then."""

    expires_at: float
    expiresAt: float  # noqa: N815


class Options(Done):
    """The session's settings as they now are."""

    session_id: str
    options: dict[str, Any]


class WorkersAt(Done):
    """How many pieces of work are done at a time, and what waits."""

    transcription: int
    tts: int
    load: dict[str, Any] = Field(description="of each: busy, waiting, and how long turns waited")


class Line(_Open):
    """A part of a transcript, a text, a response or a gap."""

    number: int
    kind: str = Field(description="transcript, speech, message or gap")
    text: str
    start_ms: int
    end_ms: int


class TranscriptTold(Done):
    """What was said, in order."""

    session_id: str
    text: str = Field(description="all that the user said; gaps are marked")
    items: list[Line]
    last_number: int
    complete: bool = Field(description="False: ask again with `after` = `last_number`")


Chunk = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]
