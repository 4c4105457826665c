"""Tool servers without servers: plain functions behind `ports.ToolServers`, which can be lost, hang and refuse."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from duologue.core.errors import DuologueError, EngineLost
from duologue.core.tool_servers import CallError, ListedTool, ToolServer

TOOLS = (
    ListedTool("add", "Adds.", {"type": "object"}, {"readOnlyHint": True}),
    ListedTool("wait", "Waits until it may return.", {"type": "object"}),
    ListedTool("fail", "Fails.", {"type": "object"}),
)


@dataclass
class ToolShop:
    """All servers there are.

    Attributes:
        tools: what each of them has.
        refuses: raised by whoever connects.
        hangs: nobody gets an answer to what a server has.
        output: what "add" returns.
        calls: (label, tool, arguments), as they came; open: connections.
        may_return: lets "wait" return.
    """

    tools: Sequence[ListedTool] = TOOLS
    refuses: DuologueError | None = None
    hangs: bool = False
    output: str = "three"
    calls: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    may_return: asyncio.Event = field(default_factory=asyncio.Event)
    _users: "dict[str, asyncio.Task[Any]]" = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def connect(self, server: ToolServer) -> AsyncIterator["_Connection"]:
        if self.refuses is not None:
            raise self.refuses
        task = asyncio.current_task()
        assert task is not None
        self._users[server.label] = task
        self.open.append(server.label)
        self.made.append(server.label)
        try:
            yield _Connection(self, server.label)
        except asyncio.CancelledError:
            if server.label not in self._lost:
                raise
            self._lost.remove(server.label)
            task.uncancel()
            raise EngineLost("mcp_server_unreachable", "It broke off.") from None
        finally:
            self.open.remove(server.label)

    def lose(self, label: str) -> None:
        """The connection to this server is lost."""
        self._lost.add(label)
        self._users[label].cancel()


@dataclass
class _Connection:
    shop: ToolShop
    label: str

    async def list_tools(self) -> Sequence[ListedTool]:
        if self.shop.hangs:
            await asyncio.Event().wait()
        return self.shop.tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str | CallError:
        self.shop.calls.append((self.label, name, arguments))
        if name == "wait":
            await self.shop.may_return.wait()
        if name == "fail":
            return CallError("tool_execution_error", "it went wrong")
        return self.shop.output
