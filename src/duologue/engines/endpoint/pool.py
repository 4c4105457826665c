"""All engine servers behind some URLs: which of them gets the next stream, and which are not asked for a while.

Every address of each host name counts as a server of its own (the tasks of a service have one name). Each has one
connection that is kept open; one that is lost costs its streams, ends them with `EngineGone`, and is tried again
in the background, more and more rarely.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import urlsplit
from zlib import crc32

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import (
    AtCapacity,
    EngineError,
    EngineRefused,
    EngineUnavailable,
    SetupError,
)
from duologue.engines.endpoint.endpoint import BACKOFF_S, Endpoint, EndpointState
from duologue.engines.endpoint.link import Address, Link, join
from duologue.engines.endpoint.wire import checked_token, loading
from duologue.engines.piped import PipedStream
from duologue.engines.pool_inprocess import at_capacity
from duologue.ports import StreamOptions

log = logging.getLogger("duologue.engines")

RESOLVE_TTL_S = 0.5
"""What a name stands for is looked up again after so long, where nobody known can be had."""

RESOLVE_TIMEOUT_S = 1.0

KEEP_S = 0.5
"""How often lost servers are looked after."""

KEEP_RESOLVE_S = 5.0
"""How often names are looked up where all is well: so new servers are found."""

FULL_S = 0.2
"""How long a server that said it is full is asked last."""

MAX_TRIES = 3
"""Servers that fail before a stream is given up; those that are full do not count."""

START_S = 60.0
"""Longest wait for the first server that is ready: servers that start together load their models meanwhile."""

LOADING_S = 15.0
"""Longest wait for an engine that is being started again, where no other server has one that is ready."""

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""A host's addresses.

Raises:
    OSError: it has none.
"""


class EndpointsPool:
    """Streams on engines elsewhere. To be used as `async with`.

    Args:
        urls: "ws://stt:9000" or "wss://…".
        token: what the servers ask for; empty for none.
        traceparent: that of the turn at work, for a stream that is opened; may be empty.
        tls: for wss; the system's authorities if None.

    Attributes:
        losses: connections that were lost.

    Raises:
        SetupError: a URL is none, or the token cannot be sent.
    """

    def __init__(
        self,
        role: Role,
        urls: Sequence[str],
        token: str = "",
        *,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
        traceparent: Callable[[], str] = str,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.role = role
        self.losses = 0
        self.clock = clock
        self._urls = [_checked(url) for url in urls]
        self._token = checked_token(token)
        self._resolve = resolve or _addresses
        self._traceparent = traceparent
        self._tls = tls
        self._endpoints: dict[Address, Endpoint] = {}
        self._resolved_at = float("-inf")
        self._resolving = asyncio.Lock()
        self._stirred = asyncio.Event()
        self._capabilities = Capabilities()
        self._tasks = asyncio.TaskGroup()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "EndpointsPool":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
        await self._tasks.__aexit__(None, None, None)

    async def aclose(self) -> None:
        """Close all connections; streams that are open are lost."""
        if self._keeping is not None:
            self._keeping.cancel()
        for endpoint in self._endpoints.values():
            link, endpoint.link = endpoint.link, None
            if link is not None:
                await link.aclose()

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do, as the servers said; with the streams of all."""
        links = [e.link for e in self._endpoints.values() if e.link is not None]
        if links:
            total = sum(link.capabilities.max_streams for link in links)
            self._capabilities = replace(links[0].capabilities, max_streams=total)
        return self._capabilities

    @property
    def streams(self) -> int:
        """Open ones."""
        return sum(endpoint.streams for endpoint in self._endpoints.values())

    @property
    def ready(self) -> bool:
        """A server is connected whose engine takes streams."""
        return any(link.is_ready for link in self._live_links())

    @property
    def spares(self) -> int:
        """Servers that are well, where there is more than one."""
        well = sum(link.is_ready for link in self._live_links())
        return well if len(self._endpoints) > 1 else 0

    @property
    def attempts(self) -> int:
        """One on each server that is there, and one on a server that came back; three are enough."""
        return min(MAX_TRIES, len(self._endpoints) + 1)

    def note(self, error: EngineError) -> None:
        """A server that is lost is found out by its connection."""

    def _live_links(self) -> list[Link]:
        links = [endpoint.link for endpoint in self._endpoints.values()]
        return [link for link in links if link is not None and link.is_open]

    def states(self) -> list[EndpointState]:
        """Every server, as it is now."""
        return [endpoint.state() for endpoint in self._endpoints.values()]

    async def start(self, patience_s: float = START_S) -> None:
        """Connect to every server; return when one is ready, wait while none is.

        Servers are looked for in the background from then on, also where this fails.

        Raises:
            EngineError: none was, for so long; or all there are will not have us.
        """
        if self._keeping is None:
            self._keeping = self._tasks.create_task(self._keep(), name=f"endpoints-{self.role}")
        if self._tls is None and any(url.startswith("wss") for url in self._urls):
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        deadline = self.clock() + patience_s
        while True:
            await self._look_up(RESOLVE_TTL_S)
            if await self._connect_all():
                break
            errors = [e.error for e in self._endpoints.values() if e.error is not None]
            for_good = [error for error in errors if isinstance(error, EngineRefused)]
            if errors and len(for_good) == len(errors):
                raise for_good[0]
            if self.clock() >= deadline:
                raise errors[0] if errors else self._nobody()
            await asyncio.sleep(BACKOFF_S[0])

    async def open(self, role: Role, key: str, options: StreamOptions) -> PipedStream:
        """See `ports.EnginePool.open`. Waits only where every engine there is is being started again."""
        try:
            return await self._open(key, options)
        except EngineError as error:
            is_loading = self._is_loading
            if not await self._look_up(RESOLVE_TTL_S):
                if not is_loading:
                    raise
                await self._loaded(error)
        return await self._open(key, options)

    @property
    def _is_loading(self) -> bool:
        return bool(self._live_links()) and not self.ready

    async def _loaded(self, error: EngineError) -> None:
        try:
            async with asyncio.timeout(LOADING_S):
                while self._is_loading:
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            raise error from None

    async def _open(self, key: str, options: StreamOptions) -> PipedStream:
        full, failures = False, list[EngineError]()
        for endpoint in self._choice(key):
            try:
                link = await endpoint.connected()
                return await link.open(key, options, self._traceparent())
            except AtCapacity:
                full, endpoint.full_until = True, self.clock() + FULL_S
            except EngineError as error:
                failures.append(error)
                if len(failures) == MAX_TRIES:
                    break
        if full:
            raise at_capacity(self.role, self.capabilities.max_streams)
        raise failures[-1] if failures else self._nobody()

    def _choice(self, key: str) -> list["Endpoint"]:
        """Those that may be asked: healthy ones first, then by load, a session's own where they are alike."""
        now = self.clock()

        def order(endpoint: Endpoint) -> tuple[bool, bool, float, int]:
            home = crc32(f"{key} {endpoint.address}".encode())
            return endpoint.failures > 0, now < endpoint.full_until, endpoint.load, home

        return sorted((e for e in self._endpoints.values() if e.may_be_asked), key=order)

    def _nobody(self) -> EngineError:
        if self._live_links():
            return loading()
        errors = [e.error for e in self._endpoints.values() if e.error is not None]
        if errors:
            return errors[0]
        return EngineUnavailable(
            "endpoint_unknown",
            f"No address is known of {', '.join(self._urls)}.",
            remedy="Check the names; the service may not run yet.",
        )

    # --- looking after them ---
    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_S)
            await self._look_up(KEEP_RESOLVE_S)
            await self._connect_all()

    async def _connect_all(self) -> int:
        """Try those that are not connected and may be asked; how many are connected then."""
        for endpoint in list(self._endpoints.values()):
            if endpoint.may_be_asked:
                try:
                    await endpoint.connected()
                except EngineError:
                    continue
        return sum(e.link is not None for e in self._endpoints.values())

    async def _look_up(self, after_s: float) -> bool:
        """Look the names up again, if it was so long ago; whether there are addresses that were not known."""
        async with self._resolving:
            if self.clock() < self._resolved_at + after_s:
                return False
            found = [Address(url, host) for url in self._urls for host in await self._hosts(url)]
            self._resolved_at = self.clock()
        known = self._endpoints
        kept = {a: e for a, e in known.items() if a in found or e.link is not None}
        self._endpoints = {a: kept.get(a) or Endpoint(self, a) for a in [*kept, *found]}
        return any(address not in known for address in found)

    async def _hosts(self, url: str) -> Sequence[str]:
        host = urlsplit(url).hostname or ""
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                return await self._resolve(host)
        except (OSError, UnicodeError):  # what was known is kept
            return [a.host for a in self._endpoints if a.url == url]

    # --- for the endpoints ---
    async def join(self, address: Address) -> Link:
        """Connect, and look after the connection until it is lost."""
        tls = self._tls_for(address)
        link = await join(address, self.role, self._token, tls, self._stirred.set)
        self._tasks.create_task(self._live(link), name=f"endpoint-{address.host}")
        return link

    def _tls_for(self, address: Address) -> ssl.SSLContext | None:
        return self._tls if address.url.startswith("wss") else None

    async def _live(self, link: Link) -> None:
        error = await link.run()
        endpoint = self._endpoints.get(link.address)
        if endpoint is not None and endpoint.link is link:
            self.losses += 1
            endpoint.lost(error)
            self._stirred.set()


def _checked(url: str) -> str:
    parts = urlsplit(url)
    try:
        is_one = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.username or parts.query or parts.fragment:
        raise SetupError(
            "endpoint_url_invalid",
            f"'{url}' is no address of an engine server.",
            remedy="Write ws://HOST:PORT, or wss://HOST:PORT.",
        )
    return url.rstrip("/")


async def _addresses(host: str) -> Sequence[str]:
    """By the system. Of a host with both kinds, those of IPv4: the others are the same servers again."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    families = {info[0] for info in found}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    return list(dict.fromkeys(str(info[4][0]) for info in found if info[0] is family))
