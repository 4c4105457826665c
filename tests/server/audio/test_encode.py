"""Files that grow: every format is decoded again, and its tone measured."""

import io
import math
import wave

import numpy as np
import pytest

from duologue.server.audio.encode import KINDS, RATE_HZ, encoder
from duologue.server.audio.speaking import NOTHING_MS
from tests.server.audio.stage import LEVEL, Sound, level_db, pitch_hz, samples

FORMATS = tuple(KINDS)
LOSSLESS = ("flac", "wav", "pcm")


def tone(hz: float, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> bytes:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return (np.sin(2 * math.pi * hz * t) * LEVEL).astype("<i2").tobytes()


def grown(fmt: str, pcm: bytes, rate_hz: int = RATE_HZ, step: int = 9_600) -> bytes:
    file = encoder(fmt)
    parts = [file.push(pcm[at : at + step], rate_hz) for at in range(0, len(pcm), step)]
    return b"".join([*parts, file.finish()])


def sound_of(fmt: str, pcm: bytes, rate_hz: int = RATE_HZ, step: int = 9_600) -> Sound:
    return samples(grown(fmt, pcm, rate_hz, step), fmt)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("hz", [440, 10_000])
def test_a_tone_keeps_its_level_and_its_pitch(fmt: str, hz: float) -> None:
    sound = sound_of(fmt, tone(hz))
    assert level_db(sound) == pytest.approx(0, abs=1)
    assert pitch_hz(sound) == pytest.approx(hz, rel=0.002)
    assert len(sound) / RATE_HZ == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("fmt", LOSSLESS)
def test_what_is_lossless_loses_nothing(fmt: str) -> None:
    pcm = np.random.default_rng(0).integers(-20_000, 20_000, 30_001).astype("<i2").tobytes()
    assert sound_of(fmt, pcm).astype("<i2").tobytes() == pcm


@pytest.mark.parametrize("fmt", FORMATS)
def test_pieces_of_any_size_are_the_same_file(fmt: str) -> None:
    pcm = tone(700, 0.5)
    one, other = (sound_of(fmt, pcm, step=step) for step in (2, 1_000_000))
    assert np.array_equal(one, other)  # the files of Ogg differ by a serial number


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_file_grows_with_the_sound(fmt: str) -> None:
    file, second = encoder(fmt), tone(700, 1.0)
    sizes = [len(file.push(second, RATE_HZ)) for _ in range(4)]
    assert all(sizes)
    assert len(file.finish()) < sizes[-1] + 2_000


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("fmt", ["pcm", "mp3"])
def test_voices_of_other_rates_come_out_at_ours(fmt: str, rate_hz: int) -> None:
    sound = sound_of(fmt, tone(3_000, 2.0, rate_hz), rate_hz)
    assert level_db(sound) == pytest.approx(0, abs=1)
    assert pitch_hz(sound) == pytest.approx(3_000, rel=0.002)
    assert len(sound) / RATE_HZ == pytest.approx(2.0, abs=0.1)


def test_a_voice_that_is_taken_over_by_one_of_another_rate() -> None:
    file = encoder("pcm")
    parts = [file.push(tone(500, 1.0, rate), rate) for rate in (16_000, 24_000, 22_050)]
    sound = np.frombuffer(b"".join([*parts, file.finish()]), "<i2")
    assert len(sound) == pytest.approx(3 * RATE_HZ, abs=30)


def test_a_streamed_wav_is_read_by_those_who_trust_its_header() -> None:
    data = grown("wav", tone(440, 0.5))
    assert data[4:8] == data[40:44] == b"\xff\xff\xff\xff"
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.readframes(1 << 20) == tone(440, 0.5)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_shortest_file_is_one(fmt: str) -> None:
    file = encoder(fmt)
    assert isinstance(file.push(b"", RATE_HZ), bytes)
    data = file.push(bytes(RATE_HZ * NOTHING_MS // 1000 * 2), RATE_HZ) + file.finish()
    assert len(samples(data, fmt)) / RATE_HZ == pytest.approx(0.1, abs=0.1)
    assert not samples(data, fmt).any()
