"""The OpenAI Realtime protocol (GA), server side, without any I/O.

    pcm = wire.sound(data)              # the hot path: an append's samples, or None
    for step in wire.receive(data):     # anything else: commands for the session, events for the client
    wire.encode(notice), wire.encode_sound(...)

One machine a connection. It owns the session object and the numbering of events; turn-taking, items and
answers are the session's. What a client sends wrongly is answered by an `error` event, and nothing else.
"""

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from duologue.core.audio import SAMPLE_BYTES, WIRE, AudioFormat
from duologue.core.commands import (
    AnyCommand,
    CancelReply,
    Clear,
    Commit,
    CreateItem,
    CreateReply,
    DeleteItem,
    RetrieveItem,
    SetOptions,
    TruncateItem,
)
from duologue.core.errors import ClientError, DuologueError, MalformedEvent
from duologue.core.facts import AskId
from duologue.core.notices import Notice, ReplyBegan, ReplyEnded, ReplyState
from duologue.core.options import SessionOptions
from duologue.wire import codec, coders
from duologue.wire.coders import PCM
from duologue.wire.dialect import Binary, Step
from duologue.wire.items import lenient_item, read_item
from duologue.wire.realtime_events import Telling, error_json
from duologue.wire.session_document import SessionDocument, lenient, lenient_request
from duologue.wire.validation import check

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""The protocol's limit of one append, as sound."""

MAX_REMEMBERED_ASKS = 512
"""Client events that may still be refused; older ones are refused without naming the event."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Voice:
    """How the sound of one answer is sent."""

    encoder: coders.Encoder
    is_binary: bool


class RealtimeWire:
    """One connection's side of the protocol.

    Args:
        document: the session's settings to begin with.
        rate_limits: the list of `rate_limits.updated` as it is now; where it is empty, none is sent.
    """

    def __init__(
        self, document: SessionDocument, rate_limits: Callable[[], list[Event]] = list
    ) -> None:
        self.document = document
        self._rate_limits = rate_limits
        self._input: AudioFormat = WIRE
        self._decoder: coders.Decoder = PCM
        self._voices: dict[str, _Voice] = {}
        self._use_formats()
        self._prefix = f"event_{secrets.token_hex(6)}"
        self._events = 0
        self._asks = 0
        self._event_ids: OrderedDict[AskId, str | None] = OrderedDict()
        self._telling = Telling(self.document, self._event_ids)

    def options(self) -> SessionOptions:
        """See `Dialect`."""
        return self.document.options()

    def adopt(self, session: Event) -> None:
        """See `Dialect`."""
        check(_judged({"type": "session.update", "session": session}))
        self.document.update(session)
        self._use_formats()

    # --- in ---
    def sound(self, data: bytes) -> bytes | None:
        """The samples of a well-formed append; None for every other event, which `receive` then reads."""
        event = codec.read_append(data)
        if event is None or event.type != "input_audio_buffer.append":
            return None
        audio = event.audio
        if not audio or len(audio) > MAX_APPEND_BYTES:
            return None
        if self._decoder is not PCM:
            return self._decoder.decode(audio)
        return audio if len(audio) % SAMPLE_BYTES == 0 else None

    def receive(self, data: bytes) -> Iterator[Step]:
        """Everything that is not sound: what to ask of the session, and what to send back at once."""
        event_id = None
        try:
            try:
                event = codec.read(data)
            except (ValueError, UnicodeDecodeError, RecursionError) as error:
                raise MalformedEvent("invalid_json", f"This is not JSON: {error}.") from error
            if isinstance(event, dict) and isinstance(event.get("event_id"), str):
                event_id = event["event_id"]
            yield from self._read(event, event_id)
        except ClientError as error:
            yield self.error(error, event_id)

    def binary(self, data: bytes) -> bytes:
        """See `Dialect`."""
        if self._input.codec != "opus":
            raise MalformedEvent(
                "invalid_event",
                "This session's sound does not come in binary messages.",
                remedy="Set session.audio.input.format to {'type': 'audio/opus'}, or send JSON as text.",
            )
        return self._decoder.decode(data)

    def greet(self) -> tuple[bytes, ...]:
        """`session.created`."""
        return (self._event("session.created", session=self.document.json),)

    def greet_late(self) -> tuple[bytes, ...]:
        """It has been greeted."""
        return ()

    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """An `error` event."""
        return self._event("error", error=error_json(error, event_id))

    def _read(self, event: Any, event_id: str | None) -> Iterator[Step]:
        check(_judged(event))
        match event["type"]:
            case "session.update":
                yield from self._update(event["session"], self._ask(event_id))
            case "input_audio_buffer.append":
                _check_sound(event["audio"])
            case _:
                yield self._command(event, self._ask(event_id))

    def _command(self, event: Event, ask: AskId) -> AnyCommand:
        match event["type"]:
            case "input_audio_buffer.commit":
                return Commit(ask)
            case "input_audio_buffer.clear":
                return Clear(ask)
            case "conversation.item.create":
                item = read_item(event["item"], _new_id)
                return CreateItem(ask, item, event.get("previous_item_id"))
            case "conversation.item.delete":
                return DeleteItem(ask, event["item_id"])
            case "conversation.item.retrieve":
                return RetrieveItem(ask, event["item_id"])
            case "conversation.item.truncate":
                where = (event["item_id"], event["content_index"], event["audio_end_ms"])
                return TruncateItem(ask, *where)
            case "response.create":
                options = self.document.reply_options(event.get("response") or {}, _new_id)
                return CreateReply(ask, options)
            case "response.cancel":
                return CancelReply(ask, event.get("response_id"))
            case "output_audio_buffer.clear":
                message = "'output_audio_buffer.clear' is for WebRTC and SIP connections."
                raise MalformedEvent("invalid_value", message, param="type")
            case kind:
                message = f"'{kind}' is not served by this version of Duologue."
                raise MalformedEvent("invalid_value", message, param="type")

    def _update(self, patch: Event, ask: AskId) -> Iterator[Step]:
        audio = patch.get("audio")
        if isinstance(audio, dict) and (audio.get("input") or {}).get("turn_detection") is False:
            patch = {
                **patch,
                "audio": {**audio, "input": {**audio["input"], "turn_detection": None}},
            }
        self.document.update(patch)
        self._use_formats()
        yield SetOptions(ask, self.document.options())
        yield self._event("session.updated", session=self.document.json)

    def _ask(self, event_id: str | None) -> AskId:
        self._asks += 1
        ask = AskId(self._asks)
        self._event_ids[ask] = event_id
        if len(self._event_ids) > MAX_REMEMBERED_ASKS:
            self._event_ids.popitem(last=False)
        return ask

    # --- out ---
    def encode_sound(
        self, reply_id: str, index: int, item_id: str, pcm: bytes
    ) -> tuple[bytes, ...]:
        """A frame of an answer's sound."""
        voice = self._voices.get(reply_id)
        if voice is not None:
            pcm = voice.encoder.encode(pcm)
            if voice.is_binary:
                return (Binary(pcm),)
        self._events += 1
        event_id = f"{self._prefix}_{self._events}"
        sound = codec.Sound(
            "response.output_audio.delta", event_id, reply_id, item_id, index, 0, pcm
        )
        return (codec.write(sound),)

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """The events that tell the client of it, in the documented order."""
        if isinstance(notice, ReplyBegan):
            self._open_voice(notice.reply)
        elif isinstance(notice, ReplyEnded):
            self._voices.pop(notice.reply.id, None)
        for kind, fields in self._telling.tell(notice):
            yield self._event(kind, **fields)
        if isinstance(notice, ReplyBegan) and (limits := self._rate_limits()):
            yield self._event("rate_limits.updated", rate_limits=limits)

    def _use_formats(self) -> None:
        """Read the client's sound in the format that it declared, from its next message on."""
        fmt = self.document.options().input_format
        if fmt != self._input:
            self._input, self._decoder = fmt, coders.decoder(fmt)

    def _open_voice(self, reply: ReplyState) -> None:
        """Answers in plain PCM, which are nearly all, need nothing kept."""
        fmt = reply.options.format
        if reply.options.spoken and fmt.codec != "pcm":
            is_binary = fmt.codec == "opus" and not reply.options.out_of_band
            self._voices[reply.id] = _Voice(coders.encoder(fmt), is_binary)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._events += 1
        event_id = f"{self._prefix}_{self._events}"
        return codec.write({"type": kind, "event_id": event_id, **fields})


def _judged(event: Any) -> Any:
    """An event in the form that the SDK's types judge."""
    kind = event.get("type") if isinstance(event, dict) else None
    if kind == "session.update" and "session" in event:
        return {**event, "session": lenient(event["session"])}
    if kind == "conversation.item.create" and isinstance(event.get("item"), dict):
        return {**event, "item": lenient_item(event["item"])}
    if kind == "response.create" and "response" in event:
        return {**event, "response": lenient_request(event["response"])}
    return event


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(10)}"


def _check_sound(audio: str) -> None:
    """Say what is wrong with an append that the hot path did not take.

    Raises:
        MalformedEvent: always.
    """
    what = "Invalid 'audio'. Expected base64-encoded audio bytes (mono PCM16), but"
    try:
        size = len(base64.b64decode(audio, validate=True))
    except (binascii.Error, ValueError) as error:
        reason = f"{what} it is not base64: {error}."
        raise MalformedEvent("invalid_value", reason, param="audio") from error
    if not size:
        raise MalformedEvent("invalid_value", f"{what} it is empty.", param="audio")
    if size > MAX_APPEND_BYTES:
        raise MalformedEvent(
            "audio_too_long",
            f"One append may carry {MAX_APPEND_BYTES} bytes of audio; this one has {size}.",
            remedy="Send it in smaller pieces.",
            param="audio",
        )
    reason = f"{what} {size} bytes are no whole number of 16-bit samples."
    raise MalformedEvent("invalid_value", reason, param="audio")
