import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from duologue.session.hearing import Hearing

LOUD = (np.ones(512) * 8_000).astype("<i2").tobytes()
SOFT = (np.ones(512) * 40).astype("<i2").tobytes()
HUSHED = (np.ones(512) * 10).astype("<i2").tobytes()


class Model:
    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.free = list(range(50, 0, -1))

    def open(self) -> int:
        return self.free.pop()

    def close_slot(self, slot: int) -> None:
        self.free.append(slot)

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> list[float]:
        assert windows.dtype == np.float32
        assert windows.shape == (len(slots), 512)
        self.batches.append(tuple(slots))
        return [round(float(w[0]), 4) for w in windows]


class Input:
    def __init__(self, hearing: Hearing, *windows: bytes, may_skip: bool = True) -> None:
        self.slot = hearing.admit()
        self.windows = list(windows)
        self.skip = may_skip
        self.verdicts: list[float] = []

    def next_window(self) -> bytes | None:
        return self.windows[0] if self.windows else None

    def may_skip(self) -> bool:
        return self.skip

    def judged(self, probability: float, power: float) -> None:
        self.windows.pop(0)
        self.verdicts.append(probability)


async def test_inputs_are_judged_together_and_each_gets_its_own_verdict() -> None:
    model = Model()
    hearing = Hearing(model, lambda: 0.0)
    one, two = Input(hearing, LOUD, SOFT), Input(hearing, SOFT)
    hearing.notice(one)
    hearing.notice(two)
    assert hearing.judge_waiting()
    assert model.batches == [(one.slot, two.slot), (one.slot,)]
    assert one.verdicts == [round(8000 / 32768, 4), round(40 / 32768, 4)]
    assert two.verdicts == [round(40 / 32768, 4)]
    hearing.close()


async def test_nothing_is_shown_to_the_model_but_for_who_speaks() -> None:
    model = Model()
    hearing = Hearing(model, lambda: 0.0)
    idle, loud = Input(hearing, HUSHED), Input(hearing, LOUD)
    talking = Input(hearing, HUSHED, may_skip=False)
    for who in (idle, loud, talking):
        hearing.notice(who)
    hearing.judge_waiting()
    assert model.batches == [(loud.slot, talking.slot)]
    assert idle.verdicts == [0.0]
    assert talking.verdicts == [round(10 / 32768, 4)]
    assert (hearing.windows, hearing.skipped) == (3, 1)
    hearing.close()


async def test_a_long_recording_does_not_hold_the_loop() -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.9
        return now

    hearing = Hearing(Model(), clock)
    flood = Input(hearing, *[LOUD] * 100)
    hearing.notice(flood)
    assert not hearing.judge_waiting()
    judged = len(flood.verdicts)
    assert 1 <= judged <= 4
    hearing.close()
    assert hearing.judge_waiting()
    assert len(flood.verdicts) == judged


async def test_few_inputs_do_not_wait_for_others() -> None:
    def due() -> float:
        assert isinstance(hearing._timer, asyncio.TimerHandle)
        return hearing._timer.when()

    hearing = Hearing(Model(), lambda: 0.0)
    first = Input(hearing, LOUD)
    hearing.notice(first)
    few = due()
    hearing.close()
    others = [Input(hearing) for _ in range(30)]
    hearing.notice(first)
    assert due() - few > 0.003
    for other in others:
        hearing.dismiss(other)
    hearing.dismiss(first)
    hearing.close()
