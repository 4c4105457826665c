"""The beta of the OpenAI Realtime protocol: another set of names for what the machine of today does.

A client's event is put into today's form, read by the machine of today, and what that says is put into the
beta's form. So every rule, check and limit is the same in both. Only `temperature`, which is no more, is
kept here, to be echoed.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from duologue.core.errors import DuologueError, MalformedEvent
from duologue.core.notices import Notice
from duologue.core.options import SessionOptions
from duologue.wire import codec
from duologue.wire.beta_session import (
    TEMPERATURE,
    flat_param,
    from_flat,
    from_flat_response,
    to_flat,
    to_flat_response,
)
from duologue.wire.dialect import Binary, Step
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument

Json = dict[str, Any]

RENAMED = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
UNKNOWN = (
    "conversation.item.done",
    "conversation.item.input_audio_transcription.segment",
    "input_audio_buffer.dtmf_event_received",
    "input_audio_buffer.timeout_triggered",
    "mcp_list_tools.",
    "response.mcp_call",
)
"""Events (or the beginnings of their names) that the beta does not have: its clients are not sent them."""

_SOUND = b"response.output_audio.delta", b"response.audio.delta"
_CONTENT = {"output_text": "text", "output_audio": "audio"}
_CONTENT_TODAY = {"text": "output_text", "audio": "output_audio"}


class BetaWire:
    """One connection's side of the beta. See `Dialect`.

    Args:
        document: the session's settings to begin with.
        rate_limits: see `RealtimeWire`.
    """

    def __init__(
        self, document: SessionDocument, rate_limits: Callable[[], list[Json]] = list
    ) -> None:
        self._document = document
        self._today = RealtimeWire(document, rate_limits)
        self._temperature: Any = TEMPERATURE

    def options(self) -> SessionOptions:
        """See `Dialect`."""
        return self._today.options()

    def adopt(self, session: Json) -> None:
        """See `Dialect`. A key's settings may be in either form."""
        self._today.adopt(from_flat(session, session.get("type") or self._kind))
        self._keep_temperature(session)

    def greet(self) -> Iterator[bytes]:
        """`session.created`, or `transcription_session.created`."""
        return self._told(self._today.greet())

    def greet_late(self) -> tuple[bytes, ...]:
        """It has been greeted."""
        return ()

    # --- in ---
    def sound(self, data: bytes) -> bytes | None:
        """See `Dialect`."""
        return self._today.sound(data)

    def binary(self, data: bytes) -> bytes:
        """See `Dialect`."""
        return self._today.binary(data)

    def receive(self, data: bytes) -> Iterator[Step]:
        """See `Dialect`."""
        try:
            event = codec.read(data)
        except (ValueError, RecursionError) as error:
            message = f"This is not JSON: {error}."
            yield self.error(MalformedEvent("invalid_json", message))
            return
        today = self._translated(event) if isinstance(event, dict) else event
        for step in self._today.receive(codec.write(today)):
            if isinstance(step, bytes):
                yield from self._told((step,))
            else:
                yield step

    def _translated(self, event: Json) -> Json:
        session, response, item = (event.get(name) for name in ("session", "response", "item"))
        match event.get("type"):
            case "session.update" if isinstance(session, dict):
                self._keep_temperature(session)
                return {**event, "session": from_flat(session, self._kind)}
            case "transcription_session.update":
                if isinstance(session, dict):
                    event = {**event, "session": from_flat(session, "transcription")}
                return {**event, "type": "session.update"}
            case "response.create" if isinstance(response, dict):
                params = from_flat_response(response)
                if isinstance(params.get("input"), list):
                    params["input"] = [_recast(i, _CONTENT_TODAY) for i in params["input"]]
                return {**event, "response": params}
            case "conversation.item.create" if isinstance(item, dict):
                return {**event, "item": _recast(item, _CONTENT_TODAY)}
        return event

    @property
    def _kind(self) -> str:
        return str(self._document.json["type"])

    def _keep_temperature(self, session: Json) -> None:
        if isinstance(session.get("temperature"), int | float):
            self._temperature = session["temperature"]

    # --- out ---
    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """See `Dialect`."""
        return next(self._told((self._today.error(error, event_id),)))

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """See `Dialect`."""
        return self._told(self._today.encode(notice))

    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterator[bytes]:
        """See `Dialect`. The event's type is the first thing in it: only the name is exchanged."""
        for message in self._today.encode_sound(reply_id, index, item_id, pcm):
            is_binary = isinstance(message, Binary)
            yield message if is_binary else message.replace(*_SOUND, 1)

    def _told(self, messages: Iterable[bytes]) -> Iterator[bytes]:
        for message in messages:
            event = codec.read(message)
            if not event["type"].startswith(UNKNOWN):
                yield codec.write(self._beta(event))

    def _beta(self, event: Json) -> Json:
        """An event of today in the beta's form."""
        kind = event["type"]
        event["type"] = RENAMED.get(kind, kind)
        if kind in ("session.created", "session.updated"):
            event["session"] = to_flat(event["session"], self._temperature)
            if self._kind == "transcription":
                event["type"] = f"transcription_{kind}"
        if "response" in event:
            event["response"] = to_flat_response(event["response"], self._temperature)
            output = event["response"].get("output") or []
            event["response"]["output"] = [_recast(item, _CONTENT) for item in output]
        if "item" in event:
            event["item"] = _recast(event["item"], _CONTENT)
        if kind == "error":
            event["error"]["param"] = flat_param(event["error"]["param"])
        return event


def _recast(item: Any, names: dict[str, str]) -> Any:
    """An item with the content types of an answer's message renamed."""
    if not isinstance(item, dict) or item.get("role") != "assistant":
        return item
    content = item.get("content")
    if not isinstance(content, list):
        return item
    parts = [_renamed(part, names) for part in content]
    return {**item, "content": parts}


def _renamed(part: Any, names: dict[str, str]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    return {**part, "type": names.get(kind, kind)} if isinstance(kind, str) else part
