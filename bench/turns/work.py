"""The work spread over processes: each takes a share of the recordings and scenarios, for all policies, so that what
its engines found for one policy is there for the next."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.turns import acquainted, policies, scenario, scene, virtual, whole
from bench.turns.recordings import Library
from bench.turns.scene import Played
from bench.turns.whole import Outcome
from bench.turns.world import Engines, Setup, side_by_side

AT_A_TIME = 64
"""Conversations side by side in a process: enough for Silero's batches; each may take a decoder of 15 MiB."""


@dataclass(frozen=True)
class Part:
    """One process's share.

    Attributes:
        limit: recordings of a kind; 0 for all.
        whole: the headline is wanted; `acquainted`: and again, with a speaker's in one session.
        scenarios: which of those; empty for none.
    """

    setup: Setup
    folder: Path
    names: tuple[str, ...]
    limit: int = 0
    share: int = 0
    shares: int = 1
    whole: bool = True
    acquainted: bool = False
    scenarios: str = "*"
    seed: int = 0


@dataclass
class Found:
    """What came of it, by policy.

    Attributes:
        sound_s: of all conversations together.
        acoustic: the acoustic model that was asked.
        answer: whose voice the answers have.
    """

    whole: dict[str, list[Outcome]] = field(default_factory=dict)
    acquainted: dict[str, list[Outcome]] = field(default_factory=dict)
    played: dict[str, list[Played]] = field(default_factory=dict)
    sound_s: float = 0.0
    took_s: float = 0.0
    acoustic: str = ""
    answer: str = ""


def do_part(part: Part) -> Found:
    """In this process."""
    began = time.perf_counter()
    library = Library(part.folder)
    recordings = sorted(library.whole(part.limit), key=lambda r: -r.seconds)
    mine = recordings[part.share :: part.shares]
    engines = Engines(part.setup)
    found = Found(acoustic=engines.turn_end_name, answer=engines.answer_voice)
    scenarios = scenario.load(part.scenarios)[part.share :: part.shares] if part.scenarios else []
    jobs: list[Callable[..., Any]]
    for name in part.names:
        manner = policies.find(name)
        if part.whole:
            jobs = [
                partial(
                    whole.hear,
                    manner=manner,
                    recording=recording,
                    detected_ms=engines.speech_until_ms(recording.pcm()),
                )
                for recording in mine
            ]
            found.whole[name] = _hold(jobs, engines)
            found.sound_s += sum(r.seconds + (whole.LEAD_MS + whole.TAIL_MS) / 1000 for r in mine)
        if part.acquainted:
            evenings = list(acquainted.speakers(library.whole(part.limit)).values())
            mine_too = evenings[part.share :: part.shares]
            jobs = [partial(acquainted.hear, manner=manner, recordings=those) for those in mine_too]
            heard = _hold(jobs, engines)
            found.acquainted[name] = [one for outcomes in heard for one in outcomes]
        jobs = [
            partial(scene.play, manner=manner, scenario=one, library=library, seed=part.seed)
            for one in scenarios
        ]
        found.played[name] = _hold(jobs, engines)
        found.sound_s += sum(one.duration_ms for one in found.played[name]) / 1000
        engines.save()
    found.took_s = time.perf_counter() - began
    return found


def _hold(jobs: Sequence[Callable[..., Any]], engines: Engines) -> list[Any]:
    return virtual.run(side_by_side(list(jobs), engines, at_a_time=AT_A_TIME))


def do(part: Part, processes: int) -> Found:
    """In so many processes, all shares of a work put together."""
    if processes <= 1:
        return do_part(part)
    parts = [replace(part, share=at, shares=processes) for at in range(processes)]
    total = Found()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(do_part, parts):
            for name, outcomes in found.whole.items():
                total.whole.setdefault(name, []).extend(outcomes)
            for name, outcomes in found.acquainted.items():
                total.acquainted.setdefault(name, []).extend(outcomes)
            for name, played in found.played.items():
                total.played.setdefault(name, []).extend(played)
            total.sound_s += found.sound_s
            total.took_s = max(total.took_s, found.took_s)
            total.acoustic, total.answer = found.acoustic, found.answer
    for outcomes in total.whole.values():
        outcomes.sort(key=lambda one: (one.kind, one.file))
    for played in total.played.values():
        played.sort(key=lambda one: (one.scenario.group, one.scenario.name))
    return total
