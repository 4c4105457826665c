"""The session API's vocabulary: what a client of `/api/v1/audio-streaming` asks, and what it is told.

Beside the Realtime protocol there is this plainer one: chunks of sound go in, transcripts come out, text goes in and
sound comes out. What is told for good has a `number`: the item's in the store, by which a client that comes back says
what it has. What has none is of the moment, and is not told again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from duologue.core.errors import DuologueError
from duologue.core.words import Word

SoundFormat = Literal["", "pcm16", "container"]
"""Of a chunk: raw samples, or a file or part of one; empty: as its first bytes look."""


# --- how a session is ---
@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How one session behaves.

    Attributes:
        language: ISO-639-1 of the user's speech; empty for whichever is spoken.
        rate_hz: of raw samples that come without a rate of their own.
        vad: silence is neither shown to a recogniser nor recorded.
        answers: what was said is answered by the language model.
        speaks: answers are spoken; else they are text.
        whole: the sound of an answer comes in one piece, when all of it is there.
        instructions: the system prompt of answers.
        records: the sound of both sides is kept in the store.
        needs_token: nobody joins without the resume token.
        window_ms: what a recogniser that takes only whole windows is given at a time; `overlap_ms` of it again.
    """

    language: str = ""
    rate_hz: int = 16_000
    vad: bool = True
    answers: bool = False
    speaks: bool = True
    whole: bool = True
    instructions: str = ""
    voice: str = ""
    speed: float = 1.0
    records: bool = False
    needs_token: bool = False
    window_ms: int = 2_000
    overlap_ms: int = 500


# --- what a client asks ---
@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A piece of the user's sound.

    Attributes:
        index: its place among the chunks, from 0; None: it follows the one before.
        is_final: the utterance ends with it. A final chunk may be empty.
        rate_hz: of raw samples; 0 for the session's.
    """

    data: bytes
    index: int | None = None
    is_final: bool = False
    format: SoundFormat = ""
    rate_hz: int = 0


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Say this.

    Attributes:
        language: of the text; empty for the session's.
        answers: it is what the user says, in writing: the language model's answer is wanted.
        request_id: the client's own name for it, given back with what comes of it.
    """

    text: str
    language: str = ""
    voice: str = ""
    speed: float = 0.0
    answers: bool = False
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AskStats:
    """How does the session stand?"""


@dataclass(frozen=True, slots=True)
class Ping:
    """Is somebody there?"""


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the sound that waits, stop what is being said, and begin a new conversation. The store keeps the old."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Change these, from the next utterance on; None leaves a setting as it is."""

    language: str | None = None
    vad: bool | None = None
    answers: bool | None = None
    speaks: bool | None = None
    whole: bool | None = None
    instructions: str | None = None
    voice: str | None = None
    speed: float | None = None
    records: bool | None = None


@dataclass(frozen=True, slots=True)
class PlayedSoFar:
    """So much of a response's sound has left the loudspeaker."""

    response_id: str
    played_ms: int


@dataclass(frozen=True, slots=True)
class StopSpeaking:
    """Say no more of what is being said; what waits to be said is dropped, too."""


@dataclass(frozen=True, slots=True)
class Renew:
    """The session may last its full length again, from now."""


StreamCommand = (
    AudioChunk
    | TextRequest
    | AskStats
    | Ping
    | Reset
    | Configure
    | PlayedSoFar
    | StopSpeaking
    | Renew
)


# --- what a client is told ---
@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """A chunk is here. It may be forgotten by its sender once `committed` has reached its index.

    Attributes:
        chunk_id: the server's name for it.
        is_new: False for one that had come before.
        received: all chunks up to this index have come, or were given up; -1 for none.
        committed: what was said in the chunks up to this index is in the store; -1 for none.
    """

    chunk_id: str
    index: int
    size: int
    is_final: bool
    is_new: bool
    received: int
    committed: int


@dataclass(frozen=True, slots=True)
class ChunksMissing:
    """These have not come, and later ones have: send them (again). After a while they are given up (`GapMarked`)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GapMarked:
    """Sound is missing for good: chunks that never came, or that no recogniser could be found for.

    Attributes:
        first_chunk: of those that are missing; -1 where the gap is no whole chunks.
        reason: "chunks_missing", or the code of an error.
    """

    number: int
    id: str
    first_chunk: int
    last_chunk: int
    start_ms: int
    end_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Partial:
    """What the present utterance has been so far.

    Attributes:
        text: grows only, at its end.
        tentative: what seems to follow; may change.
    """

    text: str
    tentative: str
    language: str
    start_ms: int
    end_ms: int
    first_chunk: int
    last_chunk: int


@dataclass(frozen=True, slots=True)
class Transcribed:
    """A part of the transcript, for good.

    Attributes:
        confidence: 0 to 1; None where the recogniser does not know.
        ends_utterance: with it the utterance is over.
        committed: as in `ChunkReceived`.
    """

    number: int
    id: str
    text: str
    language: str
    confidence: float | None
    start_ms: int
    end_ms: int
    words: tuple[Word, ...]
    first_chunk: int
    last_chunk: int
    ends_utterance: bool
    committed: int


@dataclass(frozen=True, slots=True)
class SpeechQueued:
    """A text is going to be said; `waiting` others are before it."""

    response_id: str
    request_id: str
    waiting: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of a response, for good: with its sound, or without where it is text or the sound is no more.

    Attributes:
        part: 0 and up; `is_last`: the response is whole.
        audio: a WAV file; empty if there is none. `audio_lost`: there was some.
    """

    number: int
    response_id: str
    request_id: str
    part: int
    is_last: bool
    text: str
    language: str
    audio: bytes = b""
    duration_ms: int = 0
    audio_lost: bool = False


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """No more of a response comes: `heard` of it counts as heard."""

    response_id: str
    heard_ms: int
    heard: str
    reason: Literal["stopped", "interrupted", "reset", "failed"]


@dataclass(frozen=True, slots=True)
class StreamStats:
    """How a session stands. Times are seconds since 1970."""

    session_id: str
    created_s: float
    active_s: float
    expires_s: float
    is_active: bool
    language: str
    conversation_entries: int
    buffer_chunks: int
    buffer_size: int
    pending_transcriptions: int
    pending_responses: int
    received: int
    committed: int
    last_number: int
    heard_s: float
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatsTold:
    """As asked."""

    stats: StreamStats


@dataclass(frozen=True, slots=True)
class Pong:
    """Somebody is there."""


@dataclass(frozen=True, slots=True)
class ResetDone:
    """The session is as new. Chunks count from 0 again."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The session's settings as they now are."""

    options: StreamOptions


@dataclass(frozen=True, slots=True)
class Joined:
    """First of all on a connection: where the session stands. What the client missed follows.

    Attributes:
        resume_token: for the next time; empty where the client is not told.
        next_chunk: the index that is expected next: sound before it is stored or waits here.
        next_chunk_ms: of that chunk, so much is stored already (after a crash); it is sent whole all the same.
        last_number: of what follows and has followed; `complete` is False where something of it is no more.
        resumed: the client was here before.
    """

    session_id: str
    resume_token: str
    next_chunk: int
    next_chunk_ms: int
    last_number: int
    complete: bool
    resumed: bool
    expires_s: float
    options: StreamOptions


@dataclass(frozen=True, slots=True)
class Renewed:
    """The session may last until then."""

    expires_s: float


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The session is over."""

    reason: Literal["deleted", "idle", "too_long", "server", "failed"]


@dataclass(frozen=True, slots=True)
class StreamProblem:
    """Something could not be done; `chunk_index` says with which chunk, -1 if with none."""

    error: DuologueError
    chunk_index: int = -1
    request_id: str = ""


StreamNotice = (
    Joined
    | ChunkReceived
    | ChunksMissing
    | GapMarked
    | Partial
    | Transcribed
    | SpeechQueued
    | Spoken
    | SpeechStopped
    | StatsTold
    | Pong
    | ResetDone
    | Configured
    | Renewed
    | StreamEnded
    | StreamProblem
)

Lasting = GapMarked | Transcribed | Spoken
"""Notices that are items of the store, and can be told again."""
