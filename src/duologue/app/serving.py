"""A house on a socket: HTTP and WebSockets, until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import uvicorn

from duologue.app import doors, streaming
from duologue.app.house import House, build
from duologue.core.errors import only_ours
from duologue.memory import watch
from duologue.server.api import Facade, create_api
from duologue.server.door import admission_of
from duologue.server.listening import certificate_and_key, listen, shown
from duologue.server.metrics import Gauges, Metrics
from duologue.server.streaming_facade import StreamFacade
from duologue.settings import Settings, data_home
from duologue.transports.realtime import DRAIN_S
from duologue.transports.websocket import upgrade_protocol


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
    house.switchboard.connections = server.server_state.connections  # drained like the sockets
    house.stream_door.connections = server.server_state.connections
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
    except BaseExceptionGroup as group:
        if (error := only_ours(group)) is None:
            raise
        raise error from None
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
        fallbacks=house.fallbacks,
        broken=lambda: house.resilient.broken,
        engines=house.engine_states,
        memory=lambda: watch.gauges(house.watcher.last),
        streams=house.streams.overview,
        store=lambda: house.store.stats,
    )
    return Facade(
        guard=house.guard,
        meters=world.meters,
        metrics=Metrics(world.meters, gauges),
        engines=house.engine_states,
        is_ready=lambda: house.reception.is_open,
        models=lambda: [settings.model],
        voices=house.voices,
        first_turn=lambda: house.first_turn,
        memory=lambda: msgspec.to_builtins(house.watcher.last),
        audio=house.audio_desk(),
        calls=house.switchboard,
        visitor_of=lambda request: doors.visitor(admission_of(request)),
        effective_session=lambda session: doors.effective_session(settings, session),
        streaming=StreamFacade(
            desk=house.streams,
            door=house.stream_door,
            visitor_of=lambda request: doors.visitor(admission_of(request)),
            engines=house.engine_states,
            device=house.stt_device,
            defaults=streaming.default_options(settings),
        ),
    )
