"""Real servers on real stores, each in a process of its own, to be killed and started again within a moment.

    with nursery(folder) as servers:
        url = await servers.start("a", {"database_url": "sqlite:////tmp/a.db"}, late_ms=40)
        servers.kill("a")

Beneath is `python -m tests.support.stream_server`, which imports everything once, and then forks a server for each
line that it is sent: its name and its settings, as JSON. The server says its name, its process and its address; its
store begins each commit `late_ms` late, so that there is time to be killed before it.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from duologue.app import serving
from duologue.app.house import build
from duologue.core.capabilities import Role
from duologue.engines import fakes
from duologue.engines.base import EngineSpec
from duologue.ports import Offer, StreamOptions
from duologue.server.listening import listen, shown
from duologue.settings import Settings
from tests.support.kept_server import LateArchive

START_S = 20.0


class Nursery:
    """Where servers are started."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._alive: dict[str, int] = {}
        self._started: dict[str, tuple[int, str]] = {}
        self._writing, self._reading = threading.Lock(), threading.Lock()

    async def start(self, name: str, settings: Mapping[str, Any], late_ms: float = 0) -> str:
        """A server of this name; its address."""
        line = json.dumps({"name": name, "settings": dict(settings), "late_ms": late_ms})
        async with asyncio.timeout(START_S):
            self._alive[name], url = await asyncio.to_thread(self._start, name, line)
        assert self._alive[name], f"{name} did not start"
        return url

    def _start(self, name: str, line: str) -> tuple[int, str]:
        """Whoever waits reads for all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._writing:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        while True:
            with self._reading:
                if name in self._started:
                    return self._started.pop(name)
                started, pid, url = self._process.stdout.readline().split()
                self._started[started] = int(pid), url

    def kill(self, name: str) -> None:
        """As `kill -9` does."""
        os.kill(self._alive.pop(name), signal.SIGKILL)

    def close(self) -> None:
        """Nobody is left."""
        for name in list(self._alive):
            self.kill(name)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@contextlib.contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    """One; its servers have their data in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stream_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(folder)},
    )
    made = Nursery(process)
    try:
        yield made
    finally:
        made.close()


# --- in that process ---
class _SlowStream(fakes._TtsStream):
    def offer(self, item: Offer) -> bool:
        taken = super().offer(item)
        self._delay_ms += self._policy.tts_ms
        return taken


class SlowVoice(fakes.FakeTts):
    """Its policy's `tts_ms` before each piece, not only before the first: there is time between an answer's parts."""

    def open(self, key: str, options: StreamOptions) -> _SlowStream:
        """A stream for one answer."""
        return _SlowStream(self)


VOICE = EngineSpec("slow-voice", Role.TTS, fakes.TTS.capabilities, SlowVoice)


async def run(
    name: str, settings: Mapping[str, Any], late_ms: float, tell: Callable[[str], None]
) -> None:
    """One server, until it is killed."""
    given = Settings(engines="fake", port=0, **settings)
    house = build(given)
    if late_ms:
        late: Any = LateArchive(house.store, late_ms)
        house.streams.shared = replace(house.streams.shared, archive=late)
    listening = listen(given.host, 0)
    server = serving._Server(serving._uvicorn_config(given, house))
    url = f"http://{shown(given.host)}:{listening.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.run(lambda: tell(f"{name} {os.getpid()} {url}\n")))
        await server.serve([listening])


def main() -> None:
    """Until nothing more is sent."""

    def tell(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed need no burial
    for line in sys.stdin:
        wanted = json.loads(line)
        if os.fork() == 0:
            os.close(0)
            try:
                asyncio.run(run(wanted["name"], wanted["settings"], wanted["late_ms"], tell))
            except BaseException:
                tell(f"{wanted['name']} 0 failed\n")
                raise
            os._exit(0)


if __name__ == "__main__":
    main()
