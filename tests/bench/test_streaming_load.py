"""A crowd at real time, on two workers that take 200 ms a window; and what the table of benefits is made with."""

import asyncio

import pytest
from bench.streaming.benefits import Row, webm, wire_bytes
from bench.streaming.conversation import generated
from bench.streaming.crowd import crowd

from duologue.core.streaming import AudioChunk
from duologue.wire.stream_sound import StreamSound


@pytest.mark.timeout(120)
def test_fifty_sessions_on_two_workers_lose_nothing_and_none_starves() -> None:
    result = asyncio.run(crowd(50, 20))
    assert result.exact == 50, result.row()
    assert result.committed == result.chunks
    assert not result.problems
    assert not result.starved
    assert result.wait_max_ms < 15_000, result.row()  # 50 in a queue for 10 windows a second: 5 s


@pytest.mark.timeout(60)
def test_a_few_sessions_are_told_the_first_words_within_two_seconds() -> None:
    result = asyncio.run(crowd(3, 5))
    assert result.exact == 3
    assert sorted(result.first_ms)[len(result.first_ms) // 2] < 2_000, result.row()


def test_opus_pieces_are_the_sound_again() -> None:
    pcm = generated(0.2).sound(0, 32_000)
    pieces = webm(pcm)
    assert len(pieces) > 3
    assert sum(map(len, pieces)) < len(pcm) / 5
    decoder = StreamSound(16_000)
    heard = b"".join(decoder.decode(AudioChunk(piece, n)) for n, piece in enumerate(pieces))
    heard += decoder.finish()
    assert len(heard) == pytest.approx(len(pcm), abs=32 * 100)


def test_hexadecimal_is_twice_the_samples() -> None:
    rows = {row.what: row.ours[0] for row in wire_bytes(0.2)}
    assert rows["samples, binary, up"] == pytest.approx(32, abs=0.1)
    assert rows["hexadecimal in JSON, up"] > 2 * rows["samples, binary, up"]
    assert rows["Opus in WebM, 24 kbit/s, binary, up"] < 5


def test_a_ratio_is_that_of_one_round() -> None:
    row = Row("latency", "ms", "asking", [10, 20, 40], [100, 400, 120])
    assert row.line() == "| latency | 20 (10 to 40) ms | asking: 120 (100 to 400) ms | x10 | 3 |"
