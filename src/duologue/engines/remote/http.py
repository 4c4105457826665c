"""HTTP to an OpenAI-compatible audio server: one client, whose connections stay open between requests."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from duologue import __version__
from duologue.core.errors import EngineError, EngineUnavailable, OurError
from duologue.engines.chat.listed import model_names
from duologue.engines.loading import run_apart
from duologue.engines.remote.errors import (
    AudioServer,
    bad_answer,
    refusal,
    timed_out,
    translated,
)
from duologue.engines.remote.place import Place

log = logging.getLogger("duologue.engines")

KEEP_ALIVE_S = 120.0
"""Connections stay open over the pauses of a conversation: a fresh one costs a turn its TLS handshake."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""Of a document or a stream of events: with word times, a hundred bytes a word."""

MAX_REFUSAL_BYTES = 16 * 1024

_NO_MODELS = (400, 404, 405, 501)
"""What servers without a list of models answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        connect_s: for the connection; a server that is up answers within a round trip.
        first_s: from the request to the first of the answer.
        next_s: between two pieces of it.
        models_s: for the list of models.
        warm_up_s: for the first answer of all; a server may load its model for it.
    """

    connect_s: float = 2.0
    first_s: float = 30.0
    next_s: float = 10.0
    models_s: float = 10.0
    warm_up_s: float = 180.0


class Refused(Exception):
    """An HTTP status that is no success: what it says is for the caller to judge."""

    def __init__(self, status: int, body: bytes, retry_after: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Http:
    """The way to one server.

    Args:
        requests: at a time.

    Attributes:
        patience: how long is waited; longer for the first answer of all.
    """

    def __init__(self, place: Place, patience: Patience, requests: int) -> None:
        self.place = place
        self.patience = patience
        self._requests = requests
        self._tls: ssl.SSLContext | None = None
        self._client: Any = None

    @property
    def server(self) -> AudioServer:
        """For messages."""
        return self.place.server

    def load(self, models: str, default: str) -> None:
        """Make the client, ask the server for its models, and settle which is meant. Blocks; in any thread.

        Args:
            models: pattern of the names of those that will do.
            default: for a server that lists none; those of a single model take any name.

        Raises:
            EngineUnavailable: the library is not installed.
            EngineError: nobody answers there, or the key is not accepted.
        """
        try:
            import httpx2
        except ImportError as error:
            raise EngineUnavailable(
                f"{self.place.role}_library_missing",
                f"{self.server.place} cannot be asked: the httpx2 package is not installed.",
                remedy="Install duologue[server].",
            ) from error
        if self.place.url.startswith("http:"):  # a context without certificates trusts nobody
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        else:  # reading them takes longer than all the rest
            self._tls = httpx2.create_ssl_context()
        self._client = self._make_client()
        self.place = replace(
            self.place, model=self._chosen(run_apart(self._listed()), models, default)
        )

    def apart(self) -> "Http":
        """The same way with connections of its own, for another event loop; with all patience."""
        other = Http(self.place, _patient(self.patience), 1)
        other._tls = self._tls
        other._client = other._make_client()
        return other

    async def __aenter__(self) -> "Http":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def post(self, path: str, **request: Any) -> AsyncIterator["Answer"]:
        """Send a request: an answer that has begun, and whose connection is given up where it is left early.

        Raises:
            Refused: an HTTP status that is no success.
            EngineError: nobody answers, or not in time.
        """
        with translated(self.server):
            response = await self._within(self.patience.first_s, self._send("POST", path, request))
        try:
            if response.status_code >= 400:
                raise await self._refused(response)
            yield Answer(response, self.server, self.patience.next_s)
        finally:
            await response.aclose()

    def refusal(self, refused: Refused) -> EngineError:
        """The error that a refusal stands for."""
        return refusal(self.server, refused.status, refused.body, refused.retry_after)

    async def _listed(self) -> tuple[str, ...]:
        """What the server lists; empty if it lists none."""
        async with self.apart() as other:
            wait_s = self.patience.models_s
            with translated(self.server):
                response = await other._within(wait_s, other._send("GET", "/models", {}))
            if response.status_code in _NO_MODELS:
                return ()
            if response.status_code >= 400:
                raise self.refusal(await other._refused(response))
            return model_names(await Answer(response, self.server, wait_s).document())

    def _chosen(self, models: tuple[str, ...], pattern: str, default: str) -> str:
        """The model that was named, or the first of a fitting name that the server lists."""
        if self.place.model:
            if models and self.place.model not in models:
                log.warning("! %s does not list '%s'", self.server.place, self.place.model)
            return self.place.model
        able = [name for name in models if re.search(pattern, name.lower())]
        model = (able or [default])[0]
        log.info("= %s: the model is '%s'", self.server.place, model)
        return model

    # --- one request ---
    async def _send(self, method: str, path: str, request: Mapping[str, Any]) -> Any:
        import httpx2

        client = self._client
        if client is None:
            raise OurError(
                "remote_not_loaded", f"{self.server.name} was asked before it was loaded."
            )
        url = f"{self.place.url}{path}"
        has_met_closed = False
        while True:
            try:
                return await client.send(client.build_request(method, url, **request), stream=True)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                if has_met_closed:
                    raise
                has_met_closed = True  # a connection that was kept: nobody has read the request

    async def _within(self, seconds: float, work: Any) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise timed_out(self.server, "no answer", seconds) from None

    async def _refused(self, response: Any) -> Refused:
        body = b""
        with translated(self.server, in_answer=True):
            async for data in response.aiter_bytes():
                body += data
                if len(body) >= MAX_REFUSAL_BYTES:
                    break
        after = response.headers.get("retry-after", "")
        return Refused(response.status_code, body[:MAX_REFUSAL_BYTES], after)

    def _make_client(self) -> Any:
        import httpx2

        headers = {"User-Agent": f"duologue/{__version__}", "Accept-Encoding": "identity"}
        if self.place.key:
            headers["Authorization"] = f"Bearer {self.place.key}"
        assert self._tls is not None
        return httpx2.AsyncClient(
            headers=headers,
            verify=self._tls,
            timeout=httpx2.Timeout(None, connect=self.patience.connect_s),
            limits=httpx2.Limits(
                max_connections=self._requests,
                max_keepalive_connections=self._requests,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            # a proxy that the machine goes out through is no way to the machine itself
            trust_env=not self.place.is_local,
        )


class Answer:
    """An answer that has begun."""

    def __init__(self, response: Any, server: AudioServer, next_s: float) -> None:
        self._response = response
        self._server = server
        self._next_s = next_s

    @property
    def kind(self) -> str:
        """Its content type, without what follows it."""
        kind: str = self._response.headers.get("content-type", "")
        return kind.partition(";")[0].strip().lower()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Its body, as it comes.

        Raises:
            EngineLost: it broke off, or nothing came for too long.
        """
        source = aiter(self._response.aiter_bytes())
        while True:
            with translated(self._server, in_answer=True):
                try:
                    async with asyncio.timeout(self._next_s):
                        data = await anext(source, None)
                except TimeoutError:
                    raise timed_out(self._server, "nothing more", self._next_s) from None
            if data is None:
                return
            yield data

    async def whole(self) -> bytes:
        """All of its body.

        Raises:
            EngineError: there is too much of it, or it broke off.
        """
        body = bytearray()
        async for data in self.pieces():
            body += data
            self._check(len(body))
        return bytes(body)

    async def document(self) -> Any:
        """Its body as JSON.

        Raises:
            EngineError: it is none.
        """
        try:
            return msgspec.json.decode(await self.whole())
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise bad_answer(self._server, "its answer is no JSON") from None

    async def events(self) -> AsyncGenerator[Any, None]:
        """The documents of a stream of server-sent events.

        Raises:
            EngineError: one is no JSON, there is too much of it, or it broke off.
        """
        held, size = b"", 0
        async for data in self.pieces():
            size += len(data)
            self._check(size)
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and (text := line[5:].strip()) not in (b"", b"[DONE]"):
                    yield self._event(text)
        if held.startswith(b"data:") and (text := held[5:].strip()) not in (b"", b"[DONE]"):
            yield self._event(text)

    def _event(self, text: bytes) -> Any:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise bad_answer(self._server, "an event is no JSON") from None

    def _check(self, size: int) -> None:
        if size > MAX_ANSWER_BYTES:
            raise bad_answer(self._server, f"it sent more than {MAX_ANSWER_BYTES} bytes")


def _patient(patience: Patience) -> Patience:
    longest = patience.warm_up_s
    return Patience(patience.connect_s, longest, longest, patience.models_s, longest)
