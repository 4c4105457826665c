"""Our own voice in the microphone, through ears and mouth, with the voice-activity model that ships."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from duologue.core.audio import AudioFormat, AudioFrame
from duologue.core.options import Echo as Mode
from duologue.core.options import SessionOptions
from duologue.engines.vad_silero import Silero
from duologue.session import echo as session_echo
from duologue.session.echo import Echo
from tests.session.room import Room, Samples, living_room, speech

ANSWER = speech("libri_other-2609-156975-0000.flac")
SECOND = speech("libri_other-3005-163389-0002.flac")
USER = speech("commands-cards_002.flac")


@pytest.fixture(scope="module")
def silero() -> Silero:
    made = Silero()
    made.load()
    return made


class Judge:
    """A voice-activity model that notes what it is shown."""

    def __init__(self, inner: Silero) -> None:
        self._inner = inner
        self.shown: list[NDArray[np.float32]] = []

    def open(self) -> int:
        return self._inner.open()

    def close_slot(self, slot: int) -> None:
        self._inner.close_slot(slot)

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> Sequence[float]:
        self.shown.append(windows.copy())
        return self._inner.judge(slots, windows)


def onset(near_at_ms: int, silero: Silero, near: Samples = USER) -> int:
    """Where the user is heard to begin when nothing of ours plays."""
    alone = Room(None, vad=silero)
    alone.live(near_at_ms)
    alone.live(1_500, near)
    return alone.starts[0]


@pytest.mark.parametrize("db", [-12, -20])
@pytest.mark.parametrize("delay_ms", [0, 130, 270, 400])
@pytest.mark.parametrize("seed", [None, 5])
def test_nobody_interrupts_themselves(
    db: int, delay_ms: int, seed: int | None, silero: Silero
) -> None:
    room = Room(db, delay_ms, path=None if seed is None else living_room(seed), vad=silero)
    room.live(400)
    room.say(ANSWER)
    room.live(5_500)
    assert room.starts == []  # not even in the first answer
    assert room.echo.has_found
    room.delay_ms = (delay_ms + 190) % 400
    room.say(SECOND)
    room.live(1_000)
    assert room.starts == []
    begins = room.now_ms
    room.live(1_500, USER)
    assert begins <= room.starts[0] <= onset(begins, silero) + 5 * 32  # hushed in the meantime


def test_without_a_look_at_what_was_said_it_would(silero: Silero) -> None:
    room = Room(-20, 130, mode="off", vad=silero)
    room.live(400)
    room.say(ANSWER)
    room.live(2_000)
    assert room.starts


@pytest.mark.parametrize("begins", [420, 700, 1_100, 2_600])
def test_with_headphones_nothing_changes(begins: int, silero: Silero) -> None:
    told = []
    shown = []
    for mode in ("auto", "off"):
        judge = Judge(silero)
        room = Room(None, mode=mode, vad=judge)
        room.live(400)
        room.say(ANSWER)
        room.live(begins - 400)
        room.live(3_000, USER)
        told.append(room.starts)
        shown.append(np.concatenate(judge.shown).tobytes())
        assert not room.echo.has_found
    assert told[0] == told[1]
    assert shown[0] == shown[1]


def test_the_recogniser_is_given_the_user_without_us(silero: Silero) -> None:
    room = Room(-12, 130, path=living_room(2), vad=silero)
    room.live(400)
    room.say(np.concatenate((ANSWER, SECOND)))
    room.live(4_000)
    got: list[AudioFrame] = []
    begins = room.now_ms * 16
    room.ears.listen(room.ears.now, got.append)
    room.live(1_280, USER)
    heard = np.concatenate(room.heard).astype(float)
    user = np.zeros(len(heard))
    user[begins:] = USER[: len(heard) - begins]
    before = after = 0.0
    for frame in got:
        here = slice(frame.start, frame.end)
        before += float(((heard[here] - user[here]) ** 2).sum())
        after += float(((np.frombuffer(frame.pcm, "<i2") - user[here]) ** 2).sum())
    assert len(got) > 30
    assert after < 0.25 * before


def test_half_duplex_hears_nothing_while_we_speak(silero: Silero) -> None:
    room = Room(0, 60, mode="half_duplex", vad=silero)
    room.live(400)
    room.say(ANSWER)
    room.live(3_000, np.concatenate((np.zeros(8_000), USER)))
    assert room.starts == []
    room.mouth.stop()
    room.live(500)
    begins = room.now_ms
    room.live(1_500, USER)
    assert abs(room.starts[0] - onset(begins, silero)) <= 32


def test_a_listener_that_stands_still_is_heard_when_it_goes_on(silero: Silero) -> None:
    room = Room(-12, 130, path=living_room(3), vad=silero)
    room.mouth.is_obeyed = True
    room.live(400)
    room.say(ANSWER)
    room.live(2_000)
    in_hand, room._buffer = room._buffer, np.zeros(0)
    room.mouth.hold()
    room.live(1_000)
    room._buffer = in_hand
    room.mouth.resume()
    room.live(1_500)
    room.mouth.pause("client")
    room.mouth.pause("line")  # once is enough
    room.mouth.unpause("client")
    room.mouth.unpause("line")
    room.live(1_500)
    assert room.starts == []


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_what_was_sent_lies_where_it_is_heard(rate_hz: int) -> None:
    ours = Echo()
    ours.position = lambda now_ms: int(now_ms * 16)
    rng = np.random.default_rng(1)
    heard = np.convolve(rng.standard_normal(16_000), np.ones(8) / 8, "same") * 6_000
    there = np.arange(rate_hz) * 16_000 / rate_hz
    sound = np.interp(there, np.arange(16_000), heard).astype("<i2").tobytes()
    size = rate_hz // 50 * 2
    for number, at in enumerate(range(0, len(sound), size)):
        lead_ms = 0 if not number else 60
        ours.sent(sound[at : at + size], rate_hz, lead_ms, 1_000 + number * 20)
    line = ours._read(0, 40_000)
    likeness = np.correlate(line, heard[:12_000], "valid")
    assert abs(int(likeness.argmax()) - 16_000) <= 2
    assert not line[:15_900].any()
    assert not line[32_100:].any()


def test_each_bound_holds() -> None:
    ours = Echo()
    ours.position = lambda now_ms: int(now_ms * 16)
    frame = np.full(320, 5_000, "<i2").tobytes()
    for number in range(2_000):  # all at once, to a listener that nobody paces
        ours.sent(frame, 16_000, number * 20, 0)
    assert len(ours._frames) <= session_echo.MAX_FRAMES
    assert len(ours._recent) <= session_echo.MAX_FRAMES
    assert ours._end <= session_echo._AHEAD + 640
    ours.set_mode("off")
    before = ours._end
    ours.sent(frame, 16_000, 0, 500_000)
    assert ours._end == before
    assert not ours.may_hold(1_000)


def test_a_listener_may_have_more_in_hand_than_is_remembered() -> None:
    ours = Echo()
    ours.position = lambda now_ms: int(now_ms * 16)
    frame = np.full(320, 5_000, "<i2").tobytes()
    ours.sent(frame, 16_000, 0, 1_000)
    ours.stands_still(1_000)
    ours.stands_still(1_010)
    assert not ours._read(16_000, 20_000).any()
    ours.goes_on(60, 2_000)
    ours.goes_on(60, 2_000)
    line = ours._read(16_000, 40_000)
    assert np.flatnonzero(line).tolist() == list(range(16_000, 16_320))


def test_a_place_far_from_the_last_is_believed() -> None:
    ours = Echo()
    ours.position = lambda now_ms: int(now_ms * 16)
    frame = np.full(320, 5_000, "<i2").tobytes()
    ours.sent(frame, 16_000, 0, 1_000)
    ours.sent(frame, 16_000, 20, 1_100)  # the network was late: the listener plays on
    ours.sent(frame, 16_000, 20, 3_500)  # the microphone was muted meanwhile
    line = ours._read(16_000, 60_000)
    assert line[:640].all()
    assert not line[640:40_000].any()
    assert line[(3_520 - 1_000) * 16 :][:320].all()


@pytest.mark.parametrize("mode", ["auto", "off", "half_duplex"])
def test_a_session_may_change_its_mind(mode: Mode, silero: Silero) -> None:
    room = Room(-12, 130, mode="off", vad=silero)
    options = SessionOptions(input_format=AudioFormat(16_000), echo=mode)
    room.live(200)
    room.ears.set_options(options)
    room.say(ANSWER)
    room.live(2_000)
    assert bool(room.starts) == (mode == "off")


def test_while_nothing_of_ours_plays_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, silero: Silero
) -> None:
    room = Room(-12, 130, vad=silero)
    assert not room.echo.may_hold(0)
    room.live(400)
    room.say(ANSWER[:16_000])
    room.live(2_500)
    monkeypatch.setattr(room.echo, "clean", None)
    monkeypatch.setattr(room.echo, "explains", None)
    room.live(1_500, USER)
    assert room.starts


def test_a_window_of_echo_costs_no_more_than_a_few_of_the_models() -> None:
    """As a ratio: one machine is slower than another, and both parts of it."""
    ours = Echo()
    ours.position = lambda now_ms: int(now_ms * 16)
    sound = ANSWER.astype("<i2")
    for at in range(0, 48_000, 320):
        ours.sent(sound[at : at + 320].tobytes(), 16_000, 0 if not at else 60, at / 16)
    windows = [(sound[at : at + 512] // 4).tobytes() for at in range(0, 48_000, 512)]
    loop, work = [], []
    spectrum = np.ones((6, 1024), np.float32)
    for number, pcm in enumerate(windows):
        began = time.perf_counter()
        clean = ours.clean(number * 512, pcm)
        ours.explains(1.0, 0.35)
        work.append(time.perf_counter() - began)
        assert len(clean) == len(pcm)
        began = time.perf_counter()
        np.fft.irfft(np.fft.rfft(spectrum, axis=1), axis=1)
        loop.append(time.perf_counter() - began)
    assert np.median(work) < 12 * np.median(loop)
