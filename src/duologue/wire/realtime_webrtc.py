"""A dialect over WebRTC: its events on a data channel, its sound on tracks beside it.

Wraps today's protocol and its beta alike. What differs over WebRTC:

- the formats of sound are the tracks' and not the client's to choose; the session object still shows its own;
- sound never comes as events, and an answer's sound never goes as events, unless the answer is out of band;
- the client is told what it hears (`output_audio_buffer.started`, `.stopped`, `.cleared`), may clear it
  (`output_audio_buffer.clear`), and need not report what was heard of an answer that was cut: it is told
  (`conversation.item.truncated`).
"""

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from duologue.core.audio import AudioFormat
from duologue.core.commands import ClearOutput, CreateReply, SetOptions
from duologue.core.errors import DuologueError, MalformedEvent
from duologue.core.facts import AskId
from duologue.core.notices import (
    ItemTruncated,
    Notice,
    PlaybackBegan,
    PlaybackEnded,
    Problem,
    ReplyBegan,
    ReplyEnded,
)
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.wire import codec
from duologue.wire.dialect import Dialect, Step

MICROPHONE = AudioFormat(48_000)
"""What decoders of Opus give, whatever the microphone had."""

LOUDSPEAKER = AudioFormat(24_000)
"""What voices have. Opus carries the whole of it (up to 12 kHz), at half the cost of 48 kHz."""

CHANNEL = "oai-events"
"""The label of the data channel."""

_OWN_ASKS = 1 << 40
"""Commands that this file asks for are numbered from here, out of the way of the wrapped dialect's."""

_CLEAR = b"output_audio_buffer.clear"
_APPEND = b"input_audio_buffer.append"


class OverWebRtc:
    """See `Dialect`; wraps one.

    Attributes:
        asides: the answers out of band that are being made: their sound goes in events.
    """

    def __init__(self, inner: Dialect) -> None:
        self.asides: set[str] = set()
        self._inner = inner
        self._prefix = f"event_rtc{secrets.token_hex(6)}"
        self._events = 0
        self._ask = _OWN_ASKS
        self._clear_id: tuple[AskId, str | None] = (AskId(0), None)
        self._truncated: str | None = None

    # --- the wrapped dialect's own ---
    def adopt(self, session: dict[str, Any]) -> None:
        """See `Dialect`."""
        self._inner.adopt(session)

    def greet(self) -> Iterable[bytes]:
        """See `Dialect`."""
        return self._inner.greet()

    def greet_late(self) -> Iterable[bytes]:
        """See `Dialect`."""
        return self._inner.greet_late()

    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """See `Dialect`."""
        return self._inner.error(error, event_id)

    # --- in ---
    def options(self) -> SessionOptions:
        """The wrapped dialect's, in the tracks' formats."""
        return _on_tracks(self._inner.options())

    def sound(self, data: bytes) -> bytes | None:
        """There is no sound in messages."""
        return None

    def binary(self, data: bytes) -> bytes:
        """There is no sound in messages.

        Raises:
            MalformedEvent: always.
        """
        raise MalformedEvent(
            "invalid_event",
            "Binary messages are not part of this protocol.",
            remedy="Send JSON in text messages, and sound on the audio track.",
        )

    def receive(self, data: bytes) -> Iterator[Step]:
        """See `Dialect`."""
        if (_CLEAR in data or _APPEND in data) and (step := self._media(data)) is not None:
            yield step
            return
        for step in self._inner.receive(data):
            if isinstance(step, SetOptions):
                yield replace(step, options=_on_tracks(step.options))
            elif isinstance(step, CreateReply):
                yield replace(step, options=_reply_on_track(step.options))
            else:
                yield step

    def _media(self, data: bytes) -> Step | None:
        """The events that mean something else here; None if it is none of them."""
        try:
            event = codec.read(data)
        except (ValueError, RecursionError):
            return None
        kind = event.get("type") if isinstance(event, dict) else None
        event_id = event.get("event_id") if isinstance(event, dict) else None
        if not isinstance(event_id, str):
            event_id = None
        if kind == _CLEAR.decode():
            self._ask += 1
            self._clear_id = (AskId(self._ask), event_id)
            return ClearOutput(self._clear_id[0])
        if kind == _APPEND.decode():
            message = "On a WebRTC connection, sound comes on the audio track."
            remedy = "Add the microphone's track to the peer connection, and send no appends."
            error = MalformedEvent("invalid_value", message, remedy=remedy, param="type")
            return self.error(error, event_id)
        return None

    # --- out ---
    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterable[bytes]:
        """Nothing, except for an answer out of band: nobody hears it, so it is no matter for the track."""
        if reply_id in self.asides:
            return self._inner.encode_sound(reply_id, index, item_id, pcm)
        return ()

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """See `Dialect`."""
        match notice:
            case PlaybackBegan(reply_id=reply_id):
                yield self._event("started", reply_id)
            case PlaybackEnded(reply_id=reply_id):
                yield self._event("cleared" if notice.cut else "stopped", reply_id)
                if notice.cut and notice.item_id and notice.item_id != self._truncated:
                    cut = ItemTruncated(notice.item_id, 0, notice.heard_ms)
                    yield from self._inner.encode(cut)
            case Problem(error=error, ask=ask) if ask is not None and ask > _OWN_ASKS:
                event_id = self._clear_id[1] if ask == self._clear_id[0] else None
                yield self.error(error, event_id)
            case _:
                self._note(notice)
                yield from self._inner.encode(notice)

    def _note(self, notice: Notice) -> None:
        match notice:
            case ReplyBegan(reply=reply) if reply.options.out_of_band:
                self.asides.add(reply.id)
            case ReplyEnded(reply=reply):
                self.asides.discard(reply.id)
            case ItemTruncated(item_id=item_id):
                self._truncated = item_id  # the client said it; it is not told a second time
            case _:
                pass

    def _event(self, what: str, reply_id: str) -> bytes:
        self._events += 1
        return codec.write(
            {
                "type": f"output_audio_buffer.{what}",
                "event_id": f"{self._prefix}_{self._events}",
                "response_id": reply_id,
            }
        )


def _on_tracks(options: SessionOptions) -> SessionOptions:
    return replace(options, input_format=MICROPHONE, reply=_reply_on_track(options.reply))


def _reply_on_track(options: ReplyOptions) -> ReplyOptions:
    return options if options.out_of_band else replace(options, format=LOUDSPEAKER)
