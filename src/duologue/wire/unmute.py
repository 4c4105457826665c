"""The dialect of unmute's page and load-test client: Opus in Ogg within JSON, and the bot speaks first.

Its clients give no sign of themselves before their first message, and must not be greeted. So a client that may
be one is met by `UnmuteOrGa`, which its first message decides.
"""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from duologue.core.commands import CreateReply, SetOptions
from duologue.core.errors import ClientError, DuologueError, MalformedEvent
from duologue.core.facts import AskId
from duologue.core.notices import Notice, Problem, ReplyBegan, SpeechBegan
from duologue.core.options import SessionOptions
from duologue.wire import codec
from duologue.wire.dialect import Dialect, Step
from duologue.wire.ogg_pages import CAPTURE
from duologue.wire.unmute_events import Telling, error_body
from duologue.wire.unmute_instructions import GREETING, instruct, language_of
from duologue.wire.unmute_sound import Inlet

Json = dict[str, Any]

APPEND = "input_audio_buffer.append"
_IGNORED = ("unmute.input_audio_buffer.append_anonymized", "unmute.additional_outputs")
"""Known to unmute's server, which does nothing about them."""


class UnmuteWire:
    """One connection's side of the dialect. See `Dialect`.

    Args:
        options: how the session behaves; its instructions are the server's own, before those of a character.
    """

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._base = options.reply.instructions
        self._ears = Inlet()
        self._telling = Telling()
        self._prefix = f"event_{secrets.token_hex(6)}"
        self._events = 0
        self._asks = 0
        self._greeting: AskId | None = None
        self._may_greet = True

    def options(self) -> SessionOptions:
        """See `Dialect`."""
        return self._options

    def adopt(self, session: Json) -> None:
        """See `Dialect`."""
        list(self._update(session))

    def greet(self) -> tuple[bytes, ...]:
        """These clients do not know a greeting."""
        return ()

    def greet_late(self) -> tuple[bytes, ...]:
        """Nor a late one."""
        return ()

    # --- in ---
    def sound(self, data: bytes) -> bytes | None:
        """See `Dialect`.

        Raises:
            MalformedEvent: it is not Opus in Ogg.
        """
        event = codec.read_append(data)
        if event is None or event.type != APPEND or not event.audio:
            return None
        return self._ears.decode(event.audio)

    def binary(self, data: bytes) -> bytes:
        """See `Dialect`."""
        message = "Binary messages are not part of this protocol."
        raise MalformedEvent("invalid_event", message, remedy="Send JSON in text messages.")

    def receive(self, data: bytes) -> Iterator[Step]:
        """See `Dialect`."""
        try:
            event = _read(data)
            match event.get("type"):
                case "session.update":
                    yield from self._update(event.get("session"))
                case str(kind) if kind == APPEND:
                    message = "Invalid 'audio'. Expected Opus in Ogg, base64-encoded."
                    raise MalformedEvent("invalid_value", message, param="audio")
                case str(kind) if kind in _IGNORED:
                    pass
                case kind:
                    message = f"Invalid value: '{str(kind)[:64]}'."
                    remedy = f"Supported values are: {APPEND}, session.update."
                    raise MalformedEvent("invalid_value", message, remedy=remedy, param="type")
        except ClientError as error:
            yield self.error(error)

    def _update(self, session: Any) -> Iterator[Step]:
        if not isinstance(session, dict):
            message = "Missing required parameter: 'session'."
            raise MalformedEvent("missing_required_parameter", message, param="session")
        chosen = _one_of(session, "instructions", (dict, str))
        voice = _one_of(session, "voice", (str,))
        recording = _one_of(session, "allow_recording", (bool,))
        reply, language = self._options.reply, self._options.language
        if chosen:
            character = {"type": "constant", "text": chosen} if isinstance(chosen, str) else chosen
            reply = replace(reply, instructions=instruct(self._base, character))
            language = language_of(character)
        if voice:
            reply = replace(reply, voice=voice)
        self._options = replace(self._options, reply=reply, language=language)
        yield SetOptions(self._ask(), self._options)
        echo = {"instructions": chosen, "voice": voice, "allow_recording": recording or False}
        yield self._event("session.updated", session=echo)
        if chosen and self._may_greet:
            self._may_greet = False
            self._greeting = self._ask()
            first = replace(reply, instructions=f"{reply.instructions}\n\n{GREETING}".strip())
            yield CreateReply(self._greeting, first)

    def _ask(self) -> AskId:
        self._asks += 1
        return AskId(self._asks)

    # --- out ---
    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """See `Dialect`. Its events have no ids of the client's that could be named."""
        return self._event("error", error=error_body(error))

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """See `Dialect`."""
        if isinstance(notice, SpeechBegan | ReplyBegan):
            self._may_greet = False
        if isinstance(notice, Problem) and notice.ask is not None and notice.ask == self._greeting:
            return  # somebody spoke first
        for kind, fields in self._telling.tell(notice):
            yield self._event(kind, **fields)

    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterator[bytes]:
        """See `Dialect`."""
        for kind, fields in self._telling.sound(pcm):
            yield self._event(kind, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._events += 1
        event_id = f"{self._prefix}_{self._events}"
        return codec.write({"type": kind, "event_id": event_id, **fields})


class UnmuteOrGa:
    """A client that may be unmute's, or a browser's of the protocol as it is today, until its first message tells.

    unmute's sends a `session.update` with `allow_recording`, or Opus in Ogg. Any other is greeted before whatever
    else it is sent, as is one that says nothing for a while.

    Args:
        today: the machine for the latter; its options count until then.
    """

    def __init__(self, today: Dialect) -> None:
        self._today = today
        self._chosen: Dialect | None = None
        self._owes_greeting = True

    def options(self) -> SessionOptions:
        """See `Dialect`."""
        return (self._chosen or self._today).options()

    def adopt(self, session: Json) -> None:
        """See `Dialect`. Who has settings with its key, is none of unmute's."""
        self._today.adopt(session)
        self._chosen = self._today

    def greet(self) -> Iterator[bytes]:
        """See `Dialect`."""
        return self._owed()

    def greet_late(self) -> Iterator[bytes]:
        """See `Dialect`. A page of unmute's on a slow line passes over it, and may still tell itself."""
        if self._owes_greeting and not isinstance(self._chosen, UnmuteWire):
            self._owes_greeting = False
            yield from self._today.greet()

    def sound(self, data: bytes) -> bytes | None:
        """See `Dialect`."""
        if self._chosen is None:
            event = codec.read_append(data)
            if event is None or event.type != APPEND:
                return None
            self._choose(is_unmute=event.audio.startswith(CAPTURE))
        assert self._chosen is not None
        return self._chosen.sound(data)

    def binary(self, data: bytes) -> bytes:
        """See `Dialect`."""
        return (self._chosen or self._today).binary(data)

    def receive(self, data: bytes) -> Iterator[Step]:
        """See `Dialect`."""
        if self._chosen is None:
            self._choose(is_unmute=_is_unmutes(data))
        assert self._chosen is not None
        yield from self._owed()
        yield from self._chosen.receive(data)

    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """See `Dialect`."""
        return (self._chosen or self._today).error(error, event_id)

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """See `Dialect`."""
        yield from self._owed()
        yield from (self._chosen or self._today).encode(notice)

    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterator[bytes]:
        """See `Dialect`."""
        yield from (self._chosen or self._today).encode_sound(reply_id, index, item_id, pcm)

    def _choose(self, *, is_unmute: bool) -> None:
        self._chosen = UnmuteWire(self._today.options()) if is_unmute else self._today

    def _owed(self) -> Iterator[bytes]:
        """The greeting, once, as soon as it is known that there has to be one."""
        if self._chosen is not None and self._owes_greeting:
            self._owes_greeting = False
            yield from self._chosen.greet()


def _is_unmutes(data: bytes) -> bool:
    try:
        event = _read(data)
    except MalformedEvent:
        return False
    session = event.get("session")
    return isinstance(session, dict) and "allow_recording" in session


def _read(data: bytes) -> Json:
    """An event.

    Raises:
        MalformedEvent: it is none.
    """
    try:
        event = codec.read(data)
    except (ValueError, RecursionError) as error:
        raise MalformedEvent("invalid_json", f"This is not JSON: {error}.") from error
    if not isinstance(event, dict):
        raise MalformedEvent("invalid_event", "An event is a JSON object.")
    return event


def _one_of(session: Json, name: str, kinds: tuple[type, ...]) -> Any:
    """A field of a session, if it is there.

    Raises:
        MalformedEvent: it is of another kind.
    """
    value = session.get(name)
    if value is None or isinstance(value, kinds):
        return value
    expected = " or ".join(kind.__name__ for kind in kinds)
    message = f"Invalid 'session.{name}': expected {expected}."
    raise MalformedEvent("invalid_value", message, param=f"session.{name}")
