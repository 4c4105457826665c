"""What time it is, and what day."""

import re
from datetime import date, datetime

from duologue.engines.skills.dates import MONTHS, WEEKDAYS, date_at, say_date
from duologue.engines.skills.heard import Heard
from duologue.engines.skills.numbers import Words
from duologue.engines.skills.skill import Scene, Understood, capital, say, unless_doubtful
from duologue.engines.skills.spoken import count, say_ordinal, say_whole, say_year

_TIME = re.compile(
    r"\b(?:what time|the time|time is it|what is time|current time|time now)\b|^time$"
)
_TIME_ALLOWED = frozenset(
    "what time is it the do you have know got a now current at right here of day exactly correct that moment this "
    "me i say check as it's are we been by your clock local and actually".split()
)
_ELSEWHERE = re.compile(
    r"\b(?:what time is it|the time|what is time|current time) (?:now )?(?:in|over in|at) (\w+)"
)
_HERE = frozenset("a this here my our your now morning afternoon evening moment".split())

_UNTIL = re.compile(
    r"\b(?:until|till|til|before|to go to|are there to|is it to|away is|far is|far away is)\b"
)
_UNTIL_ALLOWED = frozenset(
    "how many much long days day weeks week is are there it left we have to go do the time more what number of "
    "sleeps in still remain remaining i got away far still".split()
)
_DAY = re.compile(
    r"\b(?:what|which) (?:is )?(?:the )?(?:current |today )?(?:day|date|weekday|month|year)\b|"
    r"\bthe (?:date|month|year)\b|^(?:the )?(?:date|day)$|\btoday date\b|^(?:what|which) is today$|"
    r"^is (?:it|today) [a-z]+day(?: today)?$"
)
_DAY_ALLOWED = frozenset(
    "what which day date month is it the of week weekday today are we do have on s will be was that in and a by "
    "current now when does fall exactly time see check would year this for our i calendar".split()
)
_PARTS = (
    (0, "at night"), (1, "in the morning"), (12, "in the afternoon"), (18, "in the evening"), (22, "at night"),
)  # fmt: skip
"""From which hour on people say so."""


def understand_time(heard: Heard, scene: Scene) -> Understood | None:
    """The skill that tells the time."""
    core = heard.core
    if not _TIME.search(core):
        return None
    here = f"It is {say_time(scene.now)}."
    elsewhere = _ELSEWHERE.search(core)
    if elsewhere and elsewhere[1] not in _HERE:
        return say(f"I only know the time here: {here[0].lower()}{here[1:]}")
    unknown = [word for word in heard.words if word not in _TIME_ALLOWED]
    return unless_doubtful(say(here), heard, unknown, "what time is it")


def understand_until(heard: Heard, scene: Scene) -> Understood | None:
    """The skill that counts the days until another."""
    before, word, after = _split(heard)
    if not word or not {"how", "days", "weeks", "sleeps"} & set(before):
        return None
    words = tuple(after)
    found = date_at(words, 0, scene.now.date())
    if found is None:
        return None
    day, end = found
    unknown = [w for w in (*before, *words[end:]) if w not in _UNTIL_ALLOWED]
    in_weeks = "weeks" in before or "week" in before
    answer = _distance(scene.now.date(), day, in_weeks=in_weeks)
    meaning = f"how many {'weeks' if in_weeks else 'days'} until {_plain(day)}"
    return unless_doubtful(say(answer), heard, unknown, meaning)


def understand_day(heard: Heard, scene: Scene) -> Understood | None:
    """The skill that tells the day: "what day is it", "what date is next friday"."""
    words, today = heard.words, scene.now.date()
    if words[:2] == ("when", "is"):
        found = date_at(words, 2, today)
        is_all = found is not None and found[1] == len(words)
        return say(_told(found[0], today)) if found is not None and is_all else None
    if not _DAY.search(heard.core):
        return None
    named = None if words[0] == "is" else _named_day(words, today)  # "is it friday" is told the day
    if named is None:
        unknown = [w for w in words if w not in _DAY_ALLOWED | {*WEEKDAYS}]
        return unless_doubtful(say(_today(words, today)), heard, unknown, "what day is it")
    day, start, end = named
    unknown = [w for w in (*words[:start], *words[end:]) if w not in _DAY_ALLOWED]
    return unless_doubtful(say(_told(day, today)), heard, unknown, f"what day is {_plain(day)}")


def say_time(now: datetime) -> str:
    """The time of day: "three oh seven in the afternoon"."""
    hour, minute = now.hour % 12 or 12, now.minute
    if minute == 0 and now.hour in (0, 12):
        return "noon" if now.hour else "midnight"
    part = [text for since, text in _PARTS if now.hour >= since][-1]
    if minute == 0:
        return f"{say_whole(hour)} o'clock {part}"
    return f"{say_whole(hour)} {'oh ' if minute < 10 else ''}{say_whole(minute)} {part}"


def _today(words: Words, today: date) -> str:
    if "year" in words and "day" not in words and "date" not in words:
        return f"It is {say_year(today.year)}."
    if "month" in words:
        return f"It is {MONTHS[today.month].capitalize()}, {say_year(today.year)}."
    return f"Today is {say_date(today, with_year=True)}."


def _named_day(words: Words, today: date) -> tuple[date, int, int] | None:
    """The first day, other than today, that is named, and where."""
    for start in range(len(words)):
        found = date_at(words, start, today)
        if found is not None and words[found[1] - 1] != "today":
            return found[0], start, found[1]
    return None


def _distance(today: date, day: date, *, in_weeks: bool) -> str:
    days = (day - today).days
    if days <= 0:
        return "That is today." if not days else f"{say_date(day, with_year=True)} is past."
    weeks, rest = divmod(days, 7)
    long = count(days, "day")
    if in_weeks and weeks:
        long = count(weeks, "week") + (f" and {count(rest, 'day')}" if rest else "")
    verb = "is" if long.startswith("one ") and "and" not in long else "are"
    return capital(f"there {verb} {long} until {say_date(day, with_year=day.year != today.year)}.")


def _told(day: date, today: date) -> str:
    lead = "That is today:" if day == today else "That was" if day < today else "That is"
    return f"{lead} {say_date(day, with_year=True)}."


def _plain(day: date) -> str:
    """A day as the skills understand it without doubt."""
    return f"the {say_ordinal(day.day)} of {MONTHS[day.month].capitalize()} {say_year(day.year)}"


def _split(heard: Heard) -> tuple[list[str], str, list[str]]:
    found = _UNTIL.search(heard.core)
    if found is None:
        return [], "", []
    return heard.core[: found.start()].split(), found[0], heard.core[found.end() :].split()
