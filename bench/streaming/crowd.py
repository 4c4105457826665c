"""Many sessions at real time, on a recogniser that takes 200 ms a window, two windows at a time (or `--workers`).

    python -m bench.streaming.crowd [--sessions 1 10 50] [--seconds 60] [--recogniser windows pocketsphinx]

Each session says something else, in chunks of a quarter of a second, and begins a little later than the one before.
Everything is the product (desk, sessions, the real voice-activity model, SQLite on disk) but the recogniser, which
knows each session's words and errs at the edges of windows. With "pocketsphinx", which listens while somebody speaks,
all sessions play recordings; what it understands is not looked at.

transcript   from the end of an utterance until it is told for good; 800 ms of that are the pause that ends it
first words  from the beginning of an utterance until something of it is told
wait         of a session for one of the two workers
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench import speech
from bench.streaming.conversation import Conversation, generated, recorded
from bench.streaming.engines import Knowing
from duologue.core.streaming import (
    AudioChunk,
    GapMarked,
    Partial,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    Transcribed,
)
from duologue.service import StreamingService
from duologue.session.streaming.session import StreamSession

CHUNK_MS = 250
STAGGER_S = 2.0
"""All have begun within this."""

PATIENCE_S = 60.0

RECOGNISERS = {
    "windows": "bench.streaming.engines.SLOW",
    "pocketsphinx": "pocketsphinx",
}


@dataclass
class Result:
    """What the crowd saw. Times in ms.

    Attributes:
        exact: sessions whose transcript in the store is word for word what was said.
        cpu: processor time by time, of the whole process, clients included.
    """

    recogniser: str
    sessions: int
    seconds: float
    exact: int
    chunks: int
    committed: int
    problems: list[str]
    turns: int
    wait_median_ms: float
    wait_p95_ms: float
    wait_max_ms: float
    starved: int
    cpu: float
    late_ms: float
    transcript_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)

    def row(self) -> str:
        """For a person."""
        return (
            f"| {self.recogniser} | {self.sessions} | {self.seconds:.0f} | {self.exact}/{self.sessions} "
            f"| {self.committed}/{self.chunks} | {self.turns} "
            f"| {self.wait_median_ms:.0f} / {self.wait_p95_ms:.0f} / {self.wait_max_ms:.0f} "
            f"| {shown(self.transcript_ms)} | {shown(self.first_ms)} | {self.cpu:.2f} | {self.late_ms:.0f} "
            f"| {' '.join(sorted(set(self.problems))) or 'none'} |"
        )


HEAD = (
    "| recogniser | sessions | s | exact | chunks committed | windows | wait p50 / p95 / max "
    "| transcript p50 / p95 / max | first words p50 / p95 / max | cores | late | problems |\n"
    "|---|--:|--:|--:|--:|--:|---|---|---|--:|--:|---|"
)


def shown(values: Sequence[float]) -> str:
    """Median, 95th percentile, maximum."""
    if not values:
        return "-"
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"{statistics.median(ordered):.0f} / {p95:.0f} / {ordered[-1]:.0f}"


class Talker:
    """One session's client: speaks at real time, and notes when it is told what."""

    def __init__(self, session: StreamSession, talk: Conversation) -> None:
        self.session = session
        self.talk = talk
        self.began = 0.0
        self.late_ms = 0.0
        self.chunks = 0
        self.problems: list[str] = []
        self.transcript_ms: list[float] = []
        self.first_ms: dict[int, float] = {}
        self._starts = [each.start_ms for each in talk.utterances]

    def __call__(self, notice: StreamNotice) -> None:
        now_ms = (time.monotonic() - self.began) * 1000
        match notice:
            case Partial():
                if notice.text or notice.tentative:
                    self._first(bisect_right(self._starts, notice.end_ms) - 1, now_ms)
            case Transcribed():
                self._first(self._utterance(notice.start_ms), now_ms)
                if notice.ends_utterance:
                    of = self._utterance(notice.start_ms)
                    self.transcript_ms.append(now_ms - self.talk.utterances[of].end_ms)
            case GapMarked():
                self.problems.append("gap")
            case StreamProblem(error=error):
                self.problems.append(error.code)
            case _:
                pass

    def _utterance(self, start_ms: int) -> int:
        return max(0, bisect_right(self._starts, start_ms + 400) - 1)

    def _first(self, of: int, now_ms: float) -> None:
        if of >= 0 and of not in self.first_ms:
            self.first_ms[of] = now_ms - self._starts[of]

    async def speak(self, delay_s: float) -> None:
        """All of it, each chunk when its sound would be there."""
        seat = await self.session.join(self)
        self.began = time.monotonic() + delay_s
        at_ms = 0.0
        for index, pcm in enumerate(self.talk.chunks(CHUNK_MS)):
            at_ms += len(pcm) / 32
            wait_s = self.began + at_ms / 1000 - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self.late_ms = max(self.late_ms, -wait_s * 1000)
            seat.ask(AudioChunk(pcm, index, format="pcm16"))
            self.chunks = index + 1
        seat.ask(AudioChunk(b"", self.chunks, is_final=True))
        self.chunks += 1
        await committed(self.session, self.chunks - 1)


async def committed(session: StreamSession, chunk: int) -> None:
    """Wait until this chunk is in the store; nobody is told of one that nothing was said in."""
    async with asyncio.timeout(PATIENCE_S):
        while session.stats().committed < chunk:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)


async def crowd(
    sessions: int, seconds: float, recogniser: str = "windows", workers: int = 2
) -> Result:
    """So many, for so long, in this process."""
    with tempfile.TemporaryDirectory() as place:
        async with StreamingService(
            num_workers=workers,
            engines="fake",
            stt=RECOGNISERS[recogniser],
            turn_end="none",
            database_url=f"sqlite:///{Path(place) / 'crowd.db'}",
            log_level="warning",
        ) as service:
            talkers = []
            for number in range(sessions):
                session, _ = await service.desk.create("", StreamOptions())
                talk = _talk(recogniser, seconds / 60, number)
                Knowing.words[session.id] = list(talk.words)
                talkers.append(Talker(session, talk))
            waits = _Waits(service)
            process = psutil.Process()
            began, cpu = time.monotonic(), sum(process.cpu_times()[:2])
            async with asyncio.TaskGroup() as tasks:
                for number, talker in enumerate(talkers):
                    tasks.create_task(talker.speak(STAGGER_S * number / sessions))
            took, spent = time.monotonic() - began, sum(process.cpu_times()[:2]) - cpu
            exact = [await is_exact(service, talker) for talker in talkers]
    waited = sorted(waits.ms) or [0.0]
    return Result(
        recogniser,
        sessions,
        seconds,
        sum(exact),
        sum(talker.chunks for talker in talkers),
        sum(talker.session.stats().committed + 1 for talker in talkers),
        [problem for talker in talkers for problem in talker.problems],
        len(waits.ms),
        statistics.median(waited),
        waited[int(0.95 * (len(waited) - 1))],
        waited[-1],
        sum(not talker.transcript_ms for talker in talkers),
        spent / took,
        max(talker.late_ms for talker in talkers),
        [each for talker in talkers for each in talker.transcript_ms],
        [each for talker in talkers for each in talker.first_ms.values()],
    )


def _talk(recogniser: str, minutes: float, number: int) -> Conversation:
    if recogniser == "windows":
        return generated(minutes, seed=100 + number)
    kinds = ("libri_other", "libri_misc", "lj", "librivox_ps")
    return recorded(speech.folder(), minutes, kinds, skip=number)


class _Waits:
    """Keeps all waits for a worker, of which `Workers` remembers only the latest."""

    def __init__(self, service: StreamingService) -> None:
        self.ms: list[float] = []
        service.desk.shared.listeners._waits_ms = self  # type: ignore[assignment]

    def append(self, wait_ms: float) -> None:
        """One more."""
        self.ms.append(wait_ms)


async def is_exact(service: StreamingService, talker: Talker) -> bool:
    """Whether the store has each word that was said, in order, and no other."""
    records = await service.desk.records(talker.session.id, "", limit=1_000)
    heard = " ".join(record.text for record in records if record.kind == "transcript")
    return heard.split() == [word.text for word in talker.talk.words]


def main(argv: Sequence[str] | None = None) -> int:
    """See the module; 1 if something is lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--recogniser", nargs="+", choices=list(RECOGNISERS), default=["windows"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    results = []
    print(HEAD)
    for recogniser in args.recogniser:
        for sessions in args.sessions:
            results.append(asyncio.run(crowd(sessions, args.seconds, recogniser, args.workers)))
            print(results[-1].row(), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in results], indent=1) + "\n")
    return int(any(failures(each) for each in results))


def failures(result: Result) -> list[str]:
    """What is demanded and is not so."""
    demands = {
        "a session got no transcript": not result.starved,
        "a transcript is not what was said": result.exact == result.sessions
        or result.recogniser != "windows",
        "a chunk was lost": result.committed == result.chunks,
        "something went wrong": not result.problems,
    }
    return [what for what, holds in demands.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
