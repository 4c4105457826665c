"""The engine server: one engine behind a port, for servers on other machines.

/v1/engine/ROLE   the WebSocket of `wire`
/health           the process is alive
/ready            200 once the engine is loaded and has run, 503 before that and while it goes down
/metrics          for Prometheus; asks for the token, where there is one
"""

import asyncio
import contextlib
import hmac
import json
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from duologue import __version__
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineRefused, EngineUnavailable
from duologue.engines.chain import LivePool
from duologue.engines.endpoint.metrics import CONTENT_TYPE, Exposition
from duologue.engines.endpoint.served import Guest, full
from duologue.engines.endpoint.wire import (
    CLOSE_TIMEOUT_S,
    PATH,
    SUBPROTOCOL,
    checked_token,
    library_log,
    loading,
    refusal,
)

log = logging.getLogger("duologue.engines")

HANDSHAKE_S = 5.0

MAX_MESSAGE_BYTES = 1024 * 1024
"""From a client: a window of sound has a kilobyte, and a piece of text is no longer than a page."""

DRAIN_S = 15.0
"""For the streams that are open when the server is told to go: a turn's last answer is spoken."""


class EngineServer:
    """An engine and its clients.

    Args:
        name: of the engine, for the metrics and `/ready`.
        max_streams: all that the pool can serve at a time.
        token: what clients must bear; empty for none.

    Raises:
        SetupError: the token cannot be sent.

    Attributes:
        is_ready: the engine is loaded and has run.
        streams: open ones.
    """

    def __init__(
        self,
        role: Role,
        name: str,
        pool: LivePool,
        *,
        max_streams: Callable[[], int],
        token: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.role, self.name, self.pool = role, name, pool
        self.clock = clock
        self.is_ready = False
        self.streams = 0
        self.counts: Counter[str] = Counter()
        self._max_streams = max_streams
        self._token = checked_token(token).encode()
        self._guests: set[Guest] = set()
        self._exposition = Exposition(self)
        self._leaving = asyncio.Event()
        self._drained = asyncio.Event()
        self._server: Server | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do, with all its streams."""
        return replace(self.pool.capabilities, max_streams=self._max_streams())

    @property
    def is_leaving(self) -> bool:
        """It takes no new streams."""
        return self._leaving.is_set()

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self._guests)

    # --- the port ---
    async def open(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take connections on this socket; streams are refused until `is_ready`."""
        self._server = await serve(
            self._welcome,
            sock=listening,
            ssl=tls,
            process_request=self._answer,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            open_timeout=HANDSHAKE_S,
            ping_interval=None,  # `wire.watch` does it
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            server_header=None,
            logger=library_log,
        )

    async def aclose(self) -> None:
        """Close the port, and every connection with it."""
        if self._server is not None:
            self._server.close()  # each connection with 1001, "going away"
            await self._server.wait_closed()

    def leave(self) -> None:
        """A place is free; see `served.Landlord`."""
        self.streams -= 1
        self._look_whether_drained()

    def drain(self) -> None:
        """Take no new streams; `finished` returns when those open are over. Said twice: at once."""
        if self.is_leaving:
            self._drained.set()
            return
        self._leaving.set()
        log.info("= no new streams are taken; %d are finished first", self.streams)
        for guest in self._guests:
            guest.take_leave()
        self._look_whether_drained()

    async def finished(self, patience_s: float = DRAIN_S) -> int:
        """Return once `drain` was called and all streams are over; how many still were not after so long."""
        await self._leaving.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._drained.wait()
        return self.streams

    def _look_whether_drained(self) -> None:
        if self.is_leaving and self.streams == 0:
            self._drained.set()

    # --- for the connections; see `served.Landlord` ---
    def admit(self) -> EngineError | None:
        """Take a place for a stream, or say why there is none."""
        limit = self._max_streams()
        refused: EngineError | None = None
        if self.is_leaving:
            refused = AtCapacity("engine_leaving", "The engine server goes down.")
        elif not self.pool.ready:
            refused = loading()
        elif self.streams >= limit:
            refused = full(self.role, limit)
        if refused is not None:
            self.count("refused")
            return refused
        self.streams += 1
        return None

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] += 1

    def answered(self, seconds: float) -> None:
        """The engine took so long to answer."""
        self._exposition.answered(seconds)

    async def _welcome(self, connection: ServerConnection) -> None:
        guest = Guest(self, connection)
        self._guests.add(guest)
        self.count("connections")
        try:
            await guest.run()
        finally:
            self._guests.discard(guest)

    # --- HTTP ---
    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain request, or refuse a WebSocket; None to go on with it."""
        path = urlsplit(request.path).path.rstrip("/")
        if path == "/health":
            body = {"status": "ok", "version": __version__}
            return _json(connection, HTTPStatus.OK, json.dumps(body))
        if path == "/ready":
            status = HTTPStatus.OK if self._takes_streams else HTTPStatus.SERVICE_UNAVAILABLE
            return _json(connection, status, self._readiness())
        if refused := self._refusal(path, request):
            status, error = refused
            if status is HTTPStatus.UNAUTHORIZED:
                self.count("unauthorized")
                log.warning("! somebody at %s came without the token", connection.remote_address)
            return _json(connection, status, refusal(error))
        if path == "/metrics":
            text = self._exposition.text()
            return _typed(connection.respond(HTTPStatus.OK, text), CONTENT_TYPE)
        return None

    @property
    def _takes_streams(self) -> bool:
        return self.is_ready and not self.is_leaving and self.pool.ready

    def _readiness(self) -> str:
        body = {
            "ready": self._takes_streams,
            "role": self.role,
            "engine": self.name,
            "streams": self.streams,
            "max_streams": self._max_streams() if self.is_ready else None,
        }
        return json.dumps(body)

    def _refusal(self, path: str, request: Request) -> tuple[HTTPStatus, EngineError] | None:
        if path != "/metrics" and path != PATH + self.role:
            error = EngineRefused(
                "endpoint_role_wrong",
                f"There is no '{path}' here: this is an engine server for {self.role}.",
                remedy="Check which engine server stands behind which role.",
            )
            return HTTPStatus.NOT_FOUND, error
        if not self._is_authorised(request):
            error = EngineRefused(
                "endpoint_token_wrong",
                "The token is missing or wrong.",
                remedy="Both ends need the same token: DUOLOGUE_ENGINE_TOKEN.",
            )
            return HTTPStatus.UNAUTHORIZED, error
        if path == "/metrics":
            return None
        if SUBPROTOCOL not in _listed(request, "Sec-WebSocket-Protocol"):
            error = EngineRefused(
                "endpoint_version_wrong",
                f"This engine server speaks {SUBPROTOCOL} only.",
                remedy="Both ends need the same version of Duologue.",
            )
            return HTTPStatus.UPGRADE_REQUIRED, error
        if not self.is_ready or self.is_leaving:
            gone = EngineUnavailable("engine_leaving", "The engine server goes down.")
            return HTTPStatus.SERVICE_UNAVAILABLE, gone if self.is_leaving else loading()
        return None

    def _is_authorised(self, request: Request) -> bool:
        if not self._token:
            return True
        given = request.headers.get_all("Authorization")
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode(errors="replace"), self._token
        )


def _listed(request: Request, name: str) -> list[str]:
    return [part.strip() for value in request.headers.get_all(name) for part in value.split(",")]


def _json(connection: ServerConnection, status: HTTPStatus, body: str) -> Response:
    return _typed(connection.respond(status, body), "application/json")


def _typed(response: Response, content_type: str) -> Response:
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = content_type
    return response
