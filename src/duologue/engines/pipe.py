"""The wire between the server and an engine's own process: length-prefixed msgpack on two pipes.

Each frame is a four-byte little-endian length and one of the messages below. Sound and text go down,
events come up; `Took` gives back credit, so that neither side's buffer grows without bound.
"""

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from duologue.core import errors
from duologue.core.capabilities import Capabilities
from duologue.core.errors import DuologueError, EngineError, EngineLost
from duologue.ports import SttOptions, TtsOptions, Word

HEAD = struct.Struct("<I")
MAX_FRAME_BYTES = 16 * 1024 * 1024
"""No frame is near this; more means that the stream of frames is out of step."""


class _Message(msgspec.Struct, tag=True, array_like=True):
    stream: int


# --- down ---
class Open(_Message):
    """A stream begins."""

    key: str
    stt: SttOptions | None
    tts: TtsOptions | None


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
    """The stream's thread is over: its place is free."""


Message = (
    Open
    | Sound
    | Text
    | Finish
    | Shut
    | Taken
    | Ready
    | Took
    | Guess
    | Finished
    | Speech
    | Failed
    | Ended
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def frame(message: Message) -> bytes:
    """A message, ready to be written."""
    body = _encode(message)
    return HEAD.pack(len(body)) + body


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
            try:
                yield _decode(body)
            except msgspec.MsgspecError as error:
                raise EngineLost("engine_garbled", f"An engine's process sent: {error}.") from error
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
