"""A process that writes numbered items until it is killed: each number is printed once it is acknowledged."""

import asyncio
import os
import sys
from asyncio import Future
from functools import partial
from pathlib import Path

from duologue.store.opening import open_archive
from tests.store.records import a_session, an_item

IN_FLIGHT = 8


def told(number: int, future: "Future[None]") -> None:
    if future.exception() is None:
        os.write(1, f"{number}\n".encode())


async def main(url: str) -> None:
    archive = open_archive(url, Path())
    await archive.start()
    await archive.write(a_session())
    numbers = iter(range(1, 1_000_000))
    while True:
        futures = []
        for number in (next(numbers) for _ in range(IN_FLIGHT)):
            future = archive.write(an_item(number, text="x" * 500))
            future.add_done_callback(partial(told, number))
            futures.append(future)
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
