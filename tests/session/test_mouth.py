from dataclasses import dataclass, field

import numpy as np
import pytest

from duologue.core.audio import AudioFormat
from duologue.session.mouth import AHEAD_MS, HUSH_MS, Mouth
from duologue.session.pacer import Pacer


class Hand:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Line:
    heard: list[str] = field(default_factory=list)
    frames: list[tuple[float, int]] = field(default_factory=list)
    sound: bytearray = field(default_factory=bytearray)
    clock: Hand = field(default_factory=Hand)

    def send(self, pcm: bytes) -> None:
        self.frames.append((self.clock.now, len(pcm)))
        self.sound += pcm

    def audible(self) -> None:
        self.heard.append("audible")

    def all_sent(self) -> None:
        self.heard.append("sent")

    def all_heard(self) -> None:
        self.heard.append("heard")

    @property
    def ms(self) -> float:
        return sum(size for _, size in self.frames) / 48


def unexpected(error: BaseException) -> None:
    raise AssertionError("nothing fails here") from error


def mouth() -> tuple[Mouth, Line, Pacer, Hand]:
    clock = Hand()
    pacer = Pacer(clock)
    made, line = Mouth(pacer, clock, unexpected, lead_ms=120), Line(clock=clock)
    made.begin(line)
    return made, line, pacer, clock


def run(pacer: Pacer, clock: Hand, ms: int) -> None:
    for _ in range(ms // 20):
        clock.now += 20
        pacer.tick(clock.now)


def sound(ms: float) -> bytes:
    return bytes(int(ms * 48))


def test_the_lead_goes_out_at_once_and_then_a_frame_a_tick() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(1000))
    assert line.ms == 120
    assert line.heard == ["audible"]
    run(pacer, clock, 400)
    assert line.ms == 520
    assert m.waiting_ms == 480


def test_sent_and_heard_are_two_moments() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(200))
    m.finish()
    run(pacer, clock, 80)
    assert line.heard == ["audible", "sent"]
    run(pacer, clock, 100)
    assert line.heard == ["audible", "sent"]
    run(pacer, clock, 20)
    assert line.heard == ["audible", "sent", "heard"]
    assert m.heard_ms() == m.sent_ms == 200


def test_the_last_frame_may_be_short_and_no_sample_is_lost() -> None:
    m, line, pacer, clock = mouth()
    for size in (7, 100, 1, 33, 2, 57):
        m.push(sound(size))
    m.finish()
    run(pacer, clock, 400)
    assert line.ms == 200
    assert {size for _, size in line.frames[:-1]} == {960}


def test_a_stall_of_the_loop_is_made_up_for_and_no_more() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(1000))
    clock.now += 90
    pacer.tick(clock.now)
    assert line.ms == 220  # 90 ms were heard, 120 ahead, in whole frames


def test_holding_sends_nothing_and_going_on_loses_nothing() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(1000))
    run(pacer, clock, 200)
    m.hold()
    run(pacer, clock, 500)
    assert line.ms == 340  # one frame to fade in
    assert m.heard_ms() == 340
    m.resume()
    m.finish()
    run(pacer, clock, 1200)
    assert line.ms == 1000
    assert line.heard == ["audible", "sent", "heard"]
    assert m.underruns == 0


def test_stopping_drops_the_rest_and_reports_nothing() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(1000))
    run(pacer, clock, 200)
    m.stop()
    run(pacer, clock, 2000)
    assert line.ms == 320
    assert line.heard == ["audible"]
    assert m.heard_ms() == 320


def test_a_slow_voice_is_an_underrun() -> None:
    m, _line, pacer, clock = mouth()
    m.push(sound(100))
    run(pacer, clock, 300)
    m.push(sound(100))
    assert m.underruns == 1
    m.begin(Line(clock=clock))
    assert m.underruns == 1


async def test_a_full_mouth_makes_the_voice_wait() -> None:
    m, _, pacer, clock = mouth()
    await m.room()
    m.push(sound(AHEAD_MS + 500))
    assert not m._room.is_set()
    run(pacer, clock, AHEAD_MS // 2 + 1000)
    await m.room()
    m.push(sound(AHEAD_MS))
    m.stop()
    await m.room()


def test_the_next_answer_may_begin_while_the_last_is_still_heard() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(200))
    m.finish()
    run(pacer, clock, 100)
    assert line.heard == ["audible", "sent"]
    m.begin(Line(clock=clock))
    assert line.heard == ["audible", "sent", "heard"]


def test_frames_follow_the_format() -> None:
    m, line, _, clock = mouth()
    line = Line(clock=clock)
    m.begin(line, AudioFormat(8_000))
    m.push(bytes(8_000))
    assert {size for _, size in line.frames} == {320}


def test_an_unpaced_mouth_sends_all_at_once() -> None:
    clock = Hand()
    m, line = Mouth(Pacer(clock), clock, unexpected, lead_ms=float("inf")), Line(clock=clock)
    m.begin(line)
    m.push(sound(30_000))
    m.finish()
    assert line.ms == 30_000
    assert line.heard == ["audible", "sent"]


def test_a_listener_that_obeys_stands_still_while_it_is_held() -> None:
    m, line, pacer, clock = mouth()
    m.is_obeyed = True
    m.push(sound(1000))
    m.finish()
    run(pacer, clock, 200)
    m.hold()
    held = m.is_held
    run(pacer, clock, 500)
    assert m.heard_ms() == 200
    m.resume()
    assert (held, m.is_held) == (True, False)
    run(pacer, clock, 20)
    assert line.ms == 340  # in step at once: it still had its lead
    run(pacer, clock, 1000)
    assert line.heard == ["audible", "sent", "heard"]
    assert m.underruns == 0


def test_each_reason_to_wait_is_its_own() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(2000))
    run(pacer, clock, 100)
    for begin, end in (
        (m.hold, m.resume),
        (lambda: m.pause("client"), lambda: m.unpause("client")),
        (lambda: m.pause("line"), lambda: m.unpause("line")),
    ):
        m.pause("client")
        m.pause("line")
        m.hold()
        for other in (m.resume, lambda: m.unpause("client"), lambda: m.unpause("line")):
            other()
        begin()
        before, heard = line.ms, m.heard_ms()
        run(pacer, clock, 200)
        m.resume() if end != m.resume else m.unpause("client")
        run(pacer, clock, 200)
        assert line.ms == before
        assert m.heard_ms() == heard or begin == m.hold
        end()
        run(pacer, clock, 100)
        assert line.ms > before
    assert m.underruns == 0


def test_a_clients_pause_ends_with_its_answer_and_a_broken_line_does_not() -> None:
    m, _, pacer, clock = mouth()
    m.push(sound(1000))
    m.pause("client")
    m.begin(line := Line(clock=clock))
    m.push(sound(200))
    assert line.ms == 120
    m.pause("line")
    m.begin(line := Line(clock=clock))
    m.push(sound(200))
    m.finish()
    run(pacer, clock, 500)
    assert line.frames == []
    assert line.heard == []
    m.unpause("line")
    run(pacer, clock, 300)
    assert line.heard == ["audible", "sent", "heard"]
    m.pause("client")  # nothing is being said
    m.begin(line := Line(clock=clock))
    m.push(sound(100))
    assert line.ms == 100


def test_what_is_heard_later_is_over_later() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(1000))
    m.finish()
    run(pacer, clock, 400)
    m.correct(100)
    assert m.heard_ms() == 100
    run(pacer, clock, 600)
    assert line.heard == ["audible", "sent"]
    assert m.line is line
    run(pacer, clock, 300)
    assert line.heard == ["audible", "sent", "heard"]
    assert m.line is None


def test_what_did_not_arrive_is_waited_for() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(2000))
    run(pacer, clock, 500)
    m.take_back(400)
    assert m.heard_ms() == m.sent_ms - 400
    before = line.ms
    run(pacer, clock, 260)
    assert line.ms == before
    run(pacer, clock, 100)
    assert line.ms > before


# --- fading ---
LEVEL = 9_000


def even(ms: float, rate_hz: int = 24_000) -> bytes:
    return np.full(int(ms * rate_hz / 1000), LEVEL, "<i2").tobytes()


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 24_000, 48_000])
def test_a_held_answer_fades_within_a_frame_and_comes_back_as_softly(rate_hz: int) -> None:
    m, _, pacer, clock = mouth()
    m.begin(line := Line(clock=clock), AudioFormat(rate_hz))
    m.push(even(1000, rate_hz))
    run(pacer, clock, 200)
    before = len(line.frames)
    m.hold()
    assert len(line.frames) == before + 1  # at once, not at the next tick
    m.hold()
    run(pacer, clock, 500)
    assert len(line.frames) == before + 1
    m.resume()
    m.finish()
    run(pacer, clock, 1200)
    sound = np.frombuffer(bytes(line.sound), "<i2").astype(int)
    assert len(sound) == rate_hz  # no sample is lost, or sent twice
    frame = rate_hz // 50
    out, back = sound[before * frame :][:frame], sound[(before + 1) * frame :][:frame]
    steps = np.diff(np.concatenate((sound[: before * frame][-1:], out, back)))
    assert np.abs(steps).max() < LEVEL * np.pi / 2 / frame * 1.05  # no click
    assert out[: frame * 9 // 10].all(), "the whole frame is heard, ever softer"
    assert abs(int(out[-1])) < LEVEL / 100
    assert abs(int(back[-1]) - LEVEL) < LEVEL / 100
    rest = np.concatenate((sound[: before * frame], sound[(before + 2) * frame :]))
    assert (rest == LEVEL).all()
    assert m.underruns == 0


def test_a_listener_that_obeys_fades_by_itself() -> None:
    m, line, pacer, clock = mouth()
    m.is_obeyed = True
    m.push(even(1000))
    run(pacer, clock, 200)
    m.hold()
    m.resume()
    m.finish()
    run(pacer, clock, 1200)
    assert line.sound == even(1000)


def test_where_nothing_can_be_heard_nothing_fades() -> None:
    m, line, pacer, clock = mouth()
    m.hold()  # nothing was said yet
    m.push(even(300))
    assert line.frames == []
    m.resume()
    assert line.sound == b""
    run(pacer, clock, 20)
    assert line.sound == even(120)
    run(pacer, clock, 600)
    m.hold()  # the listener ran dry, and nothing more is here
    m.push(even(100))
    m.resume()
    m.finish()
    run(pacer, clock, 400)
    assert line.sound == even(400)
    m.begin(line := Line(clock=clock))
    m.push(even(300))
    m.pause("client")
    m.hold()  # the client's player stands still
    m.resume()
    m.unpause("client")
    m.finish()
    run(pacer, clock, 400)
    assert line.sound == even(300)


def test_what_fades_in_once_does_not_fade_in_twice() -> None:
    m, line, _, clock = mouth()
    m.push(even(600))
    m.hold()
    m.begin(line := Line(clock=clock))  # the next answer begins at its full level
    m.push(even(100))
    assert line.sound == even(100)


def test_a_listener_that_ran_dry_is_not_given_a_frame_to_fade() -> None:
    m, line, _, clock = mouth()
    m.push(even(1000))
    clock.now += 300  # the loop stalled, and speech was heard before the pacer came round
    m.hold()
    assert line.sound == even(120)


def test_a_hush_is_a_hold_that_nobody_decided_and_cannot_last() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(2000))
    m.hush(True)
    assert line.ms == 140, "one frame to fade in"
    run(pacer, clock, 200)
    assert line.ms == 140
    m.hush(False)
    run(pacer, clock, 20)
    assert line.ms == 260, "the listener has run dry, and is given its lead again"
    said = line.ms
    m.hush(True)
    run(pacer, clock, int(HUSH_MS) - 20)
    assert line.ms == said + 20
    run(pacer, clock, 40)
    assert line.ms > said + 20, "the ears have forgotten it"
    assert not m.underruns


def test_a_hush_that_becomes_a_hold_fades_once() -> None:
    m, line, pacer, clock = mouth()
    m.push(sound(2000))
    m.hush(True)
    m.hold()
    m.hush(False)
    run(pacer, clock, 200)
    assert line.ms == 140
    assert m.is_held
    m.resume()
    run(pacer, clock, 20)
    assert line.ms > 140
