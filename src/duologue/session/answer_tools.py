"""The tools of servers, as one answer sees them: offered to its model, and used when it has called them."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol, cast

from duologue.core.conversation import ServerCall
from duologue.core.offer import Offer
from duologue.ports import Delta, Prompt, Responder
from duologue.session.reply import ServerTools
from duologue.session.tool_link import Use
from duologue.session.toolbox import Toolbox


class HasTools(Protocol):
    """An answer, or one that is rehearsed: what it is offered is used by whoever tells the client of it."""

    tools: ServerTools | None


class Helped:
    """A responder that is offered the servers' tools beside the client's functions."""

    def __init__(self, toolbox: Toolbox, reply: HasTools, responder: Responder) -> None:
        self._toolbox = toolbox
        self._reply = reply
        self._responder = responder

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        offer = await self._toolbox.offer(prompt.options)
        self._reply.tools = AnswerTools(self._toolbox, offer)
        options = replace(prompt.options, tools=offer.tools, tool_choice=offer.choice)
        inner = self._responder.respond(replace(prompt, options=options))
        deltas = cast("aclosing[AsyncIterator[Delta]]", aclosing(inner))  # type: ignore[type-var]
        async with deltas as stream:
            async for delta in stream:
                yield delta


class AnswerTools:
    """The servers' tools, as one answer sees them; see `reply.ServerTools`."""

    def __init__(self, toolbox: Toolbox, offer: Offer) -> None:
        self._toolbox = toolbox
        self._targets = offer.targets
        self._waiting: list[Callable[[], None]] | None = []

    def owner(self, name: str) -> tuple[str, str] | None:
        """Server's label and tool's own name, for what the model calls so."""
        target = self._targets.get(name)
        return None if target is None else (target.server.label, target.tool.name)

    def must_ask(self, name: str) -> bool:
        """Whether the client is to be asked before that is run."""
        target = self._targets[name]
        return target.server.must_ask(target.tool)

    def use(
        self, name: str, call: ServerCall, index: int, previous_id: str | None, request_id: str
    ) -> None:
        """The call is whole: run it, or wait for the answer to the request of this id."""
        use = Use(call, index, previous_id, self._targets[name], self._when_over)
        if request_id:
            self._toolbox.ask(request_id, use)
        else:
            self._toolbox.run(use)

    def over(self) -> None:
        """The answer's last word was told."""
        waiting, self._waiting = self._waiting, None
        for tell in waiting or ():
            tell()

    def _when_over(self, tell: Callable[[], None]) -> None:
        if self._waiting is None:
            tell()
        else:
            self._waiting.append(tell)
