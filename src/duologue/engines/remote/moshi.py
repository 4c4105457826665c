"""The wire of Kyutai's moshi-server: msgpack messages on a WebSocket, one connection a stream.

As its source says (kyutai-labs/moshi, rust/moshi-server/src: asr.rs, batched_asr.rs, py_module.rs, tts.rs, main.rs)
and its clients do (kyutai-labs/unmute: unmute/stt/speech_to_text.py, unmute/tts/text_to_speech.py): each message is a
map with its "type". Sound is 24 kHz in floats within -1..1, in frames of 1 920, which is 80 ms. The header
`kyutai-api-key` opens the server; "public_token" is what Kyutai's own clients send. The server says `Ready` once a
place of its batch is ours, or `Error` with "no free channels", and closes. It pings every ten seconds, and gives up
a client whom it has not heard for twenty or thirty.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from duologue.core.errors import AtCapacity, EngineError
from duologue.engines.remote.errors import (
    AudioServer,
    bad_answer,
    broke_off,
    failed,
    refusal,
    timed_out,
    unreachable,
)
from duologue.engines.remote.place import Place

RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_MS = 80

PUBLIC_KEY = "public_token"

GOING_AWAY = 1001
"""The server, or what stands before it, shuts down (RFC 6455, 7.4.1)."""

STALE_MESSAGES = 10
"""Of whoever had our place before, that may come ahead of `Ready`; unmute allows for as many."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A frame of sound has 10 KB."""

_FLOAT32 = np.dtype([("tag", "u1"), ("value", ">f4")])
_FLOAT32_TAG = 0xCA
"""msgpack's mark of a four-byte float, big-endian (msgpack specification, "float format family")."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        connect_s: for the connection, its handshake included.
        ready_s: from there to `Ready`: the server's loop gives a place between two steps of its model.
    """

    connect_s: float = 2.0
    ready_s: float = 5.0


# --- what the server says ---
class Ready(msgspec.Struct, tag=True):
    """A place is ours."""


class Error(msgspec.Struct, tag=True):
    """It cannot serve us."""

    message: str = ""


class Word(msgspec.Struct, tag=True):
    """STT: a word; `start_time` in seconds of the sound sent."""

    text: str
    start_time: float = 0.0


class EndWord(msgspec.Struct, tag=True):
    """STT: where the last word ended."""

    stop_time: float = 0.0


class Step(msgspec.Struct, tag=True):
    """STT: a frame was worked on."""


class Marker(msgspec.Struct, tag=True):
    """STT: all sound before our marker of this id was transcribed."""

    id: int


class Text(msgspec.Struct, tag=True):
    """TTS: a word that was begun and is over, in seconds of the sound."""

    text: str
    start_s: float = 0.0
    stop_s: float = 0.0


class Audio(msgspec.Struct, tag=True):
    """TTS: the next of the sound; see `samples_of`."""

    pcm: msgspec.Raw


Said = Ready | Error | Word | EndWord | Step | Marker | Text | Audio

_decode = msgspec.msgpack.Decoder(Said).decode
_floats = msgspec.msgpack.Decoder(list[float]).decode
encode = msgspec.msgpack.Encoder().encode


def audio_message(samples: NDArray[np.float32]) -> bytes:
    """Sound for the server; the floats are written by numpy, at a fiftieth of the cost of one by one."""
    body = np.empty(len(samples), _FLOAT32)
    body["tag"], body["value"] = _FLOAT32_TAG, samples
    head = b"\x82\xa4type\xa5Audio\xa3pcm\xdd" + len(samples).to_bytes(4, "big")
    return head + body.tobytes()


def samples_of(audio: Audio) -> bytes:
    """The sound of a message as 16-bit samples.

    Raises:
        msgspec.MsgspecError: it holds something else.
    """
    raw = memoryview(audio.pcm)
    head = {0xDC: 3, 0xDD: 5}.get(raw[0], 1)
    body = np.frombuffer(raw[head:], np.uint8)
    if len(body) % 5 == 0 and bool((body[::5] == _FLOAT32_TAG).all()):
        sound = np.frombuffer(raw[head:], _FLOAT32)["value"].astype(np.float32)
    else:
        sound = np.asarray(_floats(raw), np.float32)
    return np.rint(np.clip(sound, -1, 1) * 32_767).astype("<i2").tobytes()


# --- a connection ---
class Socket:
    """A connection on which a place is ours."""

    def __init__(self, connection: Any, server: AudioServer) -> None:
        self._connection = connection
        self._server = server

    async def send(self, message: bytes) -> None:
        """Send a message; waits while the server does not read.

        Raises:
            EngineLost: the connection is gone.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(message)
        except ConnectionClosed:
            raise broke_off(self._server) from None

    async def receive(self) -> Said | None:
        """The next that the server says; None once it has closed the connection in good order.

        Raises:
            EngineError: the connection broke, what came is not of this wire, or the server says that it failed.
        """
        from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

        try:
            data = await self._connection.recv(decode=False)
        except ConnectionClosedOK as error:
            if error.rcvd is not None and error.rcvd.code == GOING_AWAY:
                raise self.broke_off() from None
            return None
        except ConnectionClosedError:
            raise self.broke_off() from None
        try:
            said: Said = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise bad_answer(self._server, str(error)) from None
        if isinstance(said, Error):
            raise _said_error(self._server, said.message)
        return said

    def broke_off(self) -> EngineError:
        """What it means that the server has closed the connection too early."""
        return broke_off(self._server)

    async def ready(self, patience: Patience) -> None:
        """Wait for our place.

        Raises:
            AtCapacity: all are taken.
            EngineError: the server says something else, or nothing.
        """
        try:
            async with asyncio.timeout(patience.ready_s):
                for _ in range(STALE_MESSAGES):
                    said = await self.receive()
                    if isinstance(said, Ready):
                        return
                    if said is None:
                        raise self.broke_off()
        except TimeoutError:
            raise timed_out(self._server, "no 'Ready'", patience.ready_s) from None
        raise bad_answer(self._server, "it never said 'Ready'")


@asynccontextmanager
async def connected(
    place: Place, path: str, query: Mapping[str, str], patience: Patience
) -> AsyncIterator[Socket]:
    """A connection on which a place is ours. However it is left, it is gone at once, and our place free.

    Args:
        path: of the service, where the address has none of its own.

    Raises:
        AtCapacity: all places are taken.
        EngineError: the server cannot be reached, or refuses.
    """
    server = place.server
    connection = await _connect(place, _url(place.url, path, query), patience)
    try:
        socket = Socket(connection, server)
        await socket.ready(patience)
        yield socket
    finally:
        connection.transport.abort()  # a farewell would have to be waited for


async def _connect(place: Place, url: str, patience: Patience) -> Any:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    try:
        return await connect(
            url,
            additional_headers={"kyutai-api-key": place.key or PUBLIC_KEY},
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=patience.connect_s,
            ping_interval=None,  # the server pings; while nobody takes the sound, ours would not be answered
            proxy=None if place.is_local else True,
        )
    except InvalidStatus as error:
        response = error.response
        raise refusal(place.server, response.status_code, bytes(response.body or b"")) from None
    except TimeoutError:
        why = f"no connection within {patience.connect_s:g} s"
        raise unreachable(place.server, why) from None
    except (OSError, InvalidURI, InvalidHandshake) as error:
        raise unreachable(place.server, str(error) or type(error).__name__) from None


def _url(url: str, path: str, query: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    asked = "&".join(filter(None, (parts.query, urlencode(query))))
    return urlunsplit((scheme, parts.netloc, parts.path or path, asked, ""))


def _said_error(server: AudioServer, message: str) -> EngineError:
    if "no free channels" in message:
        return AtCapacity(
            f"{server.role}_rate_limited",
            f"{server.name} has no free place.",
            remedy="Try again in a few seconds, or give the server a larger batch.",
        )
    return failed(server, message)
