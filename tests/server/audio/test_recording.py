"""Files as stretches, by the real judge of speech."""

import asyncio
import io
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from duologue.engines.vad_silero import Silero
from duologue.server.audio.recording import Judge, Recording
from duologue.server.audio.refusals import Refusal
from duologue.server.audio.stretches import LIMIT_WINDOWS, Stretch
from tests.server.audio.stage import encoded, talk
from tests.support.clips import DATA, clip, manifest

SPEECH = [entry for entry in manifest() if entry["kind"] != "noise"]


def silero() -> Silero:
    vad = Silero()
    vad.load()
    return vad


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(silero)


def stretches(data: bytes, judge: Judge, least_ms: int = 0) -> list[Stretch]:
    recording, found = Recording(io.BytesIO(data), judge, least_ms), list[Stretch]()
    while (more := recording.read()) is not None:
        found += more
    assert recording.read() is None
    recording.close()
    return found


@pytest.mark.parametrize("entry", SPEECH, ids=lambda entry: entry["file"])
def test_every_clip_of_speech_is_heard(entry: dict[str, str], judge: Judge) -> None:
    found = stretches((DATA / entry["file"]).read_bytes(), judge)
    sound = np.abs(np.frombuffer(clip(entry["file"], 16_000), "<i2").astype(float))
    shown = np.zeros(len(sound), bool)
    for stretch in found:
        shown[stretch.start : stretch.start + len(stretch.pcm) // 2] = True
    assert (sound[shown] ** 2).sum() > 0.98 * (sound**2).sum()
    assert all(stretch.no_speech < 0.3 for stretch in found)


def test_noise_is_not_shown_to_a_recogniser(judge: Judge) -> None:
    assert stretches((DATA / "noise-sb_noise3.flac").read_bytes(), judge) == []
    assert stretches(encoded(bytes(64_000), 16_000), judge) == []


def test_pauses_part_what_is_said(judge: Judge) -> None:
    found = stretches((DATA / "commands-vosk_digits.flac").read_bytes(), judge)
    begins = [stretch.speech_ms[0] for stretch in found]
    assert begins == pytest.approx([900, 3_970, 6_270], abs=150)
    sound = clip("commands-vosk_digits.flac", 16_000)
    for stretch in found:
        assert stretch.pcm == sound[stretch.start * 2 : stretch.start * 2 + len(stretch.pcm)]


def test_a_long_recording_comes_in_bounded_stretches(judge: Judge) -> None:
    data = encoded(talk(60), 16_000)
    found = stretches(data, judge)
    packed = stretches(data, judge, least_ms=15_000)
    assert len(found) > 2 * len(packed) > 4
    for each in (found, packed):
        assert all(len(stretch.pcm) <= LIMIT_WINDOWS * 1024 for stretch in each)
        begins = [stretch.start for stretch in each]
        assert begins == sorted(begins)


class Slow:
    """A judge of whom can be said when he is at work; see `ports.VoiceActivity`."""

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.at_work, self.go_on = threading.Event(), threading.Event()

    def open(self) -> int:
        self.slots.append(len(self.slots))
        return self.slots[-1]

    def close_slot(self, slot: int) -> None:
        self.slots.remove(slot)

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> Sequence[float]:
        assert slots[0] in self.slots, "a slot is judged after it was given back"
        self.at_work.set()
        assert self.go_on.wait(10)
        return [0.0] * len(windows)


async def test_a_recording_that_is_given_up_while_it_is_read_is_closed_afterwards() -> None:
    slow = Slow()
    recording = Recording(io.BytesIO(encoded(bytes(320_000), 16_000)), Judge(lambda: slow), 0)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(asyncio.to_thread(recording.read))
        await asyncio.to_thread(slow.at_work.wait, 10)
        recording.close()
        assert slow.slots == [0]
        slow.go_on.set()
        await reading
    assert slow.slots == []
    assert recording.read() is None
    recording.close()


def test_the_judge_is_made_at_the_first_file_only() -> None:
    made = []

    def make() -> Slow:
        made.append(1)
        slow = Slow()
        slow.go_on.set()
        return slow

    judge = Judge(make)
    with pytest.raises(Refusal):
        Recording(io.BytesIO(b"nothing"), judge, 0)
    assert made == []
    for _ in range(2):
        stretches(encoded(bytes(6_400), 16_000), judge)
    assert made == [1]
