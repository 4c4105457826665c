"""Who is served next, first as plain logic, then with the thread."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import EngineError, EngineRefused
from duologue.engines.whisper.shared_model import (
    FINAL_DELAY_MS,
    PARTIAL_AT_MOST_MS,
    FairQueue,
    Job,
    SharedModel,
)


def final(owner: str, work: str = "") -> Job[str, str]:
    return Job(owner, work or owner, is_final=True)


def partial(owner: str, work: str = "") -> Job[str, str]:
    return Job(owner, work or owner, is_final=False)


def drained(queue: FairQueue[str, str], now_ms: float = 0) -> list[str]:
    taken = []
    while (job := queue.take(now_ms)) is not None:
        taken.append(job.work)
    return taken


def queue_of(*jobs: Job[str, str]) -> FairQueue[str, str]:
    queue: FairQueue[str, str] = FairQueue()
    for job in jobs:
        queue.add(job)
    return queue


def test_finals_go_first_and_in_order() -> None:
    queue = queue_of(partial("a"), final("b", "1"), partial("c"), final("d", "2"), final("b", "3"))
    assert len(queue) == 5
    assert drained(queue) == ["1", "2", "3", "a", "c"]


def test_a_newer_partial_takes_the_place_of_the_older() -> None:
    assert drained(queue_of(partial("a", "old"), partial("b"), partial("a", "new"))) == ["new", "b"]


def test_a_final_makes_the_streams_own_partial_pointless() -> None:
    assert drained(queue_of(partial("a", "p"), partial("b"), final("a", "f"))) == ["f", "b"]


def test_what_is_withdrawn_is_not_done() -> None:
    queue = queue_of(final("a"), partial("a"), final("b", "f"), partial("b", "p"))
    queue.withdraw("a")
    assert drained(queue) == ["f", "p"]
    assert [job.work for job in queue_of(final("c"), partial("a")).clear()] == ["c", "a"]


def test_partials_rest_after_one_and_finals_do_not() -> None:
    queue = queue_of(partial("a"))
    queue.served(partial("z"), took_ms=200, now_ms=1_000)  # 200² / 100 - 200 = 200 ms of rest
    assert (queue.wait_ms(1_000), queue.take(1_000)) == (200, None)
    queue.add(final("b"))
    assert drained(queue, 1_100) == ["b"]
    assert queue.wait_ms(1_150) == 50
    assert drained(queue, 1_200) == ["a"]
    assert queue.wait_ms(1_200) is None


def test_short_calls_need_no_rest() -> None:
    queue = queue_of(partial("a"))
    queue.served(partial("z"), took_ms=2 * FINAL_DELAY_MS, now_ms=0)
    assert drained(queue) == ["a"]


def test_where_calls_are_long_there_are_no_partials_until_they_are_short_again() -> None:
    queue = queue_of(partial("a"))
    queue.served(final("z"), took_ms=PARTIAL_AT_MOST_MS + 1, now_ms=0)
    assert (queue.wait_ms(1e9), drained(queue, 1e9)) == (None, [])
    queue.served(final("z"), took_ms=PARTIAL_AT_MOST_MS - 50, now_ms=0)
    assert drained(queue, 0) == ["a"]


@given(st.floats(1, PARTIAL_AT_MOST_MS))
def test_a_final_waits_for_partials_no_longer_than_said(took_ms: float) -> None:
    queue = queue_of(partial("a"))
    queue.served(partial("z"), took_ms, now_ms=0)
    rest_ms = queue.wait_ms(0)
    assert rest_ms is not None
    chance_of_meeting_one = took_ms / (took_ms + rest_ms)
    assert chance_of_meeting_one * took_ms / 2 <= FINAL_DELAY_MS * 1.0001


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans() | st.none())))
def test_no_final_is_lost_and_a_stream_has_one_partial(
    steps: list[tuple[str, bool | None]],
) -> None:
    queue: FairQueue[str, str] = FairQueue()
    asked, done = [], []
    for number, (owner, what) in enumerate(steps):
        if what is None:
            if (job := queue.take(0)) is not None:
                done.append(job)
        else:
            job = Job(owner, str(number), is_final=what)
            asked.append(job)
            queue.add(job)
    while (job := queue.take(0)) is not None:
        done.append(job)
    assert [j for j in done if j.is_final] == [j for j in asked if j.is_final]
    assert len(done) == len(set(map(id, done)))


class Gate:
    """A model whose calls end when they are let through."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self._started = threading.Semaphore(0)
        self._let = threading.Semaphore(0)

    def __call__(self, work: str) -> str:
        self.began.append(work)
        self._started.release()
        assert self._let.acquire(timeout=10)
        if work == "refuse":
            raise EngineRefused("refused", "No.")
        if work == "bug":
            raise KeyError(work)
        return work.upper()

    def until_it_works(self) -> None:
        assert self._started.acquire(timeout=10)

    def let(self, calls: int = 1) -> None:
        self._let.release(calls)


class Hands:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def __call__(self) -> float:
        return self.now_ms


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def model(gate: Gate) -> Iterator[SharedModel[str, str]]:
    model = SharedModel(gate)
    yield model
    gate.let(100)
    model.close()


def ended(job: Job[str, str]) -> Job[str, str]:
    assert job.wait(10)
    return job


def test_the_model_serves_finals_in_order_under_load(
    gate: Gate, model: SharedModel[str, str]
) -> None:
    first = model.ask("a", "first", is_final=True)
    gate.until_it_works()
    guess = model.ask("b", "guess", is_final=False)
    finals = [model.ask(f"s{n}", f"final{n}", is_final=True) for n in range(20)]
    assert model.waiting == 21
    gate.let(22)
    assert [ended(job).answer() for job in (first, *finals)] == [
        "FIRST",
        *(f"FINAL{n}" for n in range(20)),
    ]
    assert ended(guess).answer() == "GUESS"
    assert gate.began == ["first", *(f"final{n}" for n in range(20)), "guess"]


def test_a_call_that_fails_costs_its_own_job_only(gate: Gate, model: SharedModel[str, str]) -> None:
    gate.let(3)
    jobs = [model.ask("a", work, is_final=True) for work in ("refuse", "bug", "fine")]
    with pytest.raises(EngineRefused, match="No"):
        ended(jobs[0]).answer()
    with pytest.raises(EngineError, match="KeyError") as caught:
        ended(jobs[1]).answer()
    assert caught.value.code == "engine_broke"
    assert ended(jobs[2]).answer() == "FINE"


def test_what_is_withdrawn_never_reaches_the_model(
    gate: Gate, model: SharedModel[str, str]
) -> None:
    model.ask("a", "busy", is_final=True)
    gate.until_it_works()
    dropped = model.ask("b", "dropped", is_final=True)
    wanted = model.ask("c", "wanted", is_final=True)
    model.withdraw("b")
    gate.let(2)
    assert ended(wanted).answer() == "WANTED"
    assert not dropped.is_over
    assert gate.began == ["busy", "wanted"]


def test_a_partial_is_taken_when_its_rest_is_over(gate: Gate) -> None:
    clock = Hands()
    model = SharedModel(gate, clock=clock)
    before = model.ask("a", "before", is_final=False)
    gate.until_it_works()
    clock.now_ms = 101  # 101² / 100 - 101: a rest of 1 ms
    gate.let()
    assert ended(before).answer() == "BEFORE"
    assert model.last_call_ms == 101
    after = model.ask("a", "after", is_final=False)
    clock.now_ms = 103
    gate.let()
    assert ended(after).answer() == "AFTER"
    model.close()


def test_a_closed_model_fails_what_waits_and_what_comes(
    gate: Gate, model: SharedModel[str, str]
) -> None:
    busy = model.ask("a", "busy", is_final=True)
    gate.until_it_works()
    waiting = [model.ask("b", "w", is_final=True), model.ask("c", "p", is_final=False)]
    closer = threading.Thread(target=model.close)
    closer.start()
    for job in waiting:
        with pytest.raises(EngineError) as caught:
            ended(job).answer()
        assert caught.value.code == "engine_closed"
    gate.let()
    closer.join(10)
    assert ended(busy).answer() == "BUSY"
    with pytest.raises(EngineError):
        ended(model.ask("d", "late", is_final=True)).answer()


def test_the_sound_is_let_go_with_the_answer(gate: Gate, model: SharedModel[str, str]) -> None:
    gate.let()
    assert not hasattr(ended(model.ask("a", "large", is_final=True)), "work")
