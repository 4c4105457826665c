"""One connection to an engine server, kept open and shared by all streams there."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineLost, EngineRefused, EngineUnavailable
from duologue.engines import pipe
from duologue.engines.endpoint.wire import (
    CLOSE_TIMEOUT_S,
    PATH,
    SUBPROTOCOL,
    Outbox,
    library_log,
    loading,
    refused,
    watch,
)
from duologue.engines.piped import PipedStream, opening
from duologue.ports import StreamOptions

log = logging.getLogger("duologue.engines")

CONNECT_S = 0.5
"""For a connection and its handshake; on a network where that takes longer a conversation is no joy."""

OPEN_S = 1.0
"""For the answer to `Open`, which a server gives at once unless it starts its engine again."""

PING_S = 0.5
SILENT_S = 0.8
"""A server that hangs is found out after at most the sum."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of one URL.

    Attributes:
        url: without a path of its own, "ws://stt:9000"; it names the host for TLS.
        host: the address itself, "10.0.0.7".
    """

    url: str
    host: str

    @property
    def port(self) -> int:
        """Of the URL, or of its scheme."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "wss" else 80)

    def __str__(self) -> str:
        name = urlsplit(self.url).hostname
        return self.url if name == self.host else f"{self.url} ({self.host})"


class Link:
    """An open connection; `run` is its life.

    Attributes:
        capabilities: of the engine there.
        is_open: streams can be opened on it.
        is_ready: and the engine there is not being started again.
    """

    def __init__(
        self,
        address: Address,
        socket: ClientConnection,
        hello: pipe.Ready,
        on_ready: Callable[[], None],
    ) -> None:
        self.address = address
        self.capabilities: Capabilities = hello.capabilities
        self.is_open = self.is_ready = True
        self.streams: dict[int, PipedStream] = {}
        self._socket = socket
        self._on_ready = on_ready
        self._outbox = Outbox()
        self._is_lost = False
        self._is_silent = False
        self._numbers = 0
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._idle = asyncio.Event()

    async def run(self) -> EngineLost:
        """Until it is lost, or both ends have no more use for it; why."""
        async with asyncio.TaskGroup() as tasks:
            rest = [
                tasks.create_task(self._outbox.run(self._socket), name="endpoint-out"),
                tasks.create_task(self._watch(), name="endpoint-watch"),
                tasks.create_task(self._leave(), name="endpoint-leave"),
            ]
            try:
                why = await self._listen()
            finally:
                self.is_open = self.is_ready = False
                for task in rest:
                    task.cancel()
        error = EngineLost("endpoint_lost", f"The engine at {self.address} was lost: {why}.")
        self._lose(error)
        return error

    async def open(self, key: str, options: StreamOptions, traceparent: str) -> PipedStream:
        """A stream there.

        Raises:
            AtCapacity: all are taken.
            EngineError: it is lost, or does not answer.
        """
        self._numbers += 1
        number = self._numbers
        stream = PipedStream(self, number, self.capabilities.rate_hz)
        answer = asyncio.get_running_loop().create_future()
        self.streams[number], self._asked[number] = stream, answer
        self.send(opening(number, key, options, traceparent))
        is_open = False
        try:
            async with asyncio.timeout(OPEN_S):
                await answer
            is_open = True
        except EngineUnavailable as error:
            if error.code == loading().code:
                self.is_ready = False  # until it says otherwise
            raise
        except TimeoutError as error:
            text = f"The engine at {self.address} has not opened a stream within {OPEN_S:g} s."
            raise EngineLost("endpoint_slow", text) from error
        finally:
            del self._asked[number]
            if not is_open:
                self.streams.pop(number, None)
                self.send(pipe.Shut(number, True))
        return stream

    async def aclose(self) -> None:
        """Close it; `run` returns."""
        self.is_open = False
        with contextlib.suppress(ConnectionClosed):
            await self._socket.close()

    # --- for its streams; see `piped.Peer` ---
    def send(self, message: pipe.Message) -> None:
        """Tell the other end; dropped if it is gone."""
        if not self._is_lost:
            self._outbox.put(message)

    def check(self, number: int) -> None:
        """A stream that was cancelled long ago: the server still holds its place, and will say so of itself."""
        if self.streams.pop(number, None) is not None:
            log.warning("! a cancelled stream at %s does not end", self.address)
            self._look_whether_idle()

    # --- what comes ---
    async def _listen(self) -> str:
        try:
            async for data in self._socket:
                if not isinstance(data, bytes):
                    return "it sent text"
                self._handle(pipe.decode(data))
        except ConnectionClosed as error:
            return f"no sign of life for {SILENT_S:g} s" if self._is_silent else _why(error)
        except EngineError as error:
            return error.message.rstrip(".")
        finally:
            self._socket.transport.abort()
        return "it closed the connection"

    def _handle(self, message: pipe.Message) -> None:
        number = message.stream
        if isinstance(message, pipe.Ready):
            self.capabilities, self.is_ready = message.capabilities, True
            self._on_ready()
            return
        if isinstance(message, pipe.Failed) and number == 0:
            self.is_ready = False
            return
        asked = self._asked.get(number)
        if isinstance(message, pipe.Ended):
            if number == 0:  # the server goes down when its streams are over
                self.is_open = False
            stream = self.streams.pop(number, None)
            self._look_whether_idle()
        elif asked is not None and not asked.done():
            if isinstance(message, pipe.Opened):
                asked.set_result(None)
            elif isinstance(message, pipe.Failed):
                asked.set_exception(pipe.revive(message))
            return
        else:
            stream = self.streams.get(number)
        if stream is not None:
            stream.handle(message)

    def _look_whether_idle(self) -> None:
        if not self.is_open and not self.streams:
            self._idle.set()

    async def _leave(self) -> None:
        await self._idle.wait()
        await self._socket.close()

    async def _watch(self) -> None:
        self._is_silent = await watch(self._socket, PING_S, SILENT_S)

    def _lose(self, error: EngineLost) -> None:
        self._is_lost = True
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(error)
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.lost(error)


async def join(
    address: Address,
    role: Role,
    token: str,
    tls: ssl.SSLContext | None,
    on_ready: Callable[[], None],
) -> Link:
    """Connect, and hear what the engine can do; `on_ready` is called whenever it has been started again.

    Raises:
        EngineError: it cannot be had, within `CONNECT_S`; an `EngineRefused` will be no other the next time.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = await _connect(address, role, token, tls)
            return Link(address, connection, await _hello(address, connection), on_ready)
    except InvalidStatus as error:
        answer = error.response
        raise refused(answer.status_code, bytes(answer.body or b""), str(address)) from error
    except TimeoutError as error:
        raise _unreachable(address, f"it does not answer within {CONNECT_S:g} s") from error
    except ConnectionClosed as error:
        raise _unreachable(address, _why(error)) from error
    except (OSError, EOFError, ValueError, InvalidHandshake) as error:
        raise _unreachable(address, str(error) or type(error).__name__) from error


async def _connect(
    address: Address, role: Role, token: str, tls: ssl.SSLContext | None
) -> ClientConnection:
    family = socket.AF_INET6 if ip_address(address.host).version == 6 else socket.AF_INET
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (address.host, address.port))
        options: dict[str, Any] = {"ssl": tls} if tls is not None else {}
        return await connect(
            address.url.rstrip("/") + PATH + role,
            sock=raw,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {token}"} if token else None,
            user_agent_header=None,
            compression=None,
            open_timeout=None,
            ping_interval=None,  # `wire.watch` does it
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=pipe.MAX_FRAME_BYTES,
            logger=library_log,
            **options,
        )
    except BaseException:
        raw.close()
        raise


async def _hello(address: Address, connection: ClientConnection) -> pipe.Ready:
    try:
        data = await connection.recv()
        message = pipe.decode(data) if isinstance(data, bytes) else None
        if isinstance(message, pipe.Ready) and connection.subprotocol == SUBPROTOCOL:
            return message
        raise EngineRefused(
            "endpoint_is_other",
            f"What answers at {address} is no engine server.",
            remedy="Check its address and port; `duologue engine-server` starts one.",
        )
    except BaseException:
        connection.transport.abort()
        raise


def _unreachable(address: Address, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "endpoint_unreachable",
        f"The engine at {address} cannot be reached: {why}.",
        remedy="Start it (`duologue engine-server`), or check the address.",
    )


def _why(error: ConnectionClosed) -> str:
    if error.rcvd is not None:
        return error.rcvd.reason or f"it closed the connection with {error.rcvd.code}"
    return "the connection broke off"
