"""JSON in and out. The two audio events go through fixed shapes: base64 and all in one pass of C."""

from typing import Any

import msgspec


class Append(msgspec.Struct):
    """`input_audio_buffer.append`, as far as the hot path reads it; any other event leaves `audio` empty."""

    type: str
    audio: bytes = b""


class Sound(msgspec.Struct):
    """`response.output_audio.delta`."""

    type: str
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: bytes


_append = msgspec.json.Decoder(Append)
_any = msgspec.json.Decoder()
_out = msgspec.json.Encoder()


def read_append(data: bytes | bytearray | memoryview) -> Append | None:
    """The event, if it has the shape of an append; None if it has not, whatever else it may be."""
    try:
        return _append.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read(data: bytes | bytearray | memoryview) -> Any:
    """Any JSON.

    Raises:
        ValueError: it is none.
    """
    return _any.decode(data)


def write(event: dict[str, Any] | Sound) -> bytes:
    """An event as JSON. Halves of characters, which UTF-8 cannot carry, become question marks."""
    try:
        return _out.encode(event)
    except UnicodeEncodeError:
        return _out.encode(_whole(msgspec.to_builtins(event)))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list | tuple) else value
