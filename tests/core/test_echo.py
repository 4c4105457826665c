"""Our own voice in a microphone, told from the user's. Here every sound counts as speech: no model helps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from duologue.core import echo
from duologue.core.audio import WINDOW_SAMPLES
from duologue.core.echo import EchoControl
from duologue.core.echo_delay import Match
from duologue.core.echo_filter import Sound
from tests.support.clips import clip

FLOOR = 0.35
LOUD_RMS = 0.004


def speech(name: str) -> Sound:
    return np.frombuffer(clip(name, 16_000), "<i2").astype(np.float32) / np.float32(32768)


OURS = speech("libri_other-2609-156975-0000.flac")
NEXT = speech("libri_other-3005-163389-0002.flac")
THEIRS = speech("lj-LJ001-0008.flac")


class Mic:
    """A stream in which our voice is played, and what the control makes of its microphone."""

    def __init__(self, played: Sound, seed: int = 0) -> None:
        self.played = played
        self.control = EchoControl(self._read)
        self.windows: list[tuple[bool, bool]] = []  # loud, explained
        self.clean: list[bytes] = []
        self.raw: list[bytes] = []
        self._noise = np.random.default_rng(seed)
        self.at = 0

    def _read(self, first: int, end: int) -> Sound:
        out = np.zeros(end - first, np.float32)
        low, high = max(first, 0), min(end, len(self.played))
        if high > low:
            out[low - first : high - first] = self.played[low:high]
        return out

    def hear(self, sound: Sound, *, explain: bool = True) -> None:
        """All of this, in windows."""
        sound = sound + self._noise.standard_normal(len(sound)).astype(np.float32) * 1e-4
        for at in range(0, len(sound) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES):
            window = sound[at : at + WINDOW_SAMPLES]
            pcm = (window * 32768).clip(-32768, 32767).astype("<i2").tobytes()
            self.raw.append(pcm)
            if np.abs(self._read(self.at, self.at + WINDOW_SAMPLES)).max() > 0.06:
                self.control.played_aloud(self.at + WINDOW_SAMPLES)
            self.clean.append(self.control.clean(self.at, pcm))
            loud = float(np.sqrt((window**2).mean())) > LOUD_RMS
            is_ours = self.control.explains(float(loud), FLOOR) if explain else False
            self.windows.append((loud, is_ours))
            self.at += WINDOW_SAMPLES

    def missed(self, first: int = 0, end: int | None = None) -> int:
        """Most loud windows in a row that were taken for the user's."""
        most = run = 0
        for loud, is_ours in self.windows[first:end]:
            run = run + 1 if loud and not is_ours else 0
            most = max(most, run)
        return most


def room(seed: int) -> Sound:
    rng = np.random.default_rng(seed)
    path = rng.standard_normal(4_000) * 10 ** (-3 * np.arange(4_000) / 4_000)
    path[:60] = 0.0
    path *= 10 ** (-8 / 20) / np.sqrt((path**2).sum())
    path[20] = 1.0
    return path.astype(np.float32)


def echoed(played: Sound, delay: int, db: float, path: Sound | None = None) -> Sound:
    wet = played if path is None else np.convolve(played, path)[: len(played)]
    out = np.concatenate((np.zeros(delay, np.float32), wet * 10 ** (db / 20)))
    return out[: len(played)].astype(np.float32)


def silence(ms: int) -> Sound:
    return np.zeros(ms * 16, np.float32)


def join(*parts: Sound) -> Sound:
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("db", [-12, -20])
@pytest.mark.parametrize("delay_ms", [0, 90, 250, 400])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_from_the_first_answer_on_an_echo_is_not_the_user(
    db: int, delay_ms: int, seed: int | None
) -> None:
    played = join(silence(900), OURS, silence(800))
    mic = Mic(played)
    mic.hear(echoed(played, delay_ms * 16, db, None if seed is None else room(seed)))
    assert sum(loud for loud, _ in mic.windows) > 30
    assert mic.missed() <= 1  # two in a row make a beginning
    assert mic.control.has_found


@pytest.mark.parametrize(("first", "then"), [(400, 60), (30, 350), (200, 200)])
def test_another_answer_may_come_back_after_another_delay(first: int, then: int) -> None:
    one, two = join(silence(900), OURS, silence(800)), join(NEXT, silence(800))
    mic = Mic(join(one, two))
    mic.hear(
        join(echoed(one, first * 16, -12, room(1)), echoed(two, then * 16, -12, room(1)))[
            : len(one)
        ]
    )
    mic.control.begin_stretch()
    begin = len(mic.windows)
    rest = join(echoed(one, first * 16, -12, room(1)), echoed(two, then * 16, -12, room(1)))
    mic.hear(rest[mic.at :])
    assert mic.missed(begin) <= 1


@pytest.mark.parametrize("delay_ms", [60, 300])
def test_who_speaks_over_an_echo_is_heard_at_once(delay_ms: int) -> None:
    played = join(silence(900), OURS, NEXT)
    near = np.zeros_like(played)
    begin = (900 + 2_500) * 16 // WINDOW_SAMPLES * WINDOW_SAMPLES
    near[begin : begin + len(THEIRS)] = THEIRS[: len(played) - begin]
    mic = Mic(played)
    mic.hear(echoed(played, delay_ms * 16, -12, room(1)) + near)
    first = begin // WINDOW_SAMPLES
    assert mic.missed(0, first) <= 1
    theirs = [
        number
        for number in range(first, first + 60)
        if np.sqrt((near[number * 512 :][:512] ** 2).mean()) > 0.03
    ]
    heard = [number for number in theirs if not mic.windows[number][1]]
    assert heard[0] - theirs[0] <= 5, "160 ms, in which the output is hushed already"
    assert len(heard) > 0.7 * len(theirs)


def test_where_it_is_proven_the_echo_is_taken_out() -> None:
    played = join(silence(900), OURS, OURS, silence(800))
    mic = Mic(played)
    mic.hear(echoed(played, 2_000, -12, room(3)))
    assert mic.control.is_proven
    half = len(mic.raw) // 2
    raw, clean = (
        np.frombuffer(b"".join(x[half:]), "<i2").astype(float) for x in (mic.raw, mic.clean)
    )
    assert 10 * np.log10((clean**2).sum() / (raw**2).sum()) < -12


@pytest.mark.parametrize("begin_ms", [100, 950, 1_300, 2_500, 3_700])
def test_who_wears_headphones_is_left_alone(begin_ms: int) -> None:
    played = join(silence(900), OURS, silence(900))
    near = np.zeros_like(played)
    begin = begin_ms * 16
    near[begin : begin + len(THEIRS)] = THEIRS[: len(played) - begin]
    mic = Mic(played)
    mic.hear(near)
    assert mic.clean == mic.raw
    assert not mic.control.has_found
    doubted = [is_ours for loud, is_ours in mic.windows if loud].count(True)
    assert doubted <= echo._HOLD_WINDOWS
    if begin_ms >= 2_500:
        assert doubted == 0  # by then it is known


def test_a_listener_who_took_the_headphones_off_is_found() -> None:
    one, two = join(silence(900), OURS, silence(900)), join(NEXT, silence(900))
    mic = Mic(join(one, two))
    mic.hear(np.zeros_like(one))
    mic.control.begin_stretch()
    mic.hear(echoed(two, 3_000, -12))
    assert mic.control.has_found


def test_sound_that_skips_ahead_is_compared_with_nothing_before() -> None:
    played = join(silence(900), OURS)
    mic = Mic(played)
    mic.hear(echoed(played, 1_000, -12)[: 2 * 16_000])
    mic.at += 16_000
    mic.hear(echoed(played, 1_000, -12)[mic.at :])
    assert mic.missed() <= 2


class Scripted(EchoControl):
    """Finds what the script says."""

    def __init__(self, read: Callable[[int, int], Sound], match: Match) -> None:
        super().__init__(read)
        self.match = match

    def _search(self) -> Match:
        return self.match


def noise(seed: int, ms: int = 3_200) -> Sound:
    return (np.random.default_rng(seed).standard_normal(ms * 16) * 0.1).astype(np.float32)


def test_a_find_that_explains_nothing_is_forgotten() -> None:
    played = noise(1)
    mic = Mic(played)
    mic.control = Scripted(mic._read, Match(1_000, 2.0, 0.3))
    found = []
    for sound in (noise(2, 320) * 0.3, noise(3, 2_500) * 5):
        mic.hear(sound)
        found.append(mic.control.has_found)
        mic.control.match = Match(5_000, 1.0, 0.05)
    assert found == [True, False]
    assert mic.clean == mic.raw


@pytest.mark.parametrize(
    ("match", "most"),
    [
        (Match(1_000, 1.0, 0.05), 0),  # like nothing
        (Match(1_000, 1.5, 0.08), echo._HOLD_WINDOWS),  # perhaps
        (Match(1_000, 1.1, 0.11), echo._HOLD_WINDOWS),
    ],
)
def test_what_may_be_an_echo_is_doubted_for_a_moment_only(match: Match, most: int) -> None:
    mic = Mic(noise(1))
    mic.control = Scripted(mic._read, match)
    mic.hear(noise(2, 640))
    assert [is_ours for _, is_ours in mic.windows].count(True) == most
    mic.control.begin_stretch()
    mic.hear(noise(2, 640))
    assert [is_ours for _, is_ours in mic.windows].count(True) == 2 * most


def test_nothing_is_doubted_before_something_was_loud() -> None:
    mic = Mic(noise(1) * 0.1)
    mic.control = Scripted(mic._read, Match(1_000, 1.5, 0.08))
    mic.hear(noise(2, 640) * 0.1)
    assert not any(is_ours for _, is_ours in mic.windows)


def test_what_is_far_weaker_than_we_are_is_doubted_for_a_moment() -> None:
    mic = Mic(noise(1))
    mic.control = Scripted(mic._read, Match(1_000, 1.0, 0.05))
    mic.hear(noise(2, 640) * 0.1)
    assert [is_ours for _, is_ours in mic.windows].count(True) == echo._HOLD_WINDOWS


def test_what_is_louder_than_we_are_is_not_doubted() -> None:
    mic = Mic(noise(1))
    mic.control = Scripted(mic._read, Match(1_000, 1.5, 0.08))
    mic.hear(noise(2, 640) * 2)
    assert not any(is_ours for _, is_ours in mic.windows)


def test_who_was_believed_is_not_doubted() -> None:
    mic = Mic(noise(1))
    mic.control = Scripted(mic._read, Match(1_000, 1.0, 0.05))
    mic.hear(noise(2, 64))
    mic.control.match = Match(1_000, 1.5, 0.08)
    mic.hear(noise(3, 640))
    assert not any(is_ours for _, is_ours in mic.windows)


def test_nothing_is_doubted_once_much_was_played_in_vain() -> None:
    mic = Mic(noise(1, 6_400))
    mic.control = Scripted(mic._read, Match(1_000, 1.5, 0.08))
    for _ in range(echo._SILENT_FRAMES):
        mic.control.played_aloud(1_000)
    mic.hear(silence(960))
    mic.hear(noise(2, 640))
    assert not any(is_ours for _, is_ours in mic.windows)


def test_what_is_weak_for_what_was_played_is_an_echo_until_its_delay_is_known() -> None:
    played = join(silence(900), OURS, NEXT, OURS)
    mic = Mic(played)
    mic.hear(echoed(played, 1_600, -12)[: 4 * 16_000])
    control: Any = mic.control
    control.begin_stretch()
    control._search = lambda: Match(9_000, 1.0, 0.05)
    before = len(mic.windows)
    mic.hear(noise(5, 320) * 0.05)
    assert all(is_ours for _, is_ours in mic.windows[before:])
    before = len(mic.windows)
    mic.hear(noise(6, 320) * 5)
    assert not any(is_ours for _, is_ours in mic.windows[before:])


def test_a_loudspeaker_that_distorts_is_still_not_the_user() -> None:
    played = join(silence(900), OURS, NEXT, OURS, silence(800))
    mic = Mic(played)
    bent = np.tanh(played * 8) / 8
    mic.hear(echoed(bent.astype(np.float32), 2_000, -10, room(4)))
    assert mic.missed() <= 2
