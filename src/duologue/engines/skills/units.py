"""The units that the skills know, with their many names, and how one converts to another of its kind.

Factors are exact: international yard and pound (1959), US customary volumes, SI prefixes for data. A month
is a twelfth of a common year of 365 days.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Kind = Literal["length", "mass", "volume", "temperature", "speed", "time", "data"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measure.

    Attributes:
        one, many: its name.
        factor: one of it in its kind's base unit.
        offset: where its zero lies, in the base unit; only scales of temperature have one.
    """

    one: str
    many: str
    kind: Kind
    factor: Fraction
    offset: Fraction = Fraction(0)


MATCHED_WORDS = 3
"""No unit's name has more words."""

_FOOT = Fraction(3048, 10_000)
_POUND = Fraction(45_359_237, 10**8)
_GALLON = Fraction(3_785_411_784, 10**12)
_HOUR = Fraction(3600)
_YEAR = 365 * 24 * _HOUR
_METRIC = {
    "": Fraction(1),
    "kilo": Fraction(1000),
    "centi": Fraction(1, 100),
    "milli": Fraction(1, 1000),
}
_BYTES = {"kilo": "kb", "mega": "mb|meg|megs", "giga": "gb|gig|gigs", "tera": "tb", "peta": "pb"}

_Row = tuple[Kind, str, Fraction | int, str]
"""Kind, "singular|plural", factor, other names."""


def _metric(kind: Kind, stem: str, base: Fraction, short: dict[str, str]) -> Iterator[_Row]:
    """A unit and those with its prefixes: "metre" is also "meter", and "kilo metre" two words."""
    american = stem.replace("etre", "eter").replace("itre", "iter")
    spellings = {stem, american, stem.replace("gram", "gramme")}
    for prefix, abbreviations in short.items():
        gaps = ("", " ") if prefix else ("",)
        names = [f"{prefix}{gap}{s}{end}" for s in spellings for gap in gaps for end in ("", "s")]
        also = "|".join((*names, abbreviations))
        yield kind, f"{prefix}{stem}|{prefix}{stem}s", _METRIC[prefix] * base, also


def _data() -> Iterator[_Row]:
    for power, (prefix, short) in enumerate(_BYTES.items(), 1):
        also = f"{prefix} byte|{prefix} bytes|{short}"
        yield "data", f"{prefix}byte|{prefix}bytes", 1000**power, also
    for power, prefix in enumerate(("kibi", "mebi", "gibi", "tebi"), 1):
        also = f"{prefix} byte|{prefix} bytes"
        yield "data", f"{prefix}byte|{prefix}bytes", 1024**power, also


_ROWS: tuple[_Row, ...] = (
    *_metric("length", "metre", Fraction(1),
             {"": "m", "kilo": "km|kms|k m", "centi": "cm", "milli": "mm"}),
    ("length", "inch|inches", _FOOT / 12, "in|ins"),
    ("length", "foot|feet", _FOOT, "ft|feat"),
    ("length", "yard|yards", 3 * _FOOT, "yd|yds"),
    ("length", "mile|miles", 5280 * _FOOT, "mi"),
    ("length", "nautical mile|nautical miles", 1852, ""),
    *_metric("mass", "gram", Fraction(1, 1000),
             {"": "g", "kilo": "kg|kgs|kilo|kilos|k g", "milli": "mg"}),
    ("mass", "metric ton|metric tons", 1000, "tonne|tonnes|ton|tons"),
    ("mass", "pound|pounds", _POUND, "lb|lbs"),
    ("mass", "ounce|ounces", _POUND / 16, "oz"),
    ("mass", "stone|stones", 14 * _POUND, ""),
    *_metric("volume", "litre", Fraction(1, 1000), {"": "l", "centi": "cl", "milli": "ml|mils"}),
    ("volume", "US gallon|US gallons", _GALLON, "gallon|gallons|gal"),
    ("volume", "US quart|US quarts", _GALLON / 4, "quart|quarts"),
    ("volume", "US pint|US pints", _GALLON / 8, "pint|pints"),
    ("volume", "US cup|US cups", _GALLON / 16, "cup|cups"),
    ("volume", "fluid ounce|fluid ounces", _GALLON / 128, "fl oz"),
    ("volume", "tablespoon|tablespoons", _GALLON / 256, "table spoon|table spoons|tbsp"),
    ("volume", "teaspoon|teaspoons", _GALLON / 768, "tea spoon|tea spoons|tsp"),
    ("speed", "kilometre per hour|kilometres per hour", 1000 / _HOUR,
     "kilometer per hour|kilometers per hour|kilometers an hour|kilometres an hour|kph|km per h|kmh"),
    ("speed", "mile per hour|miles per hour", 5280 * _FOOT / _HOUR, "miles an hour|mph|m p h|mi per h"),
    ("speed", "metre per second|metres per second", 1,
     "meter per second|meters per second|meters a second|metres a second|m per s"),
    ("speed", "foot per second|feet per second", _FOOT, "feet a second|ft per s"),
    ("speed", "knot|knots", 1852 / _HOUR, ""),
    ("time", "millisecond|milliseconds", Fraction(1, 1000), "milli second|milli seconds|ms"),
    ("time", "second|seconds", 1, "sec|secs|s"),
    ("time", "minute|minutes", 60, "min|mins|minuets"),
    ("time", "hour|hours", _HOUR, "hr|hrs|h|ours"),
    ("time", "day|days", 24 * _HOUR, ""),
    ("time", "week|weeks", 168 * _HOUR, "weak"),
    ("time", "month|months", _YEAR / 12, ""),
    ("time", "year|years", _YEAR, ""),
    ("data", "bit|bits", Fraction(1, 8), ""),
    ("data", "byte|bytes", 1, "bites"),
    *_data(),
)  # fmt: skip

CELSIUS = Unit("degree Celsius", "degrees Celsius", "temperature", Fraction(1), Fraction("273.15"))
FAHRENHEIT = Unit(
    "degree Fahrenheit",
    "degrees Fahrenheit",
    "temperature",
    Fraction(5, 9),
    Fraction("459.67") * Fraction(5, 9),
)
KELVIN = Unit("kelvin", "kelvins", "temperature", Fraction(1))
_SCALES = {
    "celsius|centigrade|c": CELSIUS,
    "fahrenheit|f": FAHRENHEIT,
    "kelvin|kelvins": KELVIN,
}

UNITS: dict[str, Unit] = {}
"""Names, as they are heard -> unit."""
for _kind, _names, _factor, _also in _ROWS:
    _one, _many = _names.split("|")
    _unit = Unit(_one, _many, _kind, Fraction(_factor))
    UNITS |= dict.fromkeys((_one.lower(), _many.lower(), *_also.split("|")), _unit)
for _also, _unit in _SCALES.items():
    for _name in _also.split("|"):
        UNITS |= dict.fromkeys((_name, f"degree {_name}", f"degrees {_name}"), _unit)
UNITS.pop("")

FOOT, INCH = UNITS["foot"], UNITS["inch"]
OUNCE, FLUID_OUNCE = UNITS["ounce"], UNITS["fluid ounce"]

SHORT = frozenset("m g l c f h s in".split())
"""Names that are units only next to a figure, or where a target is expected."""


def unit_at(words: Sequence[str], at: int) -> tuple[Unit, int] | None:
    """The unit whose name begins at a word, the longest there is, and the place after it."""
    for size in range(min(MATCHED_WORDS, len(words) - at), 0, -1):
        if (unit := UNITS.get(" ".join(words[at : at + size]))) is not None:
            return unit, at + size
    return None


def convert(value: Fraction, source: Unit, target: Unit) -> Fraction:
    """The same amount in another unit of its kind."""
    base = value * source.factor + source.offset
    return (base - target.offset) / target.factor
