"""Which engine, model, precision, device and process to hear, speak and think with, so that it fits; with the proof.

Every candidate is tried in every place, and of all that fit the one worth most is taken: quality less the time that
one waits. What a choice is worth depends neither on how much memory there is nor on the number of sessions, and what
fits a machine fits a larger one: so more memory, and fewer sessions, never make a plan worse.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory import ladder, llm_flags, search
from duologue.memory import notes as remarks
from duologue.memory import options as sums
from duologue.memory.candidates import Candidate
from duologue.memory.certificate import Sheet, certificate
from duologue.memory.footprints import Footprint
from duologue.memory.goals import ROLES, Goal
from duologue.memory.known import CANDIDATES
from duologue.memory.machine import Gpu, Machine
from duologue.memory.options import ON_CPU, Chosen, Limits, Option

WORTHWHILE = 200
"""Hundredths of a point by which an upgrade must be better to be told."""

CARDS = (4, 6, 8, 12, 16, 24)
"""Graphics cards that one can buy, GB: what a machine without any is told of."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One role's engine.

    Attributes:
        key: of its candidate, by which calibrations are kept.
        argument: what stands after the engine's name in the settings; empty for nothing.
        device: "cpu", or "cuda:N" as CUDA numbers the card.
        process: "gateway" for the server's own, else the name of a process of its own.
        gpu_mib: on the card, its context with it; 0 on the CPU.
        ram_mib: of the host.
        flags: of the language model's server, as words of a command line.
    """

    role: Role
    key: str
    engine: str
    argument: str
    model: str
    precision: str
    device: str
    process: str
    gpu_mib: int
    ram_mib: int
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the settings take it."""
        return f"{self.engine}:{self.argument}" if self.argument else self.engine


@dataclass(frozen=True, slots=True)
class Rung:
    """What to give up next: the engine of `role` is exchanged for `after`.

    Attributes:
        gpu_mib: of all cards together after it; on a machine that uses none, it is `ram_mib` that shrinks.
        cards_mib: of each card, in the machine's order.
    """

    role: Role
    before: str
    after: Choice
    gpu_mib: int
    cards_mib: tuple[int, ...]
    ram_mib: int
    score: int


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The nearest better plan.

    Attributes:
        lacks_mib: free memory that is missing: each card's place in the machine and how much.
        card: total memory in GB of the card that would allow it, where there is none; 0 where there are some.
    """

    choices: tuple[Choice, ...]
    score: int
    lacks_mib: tuple[tuple[int, int], ...]
    card: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        score: what it is worth, hundredths of a point; comparable between plans with the same aim and languages.
        certificate: the account of everything that can run out.
        chains: for each role what the settings take, best first; all of it is loaded at start.
        upgrade: the nearest better plan; None where nothing better is known, or the profile forbids it.
        ladder: what to give up next, in this order.
        notes: a sentence each.
    """

    machine: Machine
    goal: Goal
    choices: tuple[Choice, ...]
    score: int
    certificate: tuple[Sheet, ...]
    chains: tuple[tuple[str, ...], ...]
    upgrade: Upgrade | None
    ladder: tuple[Rung, ...]
    notes: tuple[str, ...]

    @property
    def uses_cards(self) -> bool:
        """Something of it is on a graphics card; the ladder then shrinks that, and else the host's memory."""
        return any(choice.gpu_mib for choice in self.choices)

    def of(self, role: Role) -> Choice:
        """A role's choice."""
        return self.choices[ROLES.index(role)]

    def settings(self) -> dict[str, str]:
        """The settings that make it so."""
        return {str(role): ",".join(chain) for role, chain in zip(ROLES, self.chains, strict=True)}


def plan(
    machine: Machine,
    goal: Goal | None = None,
    *,
    candidates: Iterable[Candidate] = CANDIDATES,
    measured: Mapping[str, Footprint] | None = None,
) -> Plan:
    """The best plan for a machine.

    Args:
        measured: footprints by `Candidate.key`, in the place of those that the table has.

    Raises:
        SetupError: the goal is none, or not even the engines that come with the server can serve so many sessions.
    """
    goal = goal or Goal()
    goal.check()
    candidates, measured = tuple(candidates), measured or {}
    limits = sums.limits(machine, goal)
    rows = [sums.of_role(role, machine, goal, candidates, measured) for role in ROLES]
    planned = _planned(rows)
    chosen = search.best(planned, limits, goal.sessions)
    if chosen is None:
        raise _impossible(machine, goal)
    standby = _standby(chosen, planned, limits, goal)
    return Plan(
        machine=machine,
        goal=goal,
        choices=tuple(choice(one, chosen, machine, goal) for one in chosen),
        score=sums.score(chosen),
        certificate=certificate(chosen, machine, goal, limits, sum(standby, ())),
        chains=_chains(chosen, standby, machine, goal),
        upgrade=_upgrade(chosen, machine, goal, candidates, measured),
        ladder=tuple(
            _rungs(chosen, [sums.undominated(row) for row in rows], limits, machine, goal)
        ),
        notes=remarks.notes(
            chosen, rows, goal, machine, _in_english(machine, goal, candidates, measured)
        ),
    )


def _planned(rows: Iterable[Iterable[Option]]) -> list[list[Option]]:
    return [
        sums.undominated([one for one in row if not one.candidate.is_rung_only]) for row in rows
    ]


def choice(one: Option, chosen: Chosen, machine: Machine, goal: Goal) -> Choice:
    """An option in the words of the settings, among the others of its plan."""
    candidate = one.candidate
    gpu = None if one.gpu == ON_CPU else machine.gpus[one.gpu]
    others = 0 if gpu is None else sums.on_gpu(chosen, one.gpu) - one.gpu_mib
    found = llm_flags.options(one, goal, gpu, others)
    placed = Placement(
        candidate.model,
        candidate.kind,
        gpu.index if gpu else None,
        candidate.precision if candidate.says_precision else "",
        found,
    )
    return Choice(
        role=candidate.role,
        key=candidate.key,
        engine=candidate.engine,
        argument=str(placed) if candidate.model else "",
        model=candidate.model,
        precision=candidate.precision,
        device=f"cuda:{gpu.index}" if gpu else "cpu",
        process=one.process,
        gpu_mib=one.gpu_mib,
        ram_mib=one.ram_mib,
        flags=llm_flags.command(found),
    )


def _impossible(machine: Machine, goal: Goal) -> SetupError:
    return SetupError(
        "plan_impossible",
        f"Nothing that is known serves {goal.sessions} sessions with {machine.ram_mib} MiB of memory "
        f"and {machine.cores} cores.",
        remedy="Plan for fewer sessions (--sessions), or for a larger machine.",
    )


# --- fallbacks ---
def _standby(
    chosen: Chosen, rows: list[list[Option]], limits: Limits, goal: Goal
) -> list[tuple[Option, ...]]:
    """For each role what takes over: the best on the CPU, and what comes with the server, as memory allows."""
    found: list[tuple[Option, ...]] = []
    held = sums.in_ram(chosen)
    for place, one in enumerate(chosen):
        wanted = []
        if one.gpu != ON_CPU:
            wanted += _on_cpu(chosen, place, rows[place], limits, goal)
        wanted += [o for o in rows[place] if o.candidate.is_built_in and _is_apt(o, goal)]
        taken = []
        for option in dict.fromkeys(wanted):
            if option != one and held + option.ram_mib <= limits.ram_mib:
                held += option.ram_mib
                taken.append(option)
        found.append(tuple(taken))
    return found


def _on_cpu(
    chosen: Chosen, place: int, row: list[Option], limits: Limits, goal: Goal
) -> list[Option]:
    """The best of a role without a card, as far as the cores do for it in the place of the one chosen."""
    for option in row:
        if option.gpu == ON_CPU and not option.candidate.is_built_in:
            changed = (*chosen[:place], option, *chosen[place + 1 :])
            if sums.fits(changed, limits, goal.sessions):
                return [option]
    return []


def _is_apt(option: Option, goal: Goal) -> bool:
    known = option.candidate.languages
    return not known or set(goal.languages) <= set(known)


def _chains(
    chosen: Chosen, standby: list[tuple[Option, ...]], machine: Machine, goal: Goal
) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(choice(option, chosen, machine, goal).name for option in (one, *after))
        for one, after in zip(chosen, standby, strict=True)
    )


# --- up and down from here ---
def _upgrade(
    chosen: Chosen,
    machine: Machine,
    goal: Goal,
    candidates: tuple[Candidate, ...],
    measured: Mapping[str, Footprint],
) -> Upgrade | None:
    if not goal.limits.uses_cards:
        return None
    above = sums.score(chosen) + WORTHWHILE
    for wider in [machine] if machine.gpus else _with_a_card(machine):
        limits = sums.limits(wider, goal)
        rows = _planned(sums.of_role(role, wider, goal, candidates, measured) for role in ROLES)
        if machine.gpus:
            found = search.nearest_better(rows, limits, goal.sessions, above)
        else:
            found = search.best(rows, limits, goal.sessions)
        if found is not None and sums.score(found) > above:
            return Upgrade(
                tuple(choice(one, found, wider, goal) for one in found),
                sums.score(found),
                tuple(_lacks(found, wider, limits)),
                0 if machine.gpus else wider.gpus[0].total_mib // 1_024,
            )
    return None


def _with_a_card(machine: Machine) -> Iterable[Machine]:
    return [replace(machine, gpus=(Gpu.of(0, gib),)) for gib in CARDS]


def _lacks(found: Chosen, machine: Machine, limits: Limits) -> Iterable[tuple[int, int]]:
    for place, gpu in enumerate(machine.gpus):
        need = sums.on_gpu(found, place)
        if need > limits.gpu_mib[place]:
            yield place, more_free(gpu.free_mib, need)


def more_free(free_mib: int, need_mib: int) -> int:
    """How much more must be free for a need to fit with its headroom."""
    lacking = -(-need_mib * 10 // 9) - free_mib
    while sums.usable(free_mib + lacking) < need_mib:
        lacking += 1
    return lacking


def _rungs(
    chosen: Chosen, rows: list[list[Option]], limits: Limits, machine: Machine, goal: Goal
) -> Iterable[Rung]:
    for step in ladder.steps(chosen, rows, limits, goal):
        place = ROLES.index(step.role)
        yield Rung(
            role=step.role,
            before=step.before.candidate.called,
            after=choice(step.chosen[place], step.chosen, machine, goal),
            gpu_mib=sums.on_cards(step.chosen),
            cards_mib=tuple(sums.on_gpu(step.chosen, i) for i in range(len(machine.gpus))),
            ram_mib=sums.in_ram(step.chosen),
            score=sums.score(step.chosen),
        )


def _in_english(
    machine: Machine,
    goal: Goal,
    candidates: tuple[Candidate, ...],
    measured: Mapping[str, Footprint],
) -> Chosen | None:
    """What would be planned if English sufficed; None where languages were said."""
    if goal.languages:
        return None
    english = replace(goal, languages=("en",))
    rows = [sums.of_role(role, machine, english, candidates, measured) for role in ROLES]
    return search.best(_planned(rows), sums.limits(machine, english), goal.sessions)
