"""The tool servers of one session: asked what they have, and called when the language model wants it.

Each server has one task (`tool_link`), so one that dies or hangs costs what ran there, and nothing else. A call
lives on when the answer that made it is interrupted; what became of it is told after that answer's last word,
so that a client may ask for the next answer at once.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Protocol

from duologue.core.conversation import ApprovalAnswer, Conversation, ToolList
from duologue.core.errors import DuologueError, EngineUnavailable, StateConflict
from duologue.core.notices import (
    ListingBegan,
    ListingEnded,
    Problem,
    ServerCallBegan,
    ServerCallEnded,
)
from duologue.core.offer import Offer, make_offer
from duologue.core.options import ReplyOptions
from duologue.core.tool_servers import MAX_SERVERS, CallError, ListedTool, ToolServer
from duologue.ports import Listener, ToolConnection, ToolServers
from duologue.session.tool_link import Link, Use

log = logging.getLogger("duologue.session")

MAX_TOOLS = 128
"""Of one server; what it lists beyond is left out. It is also what OpenAI's models take in all."""

MAX_CALLS = 8
"""Waiting and running at a time, per session; more fail at once."""

MAX_UNANSWERED = 32
"""Approvals that the client may yet give; the oldest is then taken as refused."""

MAX_OUTPUT_CHARS = 16_000
"""Of a tool's output for the model: about 4 000 tokens, a seventh of what it is shown in all."""


class Desk(Protocol):
    """What the toolbox needs of its session."""

    id: str
    listener: Listener
    conversation: Conversation

    def new_id(self, prefix: str) -> str:
        """A fresh name."""

    def fail(self, error: BaseException) -> None:
        """The session cannot go on."""


class Toolbox:
    """See the module. Everything is called on the event loop's thread.

    Args:
        servers: the way to them; None where there is none.
        tasks: owner of the links.
    """

    def __init__(self, desk: Desk, servers: ToolServers | None, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._servers = servers
        self._tasks = tasks
        self._wanted: tuple[ToolServer, ...] = ()
        self._links: dict[object, Link] = {}
        self._unanswered: OrderedDict[str, Use] = OrderedDict()
        self._running = 0

    # --- servers come and go ---
    def adopt(self, servers: tuple[ToolServer, ...]) -> None:
        """From here on, these are the session's.

        Each is asked once, as long as it stays the same; one that failed, again when the client changes any.
        """
        if servers == self._wanted:
            return
        self._wanted = servers
        lasting = self._lasting()
        for access, link in list(self._links.items()):
            if access not in lasting or link.failed:
                self._links.pop(access).let_go()
        for server in servers:
            self._link(server)

    async def offer(self, options: ReplyOptions) -> Offer:
        """What a model may call in an answer.

        A server that only this answer names is waited for; of the session's, what has been listed is offered.
        """
        lasting = self._lasting()
        listed = []
        for server in options.servers:
            link = self._link(server)
            if server.access not in lasting:
                await link.asked.wait()
                if link.failed:  # the next answer that names it tries again
                    self._links.pop(server.access, None)
            listed.append((server, link.tools))
        return make_offer(options, listed)

    def _lasting(self) -> set[object]:
        return {server.access for server in self._wanted}

    def _link(self, server: ToolServer) -> Link:
        known = self._links.get(server.access)
        if known is not None:
            return known
        self._make_room()
        link = self._new_link(server)
        problem = None
        if len(self._links) < MAX_SERVERS:
            self._links[server.access] = link
        else:
            problem = _too_many(server)
        self._start(link, self._list(link, problem))
        return link

    def _make_room(self) -> None:
        """Let servers go that only an earlier answer named."""
        lasting = self._lasting()
        for access, link in list(self._links.items()):
            if len(self._links) >= MAX_SERVERS and access not in lasting and link.is_idle:
                self._links.pop(access).let_go()

    def _new_link(self, server: ToolServer) -> Link:
        def connect() -> AbstractAsyncContextManager[ToolConnection]:
            if self._servers is None:
                raise _no_way(server)
            return self._servers.connect(server)

        return Link(server, connect, self._ran)

    def _start(self, link: Link, work: Coroutine[Any, Any, object]) -> None:
        link.task = self._tasks.create_task(self._guard(work), name=f"tools-{link.server.label}")

    async def _guard(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - the outer wall of a server: a bug ends the session, loudly
            self._desk.fail(error)

    async def _list(self, link: Link, problem: DuologueError | None) -> None:
        """Ask a server what it has, and stay connected; not if there is a `problem` with that."""
        desk = self._desk
        item = ToolList(desk.new_id("mcpl"), link.server.label, status="in_progress")
        previous = desk.conversation.add(item)
        desk.listener.tell(ListingBegan(item, previous))

        def listed(tools: Sequence[ListedTool]) -> None:
            link.tools = tuple(tools[:MAX_TOOLS])
            done = replace(item, tools=link.tools, status="completed")
            desk.conversation.put(done)
            link.asked.set()
            desk.listener.tell(ListingEnded(done, previous, failed=False))

        error = problem or await link.run(listed)
        if error is not None:
            log.warning("! %s: tools of %r: %s", desk.id, link.server.label, error.code)
        if not link.asked.is_set():
            link.failed = True
            link.asked.set()
            failed = replace(item, status="incomplete")
            desk.conversation.put(failed)
            desk.listener.tell(ListingEnded(failed, previous, failed=True))
            if error is not None:
                desk.listener.tell(Problem(error))

    # --- calls ---
    def run(self, use: Use) -> None:
        """Run a tool."""
        self._desk.listener.tell(ServerCallBegan(use.call.id, use.index))
        if self._running >= MAX_CALLS:
            message = f"Only {MAX_CALLS} tools run at a time."
            self._end(use, CallError("tool_execution_error", message))
            return
        self._running += 1
        server = use.target.server
        link = self._links.get(server.access) or self._new_link(server)
        link.put(use)
        if server.access not in self._links:  # the client took it out since
            link.let_go()
        if not link.is_running:
            self._start(link, link.run())

    def _ran(self, use: Use, outcome: str | CallError) -> None:
        self._running -= 1
        self._end(use, outcome)

    def _end(self, use: Use, outcome: str | CallError) -> None:
        if isinstance(outcome, CallError):
            use.call = replace(use.call, error=outcome, status="completed")
        else:
            use.call = replace(use.call, output=_shortened(outcome), status="completed")
        self._desk.conversation.put(use.call)
        ended = ServerCallEnded(use.call, use.index, use.previous_id)
        use.when_over(lambda: self._desk.listener.tell(ended))

    # --- the client is asked ---
    def ask(self, request_id: str, use: Use) -> None:
        """The client was asked whether this may run."""
        self._unanswered[request_id] = use
        if len(self._unanswered) > MAX_UNANSWERED:
            _, oldest = self._unanswered.popitem(last=False)
            self._refuse(oldest, "nobody answered the request for approval")

    def expect(self, answer: ApprovalAnswer) -> None:
        """See that this answers a request that is open.

        Raises:
            StateConflict: it does not.
        """
        if answer.request_id not in self._unanswered:
            raise StateConflict(
                "mcp_approval_request_not_found",
                f"No approval request '{answer.request_id}' waits for an answer.",
                remedy="Answer each mcp_approval_request once, by its id.",
                param="item.approval_request_id",
            )

    def decide(self, answer: ApprovalAnswer) -> None:
        """The client allowed the call that it was asked about, or did not."""
        use = self._unanswered.pop(answer.request_id)
        use.call = replace(use.call, approval_id=answer.request_id)
        self._desk.conversation.put(use.call)
        if answer.approved:
            self.run(use)
        else:
            self._refuse(use, answer.reason or "the user did not approve it")

    def _refuse(self, use: Use, reason: str) -> None:
        message = f"The call was not allowed to run: {reason.rstrip('.')}."
        self._end(use, CallError("tool_execution_error", message))


def _shortened(output: str) -> str:
    if len(output) <= MAX_OUTPUT_CHARS:
        return output
    return f"{output[:MAX_OUTPUT_CHARS]}\n(Cut off here: it has {len(output)} characters.)"


def _no_way(server: ToolServer) -> DuologueError:
    return EngineUnavailable(
        "mcp_not_set_up",
        f"'{server.label}' cannot be asked: this server calls no tool servers.",
        remedy="Start it with --mcp-servers and the addresses that it may call, or use function tools.",
    )


def _too_many(server: ToolServer) -> DuologueError:
    return StateConflict(
        "too_many_tool_servers",
        f"'{server.label}' is not asked: a session has at most {MAX_SERVERS} tool servers.",
        remedy="Take others out of session.tools.",
    )
