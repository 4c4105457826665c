"""The real model on real speech."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from duologue.core.errors import AtCapacity, EngineUnavailable
from duologue.engines import vad_silero
from duologue.engines.vad_silero import Silero
from tests.support.clips import clip, manifest


@pytest.fixture(scope="module")
def vad() -> Silero:
    made = Silero()
    made.load()
    made.warm_up()
    return made


def windows(pcm: bytes) -> NDArray[np.float32]:
    sound = np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)
    return sound[: len(sound) // 512 * 512].reshape(-1, 512)


def verdicts(vad: Silero, pcm: bytes) -> list[float]:
    slot = vad.open()
    found = [vad.judge([slot], window[None])[0] for window in windows(pcm)]
    vad.close_slot(slot)
    return found


SPEECH = [m["file"] for m in manifest() if m["transcript"] and m["kind"] != "wake"]


@pytest.mark.parametrize("name", SPEECH)
def test_every_recorded_speaker_is_heard(vad: Silero, name: str) -> None:
    found = verdicts(vad, clip(name, 16_000))
    assert sum(p > 0.5 for p in found) > 0.35 * len(found)


def test_noise_is_not_speech(vad: Silero) -> None:
    found = verdicts(vad, clip("noise-sb_noise3.flac", 16_000))
    assert sum(p > 0.5 for p in found) < 0.05 * len(found)


def test_a_batch_gives_what_one_by_one_gives(vad: Silero) -> None:
    pcm = [clip(name, 16_000) for name in SPEECH[:6]]
    alone = [verdicts(vad, p) for p in pcm]
    slots = [vad.open() for _ in pcm]
    sounds = [windows(p) for p in pcm]
    for at in range(40):
        batch = np.stack([s[at] for s in sounds])
        together = vad.judge(slots, batch)
        assert np.allclose(together, [a[at] for a in alone], atol=1e-4)
    for slot in slots:
        vad.close_slot(slot)


def test_a_slot_given_back_comes_fresh(vad: Silero) -> None:
    pcm = clip(SPEECH[0], 16_000)
    assert verdicts(vad, pcm) == verdicts(vad, pcm)


def test_slots_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad_silero, "MAX_SLOTS", 16)
    small = Silero()
    slots = [small.open() for _ in range(16)]
    assert len(set(slots)) == 16
    with pytest.raises(AtCapacity):
        small.open()
    small.close_slot(slots[3])
    assert small.open() == slots[3]


def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable) as missing:
        Silero(str(tmp_path / "none.onnx")).load()
    assert missing.value.code == "vad_model_missing"
    assert "make setup" in missing.value.remedy
