"""Noise reduction on recorded speech and a recorded room."""

import numpy as np
import pytest

from duologue.core.options import Noise, SessionOptions
from duologue.session.noise import reducer
from tests.support.clips import clip
from tests.support.stage import stage


def sound(name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.frombuffer(clip(name, 16_000), "<i2").astype(np.float64)


def level_db(x: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return float(10 * np.log10((x**2).mean() + 1e-9))


def cleaned(kind: Noise, x: "np.ndarray[tuple[int], np.dtype[np.float64]]", cut: int) -> bytes:
    """Through the reducer in pieces of `cut` samples."""
    made = reducer(kind)
    assert made is not None
    pcm = x.clip(-32768, 32767).astype("<i2")
    return b"".join(made.clean(pcm[at : at + cut].tobytes()) for at in range(0, len(pcm), cut))


def test_as_it_is_costs_nothing() -> None:
    assert reducer("as it is") is None


@pytest.mark.parametrize("kind", ["near", "far"])
def test_steady_noise_falls_and_speech_stays(kind: Noise) -> None:
    speech = sound("lj-LJ001-0008.flac")
    hiss = np.random.default_rng(1).standard_normal(len(speech) + 48_000) * 300
    hiss[48_000:] += speech
    out = np.frombuffer(cleaned(kind, hiss, 320), "<i2").astype(np.float64)
    quiet = slice(24_000, 44_000)
    before = level_db(hiss[48_000:]) - level_db(hiss[quiet])
    after = level_db(out[48_000:]) - level_db(out[quiet])
    assert after - before > 6
    assert level_db(out[48_000:]) - level_db(hiss[48_000:]) > -3


def test_far_speech_becomes_louder() -> None:
    quiet = sound("lj-LJ001-0008.flac") * 0.03
    near = level_db(np.frombuffer(cleaned("near", quiet, 320), "<i2").astype(float))
    far = level_db(np.frombuffer(cleaned("far", quiet, 320), "<i2").astype(float))
    assert far - near > 6


def test_it_does_not_matter_how_the_sound_is_cut() -> None:
    x = sound("commands-cards_002.flac")[:16_000]
    assert cleaned("near", x, 320) == cleaned("near", x, 177) == cleaned("near", x, 16_000)


async def test_a_session_hears_through_it_and_may_change_its_mind() -> None:
    async with stage(SessionOptions(noise="near")) as s:
        await s.speak(640)
        assert s.session.ears.speaking or s.session.ears.position > 0
        assert s.session.ears._cleaner is not None
        await s.quiet(1_000)
        assert s.ear.told
        s.session.ears.set_options(SessionOptions())
        assert s.session.ears._cleaner is None
