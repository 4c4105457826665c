"""Engine servers for tests: in this event loop or in processes of their own, over real sockets either way."""

import asyncio
import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from duologue.core.capabilities import Role
from duologue.engines.endpoint.pool import EndpointsPool
from duologue.engines.endpoint.server import EngineServer
from duologue.engines.pool_inprocess import InProcessPool
from duologue.server.listening import listen
from tests.engines.probe import Probe


@asynccontextmanager
async def lent(
    engine: Any = None,
    role: Role = Role.STT,
    *,
    token: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    ready: bool = True,
    tls: ssl.SSLContext | None = None,
    pool: InProcessPool | None = None,
) -> AsyncIterator[tuple[EngineServer, int]]:
    """A server for this engine (the probe, if none is given) and its port."""
    pool = pool or InProcessPool(Probe() if engine is None else engine)
    server = EngineServer(
        role, "probe", pool, max_streams=lambda: pool.capabilities.max_streams, token=token
    )
    server.is_ready = ready
    listening = listen(host, port)
    await server.open(listening, tls)
    try:
        yield server, listening.getsockname()[1]
    finally:
        await server.aclose()
        async with asyncio.timeout(5):
            while pool.streams:  # noqa: ASYNC110 - a thread's end is nobody's event here
                await asyncio.sleep(0.002)


@asynccontextmanager
async def borrowed(
    *ports: int, role: Role = Role.STT, patience_s: float = 5, **options: Any
) -> AsyncIterator[EndpointsPool]:
    """A pool of the servers at these ports, started."""
    urls = [f"ws://127.0.0.1:{port}" for port in ports]
    async with EndpointsPool(role, urls, **options) as pool:
        await pool.start(patience_s)
        yield pool


@asynccontextmanager
async def lent_and_borrowed(
    engine: Any = None, role: Role = Role.STT
) -> AsyncIterator[EndpointsPool]:
    """Both ends."""
    async with lent(engine, role) as (_, port), borrowed(port, role=role) as pool:
        yield pool


@dataclass
class RunningEngine:
    """One `duologue engine-server`."""

    process: "subprocess.Popen[str]"
    port: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@contextlib.contextmanager
def engine_server(*args: str, **env: str) -> Iterator[RunningEngine]:
    """Start one as a user would, wait until it is ready, end it."""
    command = [sys.executable, "-m", "duologue.cli.engine_server", *args]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env},
    )
    running = RunningEngine(process)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line)
            if found := re.search(r"is ready, \d+ streams: ws://\S+:(\d+)", line):
                running.port = int(found[1])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not ready.wait(60) or not running.port:
            raise AssertionError(f"the engine server did not start:\n{running.output}")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait(10)
        reader.join(5)
        assert process.stdout is not None
        process.stdout.close()
