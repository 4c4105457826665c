"""Asking a server on this machine for its health and its models, with nothing but the standard library."""

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 5.0
MAX_BYTES = 1_000_000

NO_HTTP = 0
"""In the place of a status: somebody listens there, and does not speak HTTP, or not in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes = b""


def get(port: int, path: str, timeout_s: float = TIMEOUT_S) -> Answer | None:
    """GET of 127.0.0.1. Blocks.

    Returns:
        None if nobody listens there.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.connect()
    except OSError:
        return None
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(MAX_BYTES))
    except (OSError, http.client.HTTPException):
        return Answer(NO_HTTP)
    finally:
        connection.close()


def models(port: int) -> tuple[str, ...] | None:
    """The models that a server lists.

    Returns:
        None if what answers there is no language models' server.
    """
    answer = get(port, "/v1/models")
    if answer is None or answer.status != 200:
        return None
    try:
        listed: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, dict) or not isinstance(listed.get("data", ()), list | tuple | None):
        return None
    found = [entry.get("id") for entry in listed.get("data") or () if isinstance(entry, dict)]
    return tuple(name for name in found if isinstance(name, str))


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port
