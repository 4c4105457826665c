"""Places, and when one is free."""

import pytest

from duologue.server.audio.desk import LONGEST_RETRY_S, Seats
from duologue.server.audio.refusals import Refusal


class Hand:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def retry_s(seats: Seats) -> int:
    with pytest.raises(Refusal) as found:
        seats.check()
    assert (found.value.status, found.value.code) == (429, "rate_limit_exceeded")
    assert found.value.retry_after_s is not None
    assert f"about {found.value.retry_after_s} s" in found.value.message
    return found.value.retry_after_s


def test_no_more_places_than_there_are() -> None:
    seats = Seats(2, "files are being transcribed", Hand())
    with seats.seat(), seats.seat():
        retry_s(seats)
        with pytest.raises(Refusal), seats.seat():
            pass
        assert seats.taken == 2
    assert seats.taken == 0
    seats.check()


def test_a_place_is_free_again_after_a_failure() -> None:
    seats = Seats(1, "files", Hand())
    with pytest.raises(ZeroDivisionError), seats.seat():
        raise ZeroDivisionError
    seats.check()


def test_when_to_come_again_follows_from_how_long_others_took() -> None:
    clock = Hand()
    seats = Seats(2, "files", clock)
    with seats.seat(), seats.seat():
        assert retry_s(seats) == 1
        clock.now += 30_000
    with seats.seat(), seats.seat():
        assert retry_s(seats) == 15
        clock.now += 10_000_000
    with seats.seat(), seats.seat():
        assert retry_s(seats) == LONGEST_RETRY_S
