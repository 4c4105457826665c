"""What of its conversation a session shows its language model, and the summary of what is not shown any more.

The model itself writes it, asked beside the conversation while it has nothing else to do: once an answer's words
are made, and no longer than until the next answer is wanted, which never waits for it. Until it is there, the oldest
items leave as they would without. Where no language model can be asked, or it fails, or is interrupted too often, an
extract takes its place. How much is summed up, and when, is `core.compaction`'s.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from copy import copy
from dataclasses import replace
from typing import Protocol, cast

from duologue.core import compaction
from duologue.core.compaction import Errand, Summary
from duologue.core.context import Window
from duologue.core.conversation import Conversation, Item, ItemReference, Message, Part
from duologue.core.errors import EngineError
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.ports import Delta, Prompt, Responder, TextDelta
from duologue.session.meters import Meters

log = logging.getLogger("duologue.session")

PATIENCE_S = 60.0
"""Longest wait for a summary: a model that writes 400 words in it writes ten tokens a second."""

MAX_TRIES = 3
"""Requests broken off for an answer, after which the extract must do: somebody talks all the time, or it is slow."""

REQUEST_ID = "item_" + 20 * "0"
"""Of the one item of a request, which is in no conversation."""


class Desk(Protocol):
    """What this needs of its session."""

    ended: asyncio.Event
    meters: Meters

    @property
    def conversation(self) -> Conversation:
        """As it is now."""

    @property
    def options(self) -> SessionOptions:
        """As they are now."""


class Surroundings(Protocol):
    """What this needs of the world."""

    @property
    def responder(self) -> Responder:
        """Who is asked."""

    @property
    def context_tokens(self) -> int:
        """About how much of a conversation it is shown."""


class Summaries:
    """See the module. One a session.

    Args:
        tasks: owner of the one that waits for the model.
    """

    def __init__(self, desk: Desk, world: Surroundings, tasks: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._world = world
        self._tasks = tasks
        self._window = Window()
        self._summary: Summary | None = None
        self._errand: Errand | None = None  # what is being asked for
        self._task: asyncio.Task[None] | None = None
        self._tries = 0

    @property
    def text(self) -> str:
        """What stands for the part that is not shown; empty if there is none."""
        return self._summary.text if self._summary is not None and self._applies else ""

    # --- for prompts ---
    def shown(self, options: ReplyOptions) -> tuple[tuple[Item, ...], ReplyOptions]:
        """What an answer that is made now is shown, and how it is made: the summary is in the instructions.

        An answer to items that the client names is shown those, and no summary.

        Raises:
            EngineRefused: it is too much, and the client wants nothing dropped.
        """
        if options.context is None:
            return self._fitted(self._window, (), options)
        items = tuple(i for i in options.context if not isinstance(i, ItemReference))
        limit = self._world.context_tokens
        return Window().fit(items, self._desk.options.truncation, limit), options

    def foreseen(self, item: Item, options: ReplyOptions) -> tuple[tuple[Item, ...], ReplyOptions]:
        """The same with one more item, for an answer that may never be asked for.

        Raises:
            EngineRefused: see `shown`.
        """
        # where it cuts is remembered for what is really shown
        return self._fitted(copy(self._window), (item,), options)

    def _fitted(
        self, window: Window, more: tuple[Item, ...], options: ReplyOptions
    ) -> tuple[tuple[Item, ...], ReplyOptions]:
        limit, summary = self._world.context_tokens, self._summary
        items = (*self._desk.conversation, *more)
        if summary is not None and self._applies:
            items = compaction.unsummed(items, summary)
            limit = max(1, limit - summary.tokens)
            parts = (options.instructions.strip(), summary.shown)
            options = replace(options, instructions="\n\n".join(filter(None, parts)))
        return window.fit(items, self._desk.options.truncation, limit), options

    # --- the summary ---
    def after(self, answer: asyncio.Task[None]) -> None:
        """The words and sound of an answer are made, while it is still heard: the model has time."""
        if not answer.cancelled():
            self.consider()

    def consider(self) -> None:
        """Have the model sum up what is due, if anything."""
        if self._task is None and not self._desk.ended.is_set() and self._due() is not None:
            self._task = self._tasks.create_task(self._work(), name="summary")
            self._task.add_done_callback(self._over)

    def give_way(self) -> asyncio.Task[None] | None:
        """The model is wanted for an answer; whoever was in its way, and is leaving."""
        task, self._task = self._task, None
        if task is None or task.done():
            return None
        task.cancel()
        self._tries += 1
        return task

    def forget(self, item_id: str) -> None:
        """An item was deleted or is not what it was: no summary of it is shown any more, nor finished."""
        if self._summary is not None and item_id in self._summary.covers:
            self._summary = None
            self._desk.meters.counts["summaries_dropped"] += 1
        elif self._errand is None or item_id not in self._errand.covers:
            return
        if self._task is not None:
            self._task.cancel()

    @property
    def _applies(self) -> bool:
        return compaction.applies(self._desk.options.truncation)

    def _due(self) -> Errand | None:
        if not self._applies:
            return None
        return compaction.due(
            tuple(self._desk.conversation), self._summary, self._world.context_tokens
        )

    def _over(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None

    async def _work(self) -> None:
        try:
            while (errand := self._due()) is not None:
                self._errand = errand
                text = await self._asked(errand) if self._tries < MAX_TRIES else ""
                self._adopt(errand.summed_up(text), errand)
            self._tries = 0
        finally:
            self._errand = None

    def _adopt(self, summary: Summary | None, errand: Errand) -> None:
        counts = self._desk.meters.counts
        counts["summaries"] += 1
        if summary is None:
            counts["summaries_extracted"] += 1
        else:
            self._tries = 0
        self._summary = summary or errand.extracted()
        self._window = (
            Window()
        )  # what had to be left out meanwhile is in the summary, or has room again
        log.info("= %d items are summed up in %d tokens", len(errand.covers), self._summary.tokens)

    async def _asked(self, errand: Errand) -> str:
        """What the model writes; empty if it does not."""
        item = Message(REQUEST_ID, "user", (Part("input_text", errand.question),))
        options = ReplyOptions(
            instructions=errand.instructions,
            spoken=False,
            max_output_tokens=errand.limit_tokens,
            out_of_band=True,
        )
        prompt = Prompt((item,), options, purpose="summary")
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._written(prompt, 2 * errand.limit_chars)
        except (EngineError, TimeoutError) as error:
            log.info("~ no summary was written: %s", str(error) or "it takes too long")
        except Exception:  # the outer wall of a summary: the conversation goes on without
            log.warning("! a summary met a bug", exc_info=True)
        return ""

    async def _written(self, prompt: Prompt, limit_chars: int) -> str:
        text = ""
        inner = self._world.responder.respond(prompt)
        deltas = cast("aclosing[AsyncIterator[Delta]]", aclosing(inner))  # type: ignore[type-var]
        async with deltas as stream:
            async for delta in stream:
                if isinstance(delta, TextDelta):
                    text += delta.text
                if len(text) > limit_chars:
                    break
        return text
