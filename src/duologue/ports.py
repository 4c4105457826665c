"""What a session needs of the world, by shape. Engines, transports and tests provide it; `app` introduces them."""

from asyncio import Future
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.conversation import Item
from duologue.core.errors import EngineError
from duologue.core.notices import Notice
from duologue.core.options import ReplyOptions
from duologue.core.records import Change, ItemRecord, SessionRecord, SoundRecord, TurnRecord
from duologue.core.tool_servers import CallError, ListedTool, ToolServer
from duologue.core.words import Word as Word

Clock = Callable[[], float]
"""Monotonic wall time in milliseconds."""


# --- engines: options, what goes in, what comes out ---
@dataclass(frozen=True, slots=True)
class SttOptions:
    """How one utterance is to be transcribed.

    Attributes:
        language: ISO-639-1; empty for whichever is spoken.
        hints: phrases that are likely in it.
        task: "translate" asks for the text in English; an engine that cannot refuses the stream.
        word_times: `Final.words` are wanted, which costs some engines more.
    """

    language: str = ""
    hints: tuple[str, ...] = ()
    task: Literal["transcribe", "translate"] = "transcribe"
    word_times: bool = False


@dataclass(frozen=True, slots=True)
class TtsOptions:
    """How one answer is to be spoken."""

    voice: str = ""
    language: str = ""
    speed: float = 1.0


StreamOptions = SttOptions | TtsOptions


@dataclass(frozen=True, slots=True)
class Say:
    """A piece of text to be spoken; `number` comes back with its sound."""

    number: int
    text: str


Offer = AudioFrame | Say


@dataclass(frozen=True, slots=True)
class Partial:
    """What the recogniser makes of the sound since the last flush; may be revised by the next."""

    text: str


@dataclass(frozen=True, slots=True)
class Final:
    """The answer to `flush(id)`: all that was offered before it is dealt with.

    Attributes:
        upto: sound (samples) or text (pieces) that this covers; what lies before need not be kept.
        text: the transcript since the last flush, where the engine is a recogniser.
        words: those of the text in order, where `SttOptions.word_times` asked and the engine knows.
        confidence: how sure the recogniser is of its words, 0 to 1; None where it does not know.
        language: ISO-639-1, where the engine found out by itself which is spoken; empty where it was told, or
            does not know.
    """

    id: int
    upto: int
    text: str = ""
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound of the piece `number`, at the engine's declared rate.

    Attributes:
        words: (ms from the piece's first sample, character of the piece) for words that begin in it.
    """

    number: int
    pcm: bytes
    words: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class EngineGone:
    """The stream's last event: the engine died, hung or refused."""

    error: EngineError


Event = Partial | Final | Audio | EngineGone


class EngineStream(Protocol):
    """One utterance or one answer, on some engine somewhere."""

    @property
    def rate_hz(self) -> int:
        """Rate of the sound that it takes or gives."""

    def offer(self, item: Offer) -> bool:
        """Hand over the next item; False if the engine is full and it was not taken. Never blocks."""

    async def room(self) -> None:
        """Return once `offer` may be tried again."""

    def flush(self, flush_id: int) -> None:
        """Finish what was offered so far, answered by `Final(flush_id)`. More may be offered meanwhile."""

    def events(self) -> AsyncIterator[Event]:
        """What comes out, until the stream is closed or `EngineGone`. To be iterated once."""

    async def aclose(self, *, cancel: bool = False) -> None:
        """End the stream. With `cancel` at once; otherwise what was flushed is still finished."""


class EnginePool(Protocol):
    """Where engines live: in this process, in another, elsewhere."""

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        """A fresh stream. `key` names the session, so that an engine may remember its speaker.

        Raises:
            AtCapacity: at once, if all streams are taken; never a silent wait.
            EngineError: the engine cannot be reached.
        """


# --- voice activity: batched over sessions, on the event loop ---
class VoiceActivity(Protocol):
    """Speech probability per window. State is kept per slot; calls take well under a millisecond."""

    def open(self) -> int:
        """A slot with fresh state."""

    def close_slot(self, slot: int) -> None:
        """Give the slot back."""

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> Sequence[float]:
        """Probabilities for one window of each slot; `windows` is [slots, 512] within -1..1 at 16 kHz."""


# --- the end of a turn, by its sound ---
class TurnEnd(Protocol):
    """A model that hears whether a speaker has finished."""

    async def judge(self, pcm: bytes) -> float | None:
        """Probability that they have: 16 kHz sound of the turn, its last seconds, up to and with the pause so far.

        None at once if it is too busy to say; then it is decided without.
        """


# --- the responder ---
@dataclass(frozen=True, slots=True)
class Prompt:
    """What a responder is given: the conversation as it was heard, and how to answer.

    Attributes:
        purpose: "answer", which somebody hears; or "summary": notes on what the one item quotes. Only language models
            make those: a responder that `acts`, or finds its words otherwise, refuses.
    """

    items: tuple[Item, ...]
    options: ReplyOptions
    session_id: str = ""
    purpose: Literal["answer", "summary"] = "answer"


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The answer goes on with this text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A function call begins, or its arguments go on; the first of a `call_id` carries the name."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class SpeakLater:
    """Say this, unasked, after so many seconds: a timer."""

    after_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens as the model's server counted them."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CutShort:
    """The model stopped at a limit: "max_output_tokens" or "content_filter"."""

    reason: str


Delta = TextDelta | CallDelta | SpeakLater | Spent | CutShort


class Responder(Protocol):
    """Finds the words of an answer."""

    def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """Stream the answer; closing the iterator cancels it within 50 ms.

        Raises:
            EngineError: while iterating.
        """


# --- tools that are run for the language model ---
class ToolConnection(Protocol):
    """A tool server that we are connected to. Waits as long as the server does: limits are the caller's."""

    async def list_tools(self) -> Sequence[ListedTool]:
        """What it has.

        Raises:
            EngineError: it does not say.
        """

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str | CallError:
        """Run a tool: what it returned, as text, or why it returned nothing. Several may run at a time.

        Raises:
            EngineError: the connection is of no more use.
        """


class ToolServers(Protocol):
    """The way to the servers that clients name."""

    def connect(self, server: ToolServer) -> AbstractAsyncContextManager[ToolConnection]:
        """A connection, closed when it is left. What is awaited in it is cancelled when it is lost.

        Raises:
            ClientError: this server may not be asked; on entering.
            EngineError: it cannot be reached, or was lost; on entering or leaving.
        """


# --- where conversations are kept ---
class Archive(Protocol):
    """A database, seen from the event loop: nothing here blocks it.

    What cannot be done raises an `OurError` ("store_failed", "store_overrun"); the conversation goes on without.
    """

    def write(self, *changes: Change) -> "Future[None]":
        """Write these in one commit, after all that was written before; done once it is committed.

        The future fails, rather than this call; whoever does not look at it misses nothing (the archive counts and
        logs failures itself). An item of a session that was never written fails.
        """

    async def session(self, session_id: str) -> SessionRecord | None:
        """The session, whether it has ended or not."""

    async def sessions(
        self, *, owner: str | None = None, resumable_at_s: float | None = None, limit: int = 100
    ) -> Sequence[SessionRecord]:
        """The latest active first. With `resumable_at_s`, those that have not ended or expired at that time."""

    async def items(
        self, session_id: str, *, after: int = 0, limit: int = 1_000
    ) -> Sequence[ItemRecord]:
        """Items with a number above `after`, by number."""

    async def last_items(self, session_id: str, limit: int = 1_000) -> Sequence[ItemRecord]:
        """The items with the highest numbers, by number."""

    async def turns(self, session_id: str, *, limit: int = 1_000) -> Sequence[TurnRecord]:
        """The turns, oldest first."""

    async def sounds(
        self, session_id: str, *, after_ms: int = -1, limit: int = 100
    ) -> Sequence[SoundRecord]:
        """Recorded sound that begins after this, by its time."""

    async def erase(self, session_id: str) -> bool:
        """Forget a session and all that belongs to it; False if there was none."""


# --- the listener ---
class Listener(Protocol):
    """The other end of a session: a connection that speaks some dialect. Calls never block."""

    def tell(self, notice: Notice) -> None:
        """Something happened."""

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        """The next frame of an answer's sound, as PCM at the rate of that answer's format."""

    def unsent(self) -> int:
        """Bytes given to the transport that the other end has not taken."""
