"""Engines of these benches: recognisers that know each session's words or take whole windows, a counting echo."""

from collections.abc import AsyncIterator
from dataclasses import replace

from bench import reference_stt
from bench.reference_stt import Reference, ReferenceStt
from duologue.core.capabilities import Role
from duologue.core.context import tokens
from duologue.core.words import Word
from duologue.engines import fakes
from duologue.engines.base import EngineSpec
from duologue.engines.fakes import FakeLlm
from duologue.engines.pocketsphinx import engine as pocketsphinx
from duologue.ports import Delta, Prompt, StreamOptions


class Knowing(ReferenceStt):
    """A reference for each session, by its name: what one session said cannot be taken for another's.

    The argument is the manner: "ms=200".
    """

    words: dict[str, list[Word]] = {}  # noqa: RUF012 - whoever opens sessions puts their words here

    def __init__(self, argument: str = "") -> None:
        super().__init__(f"?{argument}")

    def load(self) -> None:
        """Nothing is in a file."""

    def open(self, key: str, options: StreamOptions) -> reference_stt._Stream:
        """A stream that knows the session's words."""
        one = ReferenceStt()
        one.manner = self.manner
        one.reference = Reference(self.words.get(key, ()), self.manner)
        return one.open(key, options)


KNOWING = EngineSpec("knowing", Role.STT, reference_stt.SPEC.capabilities, Knowing)

SLOW = EngineSpec("slow", Role.STT, reference_stt.SPEC.capabilities, lambda _: Knowing("ms=200"))
"""200 ms a window."""


class WholePocketsphinx(pocketsphinx.Pocketsphinx):
    """The embedded recogniser as one that takes only whole windows."""

    def __init__(self, argument: str = "") -> None:
        super().__init__(argument)
        self.capabilities = replace(self.capabilities, streaming=False)


WHOLE = EngineSpec(
    "bench.streaming.engines.WHOLE",  # by which its processes find it
    Role.STT,
    replace(pocketsphinx.SPEC.capabilities, streaming=False),
    WholePocketsphinx,
    is_own_process=True,
    processes=0,
)


class Echo(FakeLlm):
    """Says what it was told, and remembers the largest prompt, in estimated tokens."""

    largest = 0
    prompts = 0

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `FakeLlm`."""
        Echo.prompts += 1
        Echo.largest = max(Echo.largest, sum(map(tokens, prompt.items)))
        async for delta in super().respond(prompt):
            yield delta


ECHO = EngineSpec("echo", Role.LLM, fakes.LLM.capabilities, Echo)

__all__ = ["ECHO", "KNOWING", "SLOW", "WHOLE", "Echo", "Knowing"]
