"""The engines of one server: found by the names in the settings, loaded one after another."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, SetupError
from duologue.engines import registry
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.ports import Responder
from duologue.settings import Settings, listed

log = logging.getLogger("duologue")

Pool = InProcessPool | SubprocessPool


@dataclass(slots=True)
class Part:
    """One engine of this server, on its way up."""

    role: Role
    name: str
    about: str
    start: Callable[[], Any]
    pool: Pool | None = None
    state: str = "waiting"
    took_s: float | None = None
    error: str | None = None
    is_optional: bool = False
    engine: Any = None

    async def bring_up(self) -> None:
        """Load it and run it once; a failure is kept, and raised.

        Raises:
            EngineError: it cannot run here.
        """
        began, self.state = time.monotonic(), "loading"
        try:
            await self.start()
        except EngineError as error:
            self.state, self.error = "failed", str(error)
            raise
        self.state, self.took_s = "ready", round(time.monotonic() - began, 2)
        log.info("= %s %s is ready after %.2f s", self.role, self.name, self.took_s)


def stt_names(settings: Settings) -> Sequence[str]:
    """The recognisers, in order of preference."""
    if settings.stt:
        return _named(settings.stt, "stt")
    return [_fake("stt", settings)] if settings.engines == "fake" else ["pocketsphinx"]


def tts_names(settings: Settings) -> Sequence[str]:
    """The voices, in order of preference."""
    if settings.tts:
        return _named(settings.tts, "tts")
    if settings.engines == "fake":
        return [_fake("tts", settings)]
    from duologue.engines.voices import flite

    return ["flite", "espeak"] if flite.available() else ["espeak"]


def _named(text: str, setting: str) -> Sequence[str]:
    if names := listed(text):
        return names
    raise SetupError(
        "setting_invalid",
        f"--{setting} names no engine: '{text}'.",
        remedy="Name one or more, separated by commas; `duologue doctor` lists them.",
    )


def _fake(role: str, settings: Settings) -> str:
    return f"fake-{role}:{settings.fake}" if settings.fake else f"fake-{role}"


def pooled(role: Role, names: Sequence[str], folder: Path) -> list[Part]:
    """Engines of these names, each in a pool where it can live; `folder` is where models are."""
    parts = []
    for name in names:
        spec, argument = registry.find(name, role)
        if spec.locate is not None:
            argument = spec.locate(argument, folder)
        pool: Pool = (
            SubprocessPool(spec, argument)
            if spec.is_own_process
            else InProcessPool(spec.make(argument))
        )
        parts.append(Part(role, name, spec.about, pool.start, pool))
    return parts


def responder(settings: Settings) -> tuple[Responder, Part]:
    """What finds the words."""
    if settings.llm_url:
        from duologue.engines.chat.responder import OpenAIResponder

        remote = OpenAIResponder(settings.llm_url, settings.llm_model, settings.llm_api_key)
        about = f"{settings.llm_model or 'the first model'} at {settings.llm_url}"
        return remote, Part(Role.LLM, "openai", about, lambda: load_here(remote))
    name = _fake("llm", settings) if settings.engines == "fake" else "skills"
    spec, argument = registry.find(name, Role.LLM)
    responder = spec.make(argument)
    return responder, Part(Role.LLM, name, spec.about, lambda: load_here(responder))


def turn_end(settings: Settings) -> Part | None:
    """What judges by sound whether a speaker has finished; without its file a server runs all the same.

    Returns:
        None where none is wanted, and for fake engines unless one is asked for.
    """
    name = settings.turn_end or ("none" if settings.engines == "fake" else "smart-turn")
    if name == "none":
        return None
    spec, argument = registry.find(name, Role.TURN)
    if spec.locate is not None:
        argument = spec.locate(argument, settings.models_folder)
    judge = spec.make(argument)
    return Part(
        Role.TURN,
        spec.name,
        spec.about,
        lambda: load_here(judge),
        is_optional=not settings.turn_end,
        engine=judge,
    )


async def load_here(engine: Any) -> None:
    """Load an engine that lives in this process, and run it once."""
    await asyncio.to_thread(engine.load)
    await asyncio.to_thread(engine.warm_up)
