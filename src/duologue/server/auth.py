"""Who may come in, and how often: API keys, ephemeral keys, limits, and which web pages may use a server.

A server on one's own machine without a key is open to whoever can reach it, and a browser makes every web
page able to. So a request that carries an `Origin` must come from a page of this server itself, or from an
origin that the operator named; and without a key this server must have been called by a name that no
stranger's DNS could give it (else a page could rebind its own name to 127.0.0.1).

A key comes as `Authorization: Bearer KEY`, or from a browser as a subprotocol. Not in the URL: URLs end up in the
logs of every proxy on the way. Nothing here ever logs a key; keys are told by their names.
"""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from duologue.server.client_secrets import ClientSecrets, Expired
from duologue.server.keys import EPHEMERAL_PREFIX, Key, KeyBook
from duologue.server.limits import Account, Failures, Full, Limits, whole_seconds

log = logging.getLogger("duologue.auth")

KEY_PROTOCOL = "openai-insecure-api-key."
"""How a browser sends a key: it cannot set headers on a WebSocket, but it can name subprotocols."""

WATCH_S = 2.0
"""How soon a revoked key's sessions end; at the door it opens nothing from the next request on."""

Kind = Literal["session", "stream", "visit", "request"]
"""What is asked for: the start of a conversation (which ephemeral keys may ask for too), that of a session of the
plain session API, a connection to one (which is counted once, however many come), or anything else."""

_SESSION_STARTS = {("POST", "/v1/realtime"), ("POST", "/v1/realtime/calls")}
_STREAM_STARTS = {("POST", "/api/v1/audio-streaming/sessions")}
_LOCAL_SUFFIXES = (".local", ".lan", ".home.arpa", ".internal", ".localhost")
_NOBODY = Key(name="", sha256="", created_at=0)


def kind_of(method: str, path: str) -> Kind:
    """What an HTTP request asks for; what a WebSocket does, its door knows."""
    if (method, path) in _STREAM_STARTS:
        return "stream"
    return "session" if (method, path) in _SESSION_STARTS else "request"


@dataclass(frozen=True, slots=True)
class Denied:
    """Why not.

    Attributes:
        retry_after_s: when to try again, where that helps.
    """

    status: int
    code: str
    message: str
    retry_after_s: int | None = None


class Admission:
    """Somebody who was let in.

    Attributes:
        name: the key's; of an ephemeral key, its parent's; empty where no key is needed.
        key: the hash of that key, by which what it makes is bound to it; empty where no key is needed.
        is_ephemeral: came with an ephemeral key.
        session: the settings that the ephemeral key carries, or None.
    """

    def __init__(
        self,
        key: Key,
        session: dict[str, Any] | None,
        rate_limits: Callable[[], list[dict[str, Any]]],
        on_leave: Callable[["Admission"], None] | None,
    ) -> None:
        self.name = key.name
        self.key = key.sha256
        self.is_ephemeral = session is not None
        self.session = session
        self.rate_limits = rate_limits
        """The list in the protocol's `rate_limits.updated`, as it is now; empty if there is nothing to tell."""
        self._on_leave = on_leave
        self._on_revoked: Callable[[], None] | None = None
        self._is_revoked = False

    def leave(self) -> None:
        """The conversation is over; calling it again does nothing. Of a plain request, nobody need call it."""
        on_leave, self._on_leave, self._on_revoked = self._on_leave, None, None
        if on_leave is not None:
            on_leave(self)

    def on_revoked(self, end: Callable[[], None]) -> None:
        """What to call, once, if the key is revoked before `leave`; it must not raise."""
        self._on_revoked = end
        if self._is_revoked:
            self.revoke()

    def revoke(self) -> None:
        """The key is revoked."""
        self._is_revoked = True
        end, self._on_revoked = self._on_revoked, None
        if end is not None:
            end()


class Guard:
    """The rules of one server, and its books. One a process: every door asks the same.

    Args:
        keys: the book of keys, or keys that open; none means that no key is asked for.
        origins: web origins ("https://example.org") that may use it besides its own; "*" for all.
        limits: of every key that has none of its own; without keys, of all callers together.
        clock_ms: monotonic.

    Attributes:
        origins: as given.
        secrets: the ephemeral keys.
    """

    def __init__(
        self,
        keys: KeyBook | Iterable[str] = (),
        origins: Iterable[str] = (),
        *,
        limits: Limits | None = None,
        secrets: ClientSecrets | None = None,
        clock_ms: Callable[[], float] = lambda: time.monotonic() * 1000,
    ) -> None:
        self.secrets = secrets if secrets is not None else ClientSecrets(time.time)
        self._keys = keys if isinstance(keys, KeyBook) else KeyBook(given=keys)
        self.origins = frozenset(origins)
        self._limits = limits or Limits()
        self._clock_ms = clock_ms
        self._failures = Failures()
        self._accounts: dict[str, Account] = {}
        self._here: set[Admission] = set()

    def admit(self, headers: Mapping[str, str], peer: str, kind: Kind) -> Admission | Denied:
        """Judge a request, and enter it in the books if it may come in.

        Args:
            headers: names in lower case.
            peer: the address that the connection comes from.

        Returns:
            An admission, whose `leave` must be called at the end of a session or a visit; or why not.
        """
        self.refresh()
        if (denied := self._check_origin(headers)) is not None:
            return denied
        known = self._identify(_given_key(headers), peer)
        if isinstance(known, Denied):
            return known
        key, session = known
        if session is not None and kind != "session":
            message = "An ephemeral key opens Realtime sessions, and nothing else."
            return Denied(403, "ephemeral_key_not_allowed", message)
        return self._enter(key, session, kind)

    def refresh(self) -> None:
        """Heed the key file as it is now: sessions of revoked keys end."""
        for key in self._keys.refresh():
            self.secrets.forget(key.sha256)
            ending = [admission for admission in self._here if admission.key == key.sha256]
            log.info("= key '%s' is revoked; %d sessions end", key.name, len(ending))
            for admission in ending:
                admission.revoke()
            self._close_account(key.name)

    async def watch(self) -> None:
        """Refresh every `WATCH_S`, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            self.refresh()

    def _identify(self, given: str, peer: str) -> tuple[Key, dict[str, Any] | None] | Denied:
        """Whose key it is, and the settings that it carries."""
        if given.startswith(EPHEMERAL_PREFIX):
            return self._parent_of(given, peer)
        if not self._keys.is_asking:
            return _NOBODY, None
        if not given:
            message = "This server asks for an API key: send 'Authorization: Bearer KEY'."
            return Denied(401, "missing_api_key", message)
        key = self._keys.made(given) or self._chosen(given, peer)
        return self._wrong(peer) if key is None else (key, None)

    def _chosen(self, given: str, peer: str) -> Key | None:
        """Made keys cannot be guessed and always open; the operator's own might be, so guesses are limited."""
        if self._failures.wait_ms(peer, int(self._clock_ms())):
            return None
        return self._keys.given(given)

    def _wrong(self, peer: str) -> Denied:
        """Not a word on which keys there are, or were."""
        if self._keys.fault is not None:
            message = "This server cannot read its keys; its log says why."
            return Denied(503, self._keys.fault.code, message)
        now_ms = int(self._clock_ms())
        if wait_ms := self._failures.wait_ms(peer, now_ms):
            seconds = whole_seconds(wait_ms)
            message = f"Too many wrong keys came from {peer}. Try again in {seconds} s."
            return Denied(429, "rate_limit_exceeded", message, seconds)
        if self._failures.add(peer, now_ms):
            log.warning("! many wrong API keys from %s: it is told to wait", peer)
        return Denied(401, "invalid_api_key", "This API key is not known here.")

    def _parent_of(self, given: str, peer: str) -> tuple[Key, dict[str, Any]] | Denied:
        secret = self.secrets.find(given)
        if isinstance(secret, Expired):
            return Denied(401, "expired_api_key", "This ephemeral key has expired: get another.")
        if secret is None:
            return self._wrong(peer)
        if not (secret.parent or self._keys.is_asking):
            return _NOBODY, secret.session
        key = self._keys.by_sha256(secret.parent)
        return self._wrong(peer) if key is None else (key, secret.session)

    def _enter(self, key: Key, session: dict[str, Any] | None, kind: Kind) -> Admission | Denied:
        limits, account = self._limits_of(key), self._accounts.setdefault(key.name, Account())
        began_ms = int(self._clock_ms())
        is_session = kind in ("session", "stream")
        full = account.enter(limits, began_ms, is_session=is_session)
        if full is not None:
            return denied_by(full)

        def leave(admission: Admission) -> None:
            self._here.discard(admission)
            if is_session:
                account.leave(int(self._clock_ms()) - began_ms)
            self._close_account(key.name)

        def rate_limits() -> list[dict[str, Any]]:
            return account.rate_limits(limits, int(self._clock_ms()))

        stays = kind != "request"
        admission = Admission(key, session, rate_limits, leave if stays else None)
        if stays:
            self._here.add(admission)
        return admission

    def _close_account(self, name: str) -> None:
        """Keep no books of a key that is no more, once nobody is here with it."""
        account = self._accounts.get(name)
        if name and account and not account.sessions and name not in self._keys.names():
            del self._accounts[name]

    def _limits_of(self, key: Key) -> Limits:
        usual = self._limits
        return Limits(
            usual.max_sessions if key.max_sessions is None else key.max_sessions,
            usual.per_minute if key.per_minute is None else key.per_minute,
        )

    def _check_origin(self, headers: Mapping[str, str]) -> Denied | None:
        origin = headers.get("origin")
        if not origin or "*" in self.origins or origin in self.origins:
            return None
        host = headers.get("host", "")
        if _host_of(origin) != host:
            message = f"Pages of {origin} may not use this server. Allow them by --origin {origin}."
            return Denied(403, "origin_not_allowed", message)
        if not self._keys.is_asking and not _is_local_name(host):
            message = f"'{host}' is no name of a local machine. Allow it by --origin {origin}."
            return Denied(403, "host_not_allowed", message)
        return None


def denied_by(full: Full) -> Denied:
    """The answer of a limit."""
    return Denied(429, full.code, full.message, full.retry_after_s)


def _given_key(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for name in headers.get("sec-websocket-protocol", "").split(","):
        if name.strip().startswith(KEY_PROTOCOL):
            return name.strip().removeprefix(KEY_PROTOCOL)
    return ""


def _host_of(origin: str) -> str | None:
    """ "host:port", as in a `Host` header; None of what is no URL."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _is_local_name(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_LOCAL_SUFFIXES)
    return True
