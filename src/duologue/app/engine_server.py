"""One engine behind a port, until it is told to stop: the composition of `duologue engine-server`."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from duologue.app import parts
from duologue.core.capabilities import Role
from duologue.core.errors import SetupError, only_ours
from duologue.engines.endpoint.server import EngineServer
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.remote import keys
from duologue.server.listening import certificate_and_key, listen, shown
from duologue.settings import LOOPBACK, data_home

log = logging.getLogger("duologue")


@dataclass(frozen=True, slots=True)
class EngineServing:
    """What is served, and to whom.

    Attributes:
        engine: NAME or NAME:ARGUMENT.
        token: what clients must bear.
        no_auth: nobody needs one, even from other machines.
        tls: "CERT,KEY" files for wss, or empty.
        max_streams: at a time; 0 for as many as the engine serves.
        models: the models folder.
        audio_api_key: keys of servers that the engine itself may ask; see `settings`.
    """

    role: Role
    engine: str
    models: Path
    host: str = "127.0.0.1"
    port: int = 9_000
    token: str = ""
    no_auth: bool = False
    tls: str = ""
    max_streams: int = 0
    audio_api_key: str = ""


async def serve_engine(serving: EngineServing, on_ready: Callable[[str, int], None]) -> int:
    """Serve until SIGINT or SIGTERM: then no new streams, and those open are finished; a second one stops at once.

    Args:
        on_ready: called with the address, and the streams that there are, when the engine is loaded and has run.

    Returns:
        How many streams had to be broken off.

    Raises:
        DuologueError: it cannot run as it is set up.
    """
    _refuse_the_open_door(serving)
    keys.provide(keys.read(serving.audio_api_key))
    (part,) = parts.pooled(serving.role, [serving.engine], parts.Means(serving.models))
    pool = part.pool
    assert pool is not None

    def max_streams() -> int:
        all_streams = _processes(pool) * pool.capabilities.max_streams
        return min(all_streams, serving.max_streams or all_streams)

    server = EngineServer(
        serving.role, serving.engine, pool, max_streams=max_streams, token=serving.token
    )
    tls = _tls(serving)
    listening = listen(serving.host, serving.port)
    port = listening.getsockname()[1]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.drain)

    async def load() -> None:
        await part.bring_up()
        server.is_ready = True
        scheme = "ws" if tls is None else "wss"
        on_ready(f"{scheme}://{shown(serving.host)}:{port}", max_streams())

    async with AsyncExitStack() as stack:
        await server.open(listening, tls)
        stack.push_async_callback(server.aclose)
        await stack.enter_async_context(pool)
        try:
            async with asyncio.TaskGroup() as tasks:
                loading = tasks.create_task(load(), name="load")
                broken_off = await server.finished()
                loading.cancel()
        except BaseExceptionGroup as group:
            if (error := only_ours(group)) is None:
                raise
            raise error from None
    return broken_off


def _tls(serving: EngineServing) -> ssl.SSLContext | None:
    certificate, key = certificate_and_key(serving.tls, data_home() / "tls", serving.host)
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _processes(pool: parts.Pool) -> int:
    if isinstance(pool, SubprocessPool):
        return pool.spec.processes or os.cpu_count() or 1
    return 1


def _refuse_the_open_door(serving: EngineServing) -> None:
    if serving.host not in LOOPBACK and not serving.token and not serving.no_auth:
        raise SetupError(
            "no_token",
            f"Binding to {serving.host} would lend this engine to everybody who can reach it.",
            remedy="Set DUOLOGUE_ENGINE_TOKEN (or --token), or say --no-auth if that is meant.",
        )
