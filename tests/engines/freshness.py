"""Whether ready means ready: the first work of a fresh process against its steady state, after load and warm-up.

    python -m tests.engines.freshness stt pocketsphinx 10     so many processes, one after another

`ratio` is what the tests and the bench ask for.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.engines import registry
from duologue.engines.base import Flush, Item
from duologue.ports import Event, Final, Say, SttOptions, TtsOptions

LIMIT = 1.3
"""The first work after `/ready` takes at most so many times the steady median."""

CALLS = 12
"""Of each process: the first, and those that make the steady median."""

SENTENCE = "The kettle is on, and supper will be ready at seven."


class _Inbox:
    """A stream's items, and the moment at which its last was taken."""

    cancelled = False

    def __init__(self, items: list[Item]) -> None:
        self._items = items

    def __iter__(self) -> Any:
        return iter(self._items)


def _work(role: Role) -> list[Item]:
    if role is Role.TTS:
        return [Say(0, SENTENCE), Flush(1)]
    from tests.support.clips import clip

    pcm = clip("commands-numbers.flac", 16_000)[: 2 * 24_000]
    frames = [AudioFrame(pcm[at : at + 1024], at // 2) for at in range(0, len(pcm), 1024)]
    return [*frames, Flush(1)]


def one(role: Role, name: str) -> dict[str, float]:
    """In this process: load, warm up, and then work `CALLS` times; milliseconds until the flush is answered."""
    spec, argument = registry.find(name, role)
    engine = spec.make(argument)
    engine.load()
    engine.warm_up()
    options = TtsOptions(language="en") if role is Role.TTS else SttOptions("en")
    took_ms = []
    for _ in range(CALLS):
        events, inbox = list[Event](), _Inbox(_work(role))
        began = time.perf_counter()
        engine.run(options, inbox, events.append)
        took_ms.append((time.perf_counter() - began) * 1000)
        assert isinstance(events[-1], Final)
    engine.close()
    return {"first_ms": took_ms[0], "steady_ms": statistics.median(took_ms[1:])}


def ratio(role: Role, name: str, processes: int) -> float:
    """Median over fresh processes of first to steady."""
    ratios = []
    for _ in range(processes):
        command = (sys.executable, "-m", "tests.engines.freshness", role, name)
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        ratios.append(told["first_ms"] / told["steady_ms"])
    return statistics.median(ratios)


if __name__ == "__main__":
    wanted, engine_name, *count = sys.argv[1:]
    if count:
        print(f"{ratio(Role(wanted), engine_name, int(count[0])):.2f}")  # noqa: T201
    else:
        print(json.dumps(one(Role(wanted), engine_name)))  # noqa: T201
