"""Which of some ways to run a checkpoint is the fastest here: the contest as the engines on Transformers hold it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.engines.models.store import DEFAULT_FOLDER
from duologue.engines.torchkit import contest, oom
from duologue.engines.torchkit.device import Device
from duologue.engines.torchkit.ways import Way
from duologue.ports import Clock

log = logging.getLogger("duologue.engines")

VERDICTS = DEFAULT_FOLDER.parent / "verdicts"
"""Where it is remembered which way is the fastest; `~` is not expanded yet."""

LIKENESS = 0.98
"""Least cosine between the logits of two ways, each token's own mean taken off. int8 keeps 0.998 of models with
random weights (0.1 and 56 million parameters); what breaks under it is far below."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contest is held, and where its verdict is kept.

    Attributes:
        torch: the module.
        verdicts: a folder; see `contest.remembered`.
    """

    torch: Any
    device: Device
    verdicts: Path
    clock: Clock


def fastest(
    place: Place,
    folder: Path,
    ways: Sequence[Way],
    opened: Callable[[Way], Any],
    run: Callable[[Any], Any],
    why: str,
) -> Way:
    """The way that wins; the only one, untried, where there is one.

    Args:
        folder: of the checkpoint.
        ways: see `ways.ways`.
        opened: a model, run so.
        run: of an opened model: its logits after what it is warmed up with, [tokens, vocabulary], on the CPU.
        why: of the choice of the plain way; for the log.

    Raises:
        EngineError, or what the library raises: the plain way itself does not run.
    """
    if len(ways) == 1:
        log.info("= %s runs in %s: %s", folder.name, ways[0].name, why)
        return ways[0]
    candidates = [contest.Candidate(way.name, lambda way=way: opened(way)) for way in ways]  # type: ignore[misc]

    def after() -> str:
        oom.release(place.torch, place.device)
        return ""

    def hold() -> contest.Verdict:
        return contest.contest(candidates, run, unlike, contest.BUDGET_S, place.clock, after)

    key = contest.key(place.torch, place.device, contest.fingerprint(folder), candidates)
    verdict = contest.remembered(place.verdicts.expanduser(), key, hold)
    return {way.name: way for way in ways}.get(verdict.winner, ways[0])


def likeness(one: Any, other: Any) -> float:
    """Of logits, [tokens, vocabulary]: mean cosine, each token's own mean taken off."""
    a, b = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    return float(((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-9)).mean())


def unlike(plain: Any, other: Any) -> str:
    """What is wrong with another way's logits; empty if nothing is."""
    if not other.isfinite().all():
        return "its numbers overflow"
    found = likeness(plain, other)
    return "" if found >= LIKENESS else f"its answers differ (likeness {found:.2f})"
