"""English as it is read aloud: what numbers, dates, sums of money and signs are called.

One pass with one pattern, of which each part has a function that says it: `RULES`. What is said holds no figure
and no sign that a rule looks for, so a second pass finds nothing. American names of units and of the point in a
number; the "and" in "one hundred and five" as the rest of Duologue says it.
"""

import re
from collections.abc import Callable

from duologue.engines.skills.numbers import MAX_DIGITS, SMALL, TENS
from duologue.engines.skills.spoken import say_ordinal, say_whole, say_year
from duologue.engines.text.english_names import (
    ABBREVIATIONS,
    CODES,
    COINS,
    MAY_END,
    MONTHS,
    PLACES,
    SCALE_SIGNS,
    SIGNS,
    UNITS,
    VULGAR,
)

Say = Callable[[str, str, str], str]
"""(what was found, some text before it, some after) -> what is said."""

NEAR = 24
"""Characters around a match that a rule may look at."""

_NUM = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_FULL_MONTHS = tuple(dict.fromkeys(MONTHS.values()))
_AFTER_MONTH = re.compile(rf"\b(?:{'|'.join(_FULL_MONTHS)}|{'|'.join(MONTHS)})\.? $")
_BEFORE_MONTH = re.compile(rf" (?:{'|'.join(_FULL_MONTHS)})\b")
_YEARLY = re.compile(
    r"\b(?:[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Ff]rom|[Tt]o|[Bb]efore|[Aa]fter|[Yy]ear|[Cc]irca|[Oo]f) $"
)
_STREET = re.compile(r"\w [A-Z][a-z]+ $")
_A_UNIT = re.compile(rf" ?(?:%|percent|(?:{'|'.join(map(re.escape, UNITS))})(?![\w/]))")
_ONE = re.compile(r"(?<![0-9.,])1$")
_SENTENCE_GOES_ON = re.compile(r" ?[a-z0-9,;:)]")


# --- numbers ---
def number(figures: str) -> str:
    """A number: "one thousand two hundred and five", "three point one four", "zero zero seven"."""
    whole, _, decimals = figures.replace(",", "").partition(".")
    is_code = len(whole) > MAX_DIGITS or (whole.startswith("0") and len(whole) > 1)
    said = digits(whole) if is_code else say_whole(int(whole))
    return f"{said} point {digits(decimals)}" if decimals else said


def digits(figures: str) -> str:
    """Figure by figure."""
    return " ".join(SMALL[int(d)] for d in figures if d.isdecimal())


def ordinal(value: int) -> str:
    """An ordinal: "one hundred and twenty-first"; a number too large to be counted to is said as it is."""
    rest = value % 100
    if value < 100:
        return say_ordinal(value) if value else "zeroth"
    if value >= 10**MAX_DIGITS:
        return digits(str(value))
    return f"{say_whole(value - rest)} and {say_ordinal(rest)}" if rest else f"{say_whole(value)}th"


def _number(found: str, before: str, after: str) -> str:
    if found.isdecimal() and len(found) <= 2 and 1 <= int(found) <= 31:
        if _AFTER_MONTH.search(before) and not after.startswith(":"):
            return say_ordinal(int(found))
        if _BEFORE_MONTH.match(after):
            return f"{say_ordinal(int(found))} of"
    if found.isdecimal() and len(found) == 4 and _is_year(int(found), before, after):
        return say_year(int(found))
    if found.isdecimal() and len(found) > 9:
        return digits(found)
    return number(found)


def _is_year(value: int, before: str, after: str) -> bool:
    if _A_UNIT.match(after):
        return False
    if 1900 <= value <= 2099:
        return True
    return 1100 <= value < 1900 and bool(_YEARLY.search(before) or _AFTER_MONTH.search(before))


def _counted(found: str, before: str, after: str) -> str:
    return ordinal(int(re.sub(r"[^0-9]", "", found)))


def _science(found: str, before: str, after: str) -> str:
    base, _, power = found.lower().partition("e")
    sign = "minus " if power.startswith("-") else ""
    return f"{number(base)} times ten to the power of {sign}{number(power.lstrip('+-'))}"


def _dotted(found: str, before: str, after: str) -> str:
    return " dot ".join(number(part) for part in found.split("."))


def _fraction(found: str, before: str, after: str) -> str:
    over, under = (int(part) for part in found.split("/"))
    if not over < under or under not in (2, 3, 4, 5, 6, 8, 10, 16, 32, 100):
        return f"{say_whole(over)} {say_whole(under)}"
    name = {2: "half", 4: "quarter"}.get(under) or ordinal(under)
    plural = "halves" if under == 2 else f"{name}s"
    return f"{say_whole(over)} {name if over == 1 else plural}"


def _vulgar(found: str, before: str, after: str) -> str:
    said = VULGAR[found]
    return f"and {said.replace('one ', 'a ')}" if before[-1:].isdecimal() else said


# --- time ---
def _iso_date(found: str, before: str, after: str) -> str:
    year, month, day = (int(part) for part in found.split("-"))
    return _date(year, month, day)


def _slash_date(found: str, before: str, after: str) -> str:
    first, second, year = (int(part) for part in found.split("/"))
    month, day = (second, first) if first > 12 else (first, second)
    return _date(year, month, day)


def _date(year: int, month: int, day: int) -> str:
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return ", ".join(say_whole(part) for part in (year, month, day))
    return f"{_FULL_MONTHS[month - 1]} {say_ordinal(day)}, {say_year(year)}"


def _time(found: str, before: str, after: str) -> str:
    hour, *rest = (int(part) for part in found.split(":"))
    minutes = (f"oh {SMALL[v]}" if v < 10 else say_whole(v) for v in rest)
    words = [say_whole(hour), *minutes]
    if rest == [0]:
        is_of_day = re.match(r" ?[AaPp]\.?[Mm]\b", after) or hour > 12 or not hour
        return words[0] if is_of_day and 0 < hour <= 12 else _on_the_hour(hour)
    return " ".join(words)


def _on_the_hour(hour: int) -> str:
    return f"{say_whole(hour)} o'clock" if 0 < hour <= 12 else f"{say_whole(hour)} hundred"


def _half_of_day(found: str, before: str, after: str) -> str:
    said = "A M" if "a" in found.lower() else "P M"
    return said + _full_stop(found, after)


def _decade(found: str, before: str, after: str) -> str:
    value = int(re.sub(r"[^0-9]", "", found))
    century, tens = divmod(value, 100)
    name = f"{TENS[tens // 10 - 2][:-1]}ies" if tens >= 20 else {0: "hundreds", 10: "tens"}[tens]
    if value in (2000, 1000):
        return f"{say_whole(value)}s"
    return f"{say_whole(century)} {name}" if century else name


# --- money, measures ---
def _money(found: str, before: str, after: str) -> str:
    figures = re.search(_NUM, found)
    assert figures is not None
    name = _currency(found[: figures.start()] + found[figures.end() :])
    rest = found[figures.end() :].strip()
    scale = re.match(r"(?:thousand|million|billion|trillion)\b|(?:bn|[kKmMbB])\b", rest)
    if scale is not None:
        many = SCALE_SIGNS.get(scale.group().lower(), scale.group())
        return f"{number(figures.group())} {many} {COINS[name][0][1]}"
    return _coins(figures.group(), name)


def _currency(around: str) -> str:
    found = re.search(r"[A-Z]{0,2}[$€£¥₹]|USD|EUR|GBP|JPY|INR|CHF|CAD|AUD", around)
    assert found is not None
    return CODES.get(found.group(), found.group()[-1])


def _coins(figures: str, name: str) -> str:
    (one, many), small = COINS[name]
    whole, _, decimals = figures.replace(",", "").partition(".")
    if small is None or len(decimals) not in (0, 2) or len(whole) > MAX_DIGITS:
        return f"{number(figures)} {many}"
    pieces = []
    if int(whole) or not int(decimals or 0):
        pieces.append(f"{say_whole(int(whole))} {one if int(whole) == 1 else many}")
    if int(decimals or 0):
        pieces.append(f"{say_whole(int(decimals))} {small[int(decimals) != 1]}")
    return " and ".join(pieces)


def _unit(found: str, before: str, after: str) -> str:
    one, many = UNITS[found.strip()]
    return one if _ONE.search(before) else many


def _phone(found: str, before: str, after: str) -> str:
    groups = re.findall(r"[0-9]+", found)
    return ("plus " if found.startswith("+") else "") + ", ".join(digits(g) for g in groups)


# --- names and signs ---
def _address(found: str, before: str, after: str) -> str:
    said = re.sub(r"[0-9]+", lambda m: f" {digits(m.group())} ", found)
    for sign, name in (("@", "at"), (".", "dot"), ("-", "dash"), ("+", "plus")):
        said = said.replace(sign, f" {name} ")
    return " ".join(said.split())


def _abbreviation(found: str, before: str, after: str) -> str:
    short = found.rstrip(".")
    is_place = short in PLACES and (_STREET.search(before) or not re.match(r" [A-Z]", after))
    if is_place:
        return PLACES[short] + _full_stop(found, after)
    return ABBREVIATIONS[short] + (_full_stop(found, after) if short in MAY_END else "")


def _full_stop(found: str, after: str) -> str:
    """The mark of an abbreviation ends the sentence, too, where nothing goes on behind it."""
    return "." if found.endswith(".") and not _SENTENCE_GOES_ON.match(after) else ""


def _month(found: str, before: str, after: str) -> str:
    return MONTHS[found.rstrip(".")]


def _sign(found: str, before: str, after: str) -> str:
    return SIGNS[found.strip()]


def _words(said: str) -> Say:
    return lambda found, before, after: said


def _any(names: object) -> str:
    assert isinstance(names, dict)
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


RULES: tuple[tuple[str, Say], ...] = (
    (r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,6}", _address),
    (rf"\b(?:{_any(ABBREVIATIONS)})\.", _abbreviation),
    (rf"\b(?:{_any(MONTHS)})\.?(?= [0-9])", _month),
    (r"(?<![\w.@-])(?:[A-Za-z0-9-]{2,63}\.){1,5}[a-z]{2,10}(?![\w])", _address),
    (r"(?<![0-9-])[12][0-9]{3}-[01][0-9]-[0-3][0-9](?![0-9-])", _iso_date),
    (r"(?<![0-9/])[0-3]?[0-9]/[0-3]?[0-9]/[12][0-9]{3}(?![0-9/])", _slash_date),
    (
        r"(?<![\w+])(?:\+[0-9]{1,3}[ -]?)?(?:\([0-9]{3}\)[ ]?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}(?![\w-])",
        _phone,
    ),
    (r"(?<!\w)\+[0-9]{1,3}(?:[ -][0-9]{1,5}){2,5}(?![\w-])", _phone),
    (r"(?<![\w-])[0-9]{3}-[0-9]{4}(?![\w-])", _phone),
    (r"(?<![0-9:.])(?:[01]?[0-9]|2[0-4]):[0-5][0-9](?::[0-5][0-9])?(?![0-9:])", _time),
    (r"(?<=[0-9])[ ]?[AaPp](?:\.[Mm]\.|[Mm]\b\.?)", _half_of_day),
    (
        rf"(?:\b(?:US|CA|AU|NZ|HK|A|C)|(?<!\w))[$€£¥₹][ ]?{_NUM}"
        r"(?:[ ](?:thousand|million|billion|trillion)\b|[ ]?bn\b|[kKmMbB]\b)?",
        _money,
    ),
    (rf"\b(?:USD|EUR|GBP|JPY|INR|CHF|CAD|AUD)[ ]?{_NUM}", _money),
    (rf"{_NUM}[ ]?(?:[€£¥₹]|\$(?![0-9])|(?:USD|EUR|GBP|JPY|INR|CHF|CAD|AUD)\b)", _money),
    (r"(?<![\w.])(?:1[0-9]|20)[0-9]0['’]?s\b|(?<!\w)['’][2-9]0s\b", _decade),
    (r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3}){0,4}(?:st|nd|rd|th)\b", _counted),
    (r"(?<![0-9/.])[0-9]{1,3}/[0-9]{1,3}(?![0-9/.])", _fraction),
    (r"(?<![0-9.])[0-9]{1,6}(?:\.[0-9]{1,6}){2,5}(?![0-9])", _dotted),
    (r"(?<![\w.])[0-9]{1,9}(?:\.[0-9]{1,9})?[eE][+-]?[0-9]{1,3}\b", _science),
    (rf"(?<=[0-9])[ ]?(?:{_any(UNITS)})(?![\w/])", _unit),
    (f"[{''.join(VULGAR)}]", _vulgar),
    (_NUM, _number),
    (r"(?<![\w)\]])[-−](?=[$€£¥₹]?[.]?[0-9])", _words("minus")),
    (r"(?<=[0-9])[ ]?[–-][ ]?(?=[$€£¥₹]?[0-9])", _words("to")),
    (r"(?<=[0-9])[ ]?(?:x|×)[ ]?(?=[0-9])", _words("by")),
    (r"(?<=[0-9])(?:\*\*|\^)(?=[0-9])", _words("to the power of")),
    (r"(?<=[0-9])[ ]?\*[ ]?(?=[0-9])", _words("times")),
    (r"(?<=[0-9])[ ]?/[ ]?(?=[0-9])", _words("over")),
    (r"(?<=\w)/(?=(?:month|year|day|hour|week|minute|second|person|night)\b)", _words("per")),
    (r"[#№](?=[0-9])", _words("number")),
    (r"(?<=[A-Z])#", _words("sharp")),
    (r"[~≈](?=[$€£¥₹]?[0-9])", _words("about")),
    (r"(?<=[\d\s])<=?(?=[\d\s])", _words("less than")),
    (r"(?<=[\d\s])>=?(?=[\d\s])", _words("greater than")),
    (r"\.(?=[0-9])", _words("point")),
    (r"=+", _words("equals")),
    (f"[{re.escape(''.join(SIGNS))}]", _sign),
)
"""What to look for, first come first served, and who says it. Every pattern takes time linear in the text: what may
repeat without end is a class of its own, everything else is bounded."""

PATTERN = re.compile("|".join(f"(?P<r{n}>{pattern})" for n, (pattern, _) in enumerate(RULES)))


def say(match: re.Match[str]) -> str:
    """What is said instead of a match of `PATTERN`."""
    assert match.lastgroup is not None
    _, rule = RULES[int(match.lastgroup[1:])]
    text, (start, end) = match.string, match.span()
    return rule(match.group(), text[max(0, start - NEAR) : start], text[end : end + NEAR])
