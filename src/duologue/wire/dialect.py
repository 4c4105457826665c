"""What every dialect is to a connection: a machine between messages and commands or notices, without any I/O."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from duologue.core.commands import AnyCommand
from duologue.core.errors import DuologueError
from duologue.core.notices import Notice
from duologue.core.options import SessionOptions


class Binary(bytes):
    """A message that goes out in a binary frame; plain `bytes` go out as text."""

    __slots__ = ()


Step = AnyCommand | bytes
"""For the session, or for the client at once."""


class Dialect(Protocol):
    """One connection's side of a protocol. One machine a connection; it owns the numbering of its events."""

    def options(self) -> SessionOptions:
        """How the session behaves until told otherwise."""

    def adopt(self, session: dict[str, Any]) -> None:
        """Begin with these settings, which belong to the visitor's key.

        Raises:
            MalformedEvent: they cannot be served.
        """

    def greet(self) -> Iterable[bytes]:
        """What the client is sent first; nothing while its first message may still tell that it is not ours."""

    def greet_late(self) -> Iterable[bytes]:
        """The greeting of a client that was not greeted and has sent nothing for a while."""

    def sound(self, data: bytes) -> bytes | None:
        """The hot path: the samples of a text message that is sound, in the session's input format; else None."""

    def binary(self, data: bytes) -> bytes:
        """The samples of a binary message; may be none yet.

        Raises:
            ClientError: this connection's sound does not come in binary messages, or it cannot be read.
        """

    def receive(self, data: bytes) -> Iterator[Step]:
        """Every text message that is not sound: what to ask of the session, what to send back at once."""

    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """An error event."""

    def encode(self, notice: Notice) -> Iterable[bytes]:
        """The messages that tell the client of it, in the documented order."""

    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterable[bytes]:
        """The messages that carry a frame of an answer's sound, which is in the session's output format."""
