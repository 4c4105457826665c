"""Between the server and the process of a language model: length-prefixed msgpack on two pipes, as in `engines.pipe`.

Both ends read in threads of their own, so a frame is read whole, and nothing is kept of what is incomplete.
"""

from typing import IO

import msgspec

from duologue.core.errors import EngineLost
from duologue.engines.pipe import HEAD, MAX_FRAME_BYTES, Failed
from duologue.ports import CutShort, Delta, Spent


class _Message(msgspec.Struct, tag=True, array_like=True):
    number: int


# --- down ---
class Ask(_Message):
    """An answer is wanted; of the lines, (role, text), the oldest first."""

    lines: tuple[tuple[str, str], ...]
    max_tokens: int | None


class Drop(_Message):
    """Nobody wants it any more."""


# --- up; of the whole process, the number is 0 ---
class Ready(_Message):
    """The model is loaded and warm, and its window has so many tokens."""

    window: int


class Note(_Message):
    """For the log."""

    level: int
    text: str


class Piece(_Message):
    """The answer goes on with this text."""

    text: str


class Over(_Message):
    """The answer is over."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    is_cut: bool

    def deltas(self) -> list[Delta]:
        """What a session is told at the end."""
        spent = Spent(self.input_tokens, self.output_tokens, self.cached_tokens)
        return [spent, CutShort("max_output_tokens")] if self.is_cut else [spent]


Message = Ask | Drop | Ready | Note | Piece | Over | Failed

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def write(out: IO[bytes], message: Message) -> None:
    """Send a message. Blocks while the other end is behind."""
    body = _encode(message)
    out.write(HEAD.pack(len(body)) + body)
    out.flush()


def read(source: IO[bytes]) -> Message | None:
    """The next message, or None at the end. Blocks.

    Raises:
        EngineLost: it is not our wire.
    """
    head = source.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    (size,) = HEAD.unpack(head)
    body = source.read(size) if size <= MAX_FRAME_BYTES else b""
    try:
        return _decode(body) if len(body) == size else None
    except msgspec.MsgspecError as error:
        raise EngineLost(
            "engine_garbled", f"The language model's process sent: {error}."
        ) from error
