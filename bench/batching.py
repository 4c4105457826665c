"""What it brings to do several sessions' utterances in one call of Whisper: throughput and waiting, against singly.

    python -m bench.batching [--size base] [--place cpu:1] [--sessions 8] [--batch 2 4 8] [--tokens 12 64]

So many sessions speak at once, each its next utterance as soon as the last is answered, through the engine's own
`run`: real features, encoder, beam search and queue. The checkpoint is of the true architecture and size with random
weights, which says nothing and never stops by itself; so each answer is as long as --tokens says (12: a spoken
command; 64: what two seconds may take at most). Every round runs each size of batch, in changing order, and
ratios are taken within a round; what is told is the median of the rounds, with the least and the greatest. On a
machine that has other things to do, trust the ratio of CPU time: with one thread it is that of throughput, alone.

CPU      the encoder sees 1500 positions of each piece, whatever was said; it is bound by arithmetic already, so only
         the decoder, which reads all weights for every token, gains by company. Expected: 1.0 to 1.2 for commands.
         Measured on two cores: 0.8 to 1.0 for commands, 0.8 to 1.2 for 64 tokens. The engine's warm-up finds
         that, too, and takes one at a time there.
GPU      one piece does not fill it. Expected: 2 to 4; not measured yet.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tests.engines.whisper import tiny_whisper

from duologue.core.audio import WINDOW_SAMPLES, AudioFrame
from duologue.engines.base import Flush, Item
from duologue.engines.whisper import transcriber
from duologue.engines.whisper.engine import Whisper
from duologue.ports import Event, Final, SttOptions

UTTERANCE_SAMPLES = 15_000
"""Just below a second: no partials are asked for."""


@dataclass(frozen=True)
class Run:
    """One size of batch in one round."""

    batch: int
    tokens: int
    per_s: float
    cpu_s: float
    mean_wait_ms: float
    longest_wait_ms: float


class Session:
    """An inbox of some utterances, each put in when the last is answered, and how long each answer took."""

    def __init__(self, seed: int, utterances: int) -> None:
        sound = np.random.default_rng(seed).normal(0, 0.05, UTTERANCE_SAMPLES)
        self._pcm = (sound * 32_767).astype("<i2").tobytes()
        self._utterances = utterances
        self._asked_at = 0.0
        self.waits_ms: list[float] = []
        self.cancelled = False

    def __iter__(self) -> Iterator[Item]:
        step, at = WINDOW_SAMPLES * 2, 0
        for number in range(self._utterances):
            for offset in range(0, len(self._pcm), step):
                frame = AudioFrame(self._pcm[offset : offset + step], at)
                at = frame.end
                yield frame
            self._asked_at = time.perf_counter()
            yield Flush(number)

    def told(self, event: Event) -> None:
        if isinstance(event, Final):
            self.waits_ms.append((time.perf_counter() - self._asked_at) * 1000)


def measure(engine: Whisper, batch: int, tokens: int, sessions: int, utterances: int) -> Run:
    """All sessions once through, with up to `batch` utterances a call."""
    transcriber.TOKEN_BOUNDS = (tokens, tokens, tokens)
    assert engine._shared is not None
    engine._shared.most = batch
    talkers = [Session(seed, utterances) for seed in range(sessions)]
    options = SttOptions("en")
    threads = [
        threading.Thread(target=engine.run, args=(options, talker, talker.told))
        for talker in talkers
    ]
    began, cpu_began = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    waits = [wait for talker in talkers for wait in talker.waits_ms]
    assert len(waits) == sessions * utterances
    return Run(
        batch,
        tokens,
        len(waits) / took_s,
        cpu_s / len(waits),
        statistics.fmean(waits),
        max(waits),
    )


def rounds(engine: Whisper, args: argparse.Namespace) -> Iterator[Run]:
    """Every size of batch in every round, each round beginning with another."""
    batches = [1, *args.batch]
    for tokens in args.tokens:
        measure(engine, max(batches), tokens, args.sessions, 1)  # pays for memory
        for number in range(args.rounds):
            turn = number % len(batches)
            for batch in batches[turn:] + batches[:turn]:
                yield measure(engine, batch, tokens, args.sessions, args.utterances)


def spread(values: list[float], form: str = ".2f") -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):{form}} [{min(values):{form}}..{max(values):{form}}]"


def report(runs: list[Run], tokens: int) -> None:
    """A line for each size of batch."""
    singly = [run for run in runs if (run.batch, run.tokens) == (1, tokens)]
    for batch in sorted({run.batch for run in runs}):
        these = [run for run in runs if (run.batch, run.tokens) == (batch, tokens)]
        faster = [run.per_s / one.per_s for run, one in zip(these, singly, strict=True)]
        cheaper = [one.cpu_s / run.cpu_s for run, one in zip(these, singly, strict=True)]
        print(
            f"{tokens} tokens, up to {batch} a call:"
            f"\n    utterances/s    {spread([r.per_s for r in these])}, x {spread(faster)}"
            f"\n    CPU s each      {spread([r.cpu_s for r in these])}, x {spread(cheaper)} fewer"
            f"\n    mean wait, ms   {spread([r.mean_wait_ms for r in these], '.0f')}"
            f"\n    longest, ms     {spread([r.longest_wait_ms for r in these], '.0f')}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(tiny_whisper.SIZES), default="base")
    parser.add_argument("--place", default="cpu", help="DEVICE[:N][/PRECISION]")
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--utterances", type=int, default=2, help="of each session in a run")
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--tokens", type=int, nargs="+", default=[12, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = tiny_whisper.make(Path(scratch) / args.size, args.size)
        engine = Whisper(f"{model}@{args.place}")
        engine.load()
        engine.warm_up()
        assert engine._shared is not None
        found = engine._shared.most
        print(f"{args.size} at {args.place}, {args.sessions} sessions, {args.rounds} rounds;")
        print(f"by itself the engine puts up to {found} into a call")
        runs = list(rounds(engine, args))
        engine.close()
    for tokens in args.tokens:
        report(runs, tokens)
    if args.json:
        args.json.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
