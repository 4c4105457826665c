"""Everything of one server process, put together from its settings."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from duologue.app import doors, memory, names, parts, streaming
from duologue.app.doors import wall_ms
from duologue.app.parts import Part, load_here, log
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, SetupError
from duologue.engines import languages, registry
from duologue.engines.chain import Link
from duologue.engines.remote import keys
from duologue.engines.resilient import ResilientPool
from duologue.engines.responders import LlmLink, ResponderChain
from duologue.engines.toolbox.servers import McpServers
from duologue.memory.watch import Watcher
from duologue.ports import VoiceActivity
from duologue.server.audio.desk import AudioDesk
from duologue.server.auth import Guard
from duologue.server.engine_state import EngineState
from duologue.session import first_turn
from duologue.session.hearing import Hearing
from duologue.session.journal import Journal
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.streaming.desk import StreamDesk
from duologue.session.world import World
from duologue.settings import Settings, data_home, listed, visible_gpus
from duologue.store.archive import Store
from duologue.store.nothing import NoArchive
from duologue.store.opening import open_archive
from duologue.store.retention import DAY_S, Housekeeper, Retention
from duologue.transports.reception import Reception
from duologue.transports.streaming import PATH as STREAM_PATH
from duologue.transports.streaming import StreamDoor
from duologue.transports.webrtc import Switchboard

FIRST_TURN_AGAIN_S = 0.5
FIRST_TURN_AGAIN_MOST_S = 15.0
"""The wait after a first turn that failed doubles up to this: somebody may be starting the server that is missing."""

FILE_PATIENCE_S = 60.0
"""Longest wait for an engine that owes something to a file: 20 s of sound at a third of real time."""


@dataclass(slots=True)
class House:
    """Everything of one server process.

    Attributes:
        parts: its engines, in the order in which they are loaded.
        chains: by role, the engines that are up, in order of preference; models: the language models likewise.
        first_turn: why it has not succeeded yet; empty once it has, and before it was tried.
    """

    settings: Settings
    world: World
    guard: Guard
    reception: Reception
    switchboard: Switchboard
    parts: list[Part]
    chains: dict[Role, list[Link]]
    models: list[LlmLink]
    resilient: ResilientPool
    mcp_servers: McpServers
    watcher: Watcher
    store: Store
    streams: StreamDesk
    stream_door: StreamDoor
    ready_after_s: float = 0.0
    first_turn: str = ""
    _began: float = field(default_factory=time.monotonic)

    async def run(
        self, on_ready: Callable[[], None], afterwards: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Load everything, open the doors, and stay until cancelled.

        Raises:
            EngineError: a role has no engine that works here.
        """
        async with AsyncExitStack() as stack:
            await self.store.start()
            stack.push_async_callback(self.store.aclose)
            for part in self.parts:
                if part.pool is not None:
                    await stack.enter_async_context(part.pool)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.world.pacer.run(), name="pacer")
                tasks.create_task(self.reception.run(), name="reception")
                tasks.create_task(self.guard.watch(), name="keys")
                tasks.create_task(self.streams.run(), name="streams")
                tasks.create_task(self.stream_door.run(), name="stream-door")
                tasks.create_task(self._housekeeper().run(), name="store")
                tasks.create_task(self.resilient.run(), name="engine-trials")
                try:
                    await self._load()
                    tasks.create_task(self.watcher.run(), name="memory")
                    await self._hold_first_turn()
                    await self.reception.remember()
                    self.reception.is_open = self.streams.is_open = True
                    self.ready_after_s = time.monotonic() - self._began
                    on_ready()
                    if afterwards is not None:
                        await afterwards()
                    await asyncio.Event().wait()
                finally:
                    self.reception.is_open = self.streams.is_open = False
                    self.world.hearing.close()
                    for part in self.parts:
                        await part.close()

    async def _load(self) -> None:
        """One after another, the biggest first, so that none slows another's start, or takes memory beside it that it
        needs only while it loads. In each chain they stand in the order of preference all the same."""
        for line in await asyncio.to_thread(memory.cards, visible_gpus()):
            log.info("= %s", line)
        order = sorted(self.parts, key=lambda part: -part.ram_mib)
        for number, part in enumerate(order, 1):
            log.info("~ %s %s is loading (%d of %d)", part.role, part.name, number, len(order))
            try:
                await part.bring_up(has_other=self._has_other(part))
            except EngineError as error:
                if not (part.is_optional or self._has_other(part)):
                    raise
                log.warning("! %s %s cannot be used: %s", part.role, part.name, error)
        for part in self.parts:
            if part.pool is not None and (part.state == "ready" or part.is_elsewhere):
                self.chains[part.role].append(Link(part.name, part.pool))
            if part.state == "ready" and part.responder is not None:
                self.models.append(LlmLink(part.name, part.responder))
        await self.resilient.introduce()
        if self.settings.mcp_servers:
            await asyncio.to_thread(self.mcp_servers.load)

    async def _hold_first_turn(self) -> None:
        """Try until one spoken turn has passed through all engines; what keeps it from passing is told."""
        wait_s = FIRST_TURN_AGAIN_S
        while True:
            turn = await first_turn.take(self.world)
            if turn.error is None:
                self.first_turn = ""
                log.info("= the first spoken turn took %.0f ms", turn.took_s * 1000)
                return
            self.first_turn = str(turn.error)
            log.warning("! the first spoken turn failed: %s Again in %g s.", turn.error, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, FIRST_TURN_AGAIN_MOST_S)

    def _housekeeper(self) -> Housekeeper:
        settings = self.settings
        retention = Retention(
            settings.recording_days * DAY_S or None, settings.store_days * DAY_S or None
        )
        return Housekeeper(self.store, retention, time.time)

    def _has_other(self, failed: Part) -> bool:
        """Another may do the same, and is not known to fail."""
        others = [p for p in self.parts if p is not failed]
        return any(p.role == failed.role and p.state != "failed" for p in others)

    def engine_states(self) -> list[EngineState]:
        """For `/ready`, `/v1/health` and the metrics."""
        links: dict[int, Link | LlmLink] = {
            id(link.pool): link for chain in self.chains.values() for link in chain
        }
        links |= {id(link.responder): link for link in self.models}
        return [part.told(links.get(id(part.pool or part.responder))) for part in self.parts]

    def fallbacks(self) -> int:
        """How often another engine or model took over."""
        responder = self.world.responder
        return self.resilient.fallbacks + getattr(responder, "fallbacks", 0)

    def audio_desk(self) -> AudioDesk:
        """For the audio routes, which work at the pace of files: a patience of their own, and a judge of speech."""

        def make_vad() -> VoiceActivity:
            spec, argument = registry.find("silero", Role.VAD)
            vad = spec.make(argument)
            vad.load()
            return cast(VoiceActivity, vad)

        return AudioDesk(
            pool=ResilientPool(self.chains, owed_timeout_s=FILE_PATIENCE_S, keeps_pace=False),
            recognisers=lambda: [link.pool.capabilities for link in self.chains[Role.STT]],
            make_vad=make_vad,
            is_ready=lambda: self.reception.is_open,
            clock=wall_ms,
        )

    def stt_device(self) -> str:
        """Where the preferred recogniser runs."""
        links = self.chains[Role.STT]
        return "cuda" if links and "@cuda" in links[0].name else "cpu"

    def voices(self) -> tuple[str, ...]:
        """Those that the preferred voice engine knows by name."""
        links = self.chains[Role.TTS]
        return tuple(links[0].pool.capabilities.voices) if links else ()


def build(settings: Settings) -> House:
    """Put the parts together; nothing is loaded yet.

    Raises:
        DuologueError: an engine that is asked for does not exist.
    """
    vad_spec, vad_argument = registry.find("silero", Role.VAD)
    vad = vad_spec.make(vad_argument)
    engines = [Part(Role.VAD, "silero", vad_spec.about, lambda: load_here(vad))]
    keys.provide(keys.read(settings.audio_api_key))
    means = parts.means(settings)
    engines += parts.pooled(Role.STT, names.stt(settings), means)
    engines += parts.pooled(Role.TTS, names.tts(settings), means)
    engines += parts.responders(settings)
    turn_end = parts.turn_end(settings)
    if turn_end is not None:
        engines.append(turn_end)
    chains: dict[Role, list[Link]] = {Role.STT: [], Role.TTS: []}
    models: list[LlmLink] = []
    resilient = ResilientPool(chains)
    journals = _journal_folder(settings)
    mcp_servers = McpServers(listed(settings.mcp_servers))
    world = World(
        pool=resilient,
        responder=ResponderChain(models),
        hearing=Hearing(vad, wall_ms),
        pacer=Pacer(wall_ms),
        meters=Meters(wall_ms),
        clock=wall_ms,
        journal=(lambda sid, policy: Journal(journals / f"{sid}.jsonl", sid, policy))
        if journals
        else None,
        lead_ms=settings.lead_ms,
        tool_servers=mcp_servers,
        turn_end=turn_end.engine if turn_end is not None else None,
        lacking=lambda role, language: languages.lacking(
            role, language, [link.pool.capabilities for link in chains[role]]
        ),
    )
    store = open_archive(settings.database_url, data_home())
    world.archive = None if isinstance(store, NoArchive) else store
    guard = doors.guard(settings)
    reception = Reception(
        world,
        lambda request: doors.authorise(guard, request),
        dialects=doors.dialects(settings),
        max_sessions=settings.max_sessions,
    )
    switchboard = Switchboard(reception)
    streams = streaming.desk(settings, world, chains, store)
    stream_door = StreamDoor(streams, lambda request: doors.authorise(guard, request, "visit"))
    reception.doors[STREAM_PATH] = stream_door.accept
    return House(
        settings,
        world,
        guard,
        reception,
        switchboard,
        engines,
        chains,
        models,
        resilient,
        mcp_servers,
        Watcher(lambda: memory.in_use(engines), visible_gpus()),
        store,
        streams,
        stream_door,
    )


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
