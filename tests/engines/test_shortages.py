"""How often memory may run out on one rung."""

from duologue.engines.shortages import SHORTAGES, WITHIN_S, Shortages


def test_a_second_shortage_within_a_minute_is_too_often() -> None:
    shortages = Shortages()
    assert [shortages.note(now_s) for now_s in (0.0, WITHIN_S)] == [False, True]
    assert shortages.count == SHORTAGES


def test_shortages_far_apart_are_borne() -> None:
    shortages = Shortages()
    assert not any(shortages.note(number * (WITHIN_S + 1)) for number in range(5))
    assert shortages.count == 5


def test_another_rung_begins_with_none() -> None:
    shortages = Shortages()
    shortages.note(0.0)
    shortages.begin_anew()
    assert not shortages.note(1.0)
    assert shortages.count == 2
