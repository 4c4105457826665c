"""The events of `duologue.v1`: what a client may send, and how what it is told is written (docs/extension.md)."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from duologue.core.commands import AnyCommand, GoOnPlaying, PausePlayback
from duologue.core.commands import Played as PlayedCommand
from duologue.core.errors import MalformedEvent
from duologue.core.facts import AskId
from duologue.core.notices import (
    FloorChanged,
    HeardSoFar,
    Notice,
    OutputHeld,
    OutputResumed,
    TurnOver,
)
from duologue.wire.configuring import Configure
from duologue.wire.validation import MAX_EVENT_ID

PREFIX = "duologue."

Told = tuple[str, dict[str, Any]]
"""A type without the prefix, and the event's fields."""


class Client(msgspec.Struct, tag_field="type"):
    """Any event of a client's."""

    event_id: Annotated[str, msgspec.Meta(max_length=MAX_EVENT_ID)] | None = None


class Played(Client, tag="duologue.played", kw_only=True):
    """How far the client's playback of an item is."""

    item_id: str
    played_ms: Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Ack(Client, tag="duologue.ack", kw_only=True):
    """How many messages the client has received."""

    sequence: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Hold(Client, tag="duologue.output.hold"):
    """The client has stopped its playback."""


class Resume(Client, tag="duologue.output.resume"):
    """The client plays again."""


AnyEvent = Played | Ack | Hold | Resume | Configure
_NAMES = (
    "duologue.ack, duologue.configure, duologue.output.hold, duologue.output.resume, "
    "duologue.played"
)


def read(event: Mapping[str, Any]) -> AnyEvent:
    """An event of this channel.

    Raises:
        MalformedEvent: it is none, or a field of it is wrong.
    """
    try:
        known: AnyEvent = msgspec.convert(event, AnyEvent)
    except msgspec.ValidationError as error:
        raise _explain(str(event["type"]), str(error)) from error
    return known


def command(event: Played | Hold | Resume, ask: AskId) -> AnyCommand:
    """What it asks of the session."""
    match event:
        case Played(item_id=item_id, played_ms=played_ms):
            return PlayedCommand(ask, item_id, int(played_ms))
        case Hold():
            return PausePlayback(ask)
        case Resume():
            return GoOnPlaying(ask)


def tell(notice: Notice) -> Told | None:
    """The event of a notice that only this channel knows; None of any other."""
    match notice:
        case FloorChanged(floor=floor, audio_ms=ms):
            return "floor", {"floor": floor, "at_ms": ms}
        case OutputHeld(reply_id=reply_id, item_id=item_id, heard_ms=heard_ms, audio_ms=ms):
            return "output.held", {**_of(reply_id, item_id, heard_ms), "at_ms": ms}
        case OutputResumed(reply_id=reply_id, item_id=item_id, heard_ms=heard_ms):
            return "output.resumed", _of(reply_id, item_id, heard_ms)
        case HeardSoFar(text=text, words=words, ended=ended):
            heard = _of(notice.reply_id, notice.item_id, notice.heard_ms)
            said = [{"text": w.text, "start_ms": w.start_ms, "end_ms": w.end_ms} for w in words]
            return "heard", {**heard, "text": text, "words": said, "ended": ended}
        case TurnOver(turn=turn):
            return "turn", {"turn": dict(turn)}
        case _:
            return None


def _of(reply_id: str, item_id: str, played_ms: int) -> dict[str, Any]:
    return {"response_id": reply_id, "item_id": item_id, "played_ms": played_ms}


def _explain(kind: str, complaint: str) -> MalformedEvent:
    """msgspec's complaint in the protocol's words."""
    if "Invalid value" in complaint and "$.type" in complaint:
        message = f"Invalid value: '{kind[:64]}'."
        remedy = f"Supported values are: {_NAMES}."
        return MalformedEvent("invalid_value", message, remedy=remedy, param="type")
    code: Literal["missing_required_parameter", "invalid_value"] = "invalid_value"
    if found := re.search(r"required field `(\w+)`", complaint):
        code, message = "missing_required_parameter", f"Missing required parameter: '{found[1]}'."
        return MalformedEvent(code, message, param=found[1])
    found = re.search(r"\$\.(\w+)", complaint)
    what = complaint.partition(" - at ")[0]
    param = found[1] if found else None
    return MalformedEvent(code, f"Invalid '{param or kind[:64]}': {what}.", param=param)
