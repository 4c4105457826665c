"""The session API's protocol on a WebSocket, without any I/O: messages to commands, notices to messages.

It comes from a server and a page that disagree about where fields stand and how they are spelt; both are read, and
both are written (docs/session-wire.md).
"""

import base64
import binascii
import secrets
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from duologue.core.errors import ClientError, DuologueError, MalformedEvent
from duologue.core.streaming import (
    AskStats,
    AudioChunk,
    Joined,
    Ping,
    PlayedSoFar,
    Renew,
    Reset,
    SoundFormat,
    SpeechQueued,
    Spoken,
    StopSpeaking,
    StreamCommand,
    StreamNotice,
    TextRequest,
)
from duologue.wire import codec
from duologue.wire.dialect import Binary
from duologue.wire.streaming_events import (
    error_fields,
    message,
    notice_json,
    stats_json,
)
from duologue.wire.streaming_fields import Fields, camel, sound_format
from duologue.wire.streaming_settings import (
    CONFIGURE_SCHEMA,
    MAX_VOICE,
    OPTIONS_SCHEMA,
    RATES_HZ,
    SPEED,
    configure,
    options,
    options_json,
)

__all__ = [
    "CONFIGURE_SCHEMA",
    "OPTIONS_SCHEMA",
    "StreamWire",
    "Unread",
    "configure",
    "notice_json",
    "options",
    "options_json",
    "stats_json",
]

MAX_CHUNK_BYTES = 1 << 20
MAX_TEXT_CHARS = 4_096
"""As for `/v1/audio/speech`."""

MAX_ID_CHARS = 64
MAX_INDEX = 1 << 53
"""What a number of JavaScript's can be."""

MAX_EVENT_BYTES = 256 * 1024
"""Of a message beside its sound: the longest instructions, each character escaped."""

MAX_REMEMBERED_TEXTS = 32

HEADER = struct.Struct(">BBHI")
"""Of a framed binary message: version, flags, nothing yet, and the chunk's index or the item's number."""

VERSION = 1
FINAL, FOLLOWS = 1, 2
"""Flags: the utterance (or the response) ends with it; the index says nothing, the chunk follows the one before."""

Audio = Literal["hex", "base64", "binary", "none"]
Frames = Literal["raw", "framed"]

_COMMANDS: dict[str, StreamCommand] = {
    "ping": Ping(),
    "stats": AskStats(),
    "reset": Reset(),
    "stop": StopSpeaking(),
    "renew": Renew(),
}
_TYPES = (
    "audio_chunk",
    "text_request",
    "control",
    "configure",
    "played",
    "ack",
    *_COMMANDS,
)


class Unread(MalformedEvent):
    """A message that cannot be acted on; says about which chunk or which request of the client's it is."""

    chunk_index = -1
    request_id = ""


@dataclass(slots=True)
class _Asked:
    text: str
    language: str


class StreamWire:
    """One connection's side of the protocol.

    Args:
        audio: how the sound of responses is sent.
        frames: what binary messages are: sound and nothing else, or sound behind a `HEADER`; in both directions.
        format: of sound that does not say it itself; `rate_hz` likewise, 0 for the session's.
    """

    def __init__(
        self,
        *,
        audio: Audio = "hex",
        frames: Frames = "raw",
        format: SoundFormat = "",  # noqa: A002
        rate_hz: int = 0,
        max_chunk_bytes: int = MAX_CHUNK_BYTES,
    ) -> None:
        self._audio = audio
        self._frames = frames
        self._format: SoundFormat = format
        self._rate_hz = rate_hz
        self._max_chunk_bytes = max_chunk_bytes
        self._prefix = f"text_{secrets.token_hex(4)}"
        self._texts = 0
        self._asked: OrderedDict[str, _Asked] = OrderedDict()

    @classmethod
    def of(
        cls, query: Mapping[str, str], *, max_chunk_bytes: int = MAX_CHUNK_BYTES
    ) -> "StreamWire":
        """As the address asks for it: `audio`, `binary`, `format`, `sample_rate`.

        Raises:
            MalformedEvent: one of them is wrong.
        """
        rate = query.get("sample_rate") or query.get("sampleRate") or "0"
        is_rate = rate.isascii() and rate.isdigit() and len(rate) < 7
        if not is_rate or (rate != "0" and not RATES_HZ[0] <= int(rate) <= RATES_HZ[1]):
            why = f"'sample_rate' is a number of Hz, from {RATES_HZ[0]} to {RATES_HZ[1]}."
            raise MalformedEvent("invalid_value", why, param="sample_rate")
        return cls(
            audio=cast("Audio", _one_of(query, "audio", ("hex", "base64", "binary", "none"))),
            frames=cast("Frames", _one_of(query, "binary", ("raw", "framed"))),
            format=sound_format(query.get("format", ""), "format"),
            rate_hz=int(rate),
            max_chunk_bytes=max_chunk_bytes,
        )

    # --- in ---
    def receive(self, data: bytes) -> Iterator[StreamCommand]:
        """What a text message asks for.

        Raises:
            MalformedEvent: it is no message of this protocol, or a field of it is wrong.
            ClientError: its sound is too large.
        """
        if len(data) > 2 * self._max_chunk_bytes + MAX_EVENT_BYTES:
            raise self._too_large()
        try:
            event = codec.read(data)
        except (ValueError, RecursionError) as error:
            raise MalformedEvent("invalid_json", "This message is no JSON.") from error
        if not isinstance(event, dict):
            raise MalformedEvent("invalid_event", "A message is a JSON object.")
        yield from self._read(event)

    def binary(self, data: bytes) -> StreamCommand:
        """The chunk that a binary message is. An empty one that has no header ends the utterance.

        Raises:
            MalformedEvent: it is not framed as this connection's messages are.
            ClientError: its sound is too large.
        """
        if self._frames == "raw":
            if len(data) > self._max_chunk_bytes:
                raise self._too_large()
            return self._chunk(data, None, is_final=not data)
        if len(data) < HEADER.size:
            message = f"{len(data)} bytes are no frame: its header alone has {HEADER.size}."
            raise MalformedEvent("invalid_frame", message)
        version, flags, _, index = HEADER.unpack_from(data)
        if version != VERSION:
            raise MalformedEvent("invalid_frame", f"There is no version {version} of frames.")
        place = None if flags & FOLLOWS else index
        if len(data) - HEADER.size > self._max_chunk_bytes:
            raise _about(self._too_large(), place)
        return self._chunk(data[HEADER.size :], place, is_final=bool(flags & FINAL))

    def _read(self, event: dict[str, Any]) -> Iterator[StreamCommand]:
        fields = Fields(event)
        kind = event.get("type")
        if kind == "control":
            kind = fields.text("command", longest=MAX_ID_CHARS) or ""
            inner = fields.inner("parameters")
            event, fields = {**event, "data": inner.own}, (inner if inner.own else fields)
            known: tuple[str, ...] = ("configure", *_COMMANDS)
            param = "command"
        else:
            known, param = _TYPES, "type"
        if not isinstance(kind, str) or kind not in known:
            raise _unknown(kind, param, known)
        if kind in _COMMANDS:
            yield _COMMANDS[kind]
        elif kind == "audio_chunk":
            yield self._audio_chunk(fields)
        elif kind == "text_request":
            yield self._text_request(fields)
        elif kind == "configure":
            yield configure(event)
        elif kind == "played":
            yield _played(fields)

    def _audio_chunk(self, fields: Fields) -> AudioChunk:
        index = fields.whole("chunk_index", "index", least=0, most=MAX_INDEX)
        try:
            data = self._sound(fields)
            is_final = bool(fields.flag("is_final"))
            if not data and not is_final:
                raise MalformedEvent(
                    "missing_required_parameter",
                    "Missing required parameter: 'audio_data'.",
                    remedy="Only a final chunk may be empty.",
                    param="audio_data",
                )
            rate_hz = fields.whole("sample_rate", "rate", least=RATES_HZ[0], most=RATES_HZ[1])
            found = fields.format("format", "mime_type")
        except ClientError as error:
            raise _about(error, index) from error
        return self._chunk(data, index, is_final=is_final, format=found, rate_hz=rate_hz)

    def _sound(self, fields: Fields) -> bytes:
        """The sound of a message; how large it is is looked at before it is decoded."""
        if (text := fields.get("audio_data")) is not None:
            name, most = "audio_data", 2 * self._max_chunk_bytes
        elif (text := fields.get("audio_base64")) is not None:
            name, most = "audio_base64", -(-self._max_chunk_bytes // 3) * 4
        else:
            return b""
        if not isinstance(text, str):
            raise fields.wrong(name, "it must be a string")
        if name == "audio_data" and text[:2] in ("0x", "0X"):
            text = text[2:]
        if len(text) > most:
            raise self._too_large()
        try:
            if name == "audio_data":
                return binascii.a2b_hex(text)
            return base64.b64decode(text, validate=True)
        except (ValueError, UnicodeEncodeError) as error:
            written = "hexadecimal" if name == "audio_data" else "base64"
            raise fields.wrong(name, f"it is no {written}") from error

    def _chunk(
        self,
        data: bytes,
        index: int | None,
        *,
        is_final: bool,
        format: SoundFormat | None = None,  # noqa: A002
        rate_hz: int | None = None,
    ) -> AudioChunk:
        kind = self._format if format is None else format
        return AudioChunk(data, index, is_final, kind, rate_hz or self._rate_hz)

    def _text_request(self, fields: Fields) -> TextRequest:
        request_id = fields.text("request_id", longest=MAX_ID_CHARS) or ""
        try:
            text = fields.text("text", longest=MAX_TEXT_CHARS)
            if text is None or not text.strip():
                message = "Missing required parameter: 'text'."
                raise MalformedEvent("missing_required_parameter", message, param="text")
            language = fields.language("language") or ""
            voice = fields.inner("voice_settings")
            name = fields.text("voice", longest=MAX_VOICE) or voice.text("voice", longest=MAX_VOICE)
            speed = _speed(fields) or _speed(voice)
            answers = bool(fields.flag("answers", "respond"))
        except MalformedEvent as error:
            raise _about(error, None, request_id) from error
        request_id = self._remember(request_id, text, language)
        return TextRequest(text, language, name or "", speed, answers, request_id)

    def _remember(self, request_id: str, text: str, language: str) -> str:
        """What was asked for is shown with the answer that it is queued; a request without a name is given one."""
        self._texts += 1
        request_id = request_id or f"{self._prefix}_{self._texts}"
        shown = text[:50] + "..." if len(text) > 50 else text
        self._asked[request_id] = _Asked(shown, language)
        while len(self._asked) > MAX_REMEMBERED_TEXTS:
            self._asked.popitem(last=False)
        return request_id

    def _too_large(self) -> Unread:
        return Unread(
            "chunk_too_large",
            f"A chunk may have at most {self._max_chunk_bytes} bytes of sound.",
            remedy="Send it in smaller ones.",
            param="audio_data",
        )

    # --- out ---
    def encode(self, notice: StreamNotice) -> Iterable[bytes]:
        """The messages that tell the client of it; a `Binary` goes out in a binary frame."""
        told = notice_json(notice, audio=self._audio == "hex")
        if isinstance(notice, Joined):
            _add(told, max_chunk_size=self._max_chunk_bytes, audio=self._audio, binary=self._frames)
        elif isinstance(notice, SpeechQueued):
            asked = self._asked.pop(notice.request_id, None)
            if asked is not None:
                _add(told, text=asked.text, language=asked.language or None)
        elif isinstance(notice, Spoken) and notice.audio:
            if self._audio == "base64":
                told["data"]["audio_base64"] = base64.b64encode(notice.audio).decode()
            elif self._audio == "binary":
                _add(told, binary=True)
                return codec.write(told), self._frame(notice)
        return (codec.write(told),)

    def error(self, error: DuologueError) -> bytes:
        """What a client is told of an error that is no notice's."""
        index = error.chunk_index if isinstance(error, Unread) else -1
        request_id = error.request_id if isinstance(error, Unread) else ""
        return codec.write(message("error", error_fields(error, index, request_id)))

    def _frame(self, notice: Spoken) -> Binary:
        if self._frames == "raw":
            return Binary(notice.audio)
        flags = FINAL if notice.is_last else 0
        return Binary(HEADER.pack(VERSION, flags, 0, notice.number & 0xFFFFFFFF) + notice.audio)


def _add(told: dict[str, Any], **fields: Any) -> None:
    for name, value in fields.items():
        for spelt in {name, camel(name)}:
            told[spelt] = told["data"][spelt] = value


def _played(fields: Fields) -> PlayedSoFar:
    response_id = fields.text("response_id", longest=MAX_ID_CHARS)
    played_ms = fields.number("played_ms", least=0, most=1e12)
    for name, value in (("response_id", response_id), ("played_ms", played_ms)):
        if value is None:
            message = f"Missing required parameter: '{name}'."
            raise MalformedEvent("missing_required_parameter", message, param=name)
    return PlayedSoFar(response_id or "", int(played_ms or 0))


def _speed(fields: Fields) -> float:
    """0 for the session's."""
    if fields.get("speed") in (None, 0):
        return 0.0
    return fields.number("speed", least=SPEED[0], most=SPEED[1]) or 0.0


def _about(error: ClientError, index: int | None, request_id: str = "") -> Unread:
    """The error, and what it is about."""
    told = Unread(error.code, error.message, remedy=error.remedy, param=error.param)
    told.chunk_index = -1 if index is None else index
    told.request_id = request_id
    return told


def _unknown(kind: Any, param: str, known: Iterable[str]) -> MalformedEvent:
    if kind is None or kind == "":
        message = f"Missing required parameter: '{param}'."
        return MalformedEvent("missing_required_parameter", message, param=param)
    return MalformedEvent(
        "invalid_value",
        f"Invalid value of '{param}': '{str(kind)[:64]}' is not known.",
        remedy=f"There are: {', '.join(sorted(known))}.",
        param=param,
    )


def _one_of(query: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = query.get(name) or values[0]
    if value not in values:
        message = f"Invalid value of '{name}': '{value[:64]}'."
        remedy = f"There are: {', '.join(values)}."
        raise MalformedEvent("invalid_value", message, remedy=remedy, param=name)
    return value
