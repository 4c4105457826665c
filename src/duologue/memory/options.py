"""Every candidate in every place that it could take here, and what that costs and is worth."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from duologue.core.capabilities import Role
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import Footprint
from duologue.memory.goals import PER_MS, Goal
from duologue.memory.machine import Machine

ON_CPU = -1
GATEWAY = "gateway"
COLOCATED = 150
"""Hundredths of a point that two roles on one card cost, for they wait for each other. It depends on nothing but who
is where: a plan that was possible is worth the same on a larger machine, so more memory never makes a plan worse."""

HEADROOM = 0.9
"""Of what is free: the rest is for fragments, and for what other programs take meanwhile."""

GATEWAY_RAM_MIB = 400
GATEWAY_MILLICORES = 50
"""The server itself, and what a session's sound costs it."""


@dataclass(frozen=True, slots=True)
class Option:
    """One candidate in one place, for a goal.

    Attributes:
        gpu: place in the machine's row of cards; `ON_CPU` for none.
        model_mib: on the card, without the context.
        context_mib: of its process on the card.
        process: options of the same process on the same card share one context.
        ram_mib: of the host.
        score: hundredths of a point; never depends on how much memory there is, nor on the number of sessions.
    """

    candidate: Candidate
    gpu: int
    model_mib: int
    context_mib: int
    process: str
    ram_mib: int
    millicores: int
    score: int

    @property
    def gpu_mib(self) -> int:
        """On its card, if it were alone there."""
        return self.model_mib + self.context_mib


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used. `gpu_mib` is a card's each; `total_mib` of all cards, None for no more limit."""

    gpu_mib: tuple[int, ...]
    ram_mib: int
    millicores: int
    total_mib: int | None = None


Chosen = tuple[Option, ...]
"""One option a role, in the order of `ROLES`; or the first of them, while a search goes on."""


def limits(machine: Machine, goal: Goal) -> Limits:
    """What a plan may use of this machine."""
    return Limits(
        tuple(usable(gpu.free_mib) for gpu in machine.gpus),
        usable(machine.ram_mib),
        machine.cores * 1_000,
        goal.total_mib,
    )


def usable(free_mib: int) -> int:
    """What a plan may take of free memory."""
    return int(free_mib * HEADROOM)


def of_role(
    role: Role,
    machine: Machine,
    goal: Goal,
    candidates: Iterable[Candidate],
    measured: Mapping[str, Footprint],
) -> list[Option]:
    """All options of a role that the goal allows, whether or not the machine has the memory; rungs among them."""
    found: list[Option] = []
    for candidate in candidates:
        if candidate.role is not role or not _allowed(candidate, goal):
            continue
        known = candidate
        if candidate.key in measured:
            known = replace(candidate, footprint=measured[candidate.key])
        if known.kind == "cpu":
            found.append(option(known, ON_CPU, goal))
            continue
        for place, gpu in enumerate(machine.gpus):
            if goal.limits.uses_cards and gpu.capability >= known.capability:
                found.append(option(known, place, goal))
    cap = goal.limits.caps.get(role)
    return [o for o in found if cap is None or o.gpu_mib <= cap]


def _allowed(candidate: Candidate, goal: Goal) -> bool:
    if goal.limits.is_built_in_only and not candidate.is_built_in:
        return False
    return candidate.serves(goal.sessions) and candidate.speaks(goal.languages)


def option(candidate: Candidate, gpu: int, goal: Goal) -> Option:
    """A candidate in a place."""
    model = candidate.model_mib(goal.sessions, goal.context_tokens)
    footprint = candidate.footprint
    is_on_card = gpu != ON_CPU
    worth = candidate.quality - PER_MS[goal.aim] * footprint.first_ms.value
    return Option(
        candidate=candidate,
        gpu=gpu,
        model_mib=model if is_on_card else 0,
        context_mib=footprint.context.value if is_on_card else 0,
        process=candidate.role if candidate.is_alone or goal.is_apart else GATEWAY,
        ram_mib=footprint.ram.value + (0 if is_on_card else model),
        millicores=0 if is_on_card else footprint.millicores.value * goal.sessions,
        score=round(worth * 100),
    )


def undominated(options: Sequence[Option]) -> list[Option]:
    """Without those to which another of the same place and process is equal or better in everything.

    Whatever is planned with a dropped one could be planned with the other: no search loses by it.
    """
    kept: list[Option] = []
    for one in sorted(options, key=_order):
        if not any(_covers(other, one) for other in kept):
            kept.append(one)
    return kept


def _order(one: Option) -> tuple[int, int, int, int, int, str]:
    return (-one.score, one.gpu, one.gpu_mib, one.ram_mib, one.millicores, one.candidate.key)


def _covers(better: Option, worse: Option) -> bool:
    return (
        (better.gpu, better.process) == (worse.gpu, worse.process)
        and better.score >= worse.score
        and better.model_mib <= worse.model_mib
        and better.context_mib <= worse.context_mib
        and better.ram_mib <= worse.ram_mib
        and better.millicores <= worse.millicores
    )


# --- sums over what was chosen ---
def on_gpu(chosen: Chosen, gpu: int) -> int:
    """MiB on one card: every model, and each process's context once (the largest that one of its engines needs)."""
    contexts: dict[str, int] = {}
    total = 0
    for one in chosen:
        if one.gpu == gpu:
            total += one.model_mib
            contexts[one.process] = max(contexts.get(one.process, 0), one.context_mib)
    return total + sum(contexts.values())


def on_cards(chosen: Chosen) -> int:
    """MiB on all cards."""
    return sum(on_gpu(chosen, gpu) for gpu in {one.gpu for one in chosen if one.gpu != ON_CPU})


def in_ram(chosen: Chosen) -> int:
    """MiB of the host, the server's own with them."""
    return GATEWAY_RAM_MIB + sum(one.ram_mib for one in chosen)


def on_cores(chosen: Chosen, sessions: int) -> int:
    """Millicores, the server's own with them."""
    return GATEWAY_MILLICORES * sessions + sum(one.millicores for one in chosen)


def score(chosen: Chosen) -> int:
    """What the choice is worth, hundredths of a point."""
    return sum(one.score for one in chosen) - COLOCATED * _pairs(chosen)


def _pairs(chosen: Chosen) -> int:
    places = [one.gpu for one in chosen if one.gpu != ON_CPU]
    return sum(places.count(gpu) * (places.count(gpu) - 1) // 2 for gpu in set(places))


def fits(chosen: Chosen, limits: Limits, sessions: int) -> bool:
    """Within every limit."""
    if in_ram(chosen) > limits.ram_mib or on_cores(chosen, sessions) > limits.millicores:
        return False
    if limits.total_mib is not None and on_cards(chosen) > limits.total_mib:
        return False
    used = {one.gpu for one in chosen if one.gpu != ON_CPU}
    return all(on_gpu(chosen, gpu) <= limits.gpu_mib[gpu] for gpu in used)


def preference(chosen: Chosen) -> tuple[int, int, int, tuple[int, ...], tuple[str, ...]]:
    """Smallest is best: worth most; then least memory, lowest cards, and the alphabet, so that ties are no chance."""
    return (
        -score(chosen),
        on_cards(chosen),
        in_ram(chosen),
        tuple(one.gpu for one in chosen),
        tuple(one.candidate.key for one in chosen),
    )
