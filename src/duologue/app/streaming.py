"""The desk of streaming sessions, put together from the settings."""

import time
from collections.abc import Callable, Mapping, Sequence

from duologue.core.capabilities import Role
from duologue.core.errors import MalformedEvent
from duologue.core.longform import LongFormPolicy
from duologue.core.streaming import SoundFormat, StreamOptions
from duologue.engines.chain import Link
from duologue.engines.resilient import ResilientPool
from duologue.ports import Archive
from duologue.session.streaming.desk import StreamDesk
from duologue.session.streaming.intake import Decoder
from duologue.session.streaming.replies import Means
from duologue.session.streaming.shared import Bounds, Shared
from duologue.session.streaming.spoken_cache import SpokenCache
from duologue.session.streaming.workers import Workers
from duologue.session.world import World
from duologue.settings import Settings
from duologue.wire.stream_sound import StreamSound

PATIENCE_S = 15.0
"""Longest wait for an engine that owes something: 28 s of sound at twice its speed. Then the next is asked."""


def desk(
    settings: Settings, world: World, chains: Mapping[Role, Sequence[Link]], archive: Archive
) -> StreamDesk:
    """On everybody's engines, with the patience of files: sound may come faster than it lasts."""
    pool = ResilientPool(chains, owed_timeout_s=PATIENCE_S, keeps_pace=False)
    speech = Means(
        pool=pool,
        responder=world.responder,
        workers=Workers(settings.num_workers, world.clock),
        cache=SpokenCache(),
        clock=world.clock,
        meters=world.meters,
        voice_engine=lambda: next((link.name for link in chains[Role.TTS] if not link.rests), ""),
        context_tokens=world.context_tokens,
    )
    shared = Shared(
        pool=pool,
        hearing=world.hearing,
        meters=world.meters,
        archive=archive,
        clock=world.clock,
        wall_s=time.time,
        bounds=bounds(settings),
        listeners=Workers(settings.num_workers, world.clock),
        speech=speech,
        make_decoder=_decoder,
        recognisers=lambda: [link.pool.capabilities for link in chains[Role.STT]],
        check=_check(world),
    )
    return StreamDesk(shared)


def bounds(settings: Settings) -> Bounds:
    """As the settings say."""
    return Bounds(
        chunk_bytes=settings.max_chunk_size,
        buffer_bytes=settings.max_buffer_size,
        idle_s=settings.session_timeout,
        length_s=settings.max_session_duration,
        sessions=settings.max_sessions,
    )


def default_options(settings: Settings) -> StreamOptions:
    """Of a session that says nothing else."""
    return StreamOptions(
        rate_hz=settings.sample_rate,
        instructions=settings.instructions,
        window_ms=round(settings.chunk_duration * 1000),
        overlap_ms=round(settings.overlap_duration * 1000),
    )


def _decoder(rate_hz: int, kind: SoundFormat) -> Decoder:
    return StreamSound(rate_hz, kind=kind)


def _check(world: World) -> Callable[[StreamOptions], None]:
    def check(options: StreamOptions) -> None:
        if error := world.lacking(Role.STT, options.language):
            raise error
        try:
            LongFormPolicy(window_ms=options.window_ms, overlap_ms=options.overlap_ms)
        except ValueError as error:
            raise MalformedEvent("invalid_value", f"{error}.", param="chunk_duration") from error

    return check
