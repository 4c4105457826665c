from duologue.engines.breaker import (
    PROBE_FIRST_S,
    PROBE_MOST_S,
    REMEMBERED,
    STALL_LEAST_S,
    STRIKES,
    Breaker,
    Pace,
)


def test_an_engine_that_failed_is_tried_out_soon_and_then_ever_more_rarely() -> None:
    breaker = Breaker()
    waits: list[float] = []
    for n in range(40):
        breaker.failed(100.0 + n)
        waits.append((breaker.probe_at_s or 0.0) - 100.0 - n)
    assert waits[:3] == [PROBE_FIRST_S, 2 * PROBE_FIRST_S, 4 * PROBE_FIRST_S]
    assert waits[-1] == PROBE_MOST_S
    breaker.succeeded()
    assert breaker.probe_at_s is None
    breaker.failed(7.0)
    assert breaker.probe_at_s == 7.0 + PROBE_FIRST_S


def test_an_engine_that_lives_elsewhere_too_is_passed_over_only_when_it_fails_again_and_again() -> (
    None
):
    breaker = Breaker()
    is_open = []
    for n in range(STRIKES + 1):
        is_open.append(breaker.is_open)
        breaker.failed(float(n), has_spare=True)
    assert is_open == [False] * STRIKES + [True]


def test_a_quick_engine_is_given_little_time_and_a_slow_one_more_up_to_the_limit() -> None:
    pace = Pace(5.0)
    assert pace.limit_s == 5.0
    pace.answered(0.01)
    assert pace.limit_s == STALL_LEAST_S
    pace.answered(0.6)
    assert pace.limit_s == 2.4
    pace.answered(3.0)
    assert pace.limit_s == 5.0
    for _ in range(REMEMBERED):
        pace.answered(0.02)
    assert pace.limit_s == STALL_LEAST_S


def test_a_process_that_takes_many_streams_with_it_has_failed_once() -> None:
    breaker = Breaker()
    for n in range(8):
        breaker.failed(5.0 + n / 100)
    assert breaker.failures == 1
    assert breaker.probe_at_s == 5.0 + PROBE_FIRST_S
    breaker.succeeded()
    breaker.failed(5.09)
    assert breaker.failures == 1
