"""One tool server of a session: the task that holds its connection, and the calls that run over it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from duologue.core.conversation import ServerCall
from duologue.core.errors import DuologueError, EngineLost, first_of
from duologue.core.offer import Target
from duologue.core.tool_servers import CallError, ListedTool, ToolServer, arguments_of
from duologue.ports import ToolConnection

LISTING_S = 15.0
"""To connect to a server and hear what it has: a server that starts on demand takes some seconds."""

CALL_S = 60.0
"""For one call. Longer than anybody waits on the phone; a tool that takes longer should say so and go on alone."""

LOST = -32_000
"""JSON-RPC's code for a connection that was closed."""


@dataclass(slots=True)
class Use:
    """A call that an answer made.

    Attributes:
        index: its place in that answer.
        previous_id: the item before it.
        when_over: calls back once that answer's last word was told.
    """

    call: ServerCall
    index: int
    previous_id: str | None
    target: Target
    when_over: Callable[[Callable[[], None]], None]


class Link:
    """A server, connected or not. The owner runs `run` as a task, and again when a call finds it ended.

    Args:
        connect: makes the connection.
        ended: told what became of each call that was `put`, unless the task is cancelled.

    Attributes:
        tools: what the server has, once it has said so.
        asked: it has said so, or will not (`failed`).
        task: who runs it.
    """

    def __init__(
        self,
        server: ToolServer,
        connect: Callable[[], AbstractAsyncContextManager[ToolConnection]],
        ended: Callable[[Use, str | CallError], None],
    ) -> None:
        self.server = server
        self.tools: tuple[ListedTool, ...] = ()
        self.asked = asyncio.Event()
        self.failed = False
        self.task: asyncio.Task[None] | None = None
        self._connect = connect
        self._ended = ended
        self._uses: list[Use] = []
        self._inbox: asyncio.Queue[Use | None] = asyncio.Queue()  # as long as there are calls

    @property
    def is_idle(self) -> bool:
        """No call waits or runs."""
        return not self._uses

    @property
    def is_running(self) -> bool:
        """Its task is at work."""
        return self.task is not None and not self.task.done()

    def put(self, use: Use) -> None:
        """A call to be run as soon as there is a connection."""
        self._uses.append(use)
        self._inbox.put_nowait(use)

    def let_go(self) -> None:
        """Disconnect, once what was put is done."""
        self._inbox.put_nowait(None)

    async def run(
        self, listed: Callable[[Sequence[ListedTool]], None] | None = None
    ) -> DuologueError | None:
        """Connect, and run calls until the server is let go or lost; returns why it was lost.

        Args:
            listed: told what the server has, if it is to be asked.
        """
        error: DuologueError | None = None
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(LISTING_S):
                    connection = await stack.enter_async_context(self._connect())
                    tools = await connection.list_tools() if listed is not None else ()
                if listed is not None:
                    listed(tools)
                await self._serve(connection)
        except* TimeoutError:
            error = _late(self.server)
        except* DuologueError as errors:
            error = first_of(errors)
        uses, self._uses, self._inbox = self._uses, [], asyncio.Queue()
        for use in uses:
            lost = str(error) if error is not None else "The connection was closed."
            self._ended(use, CallError("protocol_error", lost, LOST))
        return error

    async def _serve(self, connection: ToolConnection) -> None:
        async with asyncio.TaskGroup() as calls:
            while (use := await self._inbox.get()) is not None:
                calls.create_task(self._carry_out(connection, use), name="tool-call")

    async def _carry_out(self, connection: ToolConnection, use: Use) -> None:
        outcome = await _outcome(connection, use)
        self._uses.remove(use)
        self._ended(use, outcome)


async def _outcome(connection: ToolConnection, use: Use) -> str | CallError:
    arguments = arguments_of(use.call.arguments)
    if arguments is None:
        message = "The tool was not run: its arguments are no JSON object."
        return CallError("tool_execution_error", message)
    try:
        async with asyncio.timeout(CALL_S):
            return await connection.call(use.target.tool.name, arguments)
    except TimeoutError:
        message = f"The tool did not return within {CALL_S:g} s."
        return CallError("tool_execution_error", message)


def _late(server: ToolServer) -> DuologueError:
    return EngineLost(
        "mcp_server_timeout",
        f"The MCP server '{server.label}' did not say within {LISTING_S:g} s what it has.",
        remedy=f"Check that an MCP server (streamable HTTP) answers at {server.place}.",
    )
