"""Flags of the language model's server, so that it takes what was planned and no more.

vLLM is given the size of its KV cache and a share of the card besides: the first alone sizes the cache, but a start
is refused when `free < total x share`, and that check does not look at the first (vllm/config/cache.py,
v1/worker/utils.py). Never emitted: `--quantization` for checkpoints that are quantised already (forcing "awq" goes
past the Marlin kernels: 23 instead of 123 tokens a second, vLLM issue 21376), `--cpu-offload-gb` (some 19 times
slower, issue 57771).
`--enforce-eager` is a step down when memory has run out, and no more.
"""

from duologue.memory.footprints import KV_BLOCK_TOKENS, MIB, kv_mib
from duologue.memory.goals import Goal
from duologue.memory.machine import Gpu
from duologue.memory.options import ON_CPU, Option

Options = tuple[tuple[str, str], ...]

MARGIN = 1.1
"""By how much vLLM's share is larger than its need: what others take while it starts, it counts as its own."""

SWITCH = "true"
"""The value of a flag that has none: `enforce_eager=true` is `--enforce-eager`."""


def options(option: Option, goal: Goal, gpu: Gpu | None, others_mib: int) -> Options:
    """The part after "?" of a managed server's name: long flags with underscores, and their values.

    Args:
        gpu: the card that it is on.
        others_mib: what else is planned there; loaded before it, for vLLM counts what others take meanwhile.
    """
    candidate = option.candidate
    tokens = _blocks(candidate.context(goal.context_tokens))
    if candidate.engine == "llama-server":
        return (
            ("ctx_size", str(tokens * goal.sessions)),  # all slots share it evenly
            ("n_gpu_layers", "0" if option.gpu == ON_CPU else "99"),
            ("parallel", str(goal.sessions)),
            ("ubatch_size", str(candidate.ubatch)),
        )
    if candidate.engine == "vllm" and gpu is not None:
        return _vllm(option, goal, gpu, others_mib)
    return ()


def _vllm(option: Option, goal: Goal, gpu: Gpu, others_mib: int) -> Options:
    candidate = option.candidate
    tokens = candidate.context(goal.context_tokens)
    kv = kv_mib(candidate.footprint.kv_bytes.value, goal.sessions, tokens)
    found = [
        ("max_model_len", str(_blocks(tokens))),
        ("max_num_seqs", str(goal.sessions)),
        ("kv_cache_memory_bytes", str(kv * MIB)),
        ("gpu_memory_utilization", share(option.gpu_mib, gpu, others_mib)),
        ("dtype", dtype(gpu)),
    ]
    if candidate.is_eager:
        found.append(("enforce_eager", SWITCH))
    return tuple(found)


def share(need_mib: int, gpu: Gpu, others_mib: int) -> str:
    """Of the whole card, in hundredths rounded down: the need and a tenth, at most what is free when it starts."""
    free = gpu.free_mib - others_mib
    hundredths = int(min(need_mib * MARGIN, free) * 100 / gpu.total_mib)
    return f"{max(1, hundredths) / 100:.2f}"


def dtype(gpu: Gpu) -> str:
    """bfloat16 where the card computes in it, for its range; half below."""
    return "bfloat16" if gpu.capability >= (8, 0) else "half"


def _blocks(tokens: int) -> int:
    return -(-tokens // KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS


_SHORT = {"ctx_size": "-c", "n_gpu_layers": "-ngl", "parallel": "-np", "ubatch_size": "-ub"}


def command(found: Options) -> tuple[str, ...]:
    """The same as words of a command line."""
    words: list[str] = []
    for key, value in found:
        words.append(_SHORT.get(key) or "--" + key.replace("_", "-"))
        if value != SWITCH:
            words.append(value)
    return tuple(words)
