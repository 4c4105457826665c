import asyncio

import pytest

from duologue.session.pacer import Pacer


class Member:
    def __init__(self, wants: int) -> None:
        self.wants = wants
        self.ticks: list[float] = []

    def tick(self, now_ms: float) -> bool:
        self.ticks.append(now_ms)
        return len(self.ticks) < self.wants

    def fail(self, error: BaseException) -> None:
        raise AssertionError("nothing fails here") from error


def test_members_are_ticked_until_they_have_had_enough() -> None:
    pacer, short, long = Pacer(lambda: 0.0), Member(1), Member(3)
    pacer.want(short)
    pacer.want(long)
    pacer.want(long)
    for now in range(5):
        pacer.tick(float(now))
    assert (short.ticks, long.ticks) == ([0.0], [0.0, 1.0, 2.0])


def test_a_member_may_leave_or_bring_another_during_the_tick() -> None:
    pacer, other = Pacer(lambda: 0.0), Member(9)

    class Leaves(Member):
        def tick(self, now_ms: float) -> bool:
            pacer.forget(other)
            pacer.want(Member(1))
            return super().tick(now_ms)

    pacer.want(Leaves(1))
    pacer.want(other)
    pacer.tick(0.0)
    pacer.tick(1.0)
    assert len(other.ticks) <= 1


async def test_it_sleeps_while_nobody_wants_it_and_measures_its_lag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, slept = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds * 1000 + (50 if len(slept) == 2 else 1)  # the loop is late
        await real_sleep(0)

    real_sleep = asyncio.sleep
    monkeypatch.setattr("duologue.session.pacer.asyncio.sleep", sleep)
    pacer, member = Pacer(lambda: now), Member(4)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(pacer.run())
        await real_sleep(0)
        assert slept == []
        pacer.want(member)
        while len(member.ticks) < 4:
            await real_sleep(0)
        running.cancel()
    assert list(pacer.lag_ms) == [1, pytest.approx(50), pytest.approx(1), pytest.approx(1)]
    assert len(member.ticks) == 4  # after the stall no burst of ticks


def test_a_member_that_breaks_is_told_and_the_others_are_ticked() -> None:
    class Breaks(Member):
        error: BaseException | None = None

        def tick(self, now_ms: float) -> bool:
            raise RuntimeError("broken")

        def fail(self, error: BaseException) -> None:
            self.error = error

    pacer, broken, other = Pacer(lambda: 0.0), Breaks(9), Member(9)
    pacer.want(broken)
    pacer.want(other)
    pacer.tick(0.0)
    pacer.tick(1.0)
    assert str(broken.error) == "broken"
    assert other.ticks == [0.0, 1.0]
