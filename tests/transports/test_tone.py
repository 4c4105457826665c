"""24 kHz stays 24 kHz: a tone of 10 kHz through voice and transport keeps its level, where a format carries it."""

import base64
from typing import Any

import numpy as np
import pytest

from duologue.engines.fakes import FakeTts
from duologue.wire.opus import OpusDecoder
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.scripted import connected

SENT_RMS = 9_000 / np.sqrt(2)
"""The fake voice's amplitude."""


def level_db(pcm: bytes, hz: float, rate: int) -> float:
    """Of the tone at this pitch, beside what the voice made."""
    sound = np.frombuffer(pcm, "<i2").astype(np.float64)
    sound = sound[
        rate // 10 : len(sound) - rate // 10
    ]  # without what a codec does at its beginning
    turns = np.exp(-2j * np.pi * hz * np.arange(len(sound)) / rate)
    window = np.hanning(len(sound))
    amplitude = 2 * abs((sound * window * turns).sum()) / window.sum()
    return float(20 * np.log10(amplitude / np.sqrt(2) / SENT_RMS))


async def spoken(fmt: dict[str, Any], hz: int) -> bytes:
    """An answer's sound as the client has it, decoded."""
    dialect = RealtimeWire(SessionDocument("s", "m", "i"))
    sound = {"output": {"format": fmt}}
    async with connected(dialect, tts=FakeTts(f"tts_s=2,tts_hz={hz}")) as (client, wire):
        update = {"type": "realtime", "audio": sound}
        await client.act("ask", {"type": "session.update", "session": update})
        await client.act("ask", {"type": "response.create"})
        await client.act("quiet", 3_000)
        deltas = [
            base64.b64decode(event["delta"])
            for event in wire.referee.seen
            if event["type"] == "response.output_audio.delta"
        ]
        if fmt["type"] == "audio/opus":
            assert not deltas
            decoder = OpusDecoder(24_000)
            return b"".join(decoder.decode(packet) for packet in wire.binary)
        if fmt["type"] != "audio/pcm":
            from duologue.wire import g711

            law: Any = fmt["type"].removeprefix("audio/")
            return b"".join(g711.decode(codes, law) for codes in deltas)
        return b"".join(deltas)


@pytest.mark.parametrize(
    ("fmt", "rate"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, 24_000),
        ({"type": "audio/pcm", "rate": 48_000}, 48_000),
        ({"type": "audio/opus"}, 24_000),
    ],
)
async def test_a_tone_of_10_khz_keeps_its_level(fmt: dict[str, Any], rate: int) -> None:
    pcm = await spoken(fmt, 10_000)
    assert abs(len(pcm) / 2 / rate - 2) < 0.05
    assert abs(level_db(pcm, 10_000, rate)) < 1


@pytest.mark.parametrize(
    ("fmt", "rate"),
    [
        ({"type": "audio/pcmu"}, 8_000),
        ({"type": "audio/pcma"}, 8_000),
        ({"type": "audio/pcm", "rate": 16_000}, 16_000),
    ],
)
async def test_what_a_format_cannot_carry_is_left_out_and_not_folded_down(
    fmt: dict[str, Any], rate: int
) -> None:
    assert abs(level_db(await spoken(fmt, 1_000), 1_000, rate)) < 1
    high = np.frombuffer(await spoken(fmt, 10_000), "<i2").astype(np.float64)
    assert np.sqrt((high[1_600:-1_600] ** 2).mean()) < SENT_RMS / 100
