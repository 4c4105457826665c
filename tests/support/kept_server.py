"""Servers on stores, to be killed and started again within a moment: `python -m tests.support.kept_server`.

Imports everything once, and then forks a server for each line that it is sent, which names the store's file. The
server says that, its process and its address; its store takes `late_ms` for each commit, so that there is time to be
killed before it.
"""

import asyncio
import os
import sys
from asyncio import Future
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from duologue.app import serving
from duologue.app.house import build
from duologue.core.records import Change
from duologue.server.listening import listen, shown
from duologue.settings import Settings


class LateArchive:
    """An archive whose commits begin so much later, in order; all else is the archive's."""

    def __init__(self, archive: Any, late_ms: float) -> None:
        self._archive = archive
        self._late_ms = late_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def write(self, *changes: Change) -> "Future[None]":
        loop = asyncio.get_running_loop()
        done: Future[None] = loop.create_future()
        loop.call_later(self._late_ms / 1000, self._write, changes, done)
        return done

    def _write(self, changes: tuple[Change, ...], done: "Future[None]") -> None:
        self._archive.write(*changes).add_done_callback(partial(_pass_on, done))


def _pass_on(done: "Future[None]", written: "Future[None]") -> None:
    if (error := written.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(None)


async def run(path: Path, fake: str, late_ms: float, tell: Callable[[str], None]) -> None:
    settings = Settings(engines="fake", fake=fake, port=0, database_url=f"sqlite:///{path}")
    house = build(settings)
    if late_ms:
        house.world.archive = LateArchive(house.store, late_ms)
    listening = listen(settings.host, 0)
    server = serving._Server(serving._uvicorn_config(settings, house))
    url = f"ws://{shown(settings.host)}:{listening.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.run(lambda: tell(f"{path} {os.getpid()} {url}\n")))
        await server.serve([listening])


def main() -> None:
    fake, late_ms = sys.argv[1], float(sys.argv[2])

    def tell(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    for line in sys.stdin:
        if os.fork() == 0:
            os.close(0)
            asyncio.run(run(Path(line.strip()), fake, late_ms, tell))
            os._exit(0)


if __name__ == "__main__":
    main()
