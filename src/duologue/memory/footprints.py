"""How much memory a model takes, term by term, each with where its figure comes from.

    on a card   context of the process + weights + work + sessions x stream + KV cache
    KV cache    layers x KV heads x head dimension x 2 x 2 bytes, a token; x context x sessions

Figures that nobody measured on a card of yours are what others wrote or what arithmetic says; `duologue calibrate`
measures, and what it measured goes before what stands here.
"""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

Source = Literal["measured", "documented", "computed", "estimated"]

MIB = 1 << 20
CONTEXT_MIB = 350
KV_BLOCK_TOKENS = 16
"""vLLM hands out its cache in blocks of so many tokens (`CacheConfig.DEFAULT_BLOCK_SIZE`)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and how it is known."""

    value: int
    source: Source = "estimated"
    why: str = ""


NOTHING = Figure(0, "computed")

CONTEXT = Figure(
    CONTEXT_MIB,
    "estimated",
    "CUDA context with cuBLAS and cuDNN handles: 0.3 to 0.5 GB a process (CTranslate2 issue 426)",
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one engine with one model needs on one kind of device; MiB unless the name says otherwise.

    On a CPU the model itself (weights, work, streams, KV) lies in the host's memory, and there is no context.

    Attributes:
        context: of a process that uses a card, once a process and card.
        work: buffers of the largest single piece of work, and what the library's allocator keeps.
        stream: more for each session.
        kv_bytes: of the KV cache, a token; bytes.
        ram: of the host beside the model: libraries, the process itself.
        millicores: cores x 1000 that a session keeps busy while it talks (only of engines on the CPU).
        first_ms: from the end of what is given to the first result; milliseconds.
    """

    weights: Figure
    work: Figure
    context: Figure = CONTEXT
    stream: Figure = NOTHING
    kv_bytes: Figure = NOTHING
    ram: Figure = NOTHING
    millicores: Figure = NOTHING
    first_ms: Figure = NOTHING


class Measured(Protocol):
    """What `duologue calibrate` finds of an engine."""

    @property
    def uses_card(self) -> bool:
        """The four figures below are of a card's memory."""
        ...

    @property
    def context_mib(self) -> int: ...  # noqa: D102 - named above
    @property
    def weights_mib(self) -> int: ...  # noqa: D102
    @property
    def work_mib(self) -> int: ...  # noqa: D102
    @property
    def per_stream_mib(self) -> int: ...  # noqa: D102
    @property
    def ram_mib(self) -> int: ...  # noqa: D102
    @property
    def p50_ms(self) -> float | None: ...  # noqa: D102


def measured(known: Footprint, found: Measured) -> Footprint:
    """The footprint with what was measured in the place of what was thought.

    The KV cache stays as computed: it is a language model's streams.
    """
    has_kv = known.kv_bytes.value > 0
    return replace(
        known,
        context=_measured(found.context_mib),
        weights=_measured(found.weights_mib),
        work=_measured(found.work_mib),
        stream=known.stream if has_kv else _measured(found.per_stream_mib),
        ram=_measured(found.ram_mib),
        first_ms=known.first_ms if found.p50_ms is None else _measured(round(found.p50_ms)),
    )


def _measured(value: int) -> Figure:
    return Figure(value, "measured", "duologue calibrate, here")


def kv_mib(bytes_per_token: int, sessions: int, tokens: int) -> int:
    """Memory of a KV cache that holds the whole context of every session at a time."""
    blocks = -(-tokens // KV_BLOCK_TOKENS)
    return -(-bytes_per_token * blocks * KV_BLOCK_TOKENS * sessions // MIB)


@dataclass(frozen=True, slots=True)
class Transformer:
    """Sizes of a language model, from its published configuration.

    Attributes:
        million: parameters in all, millions (counted on the meta device from that configuration).
        embedding_million: of these in embeddings (and an output layer that does not share them): 4-bit and 8-bit
            forms leave them in 16 bits.
        max_tokens: the longest context that it was made for.
    """

    million: int
    embedding_million: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_tokens: int

    @property
    def kv_bytes(self) -> int:
        """A token's keys and values in 16 bits."""
        return self.layers * self.kv_heads * self.head_dim * 2 * 2

    def weights_mib(self, precision: str) -> int:
        """Weights in "fp16" (or "bf16"), "int8" or "int4" (AWQ, GPTQ with groups of 128, GGUF Q4).

        Raises:
            KeyError: no such precision.
        """
        body = self.million - self.embedding_million
        millions_of_bytes = body * BYTES[precision] + self.embedding_million * 2
        return round(millions_of_bytes * 1e6 / MIB)


BYTES = {"fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int4": 0.5625}
"""A parameter; 4 bits and, for each group of 128, a scale and a zero point: 0.5625."""

TRANSFORMERS = {
    "distilgpt2": Transformer(82, 39, 6, 12, 64, 50_257, 1_024),
    "dialogpt-small": Transformer(124, 39, 12, 12, 64, 50_257, 1_024),
    "tinyllama-1.1b-chat": Transformer(1_100, 131, 22, 4, 64, 32_000, 2_048),
    "llama-3.2-1b-instruct": Transformer(1_236, 263, 16, 8, 64, 128_256, 131_072),
    "llama-3.2-3b-instruct": Transformer(3_213, 394, 28, 8, 128, 128_256, 131_072),
    "qwen2.5-0.5b-instruct": Transformer(494, 136, 24, 2, 64, 151_936, 32_768),
    "qwen2.5-1.5b-instruct": Transformer(1_544, 233, 28, 2, 128, 151_936, 32_768),
    "qwen2.5-7b-instruct": Transformer(7_616, 1_090, 28, 4, 128, 152_064, 32_768),
    "qwen2.5-14b-instruct": Transformer(14_770, 1_557, 48, 8, 128, 152_064, 32_768),
}
"""From each model's config.json. Left out on purpose: Qwen2.5-3B (its licence forbids commercial use), Qwen3 (thinks
before it answers unless told not to, and takes nine times the KV cache of Qwen2.5 at 0.6 B)."""
