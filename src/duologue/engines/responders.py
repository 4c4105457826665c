"""Language models in order of preference: the next is asked while the preferred one fails, before it has said a word.

What has begun is not continued by another model: half of one thought and half of another is worse than an answer that
breaks off, and says so.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from duologue.core.capabilities import Capabilities
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.engines.breaker import Breaker
from duologue.engines.threads import engine_bug
from duologue.ports import Delta, Prompt, Responder

log = logging.getLogger("duologue.engines")

FIRST_PATIENCE_S = 12.0
"""Longest wait for the first word where another model stands behind: a model that reads a long prompt on a small
machine takes some seconds, and nobody waits longer on the telephone."""


class LlmLink:
    """One model of a chain."""

    def __init__(self, name: str, responder: Responder) -> None:
        self.name = name
        self.responder = responder
        self.breaker = Breaker()
        self.lost = 0

    @property
    def rests(self) -> bool:
        """It failed lately."""
        return self.breaker.is_open

    def is_passed_over(self, now_s: float) -> bool:
        """It failed a moment ago; later it is tried out by the next answer."""
        at_s = self.breaker.probe_at_s
        return at_s is not None and now_s < at_s


class ResponderChain:
    """A `ports.Responder` over several. The list may grow while models come up."""

    def __init__(self, links: Sequence[LlmLink], *, patience_s: float = FIRST_PATIENCE_S) -> None:
        self.links = links
        self.fallbacks = 0
        self._patience_s = patience_s

    @property
    def capabilities(self) -> Capabilities:
        """Those of the preferred model; it acts if any does, for whoever answers may be asked to."""
        found = [_capabilities(link.responder) for link in self.links]
        return next((c for c in found if c.acts), found[0]) if found else Capabilities()

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        now_s = asyncio.get_running_loop().time
        is_answer = prompt.purpose == "answer"
        able = [link for link in self.links if is_answer or not _capabilities(link.responder).acts]
        order = sorted(able, key=lambda link: link.is_passed_over(now_s()))
        if not order:
            raise EngineLost("llm_missing", "No language model is up.")
        for number, link in enumerate(order):
            is_last = number + 1 == len(order)
            has_begun = False
            patience_s = self._patience_s if is_answer and not is_last else None
            async with aclosing(self._ask(link, prompt, patience_s)) as deltas:
                try:
                    async for delta in deltas:
                        has_begun = True
                        yield delta
                except Exception as bug:
                    error = engine_bug(bug)
                    self._failed(link, error, now_s())
                    if has_begun or is_last:
                        raise error from bug
                    log.warning("! llm %s: %s The next model is asked.", link.name, error)
                    self.fallbacks += 1
                    continue
            link.breaker.succeeded()
            return

    async def _ask(
        self, link: LlmLink, prompt: Prompt, patience_s: float | None
    ) -> AsyncGenerator[Delta, None]:
        source = aiter(link.responder.respond(prompt))
        try:
            first = await self._first(source, link, patience_s)
            if first is None:
                return
            yield first
            async for delta in source:
                yield delta
        finally:
            close: Callable[[], Any] | None = getattr(source, "aclose", None)
            if close is not None:
                await close()

    @staticmethod
    async def _first(
        source: AsyncIterator[Delta], link: LlmLink, patience_s: float | None
    ) -> Delta | None:
        try:
            async with asyncio.timeout(patience_s):
                with contextlib.suppress(StopAsyncIteration):
                    return await anext(source)
                return None
        except TimeoutError as error:
            message = f"{link.name} has not begun to answer within {patience_s:g} s."
            raise EngineLost("llm_slow", message) from error

    @staticmethod
    def _failed(link: LlmLink, error: EngineError, now_s: float) -> None:
        link.lost += 1
        if not isinstance(error, AtCapacity | EngineRefused):
            link.breaker.failed(now_s)


def _capabilities(responder: Responder) -> Capabilities:
    found: Capabilities = getattr(responder, "capabilities", None) or Capabilities()
    return found
