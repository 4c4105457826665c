"""Who is served next, first as plain logic, then with the thread."""

import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import EngineError, EngineOutOfMemory, EngineRefused
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
    while jobs := queue.take(now_ms):
        taken += [job.work for job in jobs]
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
    assert (queue.wait_ms(1_000), queue.take(1_000)) == (200, [])
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
    asked: list[Job[str, str]] = []
    done: list[Job[str, str]] = []
    for number, (owner, what) in enumerate(steps):
        if what is None:
            done += queue.take(0)
        else:
            job: Job[str, str] = Job(owner, str(number), is_final=what)
            asked.append(job)
            queue.add(job)
    while jobs := queue.take(0):
        done += jobs
    assert [j for j in done if j.is_final] == [j for j in asked if j.is_final]
    assert len(done) == len(set(map(id, done)))


# --- several at once ---
def by_letter(*jobs: Job[str, str]) -> FairQueue[str, str]:
    """Work that begins alike goes together; what begins with "-" goes alone."""
    queue: FairQueue[str, str] = FairQueue(lambda work: None if work[0] == "-" else work[0])
    for job in jobs:
        queue.add(job)
    return queue


def works(jobs: Sequence[Job[str, str]]) -> list[str]:
    return [job.work for job in jobs]


def test_those_of_one_kind_go_together_and_the_first_is_the_first() -> None:
    queue = by_letter(*(final("s", work) for work in ("a1", "b1", "a2", "-1", "a3", "b2", "-2")))
    assert [works(queue.take(0, 2)) for _ in range(5)] == [
        ["a1", "a2"],
        ["b1", "b2"],
        ["-1"],
        ["a3"],
        ["-2"],
    ]


def test_partials_go_together_only_when_no_final_waits() -> None:
    queue = by_letter(partial("x", "p1"), partial("y", "p2"), final("z", "p3"), partial("w", "q"))
    assert [works(queue.take(0, 8)) for _ in range(4)] == [["p3"], ["p1", "p2"], ["q"], []]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 5))
def test_nobody_waits_for_more_calls_than_singly(asked: list[tuple[str, bool]], most: int) -> None:
    jobs: list[Job[str, str]] = [
        Job(n, letter, is_final=is_final) for n, (letter, is_final) in enumerate(asked)
    ]
    single, batched = queue_of(*jobs), by_letter(*jobs)
    order = [job for _ in jobs for job in single.take(0)]
    calls = [batched.take(0, most) for _ in jobs]
    for n, job in enumerate(order):
        assert any(job in call for call in calls[: n + 1])
    assert sum(map(len, calls)) == len(jobs)
    assert all(len(call) <= most and len(set(works(call))) <= 1 for call in calls)


class Gate:
    """A model whose calls end when they are let through."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.fits = 100
        self._started = threading.Semaphore(0)
        self._let = threading.Semaphore(0)

    def __call__(self, works: Sequence[str]) -> list[str]:
        self.began.append("+".join(works))
        self._started.release()
        assert self._let.acquire(timeout=10)
        if "refuse" in works:
            raise EngineRefused("refused", "No.")
        if "bug" in works:
            raise KeyError(works)
        if len(works) > self.fits:
            raise EngineOutOfMemory("full", "Full.")
        return [work.upper() for work in works]

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


def batching(gate: Gate, most: int) -> SharedModel[str, str]:
    model = SharedModel(gate, kind=lambda work: work[0])
    model.most = most
    return model


def test_what_waits_for_one_call_goes_into_the_next_together(gate: Gate) -> None:
    model = batching(gate, 3)
    model.ask("z", "z", is_final=True)
    gate.until_it_works()
    jobs = [model.ask(f"s{n}", f"a{n}", is_final=True) for n in range(4)]
    gate.let(3)
    assert [ended(job).answer() for job in jobs] == ["A0", "A1", "A2", "A3"]
    assert gate.began == ["z", "a0+a1+a2", "a3"]
    model.close()


def test_jobs_that_came_at_one_moment_share_a_call(gate: Gate) -> None:
    model = batching(gate, 8)
    gate.let()
    assert [ended(j).answer() for j in model.ask_at_once("s", ["a1", "a2"], is_final=True)] == [
        "A1",
        "A2",
    ]
    model.close()
    (late,) = model.ask_at_once("s", ["a"], is_final=True)
    with pytest.raises(EngineError):
        ended(late).answer()


def test_a_batch_that_fails_is_done_again_singly(gate: Gate) -> None:
    model = batching(gate, 8)
    gate.let(4)
    jobs = model.ask_at_once("s", ["bat", "bug", "bee"], is_final=True)
    assert [ended(jobs[n]).answer() for n in (0, 2)] == ["BAT", "BEE"]
    with pytest.raises(EngineError, match="KeyError"):
        ended(jobs[1]).answer()
    assert model.most == 8
    model.close()


def test_a_batch_without_memory_is_halved_for_good_and_nobody_loses_by_it(gate: Gate) -> None:
    gate.fits = 2
    model = batching(gate, 4)
    gate.let(100)
    jobs = model.ask_at_once("s", ["a1", "a2", "a3", "a4"], is_final=True)
    assert [ended(job).answer() for job in jobs] == ["A1", "A2", "A3", "A4"]
    assert model.most == 2
    jobs = model.ask_at_once("s", ["a1", "a2", "a3", "a4"], is_final=True)
    assert [ended(job).answer() for job in jobs] == ["A1", "A2", "A3", "A4"]
    assert gate.began == ["a1+a2+a3+a4", "a1", "a2", "a3", "a4", "a1+a2", "a3+a4"]
    model.close()
