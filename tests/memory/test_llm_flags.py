"""Flags of the language model's server."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.capabilities import Role
from duologue.core.placement import Placement
from duologue.memory import llm_flags
from duologue.memory.goals import Goal
from duologue.memory.machine import Gpu, Machine
from duologue.memory.plan import Choice, plan
from tests.memory.machines import machines, planned


def of(flags: tuple[str, ...], name: str) -> str:
    return flags[flags.index(name) + 1]


def mind(cards: str, **goal: int) -> Choice:
    return plan(Machine.parse(cards), Goal(**goal)).of(Role.LLM)  # type: ignore[arg-type]


def test_vllm_is_told_its_cache_and_its_share() -> None:
    choice = mind("8")
    assert choice.engine == "vllm"
    assert choice.flags == (
        *("--max-model-len", "4096", "--max-num-seqs", "1"),
        *("--kv-cache-memory-bytes", str(448 * 2**20)),
        *("--gpu-memory-utilization", "0.52", "--dtype", "bfloat16"),
    )
    options = dict(Placement.parse(choice.argument).options)
    assert options["kv_cache_memory_bytes"] == of(choice.flags, "--kv-cache-memory-bytes")


def test_a_card_without_bfloat16_computes_in_half() -> None:
    card = Gpu(0, "a Turing card", 8_192, 7_680, (7, 5))
    choice = plan(Machine((card,), 16_384, 8)).of(Role.LLM)
    assert of(choice.flags, "--dtype") == "half"


@settings(max_examples=40, deadline=None)
@given(machines(), st.integers(1, 8), st.integers(512, 8_192))
def test_vllms_share_is_free_when_it_starts(machine: Machine, sessions: int, tokens: int) -> None:
    """It refuses to start where `free < total x share`: the others on its card are loaded before it."""
    made = planned(machine, Goal(sessions=sessions, context_tokens=tokens))
    if made is None or made.of(Role.LLM).engine != "vllm":
        return
    choice = made.of(Role.LLM)
    (place,) = [i for i, gpu in enumerate(machine.gpus) if choice.device == f"cuda:{gpu.index}"]
    gpu = machine.gpus[place]
    others = made.certificate[place].total - choice.gpu_mib
    share = float(of(choice.flags, "--gpu-memory-utilization"))
    assert gpu.total_mib * share <= gpu.free_mib - others + 1
    assert share <= gpu.free_mib / gpu.total_mib
    assert int(of(choice.flags, "--max-num-seqs")) == sessions
    assert int(of(choice.flags, "--max-model-len")) >= min(tokens, 32_768)


def test_the_share_is_rounded_down_and_never_nothing() -> None:
    card = Gpu(0, "a card", 10_000, 5_000, (8, 6))
    assert llm_flags.share(3_000, card, 0) == "0.33"
    assert llm_flags.share(4_900, card, 0) == "0.50"  # no more than is free
    assert llm_flags.share(3_000, card, 3_000) == "0.20"
    assert llm_flags.share(10, replace(card, total_mib=80_000), 0) == "0.01"


def test_llama_cpp_shares_its_context_among_its_slots() -> None:
    choice = mind("6", sessions=3, context_tokens=2_000)
    assert choice.engine == "llama-server"
    assert choice.flags == ("-c", "6000", "-ngl", "99", "-np", "3", "-ub", "256")
    assert of(mind("0").flags, "-ngl") == "0"


@pytest.mark.parametrize("cards", ["0", "2", "4", "6", "8", "12", "24", "3x8", "80"])
@pytest.mark.parametrize("sessions", [1, 4])
def test_what_makes_it_slow_is_never_told(cards: str, sessions: int) -> None:
    made = plan(Machine.parse(cards), Goal(sessions=sessions))
    every = [made.of(Role.LLM), *(rung.after for rung in made.ladder)]
    words = {word for choice in every for word in choice.flags}
    assert not words & {"--quantization", "--cpu-offload-gb"}
    assert "--enforce-eager" not in made.of(Role.LLM).flags


def test_switches_have_no_value() -> None:
    found = (("max_model_len", "4096"), ("enforce_eager", llm_flags.SWITCH))
    assert llm_flags.command(found) == ("--max-model-len", "4096", "--enforce-eager")
