"""The wire between the server and an engine that is elsewhere: msgpack, one of the messages below a frame.

Sound and text go down, events come up; `Took` and `Taken` give back credit, so that neither side's buffer grows
without bound. On the two pipes of a child process each frame has a four-byte little-endian length before it
(`frame`, `Frames`); over a WebSocket (`engines.endpoint`) a binary message is a frame.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from duologue.core import errors
from duologue.core.capabilities import Capabilities
from duologue.core.errors import DuologueError, EngineError, EngineLost
from duologue.ports import (
    Audio,
    EngineGone,
    Event,
    Final,
    Partial,
    SttOptions,
    TtsOptions,
    Word,
)

HEAD = struct.Struct("<I")
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No frame is near this; more means that the stream of frames is out of step."""


class _Message(msgspec.Struct, tag=True, array_like=True):
    stream: int


# --- down ---
class Open(_Message):
    """A stream begins.

    Attributes:
        traceparent: of the turn that it serves, in W3C's form; may be empty.
    """

    key: str
    stt: SttOptions | None
    tts: TtsOptions | None
    traceparent: str = ""


class Sound(_Message):
    """A frame of speech; `start` in samples of the session's stream."""

    pcm: bytes
    start: int


class Text(_Message):
    """A piece of text to be spoken."""

    number: int
    text: str


class Finish(_Message):
    """Finish what came so far, answered by `Finished`."""

    flush_id: int


class Shut(_Message):
    """The stream ends; with `cancel` nobody wants what is left."""

    cancel: bool


class Taken(_Message):
    """So many events were taken."""

    count: int


# --- up ---
class Ready(_Message):
    """The engine is loaded and has run; the stream is 0."""

    capabilities: Capabilities


class Opened(_Message):
    """The stream has its place; refused, it is `Failed` instead. Said by endpoints only."""


class Took(_Message):
    """So many items were taken."""

    count: int


class Guess(_Message):
    """A partial transcript."""

    text: str


class Finished(_Message):
    """The answer to `Finish`."""

    flush_id: int
    upto: int
    text: str
    words: tuple[Word, ...] = ()
    confidence: float | None = None
    language: str = ""


class Speech(_Message):
    """Sound of a piece."""

    number: int
    pcm: bytes
    words: tuple[tuple[float, int], ...]


class Failed(_Message):
    """The stream, or with 0 the engine, cannot go on."""

    kind: str
    code: str
    message: str
    remedy: str


class Ended(_Message):
    """The stream's thread is over: its place is free. With 0: no stream is taken any more."""


Message = (
    Open
    | Sound
    | Text
    | Finish
    | Shut
    | Taken
    | Ready
    | Opened
    | Took
    | Guess
    | Finished
    | Speech
    | Failed
    | Ended
)

_decode = msgspec.msgpack.Decoder(Message).decode

encode = msgspec.msgpack.Encoder().encode
"""A message as bytes."""


def decode(body: bytes) -> Message:
    """A message out of its bytes.

    Raises:
        EngineLost: it is none of ours.
    """
    try:
        message: Message = _decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise EngineLost("engine_garbled", f"The other end of an engine sent: {error}.") from error
    return message


def frame(message: Message) -> bytes:
    """A message with its length, ready to be written to a pipe."""
    body = encode(message)
    return HEAD.pack(len(body)) + body


def told(number: int, event: Event) -> Message:
    """An event of a stream as a message."""
    match event:
        case Partial(text=text):
            return Guess(number, text)
        case Final(id=flush_id, upto=upto, text=text, words=words, confidence=sure, language=found):
            return Finished(number, flush_id, upto, text, words, sure, found)
        case Audio(number=piece, pcm=pcm, words=places):
            return Speech(number, piece, pcm, places)
        case EngineGone(error=error):
            return failure(number, error)


class Frames:
    """Bytes in any pieces -> messages. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._held = bytearray()

    def push(self, data: bytes) -> Iterator[Message]:
        """The messages that the data completes.

        Raises:
            EngineLost: it is not our wire.
        """
        self._held += data
        at = 0
        while len(self._held) - at >= HEAD.size:
            (size,) = HEAD.unpack_from(self._held, at)
            if size > MAX_FRAME_BYTES:
                raise EngineLost("engine_garbled", "An engine's process sent what is not our wire.")
            end = at + HEAD.size + size
            if len(self._held) < end:
                break
            body, at = bytes(self._held[at + HEAD.size : end]), end
            yield decode(body)
        del self._held[:at]


def failure(stream: int, error: DuologueError) -> Failed:
    """An error as a message."""
    return Failed(stream, type(error).__name__, error.code, error.message, error.remedy)


def revive(failed: Failed) -> EngineError:
    """The error that a message tells of."""
    kind: Any = getattr(errors, failed.kind, EngineLost)
    if not (isinstance(kind, type) and issubclass(kind, EngineError)):
        kind = EngineLost
    error: EngineError = kind(failed.code, failed.message, remedy=failed.remedy)
    return error
