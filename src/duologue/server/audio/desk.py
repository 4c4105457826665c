"""What the audio routes are given, and how much of it they use at a time."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from duologue.core.capabilities import Capabilities
from duologue.ports import Clock, EnginePool, VoiceActivity
from duologue.server.audio.refusals import START_RETRY_S, Refusal

LASTED = 20
"""Pieces of work over which the length of one is estimated."""

FIRST_ESTIMATE_MS = 2_000.0
"""When a place may be free, as long as nothing has ended."""

LONGEST_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class AudioDesk:
    """What the routes need of the house.

    Attributes:
        pool: of recognisers and voices. A file is not listened to in real time, so its patience with an engine
            should be longer than a conversation's.
        recognisers: what those can do that are up, best first.
        make_vad: a voice-activity model of the desk's own, loaded: it is used in worker threads, at the pace of
            files, where the conversations' own would hold up the event loop. Called once, at the first file.
        clock: for the estimate of when a place is free.
        max_files: recognised at a time; each takes one stream of an engine.
        max_speeches: spoken at a time; likewise.
        max_uploads: received at a time.
    """

    pool: EnginePool
    recognisers: Callable[[], Sequence[Capabilities]]
    make_vad: Callable[[], VoiceActivity]
    is_ready: Callable[[], bool]
    clock: Clock
    max_files: int = 4
    max_speeches: int = 8
    max_uploads: int = 16

    def check_ready(self) -> None:
        """Raises `Refusal` while the engines are being loaded."""
        if not self.is_ready():
            message = "The server is still loading its engines: see /ready."
            raise Refusal(503, "not_ready", message, retry_after_s=START_RETRY_S)


class Seats:
    """A bounded number of places for one kind of work; who finds none free is told when to come again.

    Args:
        limit: places.
        work: what is done there, for the message: "files are transcribed".
    """

    def __init__(self, limit: int, work: str, clock: Clock) -> None:
        self._limit = limit
        self._work = work
        self._clock = clock
        self._lasted_ms: deque[float] = deque(maxlen=LASTED)
        self.taken = 0

    def check(self) -> None:
        """Raises `Refusal`, if all are taken."""
        if self.taken >= self._limit:
            seconds = self._retry_s()
            message = (
                f"{self._limit} {self._work} already, which is as many as this server does at a time. "
                f"Try again in about {seconds} s (an estimate)."
            )
            raise Refusal(429, "rate_limit_exceeded", message, retry_after_s=seconds)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """One place, for the `with` block.

        Raises:
            Refusal: at once, if all are taken.
        """
        self.check()
        self.taken += 1
        began_ms = self._clock()
        try:
            yield
        finally:
            self.taken -= 1
            self._lasted_ms.append(self._clock() - began_ms)

    def _retry_s(self) -> int:
        """Of n that last d on average, one ends every d/n."""
        lasted = self._lasted_ms or [FIRST_ESTIMATE_MS]
        mean_ms = sum(lasted) / len(lasted)
        return max(1, min(LONGEST_RETRY_S, math.ceil(mean_ms / self._limit / 1000)))
