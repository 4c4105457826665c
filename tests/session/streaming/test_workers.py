"""So many at a time, first come, first served."""

import asyncio

import pytest

from duologue.core.errors import StateConflict
from duologue.session.streaming.workers import Workers
from tests.support.stage import HandClock


class Site:
    """Work that lasts until it is told to end."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.began: list[int] = []
        self.ends = [asyncio.Event() for _ in range(8)]

    async def work(self, number: int) -> None:
        async with self.workers.turn():
            self.began.append(number)
            await self.ends[number].wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_than_so_many_work_and_in_their_order() -> None:
    clock = HandClock()
    site = Site(Workers(2, clock))
    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(site.work(number))
        await settle()
        assert site.began == [0, 1]
        assert (site.workers.load.busy, site.workers.load.waiting) == (2, 2)
        clock.now += 700
        site.ends[1].set()
        await settle()
        assert site.began == [0, 1, 2]
        assert site.workers.load.wait_max_ms == 700
        for end in site.ends:
            end.set()
    assert site.began == [0, 1, 2, 3]
    assert (site.workers.load.busy, site.workers.load.turns) == (0, 4)


async def test_more_workers_begin_at_once_and_fewer_finish_first() -> None:
    site = Site(Workers(1, HandClock()))
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(site.work(number))
        await settle()
        site.workers.set_number(3)
        await settle()
        assert site.began == [0, 1, 2]
        site.workers.set_number(1)
        for end in site.ends[:2]:
            end.set()
        await settle()
        assert site.began == [0, 1, 2]
        for end in site.ends:
            end.set()
    assert site.workers.number == 1
    for wrong in (0, 65):
        with pytest.raises(StateConflict, match="workers"):
            site.workers.set_number(wrong)


async def test_who_gives_up_waiting_leaves_no_hole() -> None:
    site = Site(Workers(1, HandClock()))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(site.work(number)) for number in range(4)]
        await settle()
        running[1].cancel()
        site.ends[0].set()
        running[2].cancel()  # perhaps just admitted
        await settle()
        running[2].cancel()
        await settle()
        assert site.began[-1] == 3
        site.ends[3].set()
    assert site.workers.load.busy == 0
    assert site.workers.load.waiting == 0
