"""The audio socket: picows behind uvicorn's upgrade hook, hidden behind two calls.

`Handler.on_bytes(data)` comes in, `Socket.send(data)` goes out; nothing above this file knows the library
(docs/adr/0002 has the measurement that chose it). uvicorn parses the request and hands over the TCP
transport; from then on picows' protocol object owns it, and no queue, task or copy lies in between.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import picows
from picows.picows import WSProtocol  # type: ignore[attr-defined]

from duologue.wire.dialect import Binary

log = logging.getLogger("duologue.socket")
_library_log = logging.getLogger("picows")
_library_log.setLevel(logging.WARNING)

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Above the protocol's largest event (15 MiB of sound is 20 MiB of base64), so that a too large one can be
answered; beyond this the connection is closed with 1009."""

MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""What a client has not read, beyond what the kernel keeps: a minute of sound. When more is to be sent then, it is
given up; one message that is larger makes nobody slow. A handler may have another bound: `max_unsent_bytes`."""

PING_IDLE_S = 20.0
"""A peer that sends nothing for this long is asked for a sign of life, and given up after as long again."""

NORMAL = 1000
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """What a client asked for.

    Attributes:
        headers: names in lower case; of repeated ones, all values joined by commas.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    peer: str

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """Those offered, in order."""
        offered = self.headers.get("sec-websocket-protocol", "")
        return tuple(name.strip() for name in offered.split(",") if name.strip())


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why there will be no socket: an HTTP status and an error in OpenAI's form."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None


class Socket(Protocol):
    """The way out."""

    def send(self, data: bytes) -> None:
        """Send one message, text unless it is a `Binary`; dropped if the connection is gone."""

    def unsent(self) -> int:
        """Bytes that the other end has not taken, beyond what the kernel keeps."""

    def close(self, code: int, reason: str = "") -> None:
        """End the connection after what was sent."""


class Handler(Protocol):
    """One connection, above the library."""

    subprotocol: str | None

    def on_open(self, socket: Socket) -> None:
        """The socket is ready."""

    def on_bytes(self, data: bytes) -> None:
        """A whole text message came in. Must not raise."""

    def on_binary(self, data: bytes) -> None:
        """A whole binary message came in. Must not raise."""

    def on_goodbye(self, code: int) -> None:
        """The other end closes properly, with this code (0: it gave none); `on_close` follows."""

    def on_close(self) -> None:
        """The socket is gone; nothing more is sent or received."""

    def drain(self) -> None:
        """The server goes down: finish what is being said, and close."""


Accept = Callable[[UpgradeRequest], Handler | Rejection]


def upgrade_protocol(accept: Accept) -> type[asyncio.Protocol]:
    """The class that uvicorn (`Config(ws=…)`) hands each upgraded connection to."""

    class Upgrade(asyncio.Protocol):
        """uvicorn's side of one connection; gives the transport on as soon as it is answered."""

        def __init__(
            self,
            config: object,
            server_state: Any,
            app_state: object,
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            self._connections: set[Any] = server_state.connections
            self._transport: Any = None
            self._protocol: Any = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            listener = self._begin(data) if self._protocol is None else None
            if self._protocol is None:
                return
            _feed(self._protocol, data)
            if listener is not None and not listener.is_open:
                listener.on_ws_disconnected(
                    None
                )  # the handshake failed, of which picows tells nobody

        def connection_lost(self, exc: Exception | None) -> None:
            if self._protocol is not None:
                self._protocol.connection_lost(exc)

        def _begin(self, head: bytes) -> "_Listener | None":
            answer = _answer(accept, head, self._transport)
            if isinstance(answer, Rejection):
                self._transport.write(_rejection(answer))
                self._transport.close()
                return None
            listener = _Listener(answer, self._connections)
            self._protocol = _protocol(lambda _request: _response(answer, listener))
            self._protocol.connection_made(self._transport)
            # uvicorn makes this object the transport's protocol after we return; picows takes over after that.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._transport.set_protocol, self._protocol)
            return listener

    return Upgrade


class _Listener(picows.WSListener):
    """picows' events to a handler's; whole messages out of fragments."""

    def __init__(self, handler: Handler, connections: set[Any]) -> None:
        self._handler = handler
        self._max_unsent = getattr(handler, "max_unsent_bytes", MAX_UNSENT_BYTES)
        self._connections = connections
        self._transport: Any = None
        self._fragments = bytearray()
        self._fragments_are_binary = False
        self._is_slow = False

    @property
    def is_open(self) -> bool:
        """There is a WebSocket."""
        return self._transport is not None

    # --- what picows calls ---
    def on_ws_connected(self, transport: Any) -> None:
        self._transport = transport
        self._connections.add(self)
        self._handler.on_open(self)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if kind is picows.WSMsgType.TEXT and frame.fin:
            self._handler.on_bytes(frame.get_payload_as_bytes())
        elif kind is picows.WSMsgType.BINARY and frame.fin:
            self._handler.on_binary(frame.get_payload_as_bytes())
        elif kind is picows.WSMsgType.CLOSE:
            self._handler.on_goodbye(int(frame.get_close_code()))
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind in (
            picows.WSMsgType.TEXT,
            picows.WSMsgType.BINARY,
            picows.WSMsgType.CONTINUATION,
        ):
            self._assemble(frame)

    def on_ws_disconnected(self, transport: Any) -> None:
        self._connections.discard(self)
        self._transport = None
        self._handler.on_close()

    def pause_writing(self) -> None:
        self._is_slow = True

    def resume_writing(self) -> None:
        self._is_slow = False

    # --- what uvicorn calls on its way down ---
    def shutdown(self) -> None:
        self._handler.drain()

    # --- what the handler calls ---
    def send(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._is_slow and self.unsent() > self._max_unsent:
            log.warning("! a client reads too slowly, %d bytes are unsent: closed", self.unsent())
            transport, self._transport = self._transport, None
            transport.disconnect(graceful=False)
            return
        kind = picows.WSMsgType.BINARY if type(data) is Binary else picows.WSMsgType.TEXT
        self._transport.send(kind, data)

    def close(self, code: int, reason: str = "") -> None:
        if self._transport is not None:
            self._transport.send_close(picows.WSCloseCode(code), reason)
            self._transport.disconnect()

    def unsent(self) -> int:
        if self._transport is None:
            return 0
        size: int = self._transport.underlying_transport.get_write_buffer_size()
        return size

    def _assemble(self, frame: Any) -> None:
        if frame.msg_type is not picows.WSMsgType.CONTINUATION:
            self._fragments_are_binary = frame.msg_type is picows.WSMsgType.BINARY
        self._fragments += frame.get_payload_as_memoryview()
        if len(self._fragments) > MAX_MESSAGE_BYTES:
            self._fragments.clear()
            self.close(TOO_BIG, "message too big")
        elif frame.fin:
            whole = bytes(self._fragments)
            self._fragments.clear()
            if self._fragments_are_binary:
                self._handler.on_binary(whole)
            else:
                self._handler.on_bytes(whole)


def _protocol(factory: Callable[[Any], Any]) -> Any:
    """picows' server-side protocol, made as its own `ws_create_server` makes it."""
    return WSProtocol(
        None,  # host_port: of the client side
        None,  # ws_path: of the client side
        False,  # is_client_side
        factory,
        _library_log,
        True,  # disconnect_on_exception
        10.0,  # websocket_handshake_timeout
        True,  # enable_auto_ping
        PING_IDLE_S,
        PING_IDLE_S,
        picows.WSAutoPingStrategy.PING_WHEN_IDLE,
        True,  # enable_auto_pong
        MAX_MESSAGE_BYTES,
        None,  # extra_headers
        16 * 1024,  # read_buffer_init_size
    )


def _feed(protocol: Any, data: bytes) -> None:
    """Bytes that came before the protocol had the transport."""
    rest = memoryview(data)
    while rest:
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        protocol.buffer_updated(size)
        rest = rest[size:]


def _response(handler: Handler, listener: _Listener) -> Any:
    headers = {"Sec-WebSocket-Protocol": handler.subprotocol} if handler.subprotocol else None
    answer = picows.WSUpgradeResponse.create_101_response(headers)
    return picows.WSUpgradeResponseWithListener(answer, listener)


def _answer(accept: Accept, head: bytes, transport: Any) -> Handler | Rejection:
    try:
        return accept(_read_request(head, transport))
    except ValueError as error:
        return Rejection(400, "invalid_address", f"This address cannot be read: {error}.")


def _read_request(head: bytes, transport: Any) -> UpgradeRequest:
    """uvicorn has parsed and rebuilt the head: one request line, one header a line."""
    lines = head.decode("latin-1").split("\r\n")
    url = urlsplit(lines[0].split(" ")[1])
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    peer = transport.get_extra_info("peername") or ("", 0)
    return UpgradeRequest(url.path, dict(parse_qsl(url.query)), headers, str(peer[0]))


def _rejection(rejection: Rejection) -> bytes:
    error = {
        "message": rejection.message,
        "type": "invalid_request_error" if rejection.status < 500 else "server_error",
        "param": None,
        "code": rejection.code,
    }
    body = json.dumps({"error": error}).encode()
    phrase = HTTPStatus(rejection.status).phrase
    head = f"HTTP/1.1 {rejection.status} {phrase}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    if rejection.retry_after_s is not None:
        head += f"Retry-After: {rejection.retry_after_s}\r\n"
    return head.encode() + b"\r\n" + body
