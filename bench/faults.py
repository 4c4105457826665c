"""What faults of engines cost a conversation: each kind at random moments, in virtual time, seeded.

    python -m bench.faults [--runs 200] [--turns 6] [--json FILE]

A run is one real session of some turns on real pools, the resilient one above them. The preferred engine of each
role breaks by a seeded script; the one behind it does not. An utterance is lost if it gets no transcript; the delay
is from the end of speech to the transcript, beyond what the same engine takes when it is well.
"""

import argparse
import asyncio
import json
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bench.turns import virtual
from duologue.core.capabilities import Role
from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory
from duologue.core.notices import (
    Notice,
    ReplyEnded,
    TranscriptBroke,
    TranscriptDone,
)
from duologue.core.options import SessionOptions
from duologue.engines.chain import Link
from duologue.engines.events import EventQueue
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.pool_ladder import LadderPool, Rung
from duologue.engines.resilient import ResilientPool
from duologue.ports import EngineGone, EngineStream, Offer, StreamOptions
from duologue.session.hearing import Hearing
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.session import Session
from duologue.session.world import World

Fault = Literal["crash", "hang", "run oom", "load oom", "wrong output", "dead network"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

FRAME_MS = 20
SPEECH_MS = 1_000
PAUSE_MS = 6_000
"""Long enough for every answer to be over: what is asked is whether the next turn is heard."""

STT_MS = 80.0
TTS_MS = 60.0

SHARE = 0.5
"""Of the preferred engine's streams that break."""


@dataclass
class Outcome:
    """What became of one run.

    Attributes:
        delays_ms: from the end of each turn's speech to its transcript; none where it was lost.
    """

    fault: Fault
    injected: int = 0
    turns: int = 0
    lost: int = 0
    failed_replies: int = 0
    delays_ms: list[float] = field(default_factory=list)
    recovered: bool = True
    ended: str = ""


class _Loudness:
    """Speech is what is loud; see `ports.VoiceActivity`."""

    def open(self) -> int:
        return 0

    def close_slot(self, slot: int) -> None:
        pass

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> list[float]:
        return [1.0 if float(np.abs(w).mean()) > 0.1 else 0.0 for w in windows]


class _AtOnce(InProcessPool):
    """A pool of a fake engine, which needs no loading: threads have no part in virtual time."""

    async def start(self) -> None:
        pass


class Faulty:
    """A pool whose streams break by a script of dice."""

    def __init__(self, pool: InProcessPool, fault: Fault, dice: random.Random, on: Outcome) -> None:
        self._pool = pool
        self._fault = fault
        self._dice = dice
        self._outcome = on
        self.is_well = True
        self.capabilities = pool.capabilities
        self.ready, self.spares, self.attempts = True, 0, 2

    @property
    def streams(self) -> int:
        return self._pool.streams

    async def __aenter__(self) -> "Faulty":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def start(self) -> None:
        if self._fault == "load oom":
            self._outcome.injected += 1
            raise EngineOutOfMemory("engine_out_of_memory", "CUDA out of memory, as was scripted.")

    def note(self, error: EngineError) -> None:
        pass

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        breaks = not self.is_well and self._dice.random() < SHARE
        if breaks and self._fault == "dead network":
            self._outcome.injected += 1
            await asyncio.sleep(0.5)
            raise EngineLost("endpoint_unreachable", "The network is dead, as was scripted.")
        stream = await self._pool.open(role, key, options)
        if not breaks:
            return stream
        self._outcome.injected += 1
        return _Breaking(stream, self._fault, self._dice.randrange(1, 40))


class _Breaking:
    """A stream that breaks after so many calls, at the latest when something is owed."""

    def __init__(self, stream: EngineStream, fault: Fault, after: int) -> None:
        self._stream = stream
        self._fault = fault
        self._left = after
        self._is_broken = False
        self._out = EventQueue()
        self.rate_hz = stream.rate_hz
        self.room = stream.room

    def offer(self, item: Offer) -> bool:
        self._left -= 1
        if self._left == 0:
            self._break()
        return self._is_broken or self._stream.offer(item)

    def flush(self, flush_id: int) -> None:
        self._break()

    def events(self) -> EventQueue:
        return self._out

    def _break(self) -> None:
        if not self._is_broken:
            self._is_broken = True
            if self._fault != "hang":
                error = EngineGone(_error(self._fault))
                asyncio.get_running_loop().call_later(0.03, self._out.put, error)

    async def aclose(self, *, cancel: bool = False) -> None:
        self._out.close()
        await self._stream.aclose(cancel=cancel)


def _error(fault: Fault) -> EngineError:
    if fault == "run oom":
        return EngineOutOfMemory("engine_out_of_memory", "CUDA out of memory, as was scripted.")
    if fault == "wrong output":
        return EngineLost("engine_garbled", "Its process sent what is not our wire.")
    return EngineLost("engine_process_lost", "It crashed, as was scripted.")


class _Ear:
    """The listener: when each turn was transcribed, and whether it was answered."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.speech_ended_ms = 0.0

    def tell(self, notice: Notice) -> None:
        match notice:
            case TranscriptDone(text=text) if text:
                self._outcome.delays_ms.append(virtual.now_ms() - self.speech_ended_ms)
            case TranscriptBroke() | TranscriptDone():
                self._outcome.lost += 1
            case ReplyEnded(reply=reply):
                self._outcome.failed_replies += reply.status == "failed"
            case _:
                pass

    def sound(self, reply_id: str, index: int, item_id: str, pcm: bytes) -> None:
        pass

    def unsent(self) -> int:
        return 0


async def run_once(fault: Fault, seed: int, turns: int) -> Outcome:
    """One session; afterwards the engines are well, and the preferred ones must come back."""
    dice, outcome, clock = random.Random(f"{fault} {seed}"), Outcome(fault), virtual.now_ms
    async with AsyncExitStack() as stack:
        faulty: list[Faulty] = []

        def preferred(make: Callable[[], Any]) -> Faulty:
            faulty.append(Faulty(InProcessPool(make()), fault, dice, outcome))
            return faulty[-1]

        chains = {}
        for role, make in (
            (Role.STT, lambda: FakeStt(f"stt_ms={STT_MS}")),
            (Role.TTS, lambda: FakeTts(f"tts_ms={TTS_MS},tts_s=1")),
        ):
            rungs = [
                Rung("large", lambda make=make: preferred(make)),  # type: ignore[misc]
                Rung("small", lambda make=make: _AtOnce(make())),  # type: ignore[misc]
            ]
            pool = await stack.enter_async_context(LadderPool(rungs))
            await pool.start()
            chains[role] = [Link(f"{role} 1", pool), Link(f"{role} 2", InProcessPool(make()))]
        resilient = ResilientPool(chains)
        hearing = Hearing(_Loudness(), clock)
        world = World(
            resilient, FakeLlm("llm_tokens=4"), hearing, Pacer(clock), Meters(clock), clock
        )
        await resilient.introduce()
        for engine in faulty:
            engine.is_well = False
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(world.pacer.run()), tasks.create_task(resilient.run())]
        ear = _Ear(outcome)
        session = Session(world, "faults", ear, SessionOptions(), tasks)
        for _ in range(turns):
            ear.speech_ended_ms = virtual.now_ms() + SPEECH_MS
            await _speak(session, dice)
            outcome.turns += 1
        for engine in faulty:
            engine.is_well = True
        await asyncio.sleep(40)  # beyond the longest wait between two trials
        outcome.recovered = not any(x.breaker.is_open for chain in chains.values() for x in chain)
        outcome.ended = str(session.error or "")
        session.close()
        for task in (*running, *_others(running)):
            task.cancel()
        hearing.close()
    return outcome


def _others(known: Sequence["asyncio.Task[None]"]) -> list["asyncio.Task[Any]"]:
    """The session's own tasks; the ladders end theirs themselves."""
    ours = {asyncio.current_task(), *known}
    return [t for t in asyncio.all_tasks() - ours if t.get_name() != "engine-ladder"]


async def _speak(session: Session, dice: random.Random) -> None:
    size = session.options.input_format.rate_hz * FRAME_MS // 1000
    noise = np.random.default_rng(dice.randrange(2**32))
    for at_ms in range(0, SPEECH_MS + PAUSE_MS, FRAME_MS):
        loud = noise.standard_normal(size) * (12_000 if at_ms < SPEECH_MS else 0)
        session.hear(loud.clip(-32768, 32767).astype("<i2").tobytes())
        await asyncio.sleep(FRAME_MS / 1000)


def measure(runs: int, turns: int) -> list[Outcome]:
    """So many runs, the faults in turn."""
    return [
        virtual.run(run_once(FAULTS[n % len(FAULTS)], n // len(FAULTS), turns)) for n in range(runs)
    ]


def table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row for each kind of fault."""
    rows = []
    for fault in FAULTS:
        of = [o for o in outcomes if o.fault == fault]
        delays = sorted(d for o in of for d in o.delays_ms)
        well = min(delays, default=0.0)
        rows.append(
            {
                "fault": fault,
                "runs": len(of),
                "turns": sum(o.turns for o in of),
                "injected": sum(o.injected for o in of),
                "lost": sum(o.lost + o.turns - o.lost - len(o.delays_ms) for o in of),
                "failed_replies": sum(o.failed_replies for o in of),
                "ended": sum(bool(o.ended) for o in of),
                "not_recovered": sum(not o.recovered for o in of),
                "added_p50_ms": round(statistics.median(delays) - well) if delays else 0,
                "added_p95_ms": round(delays[int(0.95 * (len(delays) - 1))] - well)
                if delays
                else 0,
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = table(measure(given.runs, given.turns))
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))
    print(dict(Counter({name: sum(r[name] for r in rows) for name in ("turns", "lost", "ended")})))


if __name__ == "__main__":
    main()
