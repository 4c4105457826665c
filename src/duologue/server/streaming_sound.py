"""A chunk of sound as a request's body: raw samples, or a file or a part of one, alone or in a form."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.errors import MalformedEvent
from duologue.core.streaming import SoundFormat
from duologue.server import bodies
from duologue.server.audio.refusals import Refusal, wrong
from duologue.wire.streaming_settings import RATES_HZ

FORM = "multipart/form-data"

FORM_BYTES = 64 * 1024
"""What a form may have beside its file."""

UNTOLD = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Types that tell nothing; the last is what curl says of any `--data-binary`."""

RAW = ("audio/pcm", "audio/x-pcm", "audio/raw", "audio/l16")
BIG_ENDIAN = "audio/l16"
"""RFC 2586: in network byte order."""

CONTAINERS = ("audio/", "video/", "application/ogg")


@dataclass(frozen=True, slots=True)
class Sound:
    """What came.

    Attributes:
        rate_hz: of raw samples; 0 where it is not told.
    """

    data: bytes
    format: SoundFormat
    rate_hz: int


async def receive(request: Request, limit_bytes: int) -> Sound:
    """The sound in a request.

    Raises:
        Refusal: it is too large, or no sound.
    """
    kind = request.headers.get("content-type", "")
    is_form = _name(kind) == FORM
    limit = limit_bytes + FORM_BYTES if is_form else limit_bytes
    if _announced(request) > limit:
        raise _too_large(limit_bytes)
    try:
        data = await bodies.receive(request, limit)
    except MalformedEvent as error:
        raise _too_large(limit_bytes) from error
    except ClientDisconnect as error:
        raise wrong("client_gone", "The client hung up while it sent its sound.") from error
    if is_form:
        kind, data = await _file(request, data)
        if len(data) > limit_bytes:
            raise _too_large(limit_bytes)
    return _read(kind, data)


def _read(kind: str, data: bytes) -> Sound:
    name = _name(kind)
    if name in UNTOLD:
        return Sound(data, "", 0)
    if name in RAW:
        rate_hz = _whole(kind, "rate", 0)
        if rate_hz and not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            message = f"A rate of {rate_hz} Hz is not heard here."
            raise wrong("audio_rate_not_supported", message, "rate")
        if _whole(kind, "channels", 1) != 1:
            raise wrong("unsupported_value", "Raw samples must be of one channel.", "channels")
        return Sound(_swapped(data) if name == BIG_ENDIAN else data, "pcm16", rate_hz)
    if name.startswith(CONTAINERS):
        return Sound(data, "container", 0)
    message = (
        f"'{name[:64]}' is no sound: send 'audio/pcm;rate=16000' for raw samples, the type of your file, "
        "or 'application/octet-stream'."
    )
    raise Refusal(415, "unsupported_media_type", message)


def _swapped(data: bytes) -> bytes:
    if len(data) % SAMPLE_BYTES:
        raise wrong("audio_not_whole", "There is half a sample at the end of this sound.", "body")
    swapped = bytearray(data)
    swapped[::2], swapped[1::2] = data[1::2], data[::2]
    return bytes(swapped)


async def _file(request: Request, body: bytes) -> tuple[str, bytes]:
    """The media type and the bytes of the first file in a form."""

    async def once() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once()).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError) as error:
        raise wrong("invalid_form", "This is no multipart form.") from error
    try:
        for value in form.values():
            if isinstance(value, UploadFile):
                return value.content_type or "", await value.read()
    finally:
        await form.close()
    raise wrong("missing_required_parameter", "Missing required parameter: 'file'.", "file")


def _name(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()


def _whole(kind: str, name: str, default: int) -> int:
    """A number among the parameters of a media type."""
    message = Message()
    message["content-type"] = kind
    value = message.get_param(name, str(default))
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 7):
        raise wrong("invalid_value", f"'{name}' in the content type is no number.", name)
    return int(value)


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _too_large(limit_bytes: int) -> Refusal:
    message = f"A chunk has at most {limit_bytes} bytes. Send the sound in more chunks."
    return Refusal(413, "chunk_too_large", message, param="body")
