"""What the gate lets through: everything, or speech with a little around it; and where utterances end."""

from typing import Any

import pytest

from duologue.session.hearing import Hearing
from duologue.session.streaming.gate import PAD_WINDOWS, PAUSE_WINDOWS, Gate
from tests.support.stage import HandClock, LoudnessVad
from tests.support.stream_stage import loud, quiet

WINDOW_MS = 32


class Sink:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.heard = b""
        self.at = 0

    def sound(self, pcm: bytes, start: int, probability: float) -> None:
        assert start == self.at
        self.at += len(pcm) // 2
        self.heard += pcm
        if self.events[-1:] != ["sound"]:
            self.events.append("sound")

    def left_out(self, samples: int) -> None:
        self.at += samples
        self.events.append(samples)

    def pause(self) -> None:
        self.events.append("pause")


class Door:
    """A gate that is judged at once."""

    def __init__(self, *, withholds: bool) -> None:
        self.sink = Sink()
        self.vad = LoudnessVad()
        self.hearing = Hearing(self.vad, HandClock())
        self.gate = Gate(self.hearing, self.sink, withholds=withholds)

    def push(self, pcm: bytes) -> None:
        self.gate.push(pcm)
        while not self.hearing.judge_waiting():
            pass


@pytest.fixture(autouse=True)
async def loop() -> None:
    """The hearing has a timer."""


async def test_all_sound_goes_on_and_utterances_end_after_a_pause() -> None:
    door = Door(withholds=False)
    sound = quiet(1_024) + loud(1_024) + quiet(2_048)
    for at in range(0, len(sound), 1_000):
        door.push(sound[at : at + 1_000])
    assert door.sink.heard == sound
    assert door.sink.events == ["sound", "pause", "sound"]
    door.hearing.close()


async def test_silence_is_withheld_but_for_a_little_around_speech() -> None:
    door = Door(withholds=True)
    door.push(quiet(64 * WINDOW_MS) + loud(32 * WINDOW_MS) + quiet(64 * WINDOW_MS))
    door.push(loud(32 * WINDOW_MS, 1) + quiet(40 * WINDOW_MS))
    left_out, _, _, between, *_ = door.sink.events
    assert left_out == (64 - PAD_WINDOWS + 1) * 512  # speech takes two windows to be sure of
    assert between == (64 - PAUSE_WINDOWS - PAD_WINDOWS + 1) * 512 - 512 * 2
    assert door.sink.events.count("pause") == 2
    assert door.gate.position == (64 + 32 + 64 + 32 + 40 - PAD_WINDOWS) * 512
    assert door.gate.held_bytes == PAD_WINDOWS * 1_024
    door.hearing.close()


async def test_what_a_client_ends_is_over_behind_all_that_came_before() -> None:
    door = Door(withholds=True)
    order: list[str] = []
    door.gate.push(loud(500))
    door.gate.when_passed(door.gate.end_utterance)
    door.gate.when_passed(lambda: order.append("then"))
    assert not order
    while not door.hearing.judge_waiting():
        pass
    assert order == ["then"]
    assert door.sink.heard == loud(500)  # with the rest that makes no window
    assert door.sink.events == ["sound", "pause"]
    assert door.gate.position == 8_000
    door.hearing.close()


async def test_missing_sound_is_a_break() -> None:
    door = Door(withholds=False)
    door.push(loud(320))
    door.gate.when_passed(lambda: door.gate.skip(16_000))
    door.push(loud(320))
    assert door.sink.events[:3] == ["sound", "pause", 16_000]
    assert door.sink.at == 16_000 + 10_240
    door.hearing.close()


async def test_a_gate_that_is_closed_gives_its_slot_back() -> None:
    door = Door(withholds=True)
    door.gate.push(loud(100))
    door.gate.close()
    assert not door.vad.slots
    assert door.hearing.judge_waiting()
    door.hearing.close()
