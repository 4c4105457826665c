import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.voices.part_sound import (
    CEILING,
    CHUNK_MS,
    FIRST_CHUNK_MS,
    KNEE,
    LEAD_MS,
    TAIL_MS,
    Chunk,
    PartSound,
    levelled,
)

RATE = 16_000


def tone(ms: int, amplitude: float = 0.3) -> bytes:
    t = np.arange(RATE * ms // 1000)
    return bytes((np.sin(t * 0.3) * amplitude * 32768).astype("<i2").tobytes())


def idle(ms: int) -> bytes:
    """What a vocoder makes of nothing: noise at -56 dBFS."""
    noise = np.random.default_rng(1).standard_normal(RATE * ms // 1000) * 52
    return bytes(noise.astype("<i2").tobytes())


def through(pcm: bytes, chunk_ms: int = 20, gap_ms: float = 0, gain: float = 1.0) -> list[Chunk]:
    sound = PartSound(RATE, gain, gap_ms)
    size = RATE * chunk_ms // 1000 * 2
    chunks = [sound.add(pcm[at : at + size]) for at in range(0, len(pcm), size)]
    return [chunk for chunk in (*chunks, sound.end()) if chunk is not None]


def length_ms(chunks: list[Chunk]) -> float:
    return sum(len(chunk.pcm) for chunk in chunks) / 2 * 1000 / RATE


@pytest.mark.parametrize("chunk_ms", [1, 7, 20, 60, 5_000])
def test_silence_at_both_ends_is_cut_and_within_it_stays(chunk_ms: int) -> None:
    chunks = through(idle(200) + tone(100) + idle(250) + tone(100) + idle(300), chunk_ms)
    assert length_ms(chunks) == pytest.approx(LEAD_MS + 450 + TAIL_MS, abs=5)
    whole = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), "<i2")
    assert np.abs(whole[: RATE * LEAD_MS // 1000]).max() < 300
    assert np.abs(whole[RATE * (LEAD_MS + 5) // 1000 :][:400]).max() > 5_000


def test_what_hums_before_the_first_word_is_silence_too() -> None:
    sound = PartSound(RATE, 1.0, 0)
    word = [(RATE // 5, 0)]
    chunks = [sound.add(tone(200, 0.01), word), sound.add(tone(100)), sound.end()]
    assert length_ms([chunk for chunk in chunks if chunk]) == pytest.approx(LEAD_MS + 100, abs=5)


def test_nothing_but_silence_is_nothing() -> None:
    assert through(idle(3_000), gap_ms=200) == []
    assert through(b"") == []


def test_the_gap_comes_first_and_words_count_from_it() -> None:
    sound = PartSound(RATE, 1.0, 140)
    words = [(0, 3), (RATE // 5, 5), (RATE // 4, 9), (9 * RATE, 20)]
    chunks = [sound.add(idle(200) + tone(300), words), sound.end()]
    told = [word for chunk in chunks if chunk for word in chunk.words]
    # A word that the engine puts into the silence begins with the sound; one after the end is never heard.
    begin = 140 - LEAD_MS
    assert told == [(begin, 3), (pytest.approx(140, abs=5), 5), (pytest.approx(190, abs=5), 9)]
    assert sound.given_ms == pytest.approx(140 + 300, abs=5)
    assert sound.tail_ms == 0


@pytest.mark.parametrize("lead_ms", [0, 5, 100])
@pytest.mark.parametrize("gap_ms", [-40, 0, 10, 200])
def test_a_gap_is_kept_whatever_silence_the_voice_brings(lead_ms: int, gap_ms: int) -> None:
    chunks = through(idle(lead_ms) + tone(100) + idle(100), gap_ms=gap_ms)
    silence = max(gap_ms, min(lead_ms, LEAD_MS))
    assert length_ms(chunks) == pytest.approx(silence + 100 + TAIL_MS, abs=5)


def test_words_come_with_the_chunk_in_which_they_begin() -> None:
    sound = PartSound(RATE, 1.0, 0)
    words = [(RATE * ms // 1000, ms) for ms in range(0, 1_000, 50)]
    chunks = [
        sound.add(tone(1_000)[at : at + 640], words if not at else [])
        for at in range(0, 32_000, 640)
    ]
    start_ms = 0.0
    for chunk in filter(None, [*chunks, sound.end()]):
        end_ms = start_ms + len(chunk.pcm) / 32
        assert all(start_ms <= ms < end_ms for ms, _ in chunk.words)
        start_ms = end_ms
    assert start_ms == pytest.approx(1_000)


def test_the_first_chunk_is_early_and_later_ones_are_few() -> None:
    chunks = through(tone(1_000), chunk_ms=10)
    assert length_ms(chunks[:1]) == FIRST_CHUNK_MS
    assert length_ms(chunks[1:2]) == CHUNK_MS
    assert len(chunks) <= 2 + 1_000 // CHUNK_MS


def test_what_is_soft_stays_as_it_is_and_what_is_loud_does_not_clip() -> None:
    assert levelled(tone(50, KNEE - 0.01), 1.0).tobytes() == tone(50, KNEE - 0.01)
    loud = levelled(tone(50, 0.9), 4.0)
    assert KNEE * 32768 < np.abs(loud).max() <= round(CEILING * 32768)
    edges = levelled(np.array([-32768, 32767, 0], "<i2").tobytes(), 1.0)
    assert np.abs(edges.astype(int)).max() <= round(CEILING * 32768)
    assert levelled(b"", 1.0).tobytes() == b""


@given(st.lists(st.integers(-32_768, 32_767), max_size=200), st.floats(0.1, 8.0))
def test_bending_keeps_the_order_of_samples(samples: list[int], gain: float) -> None:
    out = levelled(np.array(sorted(samples), "<i2").tobytes(), gain)
    assert (np.diff(out.astype(int)) >= 0).all()
