"""The account of a plan: for each thing that can run out every term with its source, the sum, the limit, the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

from duologue.memory import options as sums
from duologue.memory.footprints import Figure, Source
from duologue.memory.goals import ROLES, Goal
from duologue.memory.machine import Machine
from duologue.memory.options import ON_CPU, Chosen, Limits, Option


@dataclass(frozen=True, slots=True)
class Line:
    """One term: `what` of `whom`."""

    whom: str
    what: str
    value: int
    source: Source
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One thing that can run out, with all that is taken of it.

    Attributes:
        unit: "MiB", or "millicores".
        limit: what may be taken; tells in `of` what of that is.
    """

    name: str
    unit: str
    lines: tuple[Line, ...]
    limit: int
    of: str

    @property
    def total(self) -> int:
        """The sum of the lines."""
        return sum(line.value for line in self.lines)

    @property
    def slack(self) -> int:
        """What is left; below nothing for no plan."""
        return self.limit - self.total


def certificate(
    chosen: Chosen, machine: Machine, goal: Goal, limits: Limits, standby: Chosen = ()
) -> tuple[Sheet, ...]:
    """One sheet for each card, for the host's memory and cores, and for each budget that the goal sets."""
    cards = tuple(_card(chosen, place, machine, goal, limits) for place in range(len(machine.gpus)))
    return (
        *cards,
        _ram(chosen, machine, goal, limits, standby),
        _cores(chosen, machine, goal, limits),
        *_budgets(chosen, goal),
    )


def _card(chosen: Chosen, place: int, machine: Machine, goal: Goal, limits: Limits) -> Sheet:
    gpu = machine.gpus[place]
    here = [one for one in chosen if one.gpu == place]
    lines = [line for one in here for line in _model(one, goal)]
    for process in dict.fromkeys(one.process for one in here):
        engines = [one for one in here if one.process == process]
        largest = max(engines, key=lambda one: one.context_mib)
        lines.append(_line(f"process {process}", "context", largest.candidate.footprint.context))
    return Sheet(
        f"GPU {gpu.index} ({gpu.name})",
        "MiB",
        tuple(lines),
        limits.gpu_mib[place],
        f"{sums.HEADROOM:.0%} of {gpu.free_mib} MiB free of {gpu.total_mib}",
    )


def _model(one: Option, goal: Goal) -> Iterator[Line]:
    for what, figure in one.candidate.terms(goal.sessions, goal.context_tokens):
        yield _line(_whom(one), what, figure)


def _whom(one: Option) -> str:
    return f"{one.candidate.role} {one.candidate.engine}"


def _line(whom: str, what: str, figure: Figure) -> Line:
    return Line(whom, what, figure.value, figure.source, figure.why)


def _ram(chosen: Chosen, machine: Machine, goal: Goal, limits: Limits, standby: Chosen) -> Sheet:
    server = Figure(sums.GATEWAY_RAM_MIB, "estimated", "server, voice activity, sessions' buffers")
    lines = [_line("server", "process", server)]
    for one in (*chosen, *standby):
        whom = _whom(one) + (" (standby)" if one in standby else "")
        if one.candidate.footprint.ram.value:
            lines.append(_line(whom, "process", one.candidate.footprint.ram))
        if one.gpu == ON_CPU:
            lines += [Line(whom, at.what, at.value, at.source, at.why) for at in _model(one, goal)]
    of = f"{sums.HEADROOM:.0%} of {machine.ram_mib} MiB available"
    return Sheet("host memory", "MiB", tuple(lines), limits.ram_mib, of)


def _cores(chosen: Chosen, machine: Machine, goal: Goal, limits: Limits) -> Sheet:
    every = Figure(sums.GATEWAY_MILLICORES * goal.sessions, "estimated", "a session's sound")
    lines = [_line("server", "sound", every)]
    for one in chosen:
        if one.millicores:
            known = one.candidate.footprint.millicores
            figure = Figure(one.millicores, known.source, known.why)
            lines.append(_line(_whom(one), "while it talks", figure))
    return Sheet(
        "host cores", "millicores", tuple(lines), limits.millicores, f"{machine.cores} cores"
    )


def _budgets(chosen: Chosen, goal: Goal) -> Iterator[Sheet]:
    for role, one in zip(ROLES, chosen, strict=True):
        cap = goal.limits.caps.get(role)
        if cap is not None and one.gpu != ON_CPU:
            lines = [*_model(one, goal)]
            lines.append(_line(f"process {role}", "context", one.candidate.footprint.context))
            yield Sheet(f"{role} of '{goal.profile}'", "MiB", tuple(lines), cap, "the profile")
    if goal.total_mib is not None:
        places = sorted({one.gpu for one in chosen if one.gpu != ON_CPU})
        lines = [
            Line(f"card {place}", "all", sums.on_gpu(chosen, place), "computed") for place in places
        ]
        yield Sheet("all cards", "MiB", tuple(lines), goal.total_mib, "the budget")
