"""One model for the streams of all sessions: whose work it does next.

Finals go first, in the order in which they were asked for, and none is dropped. A partial is a courtesy: a
stream has at most one waiting, a newer one replaces it, a final of the same stream makes it pointless, and
the model takes it up only while no final waits. A call cannot be broken off, so a final that comes during a
partial waits for its end; how long a partial and how much of the time all partials may take is bounded
accordingly.

Where the model does several jobs in one call, those of one kind that wait behind the first go along with it. Each
call begins with the job whose turn it is, so nobody waits for more calls than if the model took them singly.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory
from duologue.engines.base import StreamCancelled
from duologue.engines.threads import engine_bug
from duologue.ports import Clock

log = logging.getLogger("duologue.engines")

Work = TypeVar("Work")
"""What the model is asked to do."""

Answer = TypeVar("Answer")
"""What comes of it."""

FINAL_DELAY_MS = 50.0
"""How long, on average, a final may wait for partials: about what a listener does not notice."""

PARTIAL_AT_MOST_MS = 500.0
"""Where a call takes longer than this, there are no partials at all: an utterance of a few seconds would then
often end in the middle of its own. One that takes `d` and runs in an utterance of `u` on average delays its
final by d² / 2u; for u = 2.5 s, a spoken command, that is again 50 ms."""

SMOOTHING = 0.3
"""Weight of the latest call in the running estimate of how long one takes."""

CLOSE_TIMEOUT_S = 5.0
"""How long to wait for the call in progress when the model is given up."""


class Job(Generic[Work, Answer]):
    """One piece of work, and what came of it."""

    def __init__(self, owner: Hashable, work: Work, *, is_final: bool) -> None:
        self.owner = owner
        self.work = work
        self.is_final = is_final
        self._over = threading.Event()
        self._answer: Answer
        self._error: EngineError | None = None

    @property
    def is_over(self) -> bool:
        """It was done, or has failed."""
        return self._over.is_set()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for it, None for however long; False if it is not over by then."""
        return self._over.wait(timeout_s)

    def outcome(self, is_unwanted: Callable[[], bool], poll_s: float) -> Answer:
        """What came of it, waited for as long as somebody wants it, which is looked at so often.

        Raises:
            StreamCancelled: nobody does.
            EngineError: it failed.
        """
        while not self.wait(poll_s):
            if is_unwanted():
                raise StreamCancelled
        return self.answer()

    def answer(self) -> Answer:
        """What came of it; only once it is over.

        Raises:
            EngineError: it failed.
        """
        if self._error is not None:
            raise self._error
        return self._answer

    def finish(self, answer: Answer) -> None:
        """It is done."""
        self._answer = answer
        self._end()

    def fail(self, error: EngineError) -> None:
        """It cannot be done."""
        self._error = error
        self._end()

    def _end(self) -> None:
        del self.work  # it may be large, and the result is kept until the stream wants it
        self._over.set()


class FairQueue(Generic[Work, Answer]):
    """Which jobs are next. Pure: the time is an argument, and the lock is the caller's.

    Args:
        kind: what work must have in common to be done in one call; None for work that must be alone.
    """

    def __init__(self, kind: Callable[[Work], Hashable] = lambda _: None) -> None:
        self._kind = kind
        self._finals: deque[Job[Work, Answer]] = deque()
        self._partials: dict[Hashable, Job[Work, Answer]] = {}  # in the order of asking
        self._partials_rest_until_ms = 0.0
        self._call_ms: float | None = None

    def __len__(self) -> int:
        return len(self._finals) + len(self._partials)

    def add(self, job: Job[Work, Answer]) -> None:
        """One more job. It takes the place of a waiting partial of its owner, whose time is over."""
        if job.is_final:
            self._partials.pop(job.owner, None)
            self._finals.append(job)
        else:
            self._partials[job.owner] = job  # the newer one keeps the older one's turn

    def withdraw(self, owner: Hashable) -> None:
        """Nobody wants an owner's jobs any more."""
        self._partials.pop(owner, None)
        self._finals = deque(job for job in self._finals if job.owner != owner)

    def take(self, now_ms: float, most: int = 1) -> list[Job[Work, Answer]]:
        """The next job to be done at this time, if there is one, and up to `most` - 1 more of its kind."""
        if self._finals:
            taken = self._first_and_like(self._finals, most)
            self._finals = deque(job for job in self._finals if job not in taken)
            return taken
        if self.wait_ms(now_ms) != 0:
            return []
        taken = self._first_and_like(self._partials.values(), most)
        for job in taken:
            del self._partials[job.owner]
        return taken

    def _first_and_like(
        self, waiting: Iterable[Job[Work, Answer]], most: int
    ) -> list[Job[Work, Answer]]:
        first, *others = waiting
        kind = self._kind(first.work)
        if kind is None or most == 1:
            return [first]
        return [first, *islice((job for job in others if self._kind(job.work) == kind), most - 1)]

    def wait_ms(self, now_ms: float) -> float | None:
        """How long until a waiting partial may be taken; None if none waits, or calls take too long for any."""
        if not self._partials or (self._call_ms or 0.0) > PARTIAL_AT_MOST_MS:
            return None
        return max(0.0, self._partials_rest_until_ms - now_ms)

    def served(self, job: Job[Work, Answer], took_ms: float, now_ms: float) -> None:
        """A call was made.

        After a partial that took `d`, none is taken for `r`. A final that comes at any time meets a partial
        with probability d / (d + r), and then waits d / 2 on average: r = d² / (2 · FINAL_DELAY_MS) - d keeps
        the product at FINAL_DELAY_MS. Below twice that, calls are so short that there is no need to rest.
        """
        known_ms = took_ms if self._call_ms is None else self._call_ms
        self._call_ms = known_ms + SMOOTHING * (took_ms - known_ms)
        if not job.is_final:
            rest_ms = took_ms**2 / (2 * FINAL_DELAY_MS) - took_ms
            self._partials_rest_until_ms = now_ms + max(0.0, rest_ms)

    def clear(self) -> list[Job[Work, Answer]]:
        """Take everything out."""
        left = [*self._finals, *self._partials.values()]
        self._finals.clear()
        self._partials.clear()
        return left


def wall_ms() -> float:
    """The process's clock; see `ports.Clock`."""
    return time.monotonic() * 1000


class SharedModel(Generic[Work, Answer]):
    """A thread that does the jobs of all streams, one call at a time.

    Args:
        call: does work of one kind, and returns an answer for each; called in that thread only. What it raises
            for one piece of work fails that job; where it raises for several, each is tried by itself.
        kind: see `FairQueue`.

    Attributes:
        most: jobs in a call at most; halved when memory runs out.
        last_call_ms: how long the last call took.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Work]], Sequence[Answer]],
        *,
        kind: Callable[[Work], Hashable] = lambda _: None,
        clock: Clock = wall_ms,
    ) -> None:
        self._call = call
        self._clock = clock
        self._queue: FairQueue[Work, Answer] = FairQueue(kind)
        self._changed = threading.Condition()
        self._is_closed = False
        self.most = 1
        self.last_call_ms = 0.0
        self._thread = threading.Thread(target=self._serve, name="engine-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that nobody works on yet: at most a partial and a few finals a stream."""
        return len(self._queue)

    def ask(self, owner: Hashable, work: Work, *, is_final: bool) -> Job[Work, Answer]:
        """Have something done; see the module for who goes first."""
        (job,) = self.ask_at_once(owner, [work], is_final=is_final)
        return job

    def ask_at_once(
        self, owner: Hashable, works: Sequence[Work], *, is_final: bool
    ) -> list[Job[Work, Answer]]:
        """Have several things done that came at one moment."""
        jobs: list[Job[Work, Answer]] = [Job(owner, work, is_final=is_final) for work in works]
        with self._changed:
            if not self._is_closed:
                for job in jobs:
                    self._queue.add(job)
                self._changed.notify()
                return jobs
        for job in jobs:
            job.fail(_closed())
        return jobs

    def withdraw(self, owner: Hashable) -> None:
        """Drop what an owner still waits for; a call in progress goes on, and its result is nobody's."""
        with self._changed:
            self._queue.withdraw(owner)

    def close(self) -> None:
        """Take no more jobs, fail those that wait, and let the call in progress end."""
        with self._changed:
            self._is_closed = True
            left = self._queue.clear()
            self._changed.notify()
        for job in left:
            job.fail(_closed())
        self._thread.join(CLOSE_TIMEOUT_S)

    def _serve(self) -> None:
        while jobs := self._next():
            self._do(jobs)

    def _do(self, jobs: Sequence[Job[Work, Answer]]) -> None:
        began_ms = self._clock()
        try:
            answers = self._call([job.work for job in jobs])
        except Exception as error:  # noqa: BLE001 - the outer wall of a call: it costs its own jobs only
            self._served(jobs[0], began_ms)
            self._failed(jobs, engine_bug(error))
        else:
            self._served(jobs[0], began_ms)
            for job, answer in zip(jobs, answers, strict=True):
                job.finish(answer)

    def _failed(self, jobs: Sequence[Job[Work, Answer]], error: EngineError) -> None:
        if len(jobs) == 1:
            jobs[0].fail(error)
            return
        if isinstance(error, EngineOutOfMemory):
            self.most = max(1, len(jobs) // 2)
            log.warning(
                "! the model has no memory for %d jobs a call: %s", len(jobs), error.message
            )
        for job in jobs:
            self._do([job])

    def _served(self, job: Job[Work, Answer], began_ms: float) -> None:
        """Before its owner is told, so that whoever acts on that finds the accounts in order."""
        with self._changed:
            now_ms = self._clock()
            self.last_call_ms = now_ms - began_ms
            self._queue.served(job, self.last_call_ms, now_ms)

    def _next(self) -> list[Job[Work, Answer]]:
        with self._changed:
            while not self._is_closed:
                now_ms = self._clock()
                if jobs := self._queue.take(now_ms, self.most):
                    return jobs
                rest_ms = self._queue.wait_ms(now_ms)
                self._changed.wait(None if rest_ms is None else rest_ms / 1000)
        return []


def _closed() -> EngineLost:
    return EngineLost("engine_closed", "The engine was stopped before it had answered.")
