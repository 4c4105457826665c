"""Days by name: "next friday", "the twenty fifth of december", "christmas", "in three days"."""

import calendar
from datetime import date, timedelta

from duologue.engines.skills.numbers import Words, read_number, read_ordinal
from duologue.engines.skills.skill import starts_with
from duologue.engines.skills.spoken import say_ordinal, say_year

WEEKDAYS = tuple(name.lower() for name in calendar.day_name)
MONTHS = tuple(name.lower() for name in calendar.month_name)
"""January is 1."""

_HOLIDAYS = {
    "christmas eve": (12, 24), "christmas day": (12, 25), "christmas": (12, 25), "boxing day": (12, 26),
    "new years eve": (12, 31), "new year eve": (12, 31), "new years day": (1, 1), "new year day": (1, 1),
    "new years": (1, 1), "new year": (1, 1), "halloween": (10, 31), "valentines day": (2, 14),
    "valentine day": (2, 14), "valentines": (2, 14),
}  # fmt: skip
_HOLIDAY_WORDS = tuple(tuple(name.split()) for name in _HOLIDAYS)
_RELATIVE = {
    ("the", "day", "after", "tomorrow"): 2,
    ("day", "after", "tomorrow"): 2,
    ("the", "day", "before", "yesterday"): -2,
    ("day", "before", "yesterday"): -2,
    ("tomorrow",): 1,
    ("to", "morrow"): 1,
    ("yesterday",): -1,
    ("today",): 0,
}
_NEXT = frozenset("next this coming on the".split())
MAX_DAYS = 36_500

Dated = tuple[date, int]
"""A day, and the place of the first word after its name."""


def date_at(words: Words, at: int, today: date) -> Dated | None:
    """The day whose name begins at a word: the next one of that name."""
    while at < len(words) and words[at] in _NEXT and words[at : at + 2] != ("the", "day"):
        at += 1
    if at >= len(words):
        return None
    for phrase, days in _RELATIVE.items():
        if starts_with(words, at, (phrase,)):
            return today + timedelta(days=days), at + len(phrase)
    if words[at] in WEEKDAYS or words[at] == "weekend":
        name = "saturday" if words[at] == "weekend" else words[at]
        days = (WEEKDAYS.index(name) - today.weekday() - 1) % 7 + 1
        return today + timedelta(days=days), at + 1
    size = starts_with(words, at, _HOLIDAY_WORDS)
    if size:
        month, day = _HOLIDAYS[" ".join(words[at : at + size])]
        return _with_year(words, at + size, day, month, today)
    return _distance(words, at, today) or _day_of_month(words, at, today)


def say_date(day: date, *, with_year: bool = False) -> str:
    """A day: "Saturday, the twenty-first of November"."""
    month = MONTHS[day.month].capitalize()
    year = f", {say_year(day.year)}" if with_year else ""
    return f"{WEEKDAYS[day.weekday()].capitalize()}, the {say_ordinal(day.day)} of {month}{year}"


def _distance(words: Words, at: int, today: date) -> Dated | None:
    """So far from today: "in three days", "two weeks from now", "ten days ago"."""
    if words[at] == "in":
        at += 1
    number = read_number(words, at)
    if number is None and at < len(words) and words[at] in ("a", "one"):
        number = read_number(("one",), 0)
        number = (number[0], at + 1) if number else None
    if number is None or number[1] >= len(words):
        return None
    value, at = number
    unit = {"day": 1, "days": 1, "week": 7, "weeks": 7}.get(words[at])
    if unit is None or value.denominator != 1 or abs(value * unit) > MAX_DAYS:
        return None
    at += 1
    days = int(value) * unit
    if starts_with(words, at, (("ago",),)):
        return _shifted(today, -days, at + 1)
    return _shifted(today, days, at + starts_with(words, at, (("from", "now"), ("from", "today"))))


def _shifted(today: date, days: int, at: int) -> Dated | None:
    try:
        return today + timedelta(days=days), at
    except OverflowError:
        return None


def _day_of_month(words: Words, at: int, today: date) -> Dated | None:
    """A date: "december twenty fifth", "the twenty fifth of december", "25 december 2027"."""
    if words[at] in MONTHS[1:]:
        month = MONTHS.index(words[at])
        after = at + 2 if words[at + 1 : at + 2] == ("the",) else at + 1
        day = _day(words, after)
        return None if day is None else _with_year(words, day[1], day[0], month, today)
    day = _day(words, at)
    if day is None:
        return None
    after = day[1] + 1 if words[day[1] : day[1] + 1] == ("of",) else day[1]
    if words[after : after + 1] and words[after] in MONTHS[1:]:
        return _with_year(words, after + 1, day[0], MONTHS.index(words[after]), today)
    return None


def _day(words: Words, at: int) -> tuple[int, int] | None:
    """1 to 31, as "twenty fifth" or "twenty five"."""
    ordinal = read_ordinal(words, at)
    if ordinal is None:
        number = read_number(words[: at + 2], at)
        if number is None or number[0].denominator != 1:
            return None
        ordinal = int(number[0]), number[1]
    return ordinal if 1 <= ordinal[0] <= 31 else None


def _with_year(words: Words, at: int, day: int, month: int, today: date) -> Dated | None:
    """The next such day, or that of the year that is said."""
    said = read_number(words, at + starts_with(words, at, (("in",),)))
    if said is not None and 1000 <= said[0] <= 9999 and said[0].denominator == 1:
        found = _valid(int(said[0]), month, day)
        return None if found is None else (found, said[1])
    for year in range(today.year, today.year + 9):  # a leap day comes after eight years at most
        found = _valid(year, month, day)
        if found is not None and found >= today:
            return found, at
    return None


def _valid(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
