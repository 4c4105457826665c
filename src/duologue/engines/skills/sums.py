"""Sums, as people say them: "twelve times seven point five", "ten percent of eighty", "divide nine by four".

Exact (fractions) as long as the operations are; a root is exact where the number is a square. The words of a
sum read again give the same sum.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction

from duologue.engines.skills.numbers import PARTS, Words, read_number
from duologue.engines.skills.skill import capital, starts_with
from duologue.engines.skills.spoken import say_exact, say_number

MAX_POWER_BITS = 4_000
"""A power with more digits is far beyond what can be said, and would cost time to compute."""

NO_DIVISION = "Nothing can be divided by zero."


@dataclass(frozen=True, slots=True)
class Sum:
    """What was asked, in words, and what it comes to.

    Attributes:
        steps: operations in it; 0 for a bare number.
        problem: why it has no value; empty if it has one.
    """

    words: str
    value: Fraction
    is_exact: bool = True
    steps: int = 0
    problem: str = ""

    def answer(self) -> str:
        """The sum with its result."""
        if self.problem:
            return self.problem
        return f"{capital(self.words)} is {say_number(self.value, is_exact=self.is_exact)}."


Parsed = tuple[Sum, int]
"""A sum, and the place of the first word after it."""
Phrases = tuple[tuple[str, ...], ...]
Level = Callable[[Words, int], Parsed | None]


def _phrases(text: str) -> Phrases:
    """Phrases that are separated by "|"."""
    return tuple(tuple(phrase.split()) for phrase in text.split("|"))


_ADDING = {"plus": _phrases("plus|added to"), "minus": _phrases("minus|less|take away")}
_MULTIPLYING = {
    "times": _phrases(
        "times by|multiplied by|multiplied with|multiply by|multiplied buy|times|time|x"
    ),
    "divided by": _phrases("divided by|divide by|divided buy|divided bye|over"),
}
_POWER = _phrases("to the power of|raised to the power of|raised to|to the power|two the power of")
_PERCENT_OF = _phrases("percent of|per cent of")

_BEFORE: dict[str, Phrases] = {
    "the square root of": _phrases("the square root of|square root of|the root of|square root"),
    "the cube root of": _phrases("the cube root of|cube root of"),
    "the square of": _phrases("the square of|square of"),
    "twice": _phrases("twice"),
    "double": _phrases("double"),
}
"""What can stand before a number, by its own name."""

_MULTIPLES = {"twice": 2, "double": 2}


@dataclass(frozen=True, slots=True)
class Order:
    """A sum said the other way round: "subtract three from ten".

    Attributes:
        between: what stands between the numbers.
        is_swapped: the second number comes first.
    """

    begins: Phrases
    between: frozenset[str]
    operation: str
    is_swapped: bool = False


_ORDERS = (
    Order(_phrases("add|the sum of|sum of"), frozenset("to two too and plus with".split()), "plus"),
    Order(_phrases("subtract|take away|take"), frozenset(["from"]), "minus", is_swapped=True),
    Order(_phrases("the difference between|difference between"), frozenset(["and"]), "minus"),
    Order(
        _phrases("multiply|the product of|product of"),
        frozenset("by buy bye and with times".split()),
        "times",
    ),
    Order(_phrases("divide"), frozenset("by buy bye".split()), "divided by"),
)


def parse_sum(words: Words, at: int = 0) -> Parsed | None:
    """The sum that begins at a word, as long as it can be; None if no number stands there."""
    return _ordered(words, at) or _chain(words, at, _ADDING, _product)


def _ordered(words: Words, at: int) -> Parsed | None:
    for order in _ORDERS:
        size = starts_with(words, at, order.begins)
        first = _power(words, at + size) if size else None
        if first is None or first[1] >= len(words) or words[first[1]] not in order.between:
            continue
        second = _power(words, first[1] + 1)
        if second is not None:
            pair = (second[0], first[0]) if order.is_swapped else (first[0], second[0])
            return _combined(order.operation, *pair), second[1]
    return None


def _chain(words: Words, at: int, operations: Mapping[str, Phrases], inner: Level) -> Parsed | None:
    """Operands of one rank of operations, from the left."""
    left = inner(words, at)
    while left is not None:
        for operation, phrases in operations.items():
            size = starts_with(words, left[1], phrases)
            right = inner(words, left[1] + size) if size else None
            if right is not None:
                left = _combined(operation, left[0], right[0]), right[1]
                break
        else:
            return left
    return None


def _product(words: Words, at: int) -> Parsed | None:
    return _chain(words, at, _MULTIPLYING, _power)


def _power(words: Words, at: int) -> Parsed | None:
    found = _operand(words, at)
    if found is None:
        return None
    base, at = found
    if at < len(words) and words[at] in ("squared", "cubed"):
        exponent = Sum("", Fraction(2 if words[at] == "squared" else 3))
        return _raised(base, exponent, f"{base.words} {words[at]}"), at + 1
    size = starts_with(words, at, _POWER)
    raised = _operand(words, at + size) if size else None
    if raised is None:
        return base, at
    return _raised(base, raised[0], f"{base.words} to the power of {raised[0].words}"), raised[1]


def _operand(words: Words, at: int) -> Parsed | None:
    for name, phrases in _BEFORE.items():
        size = starts_with(words, at, phrases)
        inner = _power(words, at + size) if size else None
        if inner is not None:
            return _applied(name, inner[0]), inner[1]
    number = read_number(words, at, loose=True)
    if number is None:
        return None
    value, end = number
    spoken = Sum(say_exact(value) or " ".join(words[at:end]), value)
    size = starts_with(words, end, _PERCENT_OF)
    whole = _power(words, end + size) if size else None
    if whole is not None:
        text = f"{spoken.words} percent of {whole[0].words}"
        return _made(text, value * whole[0].value / 100, spoken, whole[0]), whole[1]
    if words[end - 1] in PARTS and starts_with(words, end, (("of",),)):
        whole = _power(words, end + 1)
    if whole is None:
        return spoken, end
    text = f"{' '.join(words[at:end])} of {whole[0].words}"  # "two thirds of nine"
    return _made(text, value * whole[0].value, spoken, whole[0]), whole[1]


def _combined(operation: str, left: Sum, right: Sum) -> Sum:
    value, problem = Fraction(0), ""
    match operation:
        case "plus":
            value = left.value + right.value
        case "minus":
            value = left.value - right.value
        case "times":
            value = left.value * right.value
        case _ if right.value:
            value = left.value / right.value
        case _:
            problem = NO_DIVISION
    return _made(f"{left.words} {operation} {right.words}", value, left, right, problem=problem)


def _applied(name: str, to: Sum) -> Sum:
    words = f"{name} {to.words}"
    match name:
        case "the square root of":
            return _root(to, 2, words)
        case "the cube root of":
            return _root(to, 3, words)
        case "the square of":
            return _raised(replace(to, value=abs(to.value)), Sum("", Fraction(2)), words)
        case _:
            return _made(words, _MULTIPLES[name] * to.value, to)


def _raised(base: Sum, exponent: Sum, words: str) -> Sum:
    if base.value < 0 and not base.steps:  # "minus three squared" is minus nine
        positive = _raised(replace(base, value=-base.value), exponent, words)
        return replace(positive, value=-positive.value)
    power, value, problem = exponent.value, Fraction(0), ""
    size = max(base.value.numerator.bit_length(), base.value.denominator.bit_length())
    if power.denominator != 1:
        problem = "I can only raise to whole powers."
    elif not base.value and power < 0:
        problem = NO_DIVISION
    elif size * abs(power) > MAX_POWER_BITS:
        problem = f"{capital(words)} is a number too large for me to say."
    else:
        value = base.value ** int(power)
    return _made(words, value, base, exponent, problem=problem)


def _root(of: Sum, degree: int, words: str) -> Sum:
    if of.value < 0:
        problem = "A number below zero has no real root."
        return _made(words, Fraction(0), of, problem=problem)
    above, below = (_whole_root(n, degree) for n in (of.value.numerator, of.value.denominator))
    if above is not None and below is not None:
        return _made(words, Fraction(above, below), of)
    with localcontext() as context:
        context.prec = 40
        plain = Decimal(of.value.numerator) / Decimal(of.value.denominator)
        value = Fraction(plain ** (Decimal(1) / degree))
    return _made(words, value, of, is_exact=False)


def _whole_root(value: int, degree: int) -> int | None:
    if degree == 3 and value >= 10**300:
        return None  # beyond what a float holds
    near = math.isqrt(value) if degree == 2 else round(float(value) ** (1 / 3))
    return near if near**degree == value else None


def _made(
    words: str, value: Fraction, *parts: Sum, problem: str = "", is_exact: bool = True
) -> Sum:
    """A sum made of others: it is as exact, and as impossible, as they are."""
    return Sum(
        words,
        value,
        is_exact and all(part.is_exact for part in parts),
        1 + sum(part.steps for part in parts),
        next((part.problem for part in parts if part.problem), problem),
    )
