"""The `mcp` entries of `tools`: between the protocol's objects and ours. What they open is never shown again."""

import re
from collections.abc import Sequence
from typing import Any

from duologue.core.errors import MalformedEvent
from duologue.core.tool_servers import MAX_SERVERS, Approval, ToolFilter, ToolServer, fault_of

Json = dict[str, Any]

MAX_HEADERS = 32
MAX_HEADER_CHARS = 8_192
"""What HTTP servers commonly take of one header."""

HIDDEN = "<redacted>"

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_OURS = re.compile(
    r"host|content-.*|transfer-encoding|connection|upgrade|te|trailer|accept.*|mcp-.*|last-event-id"
)
"""Headers that belong to the transport."""

_ELSEWHERE = {
    "connector_id": "Connectors are OpenAI's own.",
    "tunnel_id": "Tunnels are OpenAI's own.",
}


def servers(docs: Sequence[Json] | None, param: str) -> tuple[ToolServer, ...]:
    """The MCP servers among the tools.

    Raises:
        MalformedEvent: one that cannot be reached as it is described.
    """
    found: dict[str, ToolServer] = {}
    for number, doc in enumerate(docs or []):
        if doc.get("type") != "mcp":
            continue
        where = f"{param}[{number}]"
        server = _server(doc, where)
        if server.label in found:
            message = f"There are two servers '{server.label}'."
            raise _invalid(f"{where}.server_label", message, "Give each a label of its own.")
        found[server.label] = server
    if len(found) > MAX_SERVERS:
        raise _invalid(param, f"There are {len(found)} MCP servers; at most {MAX_SERVERS} can be.")
    return tuple(found.values())


def choice(doc: Any, among: Sequence[ToolServer]) -> tuple[str, str] | None:
    """For a `tool_choice` among a server's tools: `tool_choice` and `choice_server` as options have them.

    A server that is not there leaves the model its choice: tools and choice may come in two updates.
    """
    if not isinstance(doc, dict) or doc.get("type") != "mcp":
        return None
    label = doc.get("server_label")
    if not any(server.label == label for server in among):
        return "auto", ""
    return doc.get("name") or "required", str(label)


def shown(docs: Sequence[Json]) -> list[Json]:
    """Tools as they may be shown, to whoever holds the connection: without keys, tokens and queries."""
    return [_shown(doc) if doc.get("type") == "mcp" else doc for doc in docs]


def _shown(doc: Json) -> Json:
    safe = {name: value for name, value in doc.items() if name != "authorization"}
    if doc.get("headers"):
        safe["headers"] = dict.fromkeys(doc["headers"], HIDDEN)
    url, query, _ = str(doc.get("server_url") or "").partition("?")
    if query:
        safe["server_url"] = f"{url}?{HIDDEN}"
    return safe


def _server(doc: Json, where: str) -> ToolServer:
    for name, why in _ELSEWHERE.items():
        if doc.get(name):
            message = f"'{where}.{name}' is not served by Duologue. {why}"
            remedy = "Use server_url, with headers or authorization."
            raise MalformedEvent(
                "unsupported_parameter", message, remedy=remedy, param=f"{where}.{name}"
            )
    for name in ("server_label", "server_url"):
        if not doc.get(name):
            message = f"Missing required parameter: '{where}.{name}'."
            raise MalformedEvent("missing_required_parameter", message, param=f"{where}.{name}")
    if fault := fault_of(doc["server_url"]):
        raise _invalid(f"{where}.server_url", f"This is no address of an MCP server: {fault}.")
    token = doc.get("authorization") or ""
    if not _HEADER_VALUE.fullmatch(token) or len(token) > MAX_HEADER_CHARS:
        raise _invalid(f"{where}.authorization", "A token is one line of ASCII.")
    return ToolServer(
        label=doc["server_label"],
        url=doc["server_url"],
        headers=_headers(doc.get("headers") or {}, f"{where}.headers"),
        token=token,
        description=doc.get("server_description") or "",
        allowed=_filter(doc.get("allowed_tools")),
        approval=_approval(doc.get("require_approval")),
    )


def _headers(doc: dict[str, str], where: str) -> tuple[tuple[str, str], ...]:
    if len(doc) > MAX_HEADERS:
        raise _invalid(where, f"At most {MAX_HEADERS} headers are sent.")
    for name, value in doc.items():
        fits = _HEADER_VALUE.fullmatch(value) and len(value) <= MAX_HEADER_CHARS
        if not _HEADER_NAME.fullmatch(name) or not fits:
            raise _invalid(where, "A header is a name and one line of ASCII.")
        if _OURS.fullmatch(name.lower()):
            raise _invalid(where, f"The header '{name}' is set by the transport.")
    return tuple(doc.items())


def _filter(doc: Any) -> ToolFilter | None:
    """Names, or an object; one that says nothing is none."""
    if isinstance(doc, list):
        return ToolFilter(frozenset(doc))
    if not doc:
        return None
    names, read_only = doc.get("tool_names"), doc.get("read_only")
    if names is None and read_only is None:
        return None
    return ToolFilter(None if names is None else frozenset(names), read_only)


def _approval(doc: Any) -> Approval:
    """What is not said to be free of it needs approval."""
    if isinstance(doc, dict):
        return Approval("always", _filter(doc.get("always")), _filter(doc.get("never")))
    return Approval("never") if doc == "never" else Approval()


def _invalid(param: str, message: str, remedy: str = "") -> MalformedEvent:
    return MalformedEvent(
        "invalid_value", f"Invalid '{param}': {message}", remedy=remedy, param=param
    )
