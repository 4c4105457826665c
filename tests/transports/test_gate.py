"""What waits for the store: in order, for so long, and not at all without need."""

import asyncio
import logging
from asyncio import Future

import pytest

from duologue.core.errors import OurError
from duologue.transports import gate as gates
from duologue.transports.gate import Gate


class Door:
    """A gate, and what came out of it."""

    def __init__(self) -> None:
        self.late = 0
        self.out: list[int] = []
        self.gate = Gate("sess_1", self._count)

    def _count(self) -> None:
        self.late += 1

    def put(self, *numbers: int, size: int = 10) -> None:
        for number in numbers:
            self.gate.put(lambda n=number: self.out.append(n), size)  # type: ignore[misc]

    def hold(self) -> "Future[None]":
        written: Future[None] = asyncio.get_running_loop().create_future()
        self.gate.hold(written)
        return written


async def test_messages_wait_for_their_commit_and_keep_their_order() -> None:
    door = Door()
    door.put(1)
    first = door.hold()
    door.put(2, 3)
    second = door.hold()
    door.put(4)
    assert door.out == [1]
    assert (door.gate.waiting, door.gate.waiting_bytes) == (3, 30)
    second.set_result(None)
    await asyncio.sleep(0)
    assert door.out == [1]
    first.set_result(None)
    await asyncio.sleep(0)
    assert door.out == [1, 2, 3, 4]
    assert door.gate.is_open
    assert (door.gate.waiting, door.gate.waiting_bytes, door.late) == (0, 0, 0)


async def test_what_is_stored_already_is_not_waited_for() -> None:
    door = Door()
    done: Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    door.gate.hold(done)
    door.put(1)
    assert door.out == [1]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_what_will_never_be_stored_is_told_all_the_same(how: str) -> None:
    door = Door()
    written = door.hold()
    door.put(1)
    if how == "failed":
        written.set_exception(OurError("store_failed", "no"))
    else:
        written.cancel()
    await asyncio.sleep(0)
    assert door.out == [1]
    assert door.late == 0


async def test_a_late_store_is_counted_logged_once_and_not_waited_for_until_it_has_caught_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = Door()
    with caplog.at_level(logging.WARNING):
        first, second = door.hold(), door.hold()
        door.put(1)
        barrier = door.gate._queue[0]
        assert isinstance(barrier, gates._Barrier)
        loop = asyncio.get_running_loop()
        assert barrier.timer.when() == pytest.approx(loop.time() + 0.5, abs=0.1)
        barrier.timer._run()
        assert door.out == [1]
        door.hold()
        door.put(2)
        assert door.out == [1, 2]
        first.set_result(None)
        second.set_result(None)
        await asyncio.sleep(0)
        third = door.hold()
        door.put(3)
        assert door.out == [1, 2]
        door.gate._queue[0].timer._run()  # type: ignore[union-attr]
        assert door.out == [1, 2, 3]
        third.set_result(None)
    assert door.late == 2
    assert len(caplog.records) == 1


async def test_only_so_much_waits() -> None:
    door = Door()
    door.hold()
    door.put(1, 2, size=gates.MAX_BYTES // 2)
    assert door.out == []
    door.put(3)
    assert door.out == [1, 2, 3]
    assert door.late == 1


async def test_what_is_no_message_waits_and_is_not_counted() -> None:
    door = Door()
    written = door.hold()
    door.gate.put(lambda: door.out.append(9), is_message=False)
    assert door.gate.waiting == 0
    written.set_result(None)
    await asyncio.sleep(0)
    assert door.out == [9]
