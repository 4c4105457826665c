"""Memory by formula, against figures that were counted and measured elsewhere."""

import pytest

from duologue.core.capabilities import Role
from duologue.memory.footprints import TRANSFORMERS, kv_mib
from duologue.memory.known import CANDIDATES

GIB = 1_024

# model: weights in fp16, int8, int4 (GiB), KV cache of a token (KiB); counted on torch's meta device from the
# published configurations
COUNTED = {
    "distilgpt2": (0.15, 0.11, 0.09, 18),
    "dialogpt-small": (0.23, 0.15, 0.12, 36),
    "tinyllama-1.1b-chat": (2.05, 1.15, 0.75, 22),
    "llama-3.2-1b-instruct": (2.30, 1.40, 1.00, 32),
    "llama-3.2-3b-instruct": (5.98, 3.36, 2.21, 112),
    "qwen2.5-0.5b-instruct": (0.92, 0.59, 0.44, 12),
    "qwen2.5-1.5b-instruct": (2.88, 1.66, 1.12, 28),
    "qwen2.5-7b-instruct": (14.19, 8.11, 5.45, 56),
}


@pytest.mark.parametrize("name", COUNTED)
def test_weights_and_cache_of_language_models(name: str) -> None:
    sizes = TRANSFORMERS[name]
    fp16, int8, int4, kv_kib = COUNTED[name]
    for precision, gib in (("fp16", fp16), ("int8", int8), ("int4", int4)):
        assert sizes.weights_mib(precision) / GIB == pytest.approx(gib, rel=0.02, abs=0.012)
    assert sizes.kv_bytes == kv_kib * 1_024


def test_a_cache_is_of_whole_blocks_for_every_session() -> None:
    kib = 1_024
    assert kv_mib(112 * kib, 1, 4_096) == 448
    assert kv_mib(112 * kib, 4, 4_096) == 4 * 448
    assert kv_mib(64 * kib, 1, 1) == 1  # one block of 16 tokens, one MiB
    assert kv_mib(64 * kib, 1, 17) == 2
    assert kv_mib(0, 8, 4_096) == 0


@pytest.mark.parametrize(
    ("key", "published_mib"),
    [
        ("stt:whisper:large-v3@cuda/float16", 4_521),
        ("stt:whisper:large-v3@cuda/int8", 2_953),
        ("stt:whisper:large-v3-turbo@cuda/float16", 2_537),
        ("stt:whisper:large-v3-turbo@cuda/int8", 1_545),
        ("stt:whisper:distil-large-v3@cuda/float16", 2_409),
        ("stt:whisper:distil-large-v3@cuda/int8", 1_481),
    ],
)
def test_the_sums_of_large_recognisers_are_those_published(key: str, published_mib: int) -> None:
    (known,) = [c for c in CANDIDATES if c.key == key]
    total = known.model_mib(1, 0) + known.footprint.context.value
    assert total == pytest.approx(published_mib, abs=8)


@pytest.mark.parametrize(
    ("key", "peak_mib"),
    [("tiny", 245), ("base", 350), ("small", 679)],
)
def test_the_sums_of_small_recognisers_on_the_cpu_are_those_measured(
    key: str, peak_mib: int
) -> None:
    (known,) = [c for c in CANDIDATES if c.key == f"stt:whisper:{key}@cpu/int8"]
    fixed = known.footprint.weights.value + known.footprint.work.value
    assert fixed == pytest.approx(peak_mib, abs=8)


def test_sessions_beyond_a_batch_take_no_more() -> None:
    (known,) = [c for c in CANDIDATES if c.key == "stt:whisper:small@cuda/float16"]
    eight = known.model_mib(8, 0)
    assert known.model_mib(9, 0) == eight
    assert eight - known.model_mib(7, 0) == known.footprint.stream.value


def test_a_context_is_no_longer_than_the_model_allows() -> None:
    (known,) = [c for c in CANDIDATES if c.key == "llm:transformers:distilgpt2@cuda/fp16"]
    assert known.context(4_096) == 1_024
    assert known.model_mib(1, 4_096) == known.model_mib(1, 1_024)
    assert known.role is Role.LLM
