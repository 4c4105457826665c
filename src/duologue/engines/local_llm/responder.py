"""Small language models in this process, on Transformers: distilgpt2, DialoGPT, TinyLlama, Llama 3.2 1B and the like.

    transformers:tinyllama                         a model of the models folder, on the best device
    transformers:/models/Llama-3.2-1B@cuda:0/bf16  a folder, a GPU, a precision
    transformers:tinyllama@cpu:4?temperature=0.5   see `wanted.Wanted` for the options

For one user, or a few: answers are found one at a time, first come, first served. It calls no functions. Larger
models, and many users, belong behind an address (vLLM, llama.cpp, Ollama), where answers are found side by side.

The model runs in a process of its own. Within the server's it would hardly be felt on an idle machine: torch gives up
Python's lock for each operation, and a tick of the event loop each 20 ms was 0.8 ms late (p95 1.3; 2 to 4 in int8),
as without it. But where other processes want the two cores, the thread that holds the lock is put to sleep with
it: 4 ms late (p95 15), and 0.2 ms without it. Its own process also gives back all of its memory, and dies alone.
"""

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, OurError
from duologue.engines.base import EngineSpec
from duologue.engines.chat.messages import ChatMessage, messages
from duologue.engines.local_llm import wire
from duologue.engines.local_llm.process import ModelProcess, News
from duologue.engines.local_llm.wanted import Wanted
from duologue.engines.models import store as models
from duologue.engines.torchkit.fastest import VERDICTS
from duologue.ports import Delta, Prompt, TextDelta

MAX_WAITING = 4
"""Answers that may wait for the one that is being found; one more is refused at once."""

PATIENCE_S = 60.0
"""A model that has not said a word for so long, though it is asked, hangs. It is ended, and started again."""

CHARS_PER_TOKEN = 16
"""More than any tokenizer packs into a token on average: what is beyond cannot fit, and is not looked at."""

CHILD = "duologue.engines.local_llm.child"

ChatLine = tuple[str, str]
"""Role and text."""


@dataclass(slots=True)
class _Job:
    """One answer. Its news: pieces of text, at most as many as it may have tokens; then its end or the error."""

    loop: asyncio.AbstractEventLoop
    news: "asyncio.Queue[News]" = field(default_factory=asyncio.Queue)


class TransformersResponder:
    """See `ports.Responder`.

    Args:
        argument: see the module.
        verdicts: see `model.LocalModel`.
        patience_s: see `PATIENCE_S`.
        child: the module that is run in the process, given the argument and the folder.
    """

    def __init__(
        self,
        argument: str = "",
        *,
        verdicts: Path = VERDICTS,
        patience_s: float = PATIENCE_S,
        child: str = CHILD,
    ) -> None:
        Wanted.parse(argument)  # what is wrong in it is told at once
        self.capabilities = SPEC.capabilities
        self._command = (sys.executable, "-m", child, argument, str(verdicts))
        self._patience_s = patience_s
        self._process: ModelProcess | None = None
        self._starting = threading.Lock()
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)

    def load(self) -> None:
        """Start the process, in which the model is loaded and warmed up. Blocks.

        Raises:
            EngineError: see `LocalModel.load`.
        """
        with self._starting:
            if self._process is not None and self._process.is_alive:
                return
            process = ModelProcess(self._command, self._on_news)
            process.wait_until_ready()
            self._process = process

    def warm_up(self) -> None:
        """It is warm when it is loaded."""

    async def aclose(self) -> None:
        """End the process. Answers that are not over break off."""
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.close)

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`.

        Raises:
            AtCapacity: too many wait already.
            EngineLost: the process died or hung; it is started again for the next answer.
            EngineOutOfMemory: memory ran out.
        """
        process = await self._running()
        if len(self._jobs) > MAX_WAITING:
            raise AtCapacity(
                "llm_at_capacity",
                f"The language model is at work, and {MAX_WAITING} answers wait for it.",
                remedy="Try again in a moment, or serve it with vLLM, which answers side by side.",
            )
        number, job = next(self._numbers), _Job(asyncio.get_running_loop())
        self._jobs[number] = job
        lines = tuple(_fitting(_lines(prompt), process.window * CHARS_PER_TOKEN))
        process.ask(wire.Ask(number, lines, prompt.options.max_output_tokens))
        try:
            while isinstance(news := await self._next(process, job), wire.Piece):
                yield TextDelta(news.text)
        finally:
            self._jobs.pop(number, None)
            process.drop(number)
        if isinstance(news, EngineError):
            raise news
        for delta in news.deltas():
            yield delta

    async def _running(self) -> ModelProcess:
        process = self._process
        if process is None:
            raise OurError("llm_not_loaded", "The language model was asked before it was loaded.")
        if not process.is_alive:
            await asyncio.to_thread(process.close)
            await asyncio.to_thread(self.load)
        return cast(ModelProcess, self._process)

    async def _next(self, process: ModelProcess, job: _Job) -> News:
        while True:
            asked_at = job.loop.time()
            try:
                async with asyncio.timeout(self._patience_s):
                    return await job.news.get()
            except TimeoutError:
                if process.heard_at > asked_at:  # others are being answered
                    continue
                process.kill()
                raise EngineLost(
                    "llm_too_slow",
                    f"The language model found no word within {self._patience_s:g} s.",
                    remedy="Use a smaller model, or one on a GPU.",
                ) from None

    def _on_news(self, number: int, news: News) -> None:
        """In a thread of the process's own."""
        job = self._jobs.get(number)
        if job is not None:
            try:
                job.loop.call_soon_threadsafe(job.news.put_nowait, news)
            except RuntimeError:  # the loop is closed: nobody listens any more
                self._jobs.pop(number, None)


def _lines(prompt: Prompt) -> list[ChatLine]:
    """What was said. Calls of functions are none of it, and their results are told as the user would."""
    return [
        line for line in map(_line, messages(prompt.items, prompt.options.instructions)) if line[1]
    ]


def _line(message: ChatMessage) -> ChatLine:
    role, text = str(message["role"]), str(message.get("content") or "")
    return ("user", f"(Result: {text})") if role == "tool" else (role, text)


def _fitting(lines: Sequence[ChatLine], room: int) -> list[ChatLine]:
    """The instructions, and the end of the conversation that may fit into so many characters."""
    at = len(lines)
    while at and room > 0:
        at -= 1
        room -= len(lines[at][1])
    head = lines[:1] if at and lines[0][0] == "system" else []
    return [*head, *lines[at:]]


SPEC = EngineSpec(
    "transformers",
    Role.LLM,
    Capabilities(holds_gil=True),
    TransformersResponder,
    about="a small language model on Transformers, in a process of its own",
    locate=models.in_folder,
)
