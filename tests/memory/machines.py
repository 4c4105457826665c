"""Machines and goals at random, for the tests of the planner."""

from hypothesis import strategies as st

from duologue.core.errors import SetupError
from duologue.memory.goals import PROFILES, Goal
from duologue.memory.machine import Gpu, Machine
from duologue.memory.plan import Plan, plan

CAPABILITIES = ((5, 2), (6, 1), (7, 0), (7, 5), (8, 6), (9, 0))


@st.composite
def gpus(draw: st.DrawFn, index: int = 0) -> Gpu:
    total = draw(st.integers(1_024, 50_000))
    free = draw(st.integers(0, total))
    return Gpu(index, f"card {index}", total, free, draw(st.sampled_from(CAPABILITIES)))


@st.composite
def machines(draw: st.DrawFn, cards: int = 3) -> Machine:
    number = draw(st.integers(0, cards))
    return Machine(
        tuple(draw(gpus(index)) for index in range(number)),
        draw(st.integers(2_048, 65_536)),
        draw(st.integers(1, 32)),
    )


goals = st.builds(
    Goal,
    profile=st.sampled_from(sorted(PROFILES)),
    budget_mib=st.none() | st.integers(0, 20_000),
    aim=st.sampled_from(("balanced", "quality", "latency")),
    sessions=st.integers(1, 12),
    context_tokens=st.integers(256, 16_384),
    languages=st.sampled_from(((), ("en",), ("de", "en"), ("zh",))),
    is_apart=st.booleans(),
)


def planned(machine: Machine, goal: Goal) -> Plan | None:
    """The plan; None where there can be none."""
    try:
        return plan(machine, goal)
    except SetupError as error:
        if error.code != "plan_impossible":
            raise
        return None


def worth(machine: Machine, goal: Goal) -> float:
    made = planned(machine, goal)
    return float("-inf") if made is None else made.score
