import pytest

from duologue.core.arrival import ArrivalWatch


def stream(declared_hz: int, real_hz: float, seconds: float = 6, every_ms: float = 20) -> list[int]:
    watch, found, now = ArrivalWatch(declared_hz), [], 50_000.0
    while now < 50_000 + seconds * 1000:
        sound_ms = every_ms * real_hz / declared_hz
        if seen := watch.arrived(sound_ms, now):
            found.append(seen)
        now += every_ms
    return found


@pytest.mark.parametrize(
    ("declared", "real"), [(24_000, 8_000), (24_000, 16_000), (16_000, 8_000), (48_000, 24_000)]
)
def test_a_wrong_rate_is_named_once(declared: int, real: int) -> None:
    assert stream(declared, real) == [real]


@pytest.mark.parametrize("real", [24_000, 23_600, 21_800, 22_050, 48_000, 20_000])
def test_the_right_rate_a_recording_and_an_odd_pace_are_left_alone(real: int) -> None:
    assert stream(24_000, real) == []


def test_pauses_on_the_line_start_the_watch_anew() -> None:
    watch, now = ArrivalWatch(24_000), 0.0
    for _ in range(20):
        for _ in range(100):
            assert watch.arrived(6.67, now) is None
            now += 20
        now += 500


def test_who_speaks_a_third_of_the_time_has_no_wrong_rate() -> None:
    watch, now = ArrivalWatch(24_000), 50_000.0
    for _ in range(10):
        for _ in range(50):
            assert watch.arrived(20, now) is None
            now += 20
        now += 2000


def test_a_rate_that_goes_wrong_later_is_seen_too() -> None:
    watch, now, found = ArrivalWatch(24_000), 50_000.0, []
    for sound_ms in (20.0,) * 201 + (20 / 3,) * 500:
        found.append(watch.arrived(sound_ms, now))
        now += 20
    assert [rate for rate in found if rate] == [8_000]


def test_the_size_of_the_chunks_does_not_matter() -> None:
    assert stream(24_000, 16_000, seconds=12, every_ms=250) == [16_000]
    assert stream(24_000, 16_000, seconds=12, every_ms=300) == [16_000]
    assert stream(24_000, 24_000, seconds=12, every_ms=250) == []
