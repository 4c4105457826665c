"""Kill -9 of a process that writes: what it acknowledged is there."""

import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import Database

ROOT = Path(__file__).parents[2]
KILLS = {"sqlite": 20, "postgres": 5}


def killed_after(url: str, count: int) -> list[int]:
    """What it had acknowledged when it was killed, at some point after `count` numbers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.killed_writer", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        seen = [int(lines.readline()) for _ in range(count)]
        process.kill()
        seen += [int(line) for line in lines.read().splitlines()]
    assert process.wait(10) == -9
    return seen


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_is_there(
    database: Database, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["database"]
    dice = random.Random(6)
    for _ in range(KILLS[kind]):
        acknowledged = killed_after(database.url, dice.randint(1, 400))
        archive = database.archive()
        await archive.start()
        kept = [item.number for item in await archive.items("s", limit=1_000_000)]
        assert set(acknowledged) <= set(kept)
        assert kept == list(range(1, len(kept) + 1))  # in order, and nothing in between is missing
        assert await archive.erase("s")
        await archive.aclose()
    if kind == "sqlite":
        with sqlite3.connect(database.url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
