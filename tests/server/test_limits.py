import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.server.limits import (
    FAILURES_PER_MINUTE,
    FIRST_ESTIMATE_S,
    MAX_ADDRESSES,
    Account,
    Failures,
    Full,
    Limits,
    Window,
    whole_seconds,
)

SPACES_MS = st.lists(
    st.one_of(st.integers(0, 400), st.integers(0, 70_000), st.sampled_from([59_999, 60_000])),
    min_size=1,
    max_size=60,
)


@given(limit=st.integers(1, 5), spaces_ms=SPACES_MS)
def test_no_minute_holds_more_than_the_limit_and_none_is_refused_without_need(
    limit: int, spaces_ms: list[int]
) -> None:
    account, limits, now_ms, let_in = Account(), Limits(per_minute=limit), 0, list[int]()
    for space_ms in spaces_ms:
        now_ms += space_ms
        full = account.enter(limits, now_ms, is_session=False)
        latest = [at for at in let_in if now_ms - at < 60_000]
        assert (full is None) == (len(latest) < limit)
        if full is None:
            let_in.append(now_ms)
    for began in let_in:
        assert sum(began <= at < began + 60_000 for at in let_in) <= limit


@given(limit=st.integers(1, 5), spaces_ms=SPACES_MS)
def test_who_waits_as_long_as_told_is_let_in_and_a_moment_less_is_too_early(
    limit: int, spaces_ms: list[int]
) -> None:
    window, now_ms = Window(), 0
    for space_ms in spaces_ms:
        now_ms += space_ms
        if wait_ms := window.wait_ms(limit, now_ms):
            assert window.wait_ms(limit, now_ms + wait_ms - 1) == 1
            now_ms += wait_ms
            assert window.wait_ms(limit, now_ms) == 0
        window.add(now_ms)
        assert window.count(now_ms) <= limit


@given(limit=st.integers(1, 5), spaces_ms=SPACES_MS)
def test_whole_seconds_are_true_too(limit: int, spaces_ms: list[int]) -> None:
    account, limits, now_ms = Account(), Limits(per_minute=limit), 0
    for space_ms in spaces_ms:
        now_ms += space_ms
        full = account.enter(limits, now_ms, is_session=False)
        if full is not None:
            assert 1 <= full.retry_after_s <= 60
            assert str(full.retry_after_s) in full.message
            now_ms += full.retry_after_s * 1000
            assert account.enter(limits, now_ms, is_session=False) is None


@given(limit=st.integers(1, 6), spaces_ms=SPACES_MS)
def test_what_the_protocol_is_told_comes_true(limit: int, spaces_ms: list[int]) -> None:
    account, limits, now_ms = Account(), Limits(per_minute=limit), 0
    for space_ms in spaces_ms:
        now_ms += space_ms
        account.enter(limits, now_ms, is_session=False)
        (told,) = account.rate_limits(limits, now_ms)
        assert (told["name"], told["limit"]) == ("requests", limit)
        copy = Account()
        copy._requests._at.extend(account._requests._at)
        let_in = [copy.enter(limits, now_ms, is_session=False) for _ in range(limit + 1)]
        assert let_in.count(None) == told["remaining"]
        reset_ms = round(told["reset_seconds"] * 1000)
        assert account.rate_limits(limits, now_ms + reset_ms)[0]["remaining"] == limit
        now_ms += reset_ms


def test_a_limit_that_was_lowered_holds_at_once() -> None:
    account = Account()
    for now_ms in range(5):
        assert account.enter(Limits(per_minute=5), now_ms, is_session=False) is None
    full = account.enter(Limits(per_minute=2), 10, is_session=False)
    assert full is not None
    assert full.retry_after_s == 60
    assert account.rate_limits(Limits(per_minute=2), 10)[0]["remaining"] == 0
    assert account.enter(Limits(per_minute=2), 60_003, is_session=False) is None


def test_zero_is_no_limit_and_nothing_is_kept() -> None:
    account = Account()
    for _ in range(1_000):
        assert account.enter(Limits(), 0, is_session=True) is None
    assert account.rate_limits(Limits(), 0) == []
    assert account._requests.count(0) == 0


def test_a_place_is_free_when_a_session_leaves() -> None:
    account, limits = Account(), Limits(max_sessions=2)
    assert account.enter(limits, 0, is_session=True) is None
    assert account.enter(limits, 0, is_session=True) is None
    assert account.enter(limits, 0, is_session=False) is None  # other requests need no place
    full = account.enter(limits, 0, is_session=True)
    assert full is not None
    assert (full.code, full.retry_after_s) == ("session_limit_reached", FIRST_ESTIMATE_S)
    assert "estimate" in full.message
    account.leave(0)
    assert account.enter(limits, 0, is_session=True) is None


@pytest.mark.parametrize(
    ("lasted_ms", "expected_s"), [(60_000, 30), (1_001, 1), (5, 1), (3_600_000, 300)]
)
def test_the_estimate_follows_how_long_sessions_last(lasted_ms: int, expected_s: int) -> None:
    account, limits = Account(), Limits(max_sessions=2)
    for _ in range(3):
        account.enter(limits, 0, is_session=True)
        account.leave(lasted_ms)
    account.enter(limits, 0, is_session=True)
    account.enter(limits, 0, is_session=True)
    full = account.enter(limits, 0, is_session=True)
    assert isinstance(full, Full)
    assert full.retry_after_s == expected_s


def test_a_refused_session_is_no_request() -> None:
    account, limits = Account(), Limits(max_sessions=1, per_minute=2)
    assert account.enter(limits, 0, is_session=True) is None
    for _ in range(5):
        assert account.enter(limits, 0, is_session=True) is not None
    assert account.rate_limits(limits, 0)[0]["remaining"] == 1


def test_wrong_keys_are_counted_by_address() -> None:
    failures = Failures()
    for number in range(FAILURES_PER_MINUTE):
        assert failures.wait_ms("192.0.2.1", 1_000) == 0
        assert failures.add("192.0.2.1", 1_000) == (number == FAILURES_PER_MINUTE - 1)
    assert failures.wait_ms("192.0.2.1", 1_000) == 60_000
    assert failures.wait_ms("192.0.2.2", 1_000) == 0
    assert failures.wait_ms("::ffff:192.0.2.1", 1_000) == 60_000
    assert failures.wait_ms("192.0.2.1", 61_000) == 0


def test_an_ipv6_household_is_one_address() -> None:
    failures = Failures()
    for number in range(FAILURES_PER_MINUTE):
        failures.add(f"2001:db8::{number:x}", 0)
    assert failures.wait_ms("2001:db8::ffff", 0) > 0
    assert failures.wait_ms("2001:db8::f000:0:0:1", 0) > 0
    assert failures.wait_ms("2001:db8:0:1::1", 0) == 0
    failures.add("no address", 0)
    assert failures.wait_ms("", 0) == 0


def test_not_more_addresses_are_kept_than_may_be() -> None:
    failures = Failures()
    for address in ("192.0.2.1", "192.0.2.2"):
        for _ in range(FAILURES_PER_MINUTE - 1):
            failures.add(address, 0)
    for number in range(MAX_ADDRESSES - 2):
        failures.add(f"10.0.{number // 256}.{number % 256}", 0)
    assert failures.add("192.0.2.1", 0)
    failures.add("10.9.9.9", 0)
    assert failures.wait_ms("192.0.2.1", 0) > 0
    assert not failures.add("192.0.2.2", 0)  # it failed longest ago, and is forgotten
    assert len(failures._windows) == MAX_ADDRESSES


def test_seconds_are_rounded_up() -> None:
    assert [whole_seconds(ms) for ms in (1, 1_000, 1_001, 59_999, 60_000)] == [1, 1, 2, 60, 60]
