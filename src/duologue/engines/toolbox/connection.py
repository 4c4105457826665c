"""One connection to an MCP server (streamable HTTP), by the `mcp` package's client. Imported late: it is heavy.

What a foreign server may send is bounded here, and whatever it makes the library raise becomes an error of ours.
The results' schemas are not checked: they are the server's, too, and an ill-made one could take the loop's time.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    Implementation,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

from duologue import __version__
from duologue.core.errors import DuologueError, EngineError, EngineLost, EngineRefused
from duologue.core.tool_servers import CallError, ListedTool, ToolServer, permits
from duologue.engines.chat.address import is_local

CONNECT_S = 5.0
"""For a TCP and TLS handshake."""

GOODBYE_S = 1.0
"""To tell a server that its session is over; it will find out by itself otherwise."""

MAX_BYTES = 1024 * 1024
"""Of one answer. Parsing that takes the loop some 10 ms."""

MAX_PAGES = 16
"""Of a list of tools."""

MAX_LISTED = 512
"""Tools that are read of one list."""

MAX_DESCRIPTION = 4_096
"""Characters of a tool's description."""

MAX_REASON = 300
"""Characters of what a server says went wrong."""

INTERNAL = -32_603
"""JSON-RPC's code for an answer that cannot be used."""

MIN_SECRET = 6
"""Characters; shorter values of headers are found in any text."""


class _Heard:
    """The HTTP status of the request that is being made, where it is an error."""

    def __init__(self) -> None:
        self.status = 0


_heard: ContextVar[_Heard | None] = ContextVar("mcp_heard", default=None)


class _Limited(httpx2.AsyncByteStream):
    """A body of at most `MAX_BYTES`."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._inner:
            size += len(data)
            if size > MAX_BYTES:
                raise httpx2.ReadError(f"The answer has more than {MAX_BYTES} bytes.")
            yield data

    async def aclose(self) -> None:
        await self._inner.aclose()


def trusted_certificates() -> ssl.SSLContext:
    """Reading them takes longer than all the rest of making a client."""
    return httpx2.create_ssl_context()


@asynccontextmanager
async def connected(
    server: ToolServer, allowed: Sequence[str], tls: ssl.SSLContext
) -> AsyncIterator["McpConnection"]:
    """A connection to a server that may be reached. See `ports.ToolServers.connect`."""
    session: dict[str, str] = {}
    heard = _Heard()
    of_user: Exception | None = None
    _heard.set(heard)
    try:
        async with _http(server, allowed, tls, session) as http:
            transport = streamable_http_client(
                server.url,
                http_client=http,
                terminate_on_close=False,
                max_sse_event_size=MAX_BYTES,
            )
            info = Implementation(name="duologue", version=__version__)
            async with Client(transport, client_info=info, cache=None) as client:
                try:
                    yield McpConnection(server, client)
                except Exception as error:
                    of_user = error
                    raise
                finally:
                    await _part(http, server, session)
    except Exception as error:  # a foreign server can make the library raise anything
        if of_user is not None:
            raise of_user from None
        raise _explained(error, server, heard.status) from error


def _http(
    server: ToolServer, allowed: Sequence[str], tls: ssl.SSLContext, session: dict[str, str]
) -> httpx2.AsyncClient:
    async def ask(request: httpx2.Request) -> None:
        """Every request, those that follow a redirect, too."""
        if not permits(allowed, str(request.url)):
            raise EngineRefused(
                "mcp_redirect_refused",
                f"The MCP server '{server.label}' redirects to an address that may not be called.",
                remedy="Use the address that it redirects to, if its operator meant it so.",
            )

    async def hear(response: httpx2.Response) -> None:
        heard = _heard.get()
        if heard is not None and response.request.method == "POST":
            heard.status = response.status_code if response.status_code >= 400 else 0
        if found := response.headers.get("mcp-session-id"):
            session["mcp-session-id"] = found
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("The answer is compressed, which was not asked for.")
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        if not is_stream and isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Limited(response.stream)

    headers = dict(server.headers)
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    headers["Accept-Encoding"] = "identity"
    return httpx2.AsyncClient(
        headers=headers,
        verify=tls,
        timeout=httpx2.Timeout(None, connect=CONNECT_S),  # the rest is limited by who asks
        event_hooks={"request": [ask], "response": [hear]},
        # a proxy that the machine goes out through is no way to the machine itself
        trust_env=not is_local(server.url),
    )


async def _part(http: httpx2.AsyncClient, server: ToolServer, session: dict[str, str]) -> None:
    """Tell the server that its session is over."""
    if session:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(GOODBYE_S):
                await http.delete(server.url, headers=session)


class McpConnection:
    """See `ports.ToolConnection`."""

    def __init__(self, server: ToolServer, client: Client) -> None:
        self._server = server
        self._client = client

    async def list_tools(self) -> Sequence[ListedTool]:
        """See `ports.ToolConnection`."""
        found: list[ListedTool] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            found += [_listed(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None or len(found) >= MAX_LISTED:
                break
        return found[:MAX_LISTED]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str | CallError:
        """See `ports.ToolConnection`."""
        heard = _Heard()
        before = _heard.set(heard)
        params = CallToolRequestParams(name=name, arguments=dict(arguments))
        try:
            result = await self._client.session.send_request(
                CallToolRequest(params=params), CallToolResult
            )
        except MCPError as error:
            reason = _clean(error.message, self._server)
            if heard.status:
                return CallError("http_error", reason, heard.status)
            return CallError("protocol_error", reason, error.code)
        except ValueError as error:  # pydantic's, too: an answer that is no result
            reason = f"The server's answer cannot be used ({type(error).__name__})."
            return CallError("protocol_error", reason, INTERNAL)
        finally:
            _heard.reset(before)
        text = _text_of(result)
        if result.is_error:
            return CallError("tool_execution_error", text or "The tool failed.")
        return text


def _listed(tool: Tool) -> ListedTool:
    annotations = None
    if tool.annotations is not None:
        annotations = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True)
    about = (tool.description or "")[:MAX_DESCRIPTION]
    return ListedTool(tool.name, about, tool.input_schema, annotations)


def _text_of(result: CallToolResult) -> str:
    """What a model can read of a result."""
    parts = []
    for content in result.content:
        match content:
            case TextContent(text=text):
                parts.append(text)
            case ResourceLink(name=name, uri=uri):
                parts.append(f"{name}: {uri}")
            case EmbeddedResource(resource=TextResourceContents(text=text)):
                parts.append(text)
            case other:
                parts.append(f"(There is also {other.type}, which cannot be read here.)")
    return "\n".join(parts)


# --- what went wrong ---
def _explained(error: Exception, server: ToolServer, status: int) -> DuologueError:
    """Why a server cannot be used, from whatever was raised."""
    cause = _first(error)
    if isinstance(cause, DuologueError):
        return cause
    name = f"The MCP server '{server.label}' at {server.place}"
    if status in (401, 403):
        return EngineRefused(
            "mcp_server_denied",
            f"{name} answered HTTP {status}.",
            remedy="Check 'authorization' and 'headers' of the tool.",
        )
    if isinstance(cause, httpx2.TransportError | OSError | EngineError):
        return EngineLost(
            "mcp_server_unreachable",
            f"{name} cannot be reached, or broke off ({type(cause).__name__}).",
            remedy="Check that it runs, and its address.",
        )
    said = _clean(cause.message if isinstance(cause, MCPError) else "", server)
    reason = ", ".join(filter(None, (f"HTTP {status}" if status else "", said)))
    return EngineRefused(
        "mcp_server_error",
        f"{name} did not answer as an MCP server does: {reason or type(cause).__name__}.",
        remedy="Check that its address is that of the streamable HTTP endpoint.",
    )


def _first(error: BaseException) -> BaseException:
    """The error in groups of them; one of ours, if there is any."""
    leaves = [error]
    while groups := [leaf for leaf in leaves if isinstance(leaf, BaseExceptionGroup)]:
        leaves = [leaf for leaf in leaves if not isinstance(leaf, BaseExceptionGroup)]
        leaves += [inner for group in groups for inner in group.exceptions]
    ours = [leaf for leaf in leaves if isinstance(leaf, DuologueError)]
    return (ours or leaves)[0]


def _clean(text: str, server: ToolServer) -> str:
    """A server's own words, without what opens it."""
    for secret in (server.token, *(value for _, value in server.headers)):
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, "…")
    return text[:MAX_REASON].rstrip(". \n")
