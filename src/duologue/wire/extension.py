"""The extension channel `duologue.v1`: everything that OpenAI's protocol does not define (docs/extension.md).

Wraps a dialect of today's shape, whose events go on unchanged beside it. Only a connection that negotiated it has
this wrapper; nothing of it is seen or paid for by any other.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.commands import SetOptions
from duologue.core.errors import ClientError, DuologueError, MalformedEvent
from duologue.core.facts import AskId
from duologue.core.notices import Notice, OutputEnded, Problem, ReplyBegan, ReplyEnded, ReplyState
from duologue.core.options import SessionOptions
from duologue.wire import codec, coders, extension_events
from duologue.wire.configuring import Configure
from duologue.wire.dialect import Dialect, Step
from duologue.wire.extension_events import PREFIX, Ack
from duologue.wire.extension_frames import FIRST, LAST, Frame, InputOrder, samples_in, unpack

VERSION = 1

MAX_REMEMBERED_ASKS = 64
"""Own events that may still be refused; each is dealt with within milliseconds."""

_OWN_ASKS = 1 << 39
"""Commands that this file asks for are numbered from here, out of the way of the wrapped dialect's."""

_MARK = f'"{PREFIX}'.encode()


def is_wanted(session: dict[str, Any]) -> bool:
    """Takes the field `duologue` out of the settings that come with a WebRTC offer; True if it asks for this channel.

    Raises:
        MalformedEvent: it asks for something else.
    """
    if "duologue" not in session:
        return False
    if (wanted := session.pop("duologue")) != "v1":
        message = f"Invalid value: '{str(wanted)[:64]}'."
        remedy = "The only version is 'v1'."
        raise MalformedEvent("invalid_value", message, remedy=remedy, param="session.duologue")
    return True


@dataclass(slots=True)
class _Voice:
    """How the sound of one answer is sent: `position` samples of it are."""

    encoder: coders.Encoder
    item_id: str = ""
    position: int = 0


class Extended:
    """See `Dialect`; wraps one.

    Attributes:
        has_frames: sound goes and comes in binary frames; else as in the wrapped dialect.
        input: the order of the client's frames.
        resume_token: what the connection can be resumed with within `resume_ms`; None: it cannot be.
        lead_ms: how far ahead of the listener sound is sent; None: no matter of this connection's.
        restart_ms: how long the session can be gone on with after the server was killed; 0: it cannot be.
        on_ack: told how many messages the client has received; may raise a `ClientError`.
        settled: the client's frames before this one are of no more need; None where all that came are.
    """

    def __init__(self, inner: Dialect) -> None:
        self.has_frames = False
        self.input = InputOrder()
        self.resume_token: str | None = None
        self.resume_ms = 0
        self.restart_ms = 0
        self.lead_ms: float | None = None
        self.on_ack: Callable[[int], None] = _forget
        self.settled: Callable[[], int] | None = None
        self._inner = inner
        self._prefix = f"event_duo{secrets.token_hex(6)}"
        self._events = 0
        self._last_ask = _OWN_ASKS
        self._event_ids: OrderedDict[AskId, str | None] = OrderedDict()
        self._voices: dict[str, _Voice] = {}
        self._sequence = 0
        self._gap = 0
        self._since_ack = 0  # samples of input
        self._configured = Configure()
        self._format = inner.options().input_format
        self._decoder = coders.decoder(self._format)

    def options(self) -> SessionOptions:
        """The wrapped dialect's, with what the client configured laid over them."""
        return self._configured.over(self._inner.options())

    # --- the wrapped dialect's own ---

    def adopt(self, session: dict[str, Any]) -> None:
        """See `Dialect`."""
        self._inner.adopt(session)
        self._use_input(self._inner.options())

    def settings(self) -> dict[str, Any]:
        """What the client has set, as `restore` takes it. Secrets of tool servers are not in it."""
        document = getattr(self._inner, "document", None)
        return {
            "session": without_secrets(document.json) if document is not None else {},
            "configure": msgspec.to_builtins(self._configured),
        }

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Go on with these, before the session begins.

        Raises:
            ClientError: they cannot be served any more.
        """
        self.adopt(dict(settings["session"]))
        self._configured = msgspec.convert(settings["configure"], Configure)

    def greet_late(self) -> Iterable[bytes]:
        """See `Dialect`."""
        return self._inner.greet_late()

    def error(self, error: DuologueError, event_id: str | None = None) -> bytes:
        """See `Dialect`."""
        return self._inner.error(error, event_id)

    def sound(self, data: bytes) -> bytes | None:
        """See `Dialect`."""
        return self._inner.sound(data)

    # --- in ---
    def binary(self, data: bytes) -> bytes:
        """A frame's samples; what is missing before them is told by `take_gap_ms`."""
        if not self.has_frames:
            return self._inner.binary(data)
        frame = unpack(data)
        samples = samples_in(frame.sound, self._format)
        gap = self.input.take(frame, samples)
        if gap is None:
            return b""
        self._gap = gap
        self._since_ack += samples
        return self._decoder.decode(frame.sound) if frame.sound else b""

    def take_gap_ms(self) -> float:
        """Silence that belongs before the samples that were given out last; asked once, and then no more."""
        gap, self._gap = self._gap, 0
        return gap * 1000 / self._format.rate_hz

    def acknowledge(self) -> Iterable[bytes]:
        """`duologue.ack`, once for each second of input."""
        if self._since_ack >= self._format.rate_hz:
            self._since_ack = 0
            settled = self.input.received if self.settled is None else self.settled()
            yield self._event("ack", sequence=settled)

    def receive(self, data: bytes) -> Iterator[Step]:
        """See `Dialect`."""
        if _MARK in data and (event := _own_event(data)) is not None:
            yield from self._read(event)
            return
        for step in self._inner.receive(data):
            if isinstance(step, SetOptions):
                self._use_input(step.options)
                step = replace(step, options=self._configured.over(step.options))
            yield step

    def _read(self, event: dict[str, Any]) -> Iterator[Step]:
        event_id = event.get("event_id")
        event_id = event_id if isinstance(event_id, str) else None
        try:
            read = extension_events.read(event)
            if isinstance(read, Ack):
                self.on_ack(read.sequence)
            elif isinstance(read, Configure):
                yield from self._configure(read, event_id)
            else:
                yield extension_events.command(read, self._ask(event_id))
        except ClientError as error:
            yield self.error(error, event_id)

    def _configure(self, event: Configure, event_id: str | None) -> Iterator[Step]:
        self._configured = self._configured.and_then(event)
        options = self.options()
        yield SetOptions(self._ask(event_id), options)
        yield self._event("configured", **self._configured.shown(options))

    def _ask(self, event_id: str | None) -> AskId:
        self._last_ask += 1
        ask = AskId(self._last_ask)
        self._event_ids[ask] = event_id
        if len(self._event_ids) > MAX_REMEMBERED_ASKS:
            self._event_ids.popitem(last=False)
        return ask

    def _use_input(self, options: SessionOptions) -> None:
        if options.input_format != self._format:
            self._format = options.input_format
            self._decoder = coders.decoder(self._format)

    # --- out ---
    def greet(self) -> Iterator[bytes]:
        """The wrapped dialect's greeting, and `duologue.welcome`."""
        yield from self._inner.greet()
        yield self._event(
            "welcome",
            version=VERSION,
            frames=self.has_frames,
            lead_ms=self.lead_ms,
            resume_token=self.resume_token,
            resume_ms=self.resume_ms,
            restart_ms=self.restart_ms,
        )

    def resumed(self, session_id: str, floor: str, sequence: int, *, complete: bool) -> bytes:
        """`duologue.resumed`: the session goes on; message number `sequence` + 1 follows."""
        return self._event(
            "resumed",
            session_id=session_id,
            complete=complete,
            sequence=sequence,
            input_sequence=self.input.received,
            floor=floor,
            resume_token=self.resume_token,
            resume_ms=self.resume_ms,
            restart_ms=self.restart_ms,
        )

    def goodbye(self, reason: str) -> bytes:
        """`duologue.goodbye`: the server ends the session and closes the connection."""
        return self._event("goodbye", reason=reason)

    def encode(self, notice: Notice) -> Iterator[bytes]:
        """See `Dialect`."""
        if (told := extension_events.tell(notice)) is not None:
            kind, fields = told
            yield self._event(kind, **fields)
        elif isinstance(notice, Problem) and (notice.ask or 0) > _OWN_ASKS:
            yield self.error(notice.error, self._event_ids.get(notice.ask or AskId(0)))
        else:
            if self.has_frames:
                yield from self._mind_voices(notice)
            yield from self._inner.encode(notice)

    def encode_sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> Iterable[bytes]:
        """A frame of an answer's sound; that of an answer out of band goes as in the wrapped dialect."""
        voice = self._voices.get(reply_id)
        if voice is None:
            return self._inner.encode_sound(reply_id, index, item_id, pcm)
        flags, position = 0 if voice.position else FIRST, voice.position
        voice.item_id = item_id
        voice.position += len(pcm) // SAMPLE_BYTES
        return (self._frame(flags, position, voice.encoder.encode(pcm)),)

    def _mind_voices(self, notice: Notice) -> Iterator[bytes]:
        match notice:
            case ReplyBegan(reply=ReplyState(options=options) as reply):
                if options.spoken and not options.out_of_band:
                    self._voices[reply.id] = _Voice(coders.encoder(options.format))
            case OutputEnded(reply_id=reply_id, item=item):
                voice = self._voices.get(reply_id)
                if voice is not None and voice.item_id == item.id:
                    yield self._frame(LAST, voice.position, b"")
            case ReplyEnded(reply=reply):
                self._voices.pop(reply.id, None)
            case _:
                pass

    def _frame(self, flags: int, position: int, sound: bytes) -> bytes:
        frame = Frame(flags, self._sequence, position, sound)
        self._sequence += 1
        return frame.pack()

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._events += 1
        event_id = f"{self._prefix}_{self._events}"
        return codec.write({"type": PREFIX + kind, "event_id": event_id, **fields})


def without_secrets(session: Mapping[str, Any]) -> dict[str, Any]:
    """A session object as it is shown, whose redacted headers of tool servers are left out."""
    if not session.get("tools"):
        return dict(session)
    hidden = ("headers", "authorization")
    tools = [{n: v for n, v in tool.items() if n not in hidden} for tool in session["tools"]]
    return {**session, "tools": tools}


def _own_event(data: bytes) -> dict[str, Any] | None:
    """An event of this channel; None if the wrapped dialect is to read it."""
    try:
        event = codec.read(data)
    except ValueError:
        return None
    kind = event.get("type") if isinstance(event, dict) else None
    return event if isinstance(kind, str) and kind.startswith(PREFIX) else None


def _forget(sequence: int) -> None:
    """Nothing is kept that could be freed."""
