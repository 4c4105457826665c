"""The engines of one server: found by the names in the settings, loaded one after another.

a,b         a is preferred; b takes over while a fails. Both are loaded at the start.
a>b         one engine, which becomes b when a's memory runs out. b is loaded only then.
    embedded    whatever needs no download, in the place of a name.
ws://h:9000 an engine server elsewhere, at all addresses of that name.
"""

import asyncio
import logging
import re
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from duologue.app import names
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError
from duologue.engines import registry
from duologue.engines.base import BlockingEngine, EngineSpec
from duologue.engines.chain import Link
from duologue.engines.endpoint.pool import START_S, EndpointsPool
from duologue.engines.loading import bring_up_apart
from duologue.engines.managed_llm.rungs import Rung as MindRung
from duologue.engines.managed_llm.rungs import RungResponder
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_ladder import LadderPool, Rung
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.responders import LlmLink
from duologue.ports import Responder
from duologue.server.engine_state import EngineState
from duologue.settings import Settings, visible_gpus

log = logging.getLogger("duologue")

Pool = InProcessPool | SubprocessPool | LadderPool | EndpointsPool
"""Each is used as `async with`, and then started."""

ENDPOINTS = ("ws://", "wss://")

LENT_PATIENCE_S = 3.0
"""Longest wait at the start for an engine server, where another engine can begin without it: it joins later."""


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
    ram_mib: int = 0
    measured_mib: int | None = None
    responder: Responder | None = None

    @property
    def is_elsewhere(self) -> bool:
        """It lives behind an address: it may come, and go, and come back by itself."""
        return isinstance(self.pool, EndpointsPool)

    async def bring_up(self, *, has_other: bool = False) -> None:
        """Load it and run it once; a failure is kept, and raised.

        Args:
            has_other: another can do the same, so nobody waits long for a server that is not there.

        Raises:
            EngineError: it cannot run here.
        """
        began, self.state = time.monotonic(), "loading"
        before_mib = resident_mib("self")
        try:
            if isinstance(self.pool, EndpointsPool):
                await self._find(self.pool, LENT_PATIENCE_S if has_other else START_S)
            else:
                await self.start()
        except EngineError as error:
            self.state, self.error = "failed", str(error)
            raise
        self.state, self.took_s = "ready", round(time.monotonic() - began, 2)
        grown_mib = max(0, resident_mib("self") - before_mib)
        self.measured_mib = grown_mib + resident_mib(*self.pids)
        log.info(
            "= %s %s is ready after %.2f s, with %d MiB more",
            *(self.role, self.name, self.took_s, self.measured_mib),
        )

    async def close(self) -> None:
        """Let an engine go that stands in no pool: those end with theirs."""
        if (aclose := getattr(self.engine, "aclose", None)) is not None:
            await aclose()
        elif (close := getattr(self.engine, "close", None)) is not None:
            await asyncio.to_thread(close)

    @staticmethod
    async def _find(pool: EndpointsPool, patience_s: float) -> None:
        log.info("~ its server is waited for, %g s at most", patience_s)
        await pool.start(patience_s)

    @property
    def pids(self) -> tuple[int, ...]:
        """Its own processes, where it has any."""
        return tuple(getattr(self.place, "pids", ()))

    @property
    def place(self) -> Any:
        """Where it lives: a pool, or the engine itself."""
        return self.pool or self.engine

    def told(self, link: Link | LlmLink | None) -> EngineState:
        """What is told of it; `link` is its place in its chain, once it has one."""
        state, error = self._state()
        return EngineState(
            role=self.role,
            name=self.name,
            state=state,
            about=self.about,
            took_s=self.took_s,
            error=error,
            resting=link is not None and link.rests,
            lost=link.lost if link is not None else 0,
            streams=self.pool.streams if state == "ready" and self.pool is not None else None,
            restarts=getattr(self.place, "restarts", 0),
            rung=getattr(self.place, "rung", 0),
            out_of_memory=getattr(self.place, "shortages", 0),
            pids=list(self.pids),
            ram_mib=self.measured_mib,
        )

    def _state(self) -> tuple[str, str | None]:
        """How it is, and why it failed; what is elsewhere comes and goes."""
        if not isinstance(self.pool, EndpointsPool) or self.state not in ("ready", "failed"):
            return self.state, self.error
        if self.pool.ready:
            return "ready", None
        told = next((s.error for s in self.pool.states() if s.error), "")
        return "failed", told or self.error


@dataclass(frozen=True, slots=True)
class Means:
    """What engines are made with, beside their names.

    Attributes:
        models: the folder where model files are.
        token: by which engine servers know us.
    """

    models: Path
    token: str = ""


def means(settings: Settings) -> Means:
    """As the settings say."""
    return Means(settings.models_folder, settings.engine_token)


def pooled(role: Role, names: Sequence[str], means: Means) -> list[Part]:
    """Engines of these names, each in a pool where it can live."""
    return [_part(role, name, means) for name in names]


def _part(role: Role, name: str, means: Means) -> Part:
    pool: Pool
    if name.startswith(ENDPOINTS):
        pool = EndpointsPool(role, [name], means.token)
        shown = without_secrets(name)
        return Part(role, shown, f"an engine server at {shown}", pool.start, pool)
    rungs = [rung.strip() for rung in name.split(">")]
    specs = [_spec(rung, role, means.models) for rung in rungs]
    spec = specs[0][0]
    if len(rungs) == 1:
        pool = _pool(*specs[0])
    else:
        for lower, argument in specs[1:]:
            lower.make(argument)  # what is wrong with it is said now, and not when memory runs out
        first, *others = (
            Rung(without_secrets(rung), partial(_apart if number else _pool, *found))
            for number, (rung, found) in enumerate(zip(rungs, specs, strict=True))
        )
        pool = LadderPool([first, *others])
    shown, ram_mib = without_secrets(name), spec.capabilities.ram_mib
    return Part(role, shown, spec.about, pool.start, pool, ram_mib=ram_mib)


def _spec(name: str, role: Role, folder: Path) -> tuple[EngineSpec, str]:
    spec, argument = registry.find(name, role)
    if spec.locate is not None:
        argument = spec.locate(argument, folder)
    return spec, argument


def _pool(spec: EngineSpec, argument: str) -> Pool:
    return (
        SubprocessPool(spec, argument)
        if spec.is_own_process
        else InProcessPool(spec.make(argument))
    )


def _apart(spec: EngineSpec, argument: str) -> Pool:
    """In a process of its own where it can be: what that held of the memory comes back whole."""
    engine = spec.make(argument)
    if isinstance(engine, BlockingEngine):
        return SubprocessPool(spec, argument)
    return InProcessPool(engine)


def responders(settings: Settings) -> list[Part]:
    """What finds the words, in order of preference."""
    if settings.llm_url and not settings.llm:
        from duologue.engines.chat.responder import OpenAIResponder

        remote = OpenAIResponder(settings.llm_url, settings.llm_model, settings.llm_api_key)
        about = f"{settings.llm_model or 'the first model'} at {settings.llm_url}"
        return [_responder("openai", without_secrets(about), remote)]
    return [_model(name, settings) for name in names.llm(settings)]


def _model(name: str, settings: Settings) -> Part:
    rungs = [rung.strip() for rung in name.split(">")]
    about = _spec(rungs[0], Role.LLM, settings.models_folder)[0].about
    if len(rungs) == 1:
        return _responder(name, about, _mind(name, settings))
    for rung in rungs[1:]:
        _mind(rung, settings)  # what is wrong with it is said now
    minds = [MindRung(without_secrets(rung), partial(_mind, rung, settings)) for rung in rungs]
    return _responder(name, about, RungResponder(minds))


def _mind(name: str, settings: Settings) -> Any:
    spec, argument = _spec(name, Role.LLM, settings.models_folder)
    made = spec.make(argument)
    if hasattr(made, "visible_gpus"):
        made.visible_gpus = visible_gpus()
    return made


def _responder(name: str, about: str, responder: Any) -> Part:
    shown = without_secrets(name)
    return Part(
        Role.LLM, shown, about, lambda: load_here(responder), engine=responder, responder=responder
    )


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


_LOGIN = re.compile(r"(?<=://)[^/@|\s]*@")
_QUERY = re.compile(r"(://[^|\s?]*)\?[^|\s]*")


def without_secrets(text: str) -> str:
    """A name without what an address in it may carry: who may log in, and keys in its query.

    Names are logged, and told to everybody at `/ready`.
    """
    return _QUERY.sub(r"\1", _LOGIN.sub("", text))


async def load_here(engine: Any) -> None:
    """Load an engine that lives in this process, and run it once."""
    await bring_up_apart(engine)


def resident_mib(*pids: int | str) -> int:
    """Resident memory of these processes together, "self" for this one; what cannot be read counts nothing."""
    total = 0
    for pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        total += pages * resource.getpagesize()
    return total // 2**20
