"""The way to MCP servers: which may be asked at all, and what it takes to ask them.

Clients name the servers, and this machine fetches what they name, from where it stands in the operator's network.
So nothing is reached that the operator has not listed, by a redirect neither.
"""

import asyncio
import importlib
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from duologue.core.errors import EngineUnavailable, StateConflict
from duologue.core.tool_servers import ToolServer, permits
from duologue.ports import ToolConnection


class McpServers:
    """See `ports.ToolServers`.

    Args:
        allowed: addresses that clients may name, each with all below it; "*" for any. None means none.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed
        self._lock = threading.Lock()
        self._library: Any = None
        self._tls: Any = None

    def load(self) -> None:
        """Import the library and read the certificates, which take a second. Blocks; may be called in any thread.

        Raises:
            EngineUnavailable: the library is not there.
        """
        with self._lock:
            if self._library is not None:
                return
            try:
                library = importlib.import_module("duologue.engines.toolbox.connection")
            except ModuleNotFoundError as error:
                raise EngineUnavailable(
                    "mcp_library_missing",
                    "No MCP server can be asked: the mcp package is not installed.",
                    remedy="Install duologue[mcp].",
                ) from error
            # what tools are given and return is what people say; it belongs into no log
            logging.getLogger("mcp").setLevel(logging.CRITICAL)
            self._tls = library.trusted_certificates()
            self._library = library

    @asynccontextmanager
    async def connect(self, server: ToolServer) -> AsyncIterator[ToolConnection]:
        """See `ports.ToolServers`."""
        if not permits(self._allowed, server.url):
            raise StateConflict(
                "mcp_server_not_allowed",
                f"The MCP server '{server.label}' at {server.place} is not one that this server may call.",
                remedy="Its operator lists those with --mcp-servers (DUOLOGUE_MCP_SERVERS).",
                param="session.tools",
            )
        if self._library is None:
            await asyncio.to_thread(self.load)
        async with self._library.connected(server, self._allowed, self._tls) as connection:
            yield connection
