from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.engines.skills.clock import say_time
from duologue.engines.skills.dates import MONTHS, date_at, say_date
from duologue.engines.skills.heard import regular
from duologue.engines.skills.spoken import say_ordinal, say_year

SATURDAY = date(2026, 11, 21)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        ("00:00", "midnight"),
        ("00:07", "twelve oh seven at night"),
        ("01:00", "one o'clock in the morning"),
        ("05:45", "five forty-five in the morning"),
        ("11:59", "eleven fifty-nine in the morning"),
        ("12:00", "noon"),
        ("12:30", "twelve thirty in the afternoon"),
        ("18:00", "six o'clock in the evening"),
        ("22:10", "ten ten at night"),
    ],
)
def test_the_time_of_day(time: str, said: str) -> None:
    assert say_time(datetime.fromisoformat(f"2026-11-21T{time}:00+00:00")) == said


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2026-11-21"),
        ("tomorrow", "2026-11-22"),
        ("to morrow", "2026-11-22"),
        ("yesterday", "2026-11-20"),
        ("the day after tomorrow", "2026-11-23"),
        ("friday", "2026-11-27"),
        ("next friday", "2026-11-27"),
        ("saturday", "2026-11-28"),
        ("the weekend", "2026-11-28"),
        ("christmas", "2026-12-25"),
        ("new year's eve", "2026-12-31"),
        ("new years", "2027-01-01"),
        ("december twenty fifth", "2026-12-25"),
        ("december the twenty fifth", "2026-12-25"),
        ("december twenty five", "2026-12-25"),
        ("the twenty fifth of december", "2026-12-25"),
        ("25 december", "2026-12-25"),
        ("the 25th of december 2027", "2027-12-25"),
        ("july fourth twenty twenty seven", "2027-07-04"),
        ("the first of november", "2027-11-01"),
        ("the twenty first of november", "2026-11-21"),
        ("february twenty ninth", "2028-02-29"),
        ("in three days", "2026-11-24"),
        ("two weeks from now", "2026-12-05"),
        ("a week ago", "2026-11-14"),
    ],
)
def test_days_have_many_names(text: str, day: str) -> None:
    words = regular(text)
    assert date_at(words, 0, SATURDAY) == (date.fromisoformat(day), len(words))


@pytest.mark.parametrize(
    "text",
    ["", "the", "dinner", "the thirty first of february", "december", "the fortieth of may", "in half days",
     "in 999999999999999 days", "december 99"],
)  # fmt: skip
def test_what_is_no_day(text: str) -> None:
    assert date_at(regular(text), 0, SATURDAY) is None


@given(st.dates(date(1200, 1, 1), date(2999, 12, 31)), st.dates(date(1970, 1, 1), date(2100, 1, 1)))
def test_dates_there_and_back(day: date, today: date) -> None:
    text = f"the {say_ordinal(day.day)} of {MONTHS[day.month]} {say_year(day.year)}"
    words = regular(text)
    assert date_at(words, 0, today) == (day, len(words))


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.integers(0, 6))
def test_a_weekday_is_the_next_of_its_name(today: date, number: int) -> None:
    name = (date(2024, 1, 1) + timedelta(days=number)).strftime("%A").lower()
    found = date_at((name,), 0, today)
    assert found is not None
    assert found[0].weekday() == number
    assert 1 <= (found[0] - today).days <= 7


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_and_day_can_be_said(now: datetime) -> None:
    assert say_time(now).isascii()
    assert say_date(now.date(), with_year=True).isascii()
