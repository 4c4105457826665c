"""What a session tells its listener, before any protocol has dressed it. Each dialect encodes the same notices.

The sound of an answer is no notice: it goes out as plain calls, fifty a second (`ports.Listener.sound`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from duologue.core.conversation import Item, OutputItem, ServerCall, ToolList
from duologue.core.errors import DuologueError
from duologue.core.facts import AskId
from duologue.core.options import ReplyOptions
from duologue.core.playout import SpokenWord

ReplyStatus = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]


# --- the user's side ---
@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Somebody speaks. `audio_ms` counts the client's own audio since the session began, padding taken off."""

    item_id: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The turn of who spoke is over."""

    item_id: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class Committed:
    """The buffered sound became an item."""

    item_id: str
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class IdleTimedOut:
    """Nobody spoke for as long as the client set; in milliseconds of its own audio."""

    item_id: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """The buffered sound is forgotten."""


@dataclass(frozen=True, slots=True)
class TranscriptGrew:
    """The transcript of an item goes on with this."""

    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class TranscriptDone:
    """The transcript of an item; `audio_ms` of sound were transcribed.

    Attributes:
        logprobs: each word with the natural logarithm of its probability, where the client asked and the
            engine knows.
    """

    item_id: str
    text: str
    audio_ms: int
    logprobs: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TranscriptBroke:
    """An item could not be transcribed."""

    item_id: str
    code: str
    message: str


# --- items ---
@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item is in the conversation, complete."""

    item: Item
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item left the conversation."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """An answer was cut to what was heard."""

    item_id: str
    content_index: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    """An item as it stands."""

    item: Item


# --- answers ---
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, where the engine counts them; sound at OpenAI's 10 tokens a second in and 20 out."""

    input_text: int = 0
    input_audio: int = 0
    output_text: int = 0
    output_audio: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True)
class ReplyState:
    """An answer as it stands.

    Attributes:
        id: the response's id.
        reason: why it was cancelled or is incomplete.
        error: why it failed.
    """

    id: str
    options: ReplyOptions
    status: ReplyStatus = "in_progress"
    reason: str | None = None
    error: DuologueError | None = None
    output: tuple[OutputItem, ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class ReplyBegan:
    """An answer begins."""

    reply: ReplyState


@dataclass(frozen=True, slots=True)
class OutputBegan:
    """An item of an answer begins; what follows with the same `index` belongs to it.

    Attributes:
        aside: the answer is out of band, and the item in no conversation.
    """

    reply_id: str
    index: int
    item: OutputItem
    previous_id: str | None
    aside: bool = False


@dataclass(frozen=True, slots=True)
class TextGrew:
    """The text of an answer, or the transcript of its sound, goes on with this."""

    reply_id: str
    index: int
    item_id: str
    delta: str
    spoken: bool


@dataclass(frozen=True, slots=True)
class ArgumentsGrew:
    """The arguments of a call go on with this; `on_server`: of a call that we carry out ourselves."""

    reply_id: str
    index: int
    item_id: str
    call_id: str
    delta: str
    on_server: bool = False


@dataclass(frozen=True, slots=True)
class OutputEnded:
    """An item of an answer is as it will stay; `told` is the sum of the text that was sent of it.

    A `ServerCall` stays so only within the answer: what becomes of it follows (`ServerCallEnded`).
    """

    reply_id: str
    index: int
    item: OutputItem
    told: str
    previous_id: str | None
    aside: bool = False


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last word about an answer: it was sent, or broken off."""

    reply: ReplyState


# --- tools of servers ---
@dataclass(frozen=True, slots=True)
class ListingBegan:
    """A tool server is asked what it has; the item is in the conversation, still empty."""

    item: ToolList
    previous_id: str | None


@dataclass(frozen=True, slots=True)
class ListingEnded:
    """The item lists what the server has; or it did not say, and a `Problem` tells why."""

    item: ToolList
    previous_id: str | None
    failed: bool


@dataclass(frozen=True, slots=True)
class ServerCallBegan:
    """A tool is being run; `index` is the call's in the answer that made it."""

    item_id: str
    index: int


@dataclass(frozen=True, slots=True)
class ServerCallEnded:
    """A tool returned or failed, or was not allowed to run: the item has its output or error."""

    item: ServerCall
    index: int
    previous_id: str | None


# --- the listener's loudspeaker, for transports on which the server knows it ---
@dataclass(frozen=True, slots=True)
class PlaybackBegan:
    """The first sound of an answer went out."""

    reply_id: str


@dataclass(frozen=True, slots=True)
class PlaybackEnded:
    """The listener hears no more of an answer; `heard_ms` of its item were heard.

    Attributes:
        cut: it was stopped before its end.
    """

    reply_id: str
    item_id: str
    heard_ms: int
    cut: bool


# --- for a listener that watches (`session.watching`): nobody else is told ---
@dataclass(frozen=True, slots=True)
class FloorChanged:
    """Somebody else has the floor; its name in lower case. `audio_ms` counts the client's own audio, as above."""

    floor: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class OutputHeld:
    """Somebody speaks over an answer, and it is held: `heard_ms` of its item were heard."""

    reply_id: str
    item_id: str
    heard_ms: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class OutputResumed:
    """It was nothing: the answer goes on from the held sample."""

    reply_id: str
    item_id: str
    heard_ms: int


@dataclass(frozen=True, slots=True)
class HeardSoFar:
    """What the listener has heard of an answer.

    Attributes:
        text: all words heard; a beginning of the answer's text.
        words: those that were heard since this was last told.
        ended: it will hear no more of it.
    """

    reply_id: str
    item_id: str
    heard_ms: int
    text: str
    words: tuple[SpokenWord, ...]
    ended: bool


@dataclass(frozen=True, slots=True)
class TurnOver:
    """A turn of the user's is over: its waterfall and its reasons, as plain values."""

    turn: Mapping[str, object]


# --- the rest ---
@dataclass(frozen=True, slots=True)
class Problem:
    """Something went wrong that the client should know of; `ask` is its command, if it was one."""

    error: DuologueError
    ask: AskId | None = None


Notice = (
    SpeechBegan
    | SpeechEnded
    | Committed
    | Cleared
    | IdleTimedOut
    | TranscriptGrew
    | TranscriptDone
    | TranscriptBroke
    | ItemAdded
    | ItemDeleted
    | ItemTruncated
    | ItemRetrieved
    | ReplyBegan
    | OutputBegan
    | TextGrew
    | ArgumentsGrew
    | OutputEnded
    | ReplyEnded
    | ListingBegan
    | ListingEnded
    | ServerCallBegan
    | ServerCallEnded
    | PlaybackBegan
    | PlaybackEnded
    | FloorChanged
    | OutputHeld
    | OutputResumed
    | HeardSoFar
    | TurnOver
    | Problem
)
