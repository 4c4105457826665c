"""Language models, and what each takes under llama.cpp, vLLM and transformers."""

from collections.abc import Iterator
from dataclasses import replace

from duologue.core.capabilities import Role
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import MIB, NOTHING, TRANSFORMERS, Figure, Footprint


def minds() -> Iterator[Candidate]:
    """All language models, and the skills that need none."""
    for name, score in _SCORES.items():
        yield from _gguf(name, score)
    for name, precision, score, work, ms in _VLLM:
        for is_eager in (False, True):
            yield _vllm(name, precision, score, work, ms, is_eager=is_eager)
    for name, score, ms in (
        ("distilgpt2", 8, 120),
        ("dialogpt-small", 10, 150),
        ("tinyllama-1.1b-chat", 32, 300),
        ("llama-3.2-1b-instruct", 49, 300),
    ):
        yield _torch(name, score, ms)
    skills = Footprint(Figure(1), NOTHING, first_ms=Figure(1, "measured"))
    yield Candidate(Role.LLM, "skills", "", "", "cpu", skills, 5, is_built_in=True)


_SCORES = {
    "qwen2.5-0.5b-instruct": 34,
    "tinyllama-1.1b-chat": 33,
    "llama-3.2-1b-instruct": 50,
    "qwen2.5-1.5b-instruct": 58,
    "llama-3.2-3b-instruct": 66,
    "qwen2.5-7b-instruct": 78,
}
_GGUF_MS = {
    # on a card, on 4 cores; then millicores of a session on the CPU
    "qwen2.5-0.5b-instruct": (60, 400, 800),
    "tinyllama-1.1b-chat": (80, 700, 1_400),
    "llama-3.2-1b-instruct": (80, 750, 1_500),
    "qwen2.5-1.5b-instruct": (90, 1_000, 2_000),
    "llama-3.2-3b-instruct": (120, 2_200, 4_000),
    "qwen2.5-7b-instruct": (180, 6_000, 8_000),
}


def _gguf(name: str, score: float) -> Iterator[Candidate]:
    """llama.cpp's server with four bits a weight."""
    sizes = TRANSFORMERS[name]
    cuda_ms, cpu_ms, millicores = _GGUF_MS[name]
    ubatch = 128 if sizes.million < 600 else 256
    logits = sizes.vocabulary * ubatch * 4 // MIB
    base = 60 if sizes.million < 600 else 100
    weights = Figure(sizes.weights_mib("int4"), "computed", "parameters x 4.5 bits, embeddings 16")
    kv = Figure(sizes.kv_bytes, "computed", "layers x KV heads x head dimension x 2 x 2 bytes")
    work = Figure(
        base + logits, "estimated", f"buffer of the logits of {ubatch} tokens, and others"
    )
    on_card = Footprint(
        weights, work, kv_bytes=kv, ram=Figure(500), first_ms=Figure(cuda_ms, "estimated")
    )
    on_cpu = Footprint(
        weights,
        work,
        kv_bytes=kv,
        ram=Figure(100),
        millicores=Figure(millicores, "estimated", "its share of the time, on 4 cores"),
        first_ms=Figure(cpu_ms),
    )
    candidate = Candidate(
        role=Role.LLM,
        engine="llama-server",
        model=f"{name}-q4_k_m",
        precision="q4",
        kind="cuda",
        footprint=on_card,
        quality=score,
        is_alone=True,
        max_tokens=sizes.max_tokens,
        ubatch=ubatch,
    )
    yield candidate
    yield replace(candidate, kind="cpu", footprint=on_cpu)


_VLLM = (
    # model, precision, quality, work (activations, CUDA graphs, others), first ms
    ("qwen2.5-0.5b-instruct", "fp16", 35, 700, 30),
    ("llama-3.2-1b-instruct", "fp16", 51, 760, 35),
    ("qwen2.5-1.5b-instruct", "fp16", 59, 800, 35),
    ("llama-3.2-3b-instruct", "awq", 66, 860, 40),
    ("llama-3.2-3b-instruct", "fp16", 67, 860, 50),
    ("qwen2.5-7b-instruct", "awq", 78, 920, 60),
    ("qwen2.5-7b-instruct", "fp16", 79, 920, 80),
    ("qwen2.5-14b-instruct", "awq", 84, 1_050, 90),
)
GRAPHS_MIB = 250
"""CUDA graphs of a small model under vLLM: what `--enforce-eager` frees."""


def _vllm(
    name: str, precision: str, score: float, work: int, ms: int, *, is_eager: bool
) -> Candidate:
    sizes = TRANSFORMERS[name]
    bits = "int4" if precision == "awq" else precision
    footprint = Footprint(
        Figure(sizes.weights_mib(bits), "computed", f"{sizes.million} M parameters in {precision}"),
        Figure(
            work - (GRAPHS_MIB if is_eager else 0),
            "estimated",
            "activations and others 0.6 GB" + ("" if is_eager else ", CUDA graphs 0.25 GB"),
        ),
        kv_bytes=Figure(sizes.kv_bytes, "computed", "layers x KV heads x head dimension x 4 bytes"),
        ram=Figure(3_500, "estimated", "vLLM's two processes"),
        first_ms=Figure(ms * 3 // 2 if is_eager else ms, "estimated"),
    )
    return Candidate(
        Role.LLM,
        "vllm",
        f"{name}-awq" if precision == "awq" else name,
        precision,
        "cuda",
        footprint,
        score,
        is_alone=True,
        capability=(7, 5) if precision == "awq" else (7, 0),
        max_tokens=sizes.max_tokens,
        is_rung_only=is_eager,
        is_eager=is_eager,
    )


def _torch(name: str, score: float, ms: int) -> Candidate:
    sizes = TRANSFORMERS[name]
    footprint = Footprint(
        Figure(sizes.weights_mib("fp16"), "computed", f"{sizes.million} M parameters x 2 bytes"),
        Figure(300),
        kv_bytes=Figure(sizes.kv_bytes, "computed", "layers x KV heads x head dimension x 4 bytes"),
        ram=Figure(2_000, "estimated", "torch and transformers"),
        first_ms=Figure(ms),
    )
    return Candidate(
        role=Role.LLM,
        engine="transformers",
        model=name,
        precision="fp16",
        kind="cuda",
        footprint=footprint,
        quality=score,
        is_alone=True,
        capability=(7, 0),
        max_tokens=sizes.max_tokens,
        max_sessions=2,
    )
