"""Which part of a long conversation is put to a model with a small window.

The oldest is left out, and the instructions and the last words never are. What is left out grows by steps of a
quarter of the window, and not by a message a turn: between two steps the prompt begins as it did before, so what
the model has read of it need not be read again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from duologue.core.errors import EngineRefused


@dataclass(frozen=True, slots=True)
class Line:
    """One message: "system", "user" or "assistant", and its words."""

    role: str
    text: str


Encode = Callable[[Sequence[Line]], list[int]]
"""A conversation -> the tokens of the prompt for its next answer."""

STEP = 0.25
"""Of the window, by which the part that is left out grows."""

MARKS = 8
"""Tokens that a message costs beside its text, at most, in the templates of common models."""

SHORTEST_CHARS = 40
"""A message is not cut shorter than this; a window that does not hold that much holds no conversation."""


def fitted(
    lines: Sequence[Line], room: int, encode: Encode, cost: Callable[[str], int]
) -> list[int]:
    """The tokens of the prompt, of the latest part of the conversation that fits.

    Args:
        room: tokens that the prompt may have.
        cost: tokens of a text alone.

    Raises:
        EngineRefused: not even an extract of the last words fits.
    """
    tokens = encode(lines)
    if len(tokens) <= room:
        return tokens
    head = [line for line in lines[:1] if line.role == "system"]
    rest = list(lines[len(head) :])
    costs = [cost(line.text) + MARKS for line in rest]
    step = max(1, int(room * STEP))
    excess = len(tokens) - room
    while True:
        goal = math.ceil(excess / step) * step
        kept = _latest(rest, costs, goal)
        tokens = encode([*head, *kept])
        if len(tokens) <= room:
            return tokens
        if len(kept) <= 1:
            return _shortened([*head, *kept], room, encode)
        excess = goal + 1  # a step more


def _latest(rest: Sequence[Line], costs: Sequence[int], goal: int) -> list[Line]:
    """Without the oldest lines that make up so many tokens, and beginning with the user."""
    at = left_out = 0
    while at < len(rest) - 1 and left_out < goal:
        left_out += costs[at]
        at += 1
    while at < len(rest) - 1 and rest[at].role == "assistant":
        at += 1
    return list(rest[at:])


def _shortened(lines: list[Line], room: int, encode: Encode) -> list[int]:
    """One message is longer than the window: of the instructions the beginning counts, of what is said the end."""
    while True:
        tokens = encode(lines)
        if len(tokens) <= room:
            return tokens
        longest = max(range(len(lines)), key=lambda n: len(lines[n].text))
        line = lines[longest]
        size = int(len(line.text) * min(0.9, room / len(tokens)))
        if len(line.text) <= SHORTEST_CHARS:
            raise EngineRefused(
                "llm_window_too_small",
                f"The language model's window takes {room} tokens of prompt, too few for one message.",
                remedy="Use another model, or a smaller ?max_new_tokens=.",
            )
        size = max(size, SHORTEST_CHARS)
        text = line.text[:size] if line.role == "system" else line.text[-size:]
        lines[longest] = Line(line.role, text)
