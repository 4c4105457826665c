"""The composition root: the only file that knows everyone. Builds a server from settings, and runs it."""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from duologue.core.capabilities import Role
from duologue.core.errors import DuologueError, EngineError, SetupError, first_of
from duologue.engines import registry
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.resilient import ResilientPool
from duologue.ports import Responder
from duologue.server.api import EngineState, Facade, create_api
from duologue.server.auth import Denied, Guard
from duologue.server.client_secrets import ClientSecrets
from duologue.server.keys import KeyBook
from duologue.server.limits import Limits
from duologue.server.listening import certificate_and_key, listen, shown
from duologue.server.metrics import Gauges, Metrics
from duologue.session.hearing import Hearing
from duologue.session.journal import Journal
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.world import World
from duologue.settings import Settings, data_home, listed
from duologue.transports.admission import Visitor
from duologue.transports.realtime import DRAIN_S
from duologue.transports.reception import Reception
from duologue.transports.websocket import Rejection, UpgradeRequest, upgrade_protocol
from duologue.wire.choosing import GA, Choice
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from duologue.wire.validation import check

log = logging.getLogger("duologue")

Pool = InProcessPool | SubprocessPool


def wall_ms() -> float:
    """The process's clock; see `ports.Clock`."""
    return time.monotonic() * 1000


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


@dataclass(slots=True)
class House:
    """Everything of one server process.

    Attributes:
        parts: its engines, in the order in which they are loaded.
        chains: by role, the pools that are up, in order of preference.
    """

    settings: Settings
    world: World
    guard: Guard
    reception: Reception
    parts: list[Part]
    chains: dict[Role, list[Any]]
    resilient: ResilientPool
    ready_after_s: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    async def run(
        self, on_ready: Callable[[], None], afterwards: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Load everything, open the doors, and stay until cancelled.

        Raises:
            EngineError: a role has no engine that works here.
        """
        async with AsyncExitStack() as stack:
            for part in self.parts:
                if isinstance(part.pool, SubprocessPool):
                    await stack.enter_async_context(part.pool)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.world.pacer.run(), name="pacer")
                tasks.create_task(self.reception.run(), name="reception")
                tasks.create_task(self.guard.watch(), name="keys")
                try:
                    await self._load()
                    self.reception.is_open = True
                    self.ready_after_s = time.monotonic() - self._began
                    on_ready()
                    if afterwards is not None:
                        await afterwards()
                    await asyncio.Event().wait()
                finally:
                    self.reception.is_open = False
                    self.world.hearing.close()

    async def _load(self) -> None:
        """One after another, so that none slows another's start or is measured beside it."""
        for part in self.parts:
            try:
                await part.bring_up()
            except EngineError as error:
                if not self._has_other(part):
                    raise
                log.warning("! %s %s cannot be used: %s", part.role, part.name, error)
                continue
            if part.pool is not None:
                self.chains[part.role].append(part.pool)

    def _has_other(self, failed: Part) -> bool:
        return any(p.role == failed.role and p.state != "failed" for p in self.parts)

    def engine_states(self) -> list[EngineState]:
        """For `/ready` and `/v1/health`."""
        return [
            EngineState(
                role=p.role,
                name=p.name,
                state=p.state,
                about=p.about,
                took_s=p.took_s,
                error=p.error,
            )
            for p in self.parts
        ]

    def engine_streams(self) -> dict[str, int]:
        """Open streams by engine, for the metrics."""
        return {f"{p.role}:{p.name}": p.pool.streams for p in self.parts if p.pool is not None}


def build(settings: Settings) -> House:
    """Put the parts together; nothing is loaded yet.

    Raises:
        DuologueError: an engine that is asked for does not exist.
    """
    vad_spec, vad_argument = registry.find("silero", Role.VAD)
    vad = vad_spec.make(vad_argument)
    parts = [Part(Role.VAD, "silero", vad_spec.about, lambda: _load_here(vad))]
    parts += _pooled(Role.STT, _stt_names(settings), settings.models_folder)
    parts += _pooled(Role.TTS, _tts_names(settings), settings.models_folder)
    responder, llm = _responder(settings)
    parts.append(llm)
    chains: dict[Role, list[Any]] = {Role.STT: [], Role.TTS: []}
    resilient = ResilientPool(chains)
    journals = _journal_folder(settings)
    world = World(
        pool=resilient,
        responder=responder,
        hearing=Hearing(vad, wall_ms),
        pacer=Pacer(wall_ms),
        meters=Meters(wall_ms),
        clock=wall_ms,
        journal=(lambda sid, policy: Journal(journals / f"{sid}.jsonl", sid, policy))
        if journals
        else None,
        lead_ms=settings.lead_ms,
    )
    guard = _guard(settings)
    reception = Reception(
        world,
        lambda request: _authorise(guard, request),
        dialects={GA: partial(_realtime, settings)},
        max_sessions=settings.max_sessions,
    )
    return House(settings, world, guard, reception, parts, chains, resilient)


def _journal_folder(settings: Settings) -> Path | None:
    """Where journals go; a folder that cannot be written is found out now, not in a conversation."""
    if not settings.journal_dir:
        return None
    folder = Path(settings.journal_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            "journal_dir_unusable",
            f"Journals cannot be written to {folder}: {error.strerror}.",
            remedy="Name a folder that can be written with --journal-dir.",
        ) from error
    return folder


async def serve(
    settings: Settings,
    on_ready: Callable[[House, str], None],
    on_offer: Callable[[str, str, tuple[str, ...]], None],
) -> None:
    """Run a server until it is told to stop (SIGINT or SIGTERM; a second one stops at once).

    Args:
        on_ready: called with the house and its address when sessions are taken.
        on_offer: called for each language model that answers on this machine, where none is set: its
            server's name, its URL, its models.

    Raises:
        DuologueError: it cannot run as it is set up.
    """
    house = build(settings)
    listening = listen(settings.host, settings.port)
    server = _Server(_uvicorn_config(settings, house))
    scheme = "https" if settings.tls else "http"
    address = f"{scheme}://{shown(settings.host)}:{listening.getsockname()[1]}"
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    try:
        async with asyncio.TaskGroup() as tasks:
            look = (
                None
                if settings.llm_url or settings.engines == "fake"
                else _offer(on_offer, listening)
            )
            running = tasks.create_task(
                house.run(lambda: on_ready(house, address), look), name="house"
            )
            await server.serve([listening])
            running.cancel()
    except* DuologueError as errors:
        raise first_of(errors) from None
    finally:
        listening.close()


def _offer(
    tell: Callable[[str, str, tuple[str, ...]], None], listening: socket.socket
) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        from duologue.engines.chat import local_llms

        for found in await local_llms.find(skip_ports=(listening.getsockname()[1],)):
            tell(found.name, found.url, tuple(found.models))

    return look


class _Server(uvicorn.Server):
    """uvicorn's server without its own handling of signals, which would raise them again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _uvicorn_config(settings: Settings, house: House) -> uvicorn.Config:
    certificate, key = certificate_and_key(settings.tls, data_home() / "tls", settings.host)
    return uvicorn.Config(
        create_api(_facade(settings, house)),
        http="httptools",
        ws=upgrade_protocol(house.reception.accept),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(DRAIN_S) + 2,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def _facade(settings: Settings, house: House) -> Facade:
    world = house.world
    gauges = Gauges(
        lag_ms=lambda: list(world.pacer.lag_ms),
        windows=lambda: (world.hearing.windows, world.hearing.skipped),
        fallbacks=lambda: house.resilient.fallbacks,
        engine_streams=house.engine_streams,
    )
    return Facade(
        guard=house.guard,
        meters=world.meters,
        metrics=Metrics(world.meters, gauges),
        engines=house.engine_states,
        is_ready=lambda: house.reception.is_open,
        models=lambda: [settings.model],
        effective_session=lambda session: _effective_session(settings, session),
    )


def _guard(settings: Settings) -> Guard:
    return Guard(
        KeyBook(settings.keys_file, settings.keys),
        settings.origins,
        limits=Limits(settings.max_sessions_per_key, settings.requests_per_minute),
        secrets=ClientSecrets(time.time),
        clock_ms=wall_ms,
    )


def _effective_session(settings: Settings, session: dict[str, Any]) -> dict[str, Any]:
    """What `session.created` would show of a session with these settings."""
    document = SessionDocument(
        f"sess_{secrets.token_hex(10)}",
        session.get("model") or settings.model,
        settings.instructions,
        transcribes=session.get("type") == "transcription",
    )
    check({"type": "session.update", "session": {"type": "realtime", **session}})
    document.update(session)
    return document.json


def _authorise(guard: Guard, request: UpgradeRequest) -> Visitor | Rejection:
    admission = guard.admit(request.headers, request.peer, "session")
    if isinstance(admission, Denied):
        return Rejection(
            admission.status, admission.code, admission.message, admission.retry_after_s
        )
    return Visitor(
        name=admission.name,
        session=admission.session,
        leave=admission.leave,
        on_revoked=admission.on_revoked,
        rate_limits=admission.rate_limits,
    )


def _realtime(
    settings: Settings, session_id: str, choice: Choice, visitor: Visitor
) -> RealtimeWire:
    document = SessionDocument(
        session_id,
        choice.model or settings.model,
        settings.instructions,
        transcribes=choice.intent == "transcription",
    )
    return RealtimeWire(document, visitor.rate_limits)


# --- engines ---
def _stt_names(settings: Settings) -> Sequence[str]:
    if settings.stt:
        return _named(settings.stt, "stt")
    return [_fake("stt", settings)] if settings.engines == "fake" else ["pocketsphinx"]


def _tts_names(settings: Settings) -> Sequence[str]:
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


def _pooled(role: Role, names: Sequence[str], folder: Path) -> list[Part]:
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


def _responder(settings: Settings) -> tuple[Responder, Part]:
    if settings.llm_url:
        from duologue.engines.chat.responder import OpenAIResponder

        remote = OpenAIResponder(settings.llm_url, settings.llm_model, settings.llm_api_key)
        about = f"{settings.llm_model or 'the first model'} at {settings.llm_url}"
        return remote, Part(Role.LLM, "openai", about, lambda: _load_here(remote))
    name = _fake("llm", settings) if settings.engines == "fake" else "skills"
    spec, argument = registry.find(name, Role.LLM)
    responder = spec.make(argument)
    return responder, Part(Role.LLM, name, spec.about, lambda: _load_here(responder))


async def _load_here(engine: Any) -> None:
    await asyncio.to_thread(engine.load)
    await asyncio.to_thread(engine.warm_up)
