"""What a person should know of a plan that its figures do not say."""

from collections.abc import Iterator, Sequence

from duologue.core.capabilities import Role
from duologue.memory import options as sums
from duologue.memory.goals import MINIMAL_EACH_MIB, ROLES, Goal
from duologue.memory.machine import Machine
from duologue.memory.options import ON_CPU, Chosen, Option

WHY_NOT = (
    "Why not bitsandbytes: LLM.int8 saves memory and is slower, not faster (154 against 33 ms a token for a 7 B "
    "model on a 3090, bitsandbytes issue 347); AWQ and GGUF have kernels for it.",
    "Why not offload to the host's memory: weights cross the bus for every token (about 19 times slower, vLLM "
    "issue 57771); a smaller model, or an engine that is made for the CPU, answers sooner.",
    "Why not torch.compile for all: its first request takes minutes, and it does not always win; engines on torch "
    "time it at load.",
    "Why 90 % of what is free: allocators keep what they once had, and a desktop opens windows.",
)
"""Said with `--explain`."""

_CALLED = {Role.STT: "recogniser", Role.TTS: "voice", Role.LLM: "language model"}


def notes(
    chosen: Chosen,
    rows: Sequence[Sequence[Option]],
    goal: Goal,
    machine: Machine,
    in_english: Chosen | None,
) -> tuple[str, ...]:
    """A sentence each."""
    return (
        *_of_profile(chosen, rows, goal, machine),
        *_of_minimal(chosen, rows, goal, machine),
        *_of_servers(chosen),
        *_of_languages(chosen, goal, in_english),
        "No figure was measured on this machine's cards unless it says so: `duologue calibrate` measures.",
    )


def _of_profile(
    chosen: Chosen, rows: Sequence[Sequence[Option]], goal: Goal, machine: Machine
) -> Iterator[str]:
    if goal.limits.uses_cards and not machine.gpus:
        yield "There is no graphics card: everything runs on the CPU."
        return
    for role, row, one in zip(ROLES, rows, chosen, strict=True):
        cap = goal.limits.caps.get(role)
        if cap is None or one.gpu != ON_CPU:
            continue
        if all(option.gpu == ON_CPU for option in row):
            yield f"No {_CALLED[role]} fits a card within its {cap} MiB: it runs on the CPU."
        else:
            yield (
                f"The {_CALLED[role]} runs on the CPU: what would fit a card within {cap} MiB is worse, "
                "or the machine has no room for it."
            )


def _of_minimal(
    chosen: Chosen, rows: Sequence[Sequence[Option]], goal: Goal, machine: Machine
) -> Iterator[str]:
    if goal.profile != "minimal" or not machine.gpus:
        return
    least = [min((o.gpu_mib for o in row if o.gpu != ON_CPU), default=0) for row in rows]
    if all(0 < mib <= MINIMAL_EACH_MIB for mib in least):
        return
    told = ", ".join(f"{_CALLED[r]} {mib}" for r, mib in zip(ROLES, least, strict=True) if mib)
    yield (
        f"Three processes of {MINIMAL_EACH_MIB} MiB each cannot be had: every process pays for a CUDA context of its "
        f"own before it loads anything (at least, in MiB: {told})."
    )
    here = [_CALLED[one.candidate.role] for one in chosen if one.gpu != ON_CPU]
    there = [_CALLED[one.candidate.role] for one in chosen if one.gpu == ON_CPU]
    yield (
        f"What can: {' and '.join(here) or 'nothing'} on the card, {' and '.join(there)} on the CPU "
        f"({sums.on_cards(chosen)} of {goal.total_mib} MiB)."
    )


def _of_servers(chosen: Chosen) -> Iterator[str]:
    mind = chosen[ROLES.index(Role.LLM)]
    shared = any(one.gpu == mind.gpu for one in chosen if one is not mind)
    if mind.candidate.engine == "vllm" and shared:
        yield (
            "Start vLLM after the others on its card are loaded and warm: while it measures, it takes what others "
            "allocate for its own (vLLM issues 18974, 9198)."
        )
    if mind.candidate.engine == "skills":
        yield "There is no language model: answers come from the offline skills."


def _of_languages(chosen: Chosen, goal: Goal, in_english: Chosen | None) -> Iterator[str]:
    ear = chosen[0].candidate
    if goal.languages and ear.is_built_in and set(goal.languages) != {"en"}:
        yield f"{ear.engine} understands English only."
    voice = chosen[ROLES.index(Role.TTS)].candidate
    if not goal.languages and voice.languages == ("en",):
        yield f"{voice.engine} speaks English only: say --language for a voice of other languages."
    if in_english is None or sums.score(in_english) <= sums.score(chosen):
        return
    changed = [
        f"{new.candidate.engine} {new.candidate.model}"
        for new, old in zip(in_english, chosen, strict=True)
        if new.candidate.key != old.candidate.key
    ]
    yield f"If English is all that is spoken, --language en allows better: {', '.join(changed)}."
