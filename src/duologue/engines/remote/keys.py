"""Keys to the servers of remote engines: told once by the application, asked for by an address.

An engine is made from the text of a setting, which is logged and shown; its key comes this way instead. Each key
belongs to one server, so that none is ever sent to another.

    DUOLOGUE_AUDIO_API_KEY="sk-…"                          of OpenAI's own server
    DUOLOGUE_AUDIO_API_KEY="sk-…,box:8080=secret"          and of one more
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

HOSTED_URL = "https://api.openai.com/v1"
"""OpenAI's own server: what an engine of its form asks where no address is written."""

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_keys: dict[str, str] = {}


def provide(keys: Mapping[str, str]) -> None:
    """Take the place of whatever was told before.

    Args:
        keys: by server, as `read` gives them.
    """
    _keys.clear()
    _keys.update(keys)


def read(text: str) -> dict[str, str]:
    """Keys out of a setting: HOST[:PORT]=KEY, separated by commas; without a host for OpenAI's own server.

    A host without a port stands for all of its ports. What stands before the first "=" is taken for a host only if
    it can be one, so a key may hold and end with "=".
    """
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        place, equals, key = part.partition("=")
        if equals and key.strip("=") and _is_host(place):
            found[place.lower()] = key
        else:
            found[_host(HOSTED_URL)] = part
    return found


def key_for(url: str) -> str:
    """The key of the server at an address; empty if there is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return ""
    host = _host(url)
    return _keys.get(f"{host}:{port}") or _keys.get(host, "")


def _host(url: str) -> str:
    """IPv6 in brackets, as in addresses."""
    host = (urlsplit(url).hostname or "").lower()
    return f"[{host}]" if ":" in host else host


def _is_host(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname) and parts.netloc == text and (parts.port or 1) > 0
    except ValueError:
        return False
