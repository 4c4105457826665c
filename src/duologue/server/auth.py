"""Who may come in: API keys, and which web pages may use a server that asks for none.

A server on one's own machine without a key is open to whoever can reach it, and a browser makes every web
page able to. So a request that carries an `Origin` must come from a page of this server itself, or from an
origin that the operator named; and without a key this server must have been called by a name that no
stranger's DNS could give it (else a page could rebind its own name to 127.0.0.1).
"""

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

KEY_PROTOCOL = "openai-insecure-api-key."
"""How a browser sends a key: it cannot set headers on a WebSocket, but it can name subprotocols."""

_LOCAL_SUFFIXES = (".local", ".lan", ".home.arpa", ".internal", ".localhost")


@dataclass(frozen=True, slots=True)
class Denied:
    """Why not."""

    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one server.

    Attributes:
        keys: any of them opens; none means that no key is asked for.
        origins: web origins ("https://example.org") that may use it besides its own; "*" for all.
    """

    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def check(self, headers: Mapping[str, str]) -> Denied | None:
        """Judge a request by its headers (names in lower case); None lets it in."""
        return self._check_origin(headers) or self._check_key(headers)

    def _check_key(self, headers: Mapping[str, str]) -> Denied | None:
        if not self.keys:
            return None
        given = _given_key(headers)
        if not given:
            message = "This server asks for an API key: send 'Authorization: Bearer KEY'."
            return Denied(401, "missing_api_key", message)
        if any(hmac.compare_digest(given.encode(), key.encode()) for key in self.keys):
            return None
        return Denied(401, "invalid_api_key", "This API key is not known here.")

    def _check_origin(self, headers: Mapping[str, str]) -> Denied | None:
        origin = headers.get("origin")
        if not origin or "*" in self.origins or origin in self.origins:
            return None
        host = headers.get("host", "")
        if urlsplit(origin).netloc != host:
            message = f"Pages of {origin} may not use this server. Allow them by --origin {origin}."
            return Denied(403, "origin_not_allowed", message)
        if not self.keys and not _is_local_name(urlsplit(f"//{host}").hostname or ""):
            message = f"'{host}' is no name of a local machine. Allow it by --origin {origin}."
            return Denied(403, "host_not_allowed", message)
        return None


def _given_key(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for name in headers.get("sec-websocket-protocol", "").split(","):
        if name.strip().startswith(KEY_PROTOCOL):
            return name.strip().removeprefix(KEY_PROTOCOL)
    return ""


def _is_local_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    return True
