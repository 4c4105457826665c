"""Tools on servers that the client names (MCP): who may be reached, what may be called, what must be asked before.

Rules on plain values: whoever connects and calls asks here first. What a server says of itself (`read_only`)
is its own word: a client that trusts a server only so far names the tools instead.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

ANYWHERE = "*"
"""As an allowed prefix: every address."""

MAX_SERVERS = 8
"""Of one session, and of one answer."""

MAX_NAME = 64
"""Characters of a function's name that chat servers take; MCP allows more of them, and others."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool as its server lists it.

    Attributes:
        schema: of its arguments, as JSON schema.
        annotations: what the server says of it, as MCP has it; None where it says nothing.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any] | None = None

    @property
    def read_only(self) -> bool:
        """The server says that it changes nothing."""
        return (self.annotations or {}).get("readOnlyHint") is True


@dataclass(frozen=True, slots=True)
class CallError:
    """Why a call has no output.

    Attributes:
        kind: the tool itself failed, or the protocol, or the HTTP under it.
        code: of the protocol (JSON-RPC) or of HTTP; 0 for a tool's own failure.
    """

    kind: Literal["tool_execution_error", "protocol_error", "http_error"]
    message: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Some of a server's tools: those that fit everything that is set. None: not set."""

    names: frozenset[str] | None = None
    read_only: bool | None = None

    def fits(self, tool: ListedTool) -> bool:
        """Whether a tool is one of them."""
        by_name = self.names is None or tool.name in self.names
        return by_name and self.read_only in (None, tool.read_only)


@dataclass(frozen=True, slots=True)
class Approval:
    """Which calls the client is asked about first.

    Attributes:
        default: for tools that neither filter fits.
        always, never: for those that one fits; where both do, the client is asked.
    """

    default: Literal["always", "never"] = "always"
    always: ToolFilter | None = None
    never: ToolFilter | None = None


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server as the client describes it. What opens it to us is in no representation of this.

    Attributes:
        label: the client's name for it.
        headers, token: sent with each request; `token` as a bearer's.
        description: what it is good for, for the language model.
        allowed: the tools that may be called; None for all.
    """

    label: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: str = field(default="", repr=False)
    description: str = ""
    allowed: ToolFilter | None = None
    approval: Approval = Approval()

    @property
    def access(self) -> tuple[object, ...]:
        """Where and how it is reached: servers that agree in this are the same, and listed once."""
        return self.label, self.url, self.headers, self.token

    @property
    def place(self) -> str:
        """Its address as it may be shown: queries may carry keys."""
        parts = urlsplit(self.url)
        return parts._replace(query="", fragment="").geturl()

    def allows(self, tool: ListedTool) -> bool:
        """Whether the client lets this tool be called."""
        return self.allowed is None or self.allowed.fits(tool)

    def must_ask(self, tool: ListedTool) -> bool:
        """Whether the client is to approve each call of this tool."""
        approval = self.approval
        if approval.always is not None and approval.always.fits(tool):
            return True
        if approval.never is not None and approval.never.fits(tool):
            return False
        return approval.default == "always"


def fault_of(url: str) -> str:
    """Why this cannot be a tool server's address; empty if it can."""
    parts = _split(url)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname:
        return "it is no http or https URL"
    if "@" in parts.netloc:
        return "it carries a user name; use 'authorization' or 'headers'"
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return "it has characters that no URL has"
    if any(step in (".", "..") for step in unquote(parts.path).split("/")):
        return "its path goes up and down"
    return ""


def permits(allowed: Iterable[str], url: str) -> bool:
    """Whether one of these addresses covers a URL: same scheme, host and port, and its path or one below it."""
    wanted = _split(url)
    if wanted is None or fault_of(url):
        return False
    return any(prefix == ANYWHERE or _covers(prefix, wanted) for prefix in allowed)


def _covers(prefix: str, wanted: SplitResult) -> bool:
    given = _split(prefix)
    if given is None or _origin(given) != _origin(wanted):
        return False
    path = given.path.rstrip("/")
    return wanted.path == path or wanted.path.startswith(f"{path}/") or not path


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return parts


def callable_name(name: str) -> str:
    """A tool's name as language models may call it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:MAX_NAME]


def arguments_of(text: str) -> dict[str, Any] | None:
    """What a model gave a tool, from its JSON; None if that is no object."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
