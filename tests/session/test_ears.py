import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.audio import AudioFormat, AudioFrame, Ms
from duologue.core.facts import Fact, InputBegan, SpeechStarted, SpeechStopped, Tick
from duologue.core.options import SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.session.ears import MAX_PENDING_BYTES, Ears
from duologue.session.hearing import Hearing
from tests.support.stage import HandClock, LoudnessVad, stage

STREAM_OPTIONS = SessionOptions(input_format=AudioFormat(16_000))
NOISE = np.random.default_rng(3)


def loud(ms: int) -> bytes:
    return (NOISE.standard_normal(ms * 16) * 12_000).clip(-32768, 32767).astype("<i2").tobytes()


def still(ms: int) -> bytes:
    return bytes(ms * 32)


class Bench:
    def __init__(self, options: SessionOptions = STREAM_OPTIONS) -> None:
        self.clock = HandClock()
        self.facts: list[Fact] = []
        self.hearing = Hearing(LoudnessVad(), self.clock)
        self.ears = Ears(self.hearing, options, self.clock, self.facts.append)

    def hear(self, pcm: bytes) -> None:
        self.ears._raw.append(pcm)  # as `hear`, but for the timer, which needs a loop
        self.ears._raw_bytes += len(pcm)
        self.hearing._waiting[self.ears] = None
        while not self.hearing.judge_waiting():
            pass


SCENE = loud(700) + still(900) + loud(64) + still(300) + loud(500) + still(600)


@given(st.lists(st.integers(1, len(SCENE) // 2 - 1), max_size=12))
@settings(max_examples=60, deadline=None)
def test_however_the_sound_is_cut_the_facts_are_the_same(cuts: list[int]) -> None:
    whole, pieces = Bench(), Bench()
    whole.ears.deadline = pieces.ears.deadline = Ms(1100)
    whole.hear(SCENE)
    at = [0, *sorted(2 * cut for cut in cuts), len(SCENE)]
    for start, end in itertools.pairwise(at):
        if end > start:
            pieces.hear(SCENE[start:end])
    told = [f for f in pieces.facts if not isinstance(f, Tick)]
    assert told == [f for f in whole.facts if not isinstance(f, Tick)]
    first = [next(f for f in b.facts if isinstance(f, Tick)) for b in (whole, pieces)]
    assert first[0] == first[1]
    assert whole.facts.index(first[0]) == pieces.facts.index(first[1])


def test_a_deadline_within_a_window_does_not_wait_for_its_end() -> None:
    bench = Bench()
    bench.hear(loud(320) + still(160))
    bench.ears.deadline = Ms(490)
    bench.hear(still(9))
    assert not [f for f in bench.facts if isinstance(f, Tick)]
    bench.hear(still(2))
    assert bench.facts[-1] == Tick(Ms(490))


def test_a_deadline_waits_while_a_change_is_in_the_balance() -> None:
    bench = Bench()
    bench.hear(loud(320) + still(320))
    bench.ears.deadline = Ms(700)
    bench.hear(loud(32) + loud(20))  # one loud window: perhaps they go on
    bench.hear(loud(12))
    assert bench.facts[2] == SpeechStarted(Ms(640))
    assert not [f for f in bench.facts[:2] if isinstance(f, Tick)]
    other = Bench()
    other.hear(loud(320) + still(320))
    other.ears.deadline = Ms(660)
    other.hear(loud(32) + still(32))  # a click
    assert other.facts[-1].at >= 660


def test_a_silent_line_goes_on_by_wall_time() -> None:
    bench = Bench()
    bench.hear(loud(640))
    bench.clock.now += 150
    bench.ears.pass_silence(bench.clock.now)
    assert bench.ears.now == 640
    bench.clock.now += 150
    bench.ears.pass_silence(bench.clock.now)
    stopped = bench.facts[-1]
    assert isinstance(stopped, SpeechStopped)
    assert stopped.at == 640
    assert 900 <= bench.ears.now <= 940
    bench.clock.now += 500
    bench.ears.pass_silence(bench.clock.now)
    assert 1400 <= bench.ears.now <= 1440
    bench.hear(loud(320))
    started = bench.facts[-1]
    assert isinstance(started, SpeechStarted)
    assert abs(bench.ears.client_ms(started.at) - 640) <= 1
    assert bench.ears.client_ms(Ms(1000)) == 640
    assert bench.ears.client_ms(Ms(320)) == 320


def test_wall_time_of_a_position() -> None:
    bench = Bench()
    bench.hear(loud(320))
    assert bench.ears.wall_ms(Ms(320)) == bench.clock.now
    assert bench.ears.wall_ms(Ms(120)) == bench.clock.now - 200


def test_a_listener_gets_the_preroll_and_goes_on_where_it_was() -> None:
    bench = Bench()
    got: list[AudioFrame] = []
    bench.hear(still(2000))
    bench.hear(loud(320))
    bench.ears.listen(Ms(2000), got.append)
    assert 1650 * 16 <= got[0].start <= 1700 * 16
    bench.ears.hold()
    size = len(got)
    bench.hear(still(640))
    assert len(got) == size
    bench.hear(loud(160))
    bench.ears.listen(Ms(2960), got.append)
    assert got[size].start >= got[size - 1].end
    assert got[size].start <= 2680 * 16
    bench.ears.commit(bench.ears.position)
    bench.hear(still(320))
    size = len(got)
    bench.ears.listen(Ms(2000), got.append)
    assert all(f.end > 3120 * 16 for f in got[size:])


def test_too_much_at_once_is_refused_and_costs_nothing() -> None:
    bench = Bench()
    bench.ears._raw_bytes = MAX_PENDING_BYTES
    assert not bench.ears.hear(bytes(2))
    assert bench.ears._raw == []


def test_push_to_talk_tells_once_and_judges_nothing() -> None:
    options = SessionOptions(
        input_format=AudioFormat(16_000), turn=TurnPolicy(detect=False, create_response=False)
    )
    bench = Bench(options)
    bench.hear(loud(100))
    bench.hear(loud(100))
    assert bench.facts == [InputBegan(Ms(0))]
    assert bench.hearing.windows == 0
    assert bench.ears.uncommitted_ms == 200
    bench.ears.flush()
    assert bench.ears.position == 200 * 16
    bench.ears.commit(bench.ears.position)
    assert bench.ears.uncommitted_ms == 0
    bench.hear(loud(100))
    assert bench.facts[-1] == InputBegan(Ms(200))


def test_switching_detection_keeps_the_stream_in_step() -> None:
    bench = Bench()
    bench.hear(loud(500))
    bench.ears.set_options(
        SessionOptions(
            input_format=AudioFormat(16_000), turn=TurnPolicy(detect=False, create_response=False)
        )
    )
    bench.hear(loud(300))
    bench.ears.flush()
    bench.ears.set_options(STREAM_OPTIONS)
    bench.hear(still(640))
    bench.hear(loud(640))
    assert isinstance(bench.facts[-1], SpeechStarted)
    assert 1420 <= bench.facts[-1].at <= 1472


def test_commands_wait_for_the_sound_before_them() -> None:
    bench = Bench()
    bench.ears._raw.append(loud(320))
    order: list[str] = []
    bench.ears.when_judged(lambda: order.append("first"))
    assert order == []
    bench.hearing._waiting[bench.ears] = None
    bench.hearing.judge_waiting()
    assert order == ["first"]
    bench.ears.when_judged(lambda: order.append("second"))
    assert order == ["first", "second"]
    bench.ears._raw.append(loud(320))
    bench.ears.when_judged(lambda: order.append("third"))
    bench.ears.clear()
    assert order[-1] == "third"


async def test_sound_after_a_silent_line_comes_where_the_clock_is() -> None:
    """Nobody looked at the time meanwhile: the stream goes on all the same, in deemed silence."""
    async with stage() as s:
        await s.quiet(200)
        before = s.session.now
        s._clock.now += 5_000
        await s.quiet(200)
        assert 5_000 <= s.session.now - before <= 5_400
        assert s.session.ears.client_ms(s.session.now) <= 400, "the client's own sound is no longer"
        await s.turn()
        assert s.session.turn is not None
