"""Lengths of time: "an hour and a half", "ninety seconds", "two minutes thirty"."""

from fractions import Fraction

from duologue.engines.skills.numbers import SOUND_ALIKE, Read, Words, read_number, read_part
from duologue.engines.skills.spoken import count

_SECONDS = {
    "second": 1, "seconds": 1, "sec": 1, "secs": 1, "s": 1, "minute": 60, "minutes": 60, "min": 60, "mins": 60,
    "minuets": 60, "hour": 3600, "hours": 3600, "hr": 3600, "hrs": 3600, "h": 3600, "ours": 3600, "day": 86_400,
    "days": 86_400, "week": 604_800, "weeks": 604_800,
}  # fmt: skip

Span = tuple[int, int]

_JOINTS = (("of", "an"), ("of", "a"), ("an",), ("a",))
_VAGUE = {("a", "couple", "of"): 2, ("a", "couple"): 2, ("a",): 1, ("an",): 1}


def find_duration(words: Words) -> tuple[int, Span, bool] | None:
    """The first length of time in the words.

    Returns:
        Seconds (at least one), where it stands, and whether it is certain: "for minutes" may be four of
        them, or be short of a number.
    """
    for is_loose in (False, True):
        for start in range(len(words)):
            found = _duration(words, start, is_loose=is_loose)
            if found is not None:
                has_preposition = start > 0 and words[start - 1] in SOUND_ALIKE
                is_certain = not is_loose or has_preposition  # "for for minutes"
                return int(found[0] + Fraction(1, 2)), (start, found[1]), is_certain
    return None


def say_duration(seconds: int) -> str:
    """A length of time: "one hour, five minutes and ten seconds"."""
    if seconds <= 0:
        return "no time"
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [
        count(number, noun)
        for number, noun in ((hours, "hour"), (minutes, "minute"), (seconds, "second"))
        if number
    ]
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def say_span(seconds: float) -> str:
    """How long something still takes, as exactly as anybody wants to know it."""
    whole = max(1, round(seconds))
    if whole > 3600:
        whole = round(whole / 60) * 60
    elif whole > 600:
        whole = round(whole / 10) * 10
    return say_duration(whole)


def _duration(words: Words, start: int, *, is_loose: bool) -> Read | None:
    """All that follows on from an amount of time: "one hour and twenty minutes"."""
    first = _amount(words, start, is_loose=is_loose)
    if first is None:
        return None
    (total, at), unit = first
    while True:
        follows = at + 1 if tuple(words[at : at + 1]) == ("and",) else at
        more = _amount(words, follows, is_loose=False)
        if more is None or more[1] >= unit:
            break
        (value, at), unit = more
        total += value
    return (total, at) if total >= 1 else None


def _amount(words: Words, start: int, *, is_loose: bool) -> tuple[Read, int] | None:
    """One number with its unit of time; the unit's seconds besides."""
    is_digit = words[start : start + 1] and words[start] in SOUND_ALIKE
    if bool(is_digit) != is_loose:
        return None
    number = _number(words, start)
    if number is None:
        return None
    value, at = number
    unit = _SECONDS.get(words[at]) if at < len(words) else None
    if unit is None or value <= 0:
        return None
    part = read_part(words, at + 1)
    if part is not None:
        return ((value + part[0]) * unit, part[1]), unit
    return (value * unit, at + 1), unit


def _number(words: Words, at: int) -> Read | None:
    """A number, or a word that stands for one before a unit: "an hour", "half an hour", "a couple of days"."""
    number = read_number(words, at, loose=True)
    if number is not None:
        value, after = number
        if value < 1:
            after += next((len(j) for j in _JOINTS if tuple(words[after : after + len(j)]) == j), 0)
        return value, after
    for phrase, meant in _VAGUE.items():
        if tuple(words[at : at + len(phrase)]) == phrase:
            return Fraction(meant), at + len(phrase)
    return None
