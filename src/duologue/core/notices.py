"""What a session tells its listener, before any protocol has dressed it. Each dialect encodes the same notices.

The sound of an answer is no notice: it goes out as plain calls, fifty a second (`ports.Listener.sound`).
"""

from dataclasses import dataclass, field
from typing import Literal

from duologue.core.conversation import FunctionCall, Item, Message
from duologue.core.errors import DuologueError
from duologue.core.facts import AskId
from duologue.core.options import ReplyOptions

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
    """The transcript of an item; `audio_ms` of sound were transcribed."""

    item_id: str
    text: str
    audio_ms: int


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
    output: tuple[Message | FunctionCall, ...] = ()
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
    item: Message | FunctionCall
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
    """The arguments of a function call go on with this."""

    reply_id: str
    index: int
    item_id: str
    call_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class OutputEnded:
    """An item of an answer is as it will stay; `told` is the sum of the text that was sent of it."""

    reply_id: str
    index: int
    item: Message | FunctionCall
    told: str
    previous_id: str | None
    aside: bool = False


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """The last word about an answer: it was sent, or broken off."""

    reply: ReplyState


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
    | PlaybackBegan
    | PlaybackEnded
    | Problem
)
