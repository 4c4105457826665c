"""What both ends of an endpoint agree on.

A client asks for `PATH` and the role, with `SUBPROTOCOL` and a bearer token. What is refused before there is a
WebSocket is refused by an HTTP status with a JSON body (`refusal`); after that, each binary message is one of
`engines.pipe`'s. The server speaks first (`Ready`), and one connection carries any number of streams.
"""

import asyncio
import json
import logging
from collections import deque
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed

from duologue.core.errors import EngineError, EngineRefused, EngineUnavailable, SetupError
from duologue.engines import pipe

SUBPROTOCOL = "duologue-engine-1"
"""Its number changes with the messages: who speaks another one is refused, and not misunderstood."""

PATH = "/v1/engine/"

CLOSE_TIMEOUT_S = 0.1
"""For the closing handshake. The library's own 10 s would be added to the loss of a peer that hangs."""

MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""Sound that a connection has not taken; then the engines on it wait. Half a minute of four voices."""

MAX_BODY = 4_096
"""Bytes of a refusal that are read."""

MAX_WORDS = 300
"""Characters of another machine's message that are passed on."""

VIOLATION = 1008
"""The close code for what is not our wire (RFC 6455: policy violation)."""

library_log = logging.getLogger("duologue.engines.endpoint.socket")
library_log.setLevel(logging.CRITICAL)  # it tells of every port scan; what matters is told by us


class Socket(Protocol):
    """What is used here of a connection of `websockets`."""

    transport: Any

    async def send(self, message: bytes) -> None:
        """Send one message, and wait for room in the buffer."""

    async def ping(self) -> Any:
        """Send a ping; what it returns can be awaited for the pong."""


class Outbox:
    """Messages on their way out, written by one task, so that nobody who has something to say must wait."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, message: pipe.Message) -> None:
        """The next message. How many there may be is the senders' affair: see `room`."""
        body = pipe.encode(message)
        self._messages.append(body)
        self._size += len(body)
        self._more.set()

    def __len__(self) -> int:
        return len(self._messages)

    async def room(self) -> None:
        """Return when little enough waits."""
        while self._size > MAX_UNSENT_BYTES:
            self._room.clear()
            await self._room.wait()

    async def run(self, socket: Socket) -> None:
        """Write until the connection is closed."""
        try:
            while True:
                while self._messages:
                    body = self._messages.popleft()
                    await socket.send(body)
                    self._size -= len(body)
                    self._room.set()
                self._more.clear()
                await self._more.wait()
        except ConnectionClosed:
            return


async def watch(socket: Socket, every_s: float, silent_s: float) -> bool:
    """Ask for signs of life, and cut the connection off when there are none: True then, False if it was closed.

    The library's own keep-alive waits, before it counts the time, until its ping is in the buffer: for ever if the
    other end hangs and the buffer is full.
    """
    while True:
        await asyncio.sleep(every_s)
        pong: asyncio.Future[float] | None = None
        try:
            async with asyncio.timeout(silent_s):
                pong = await socket.ping()
                assert pong is not None
                await asyncio.shield(pong)
        except TimeoutError:
            if pong is not None and pong.done():
                continue  # we were the ones who were late
            socket.transport.abort()
            return True
        except ConnectionClosed:
            return False


def loading() -> EngineError:
    """The refusal of a server whose engine is not there yet, or not there now."""
    return EngineUnavailable("engine_loading", "The engine loads.", remedy="Wait for /ready.")


def checked_token(token: str) -> str:
    """The token without the line's end that it may have been read with.

    Raises:
        SetupError: it cannot stand in a header.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SetupError(
            "token_invalid",
            "The token for engine servers has characters that cannot be sent.",
            remedy="Use letters, digits and punctuation of ASCII, without spaces.",
        )
    return token


def refusal(error: EngineError) -> str:
    """An error as the body of an HTTP answer."""
    told = pipe.failure(0, error)
    fields = {name: getattr(told, name) for name in ("kind", "code", "message", "remedy")}
    return json.dumps({"error": fields})


def refused(status: int, body: bytes, where: str) -> EngineError:
    """The error that such an answer tells of."""
    try:
        told = json.loads(body[:MAX_BODY])["error"]
        names = ("kind", "code", "message", "remedy")
        kind, code, message, remedy = (str(told[name])[:MAX_WORDS] for name in names)
    except (ValueError, KeyError, TypeError):
        return EngineRefused(
            "endpoint_is_other",
            f"{where} answers HTTP {status}: that is no engine server.",
            remedy="Check its address and port; `duologue engine-server` starts one.",
        )
    return pipe.revive(pipe.Failed(0, kind, code, f"{where}: {message}", remedy))
