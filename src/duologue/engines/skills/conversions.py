"""Amounts from one unit to another: "how many kilometres is five miles"."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from duologue.engines.skills.heard import Heard
from duologue.engines.skills.numbers import (
    SOUND_ALIKE,
    Words,
    is_number_word,
    read_number,
    read_part,
)
from duologue.engines.skills.skill import Scene, Understood, capital, say, unless_doubtful
from duologue.engines.skills.spoken import say_number
from duologue.engines.skills.units import (
    CELSIUS,
    FAHRENHEIT,
    FLUID_OUNCE,
    FOOT,
    INCH,
    OUNCE,
    SHORT,
    Unit,
    convert,
    unit_at,
)

_CONNECTORS = frozenset("in into to as".split())
_SOUND_LIKE_TO = frozenset("two too".split())
_ALLOWED = frozenset(
    "how many much what is are was the in into to a an of there that it convert change turn long far heavy "
    "tall big high hot cold warm fast do does make makes have has equal equals would be you get we i with about "
    "exactly and temperature as for go goes fit contain contains per each one".split()
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A unit in the words; `unit` is None for degrees of an unsaid scale."""

    unit: Unit | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of a unit, found in the words from `start` to `end`."""

    value: Fraction
    unit: Unit
    start: int
    end: int
    is_certain: bool = True

    @property
    def words(self) -> str:
        """As it is said: "five miles"."""
        return with_unit(self.value, self.unit)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be converted, to what, and which words that took."""

    amounts: tuple[Amount, ...]
    target: Unit
    used: frozenset[int]

    @property
    def words(self) -> str:
        """The question in short: "five miles in kilometres"."""
        return f"{self._said} in {self.target.many}"

    @property
    def _said(self) -> str:
        return " ".join(amount.words for amount in self.amounts)

    def answer(self) -> str:
        """The amount in the unit that was asked for, or why there is none."""
        source, target = self.amounts[0].unit, self.target
        if source.kind != target.kind:
            return f"{capital(source.many)} measure {source.kind}, {target.many} {target.kind}."
        value = sum((convert(a.value, a.unit, target) for a in self.amounts), Fraction(0))
        if source.kind == "temperature" and value * target.factor + target.offset < 0:
            return "Nothing is colder than absolute zero."
        return f"{capital(self._said)} is {with_unit(value, target)}."


def understand(heard: Heard, scene: Scene) -> Understood | None:
    """The skill."""
    question = parse(heard.words)
    if question is None:
        return None
    unknown = [
        word
        for at, word in enumerate(heard.words)
        if at not in question.used and word not in _ALLOWED
    ]
    if not all(amount.is_certain for amount in question.amounts) and not unknown:
        unknown = ["an amount that may be a preposition"]
    return unless_doubtful(say(question.answer()), heard, unknown, question.words)


def parse(words: Words) -> Question | None:
    """What is asked, if units and their places in the words make a question."""
    mentions = _mentions(words)
    target = _target(words, mentions)
    if target is None or target.unit is None or len(mentions) < 2:
        return None
    sources = [mention for mention in mentions if mention != target]
    amounts: list[Amount] = []
    lowest = 0
    for mention in sources:
        if mention.start > target.start >= lowest:
            lowest = target.end
        amounts += _amounts(words, lowest, mention, target.unit)
        lowest = amounts[-1].end
    if len(amounts) > 1 and not _is_compound(amounts):
        return None
    target_unit = _same_kind(target.unit, amounts[0].unit)
    amounts = [_with_kind(amount, target_unit) for amount in amounts]
    spans = [(target.start, target.end), *((amount.start, amount.end) for amount in amounts)]
    used = frozenset(at for span in spans for at in range(*span)) | _connector(words, target)
    return Question(tuple(amounts), target_unit, used)


def with_unit(value: Fraction, unit: Unit) -> str:
    """An amount: "about eight point zero five kilometres"."""
    places = 1 if unit.kind == "temperature" else 2
    return f"{say_number(value, places=places)} {unit.one if value == 1 else unit.many}"


def _mentions(words: Words) -> list[Mention]:
    found: list[Mention] = []
    at = 0
    while at < len(words):
        named = unit_at(words, at)
        if named is not None and (named[1] - at > 1 or _is_meant(words, at)):
            found.append(Mention(named[0], at, named[1]))
            at = named[1]
        elif words[at] in ("degree", "degrees"):
            found.append(Mention(None, at, at + 1))
            at += 1
        else:
            at += 1
    return found


def _is_meant(words: Words, at: int) -> bool:
    """Short names are units after a number, or after "in" at the end."""
    word, before = words[at], words[at - 1] if at else ""
    if word not in SHORT:
        return True
    if word == "in":
        return before[:1].isdecimal() and words[at + 1 : at + 2] in (("in",), ("to",), ("into",))
    return is_number_word(before) or (before in _CONNECTORS and at == len(words) - 1)


def _target(words: Words, mentions: list[Mention]) -> Mention | None:
    """The unit that is asked for: after "how many", or the last one after "in" or "to"."""
    for mention in mentions:
        if tuple(words[max(mention.start - 2, 0) : mention.start]) in (
            ("how", "many"),
            ("how", "much"),
        ):
            return mention
    if not mentions:
        return None
    last = mentions[-1]
    before = words[last.start - 1] if last.start else ""
    if before in _CONNECTORS or (before in _SOUND_LIKE_TO and _connector(words, last)):
        return last
    return None


def _connector(words: Words, target: Mention) -> frozenset[int]:
    """The place of a "two" that must be "to": it stands between two units."""
    at = target.start - 1
    is_between = at > 0 and words[at] in _SOUND_LIKE_TO and unit_at(words, at - 1) is not None
    return frozenset({at}) if is_between else frozenset()


def _amounts(words: Words, lowest: int, mention: Mention, target: Unit) -> list[Amount]:
    """The amount of a unit, and what follows it: "an hour and a half", "six foot two"."""
    amount = _amount(words, lowest, mention, target)
    part = read_part(words, mention.end)
    if part is not None:
        value = amount.value + part[0]
        return [Amount(value, amount.unit, amount.start, part[1], amount.is_certain)]
    inches = read_number(words, mention.end) if amount.unit == FOOT else None
    if inches is None or inches[0] >= 12 or _is_unit(words, inches[1]):
        return [amount]
    return [amount, Amount(inches[0], INCH, mention.end, inches[1])]


def _amount(words: Words, lowest: int, mention: Mention, target: Unit) -> Amount:
    """How much of a unit: the longest number that ends where its name begins; one if there is none."""
    unit = mention.unit or (CELSIUS if target == FAHRENHEIT else FAHRENHEIT)
    end = mention.start
    joint = _joint(words, end)
    for start in range(lowest, end):
        if words[start] in SOUND_ALIKE:
            continue
        number = read_number(words, start, loose=True)
        if number is None:
            continue
        is_part = number[1] == end - joint and number[0] < 1
        if number[1] == end or is_part:
            return Amount(number[0], unit, start, mention.end)
    if end > lowest and words[end - 1] in SOUND_ALIKE:
        value = Fraction(SOUND_ALIKE[words[end - 1]])
        return Amount(value, unit, end - 1, mention.end, is_certain=False)
    return Amount(Fraction(1), unit, end, mention.end)


def _is_unit(words: Words, at: int) -> bool:
    return unit_at(words, at) is not None and _is_meant(words, at)


def _joint(words: Words, end: int) -> int:
    """Words between a part and its unit: "half a mile", "a quarter of a mile"."""
    for joint in (("of", "a"), ("of", "an"), ("a",), ("an",)):
        if tuple(words[max(end - len(joint), 0) : end]) == joint:
            return len(joint)
    return 0


def _is_compound(amounts: Sequence[Amount]) -> bool:
    """One amount in ever smaller units, side by side: "six feet two inches"."""
    return all(
        big.unit.kind == small.unit.kind
        and big.unit.kind != "temperature"
        and big.unit.factor > small.unit.factor
        and small.start - big.end <= 1
        for big, small in pairwise(amounts)
    )


def _same_kind(unit: Unit, other: Unit) -> Unit:
    """An ounce of a fluid, where the other unit measures fluids."""
    return FLUID_OUNCE if unit == OUNCE and other.kind == "volume" else unit


def _with_kind(amount: Amount, target: Unit) -> Amount:
    unit = _same_kind(amount.unit, target)
    return Amount(amount.value, unit, amount.start, amount.end, amount.is_certain)
