"""What to give up next when memory runs out: one engine a step, each step smaller than the one before.

A step changes one engine only, for the others go on talking meanwhile. It keeps the card or leaves it for the CPU,
and of all such steps the one that costs least is taken. Without a card the host's memory is what shrinks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from duologue.core.capabilities import Role
from duologue.memory import options as sums
from duologue.memory.goals import ROLES, Goal
from duologue.memory.options import ON_CPU, Chosen, Limits, Option

LEAST_FREED_MIB = 64
"""A smaller step is not worth the restart of an engine."""

LEAST_TOKENS = 1_024
HALVED = 3.0
"""Points of quality for each time that the language model's memory of the conversation is halved."""


@dataclass(frozen=True, slots=True)
class Step:
    """One engine exchanged for a smaller one.

    Attributes:
        chosen: all engines after it.
    """

    role: Role
    before: Option
    after: Option
    chosen: Chosen


def steps(
    chosen: Chosen, rows: Sequence[Sequence[Option]], limits: Limits, goal: Goal
) -> Iterator[Step]:
    """Down from a plan to where no step is left.

    Args:
        rows: for each role its options, those among them that are never planned.
    """
    has_cards = sums.on_cards(chosen) > 0
    while found := _next(chosen, rows, limits, goal, has_cards=has_cards):
        yield found
        chosen = found.chosen


def _next(
    chosen: Chosen,
    rows: Sequence[Sequence[Option]],
    limits: Limits,
    goal: Goal,
    *,
    has_cards: bool,
) -> Step | None:
    held = _held(chosen, has_cards=has_cards)
    best: Step | None = None
    for place, role in enumerate(ROLES):
        before = chosen[place]
        for after in (*rows[place], *_shorter(before, goal)):
            if after.gpu not in (before.gpu, ON_CPU):
                continue
            changed = (*chosen[:place], after, *chosen[place + 1 :])
            if _held(changed, has_cards=has_cards) > held - LEAST_FREED_MIB:
                continue
            if not sums.fits(changed, limits, goal.sessions):
                continue
            if best is None or sums.preference(changed) < sums.preference(best.chosen):
                best = Step(role, before, after, changed)
    return best


def _held(chosen: Chosen, *, has_cards: bool) -> int:
    return sums.on_cards(chosen) if has_cards else sums.in_ram(chosen)


def _shorter(before: Option, goal: Goal) -> Iterator[Option]:
    """The same language model with half the context."""
    candidate = before.candidate
    tokens = candidate.context(goal.context_tokens) // 2
    if candidate.role is Role.LLM and candidate.max_tokens and tokens >= LEAST_TOKENS:
        half = replace(candidate, max_tokens=tokens, quality=candidate.quality - HALVED)
        yield sums.option(half, before.gpu, goal)
