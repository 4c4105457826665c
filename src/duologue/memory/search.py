"""The best choice there is, found by looking at all that could be better: exact, and the same every time."""

from collections.abc import Sequence

from duologue.memory.options import (
    ON_CPU,
    Chosen,
    Limits,
    Option,
    fits,
    in_ram,
    on_cards,
    on_cores,
    on_gpu,
    preference,
    score,
)

Rows = Sequence[Sequence[Option]]
"""For each role its options, best first."""


def best(rows: Rows, limits: Limits, sessions: int) -> Chosen | None:
    """The preferred choice of those that fit; None if none does.

    A branch is left as soon as the best that could still come of it is worth less than what was found.
    """
    rests = _rests(rows)
    found: Chosen | None = None
    stack: list[Chosen] = [()]
    worth = -(10**9)
    while stack:
        chosen = stack.pop()
        depth = len(chosen)
        if depth and score(chosen) + rests[depth] < worth:
            continue
        if depth == len(rows):
            if found is None or preference(chosen) < preference(found):
                found, worth = chosen, score(chosen)
            continue
        onward: list[Chosen] = []
        before = score(chosen)
        for option in rows[depth]:
            if before + option.score + rests[depth + 1] < worth:
                break
            longer = (*chosen, option)
            if fits(longer, limits, sessions):
                onward.append(longer)
        stack.extend(reversed(onward))
    return found


def nearest_better(rows: Rows, limits: Limits, sessions: int, above: int) -> Chosen | None:
    """Of the choices worth more than `above`, the one for which the least memory of cards is missing.

    The host's memory and cores must do as they are, and so must a budget of all cards together.
    """
    rests = _rests(rows)
    rows = [sorted(row, key=lambda o: o.gpu_mib) for row in rows]
    found: Chosen | None = None
    least = 10**9
    stack: list[Chosen] = [()]
    while stack:
        chosen = stack.pop()
        depth = len(chosen)
        lack = missing(chosen, limits)
        if score(chosen) + rests[depth] <= above or lack > least:
            continue
        if depth == len(rows):
            if found is None or (lack, preference(chosen)) < (least, preference(found)):
                found, least = chosen, lack
            continue
        before = score(chosen)
        for option in reversed(rows[depth]):
            if before + option.score + rests[depth + 1] <= above:
                continue
            longer = (*chosen, option)
            if _hosted(longer, limits, sessions) and missing(longer, limits) <= least:
                stack.append(longer)
    return found


def missing(chosen: Chosen, limits: Limits) -> int:
    """MiB that the cards lack for a choice, all cards together."""
    used = {one.gpu for one in chosen if one.gpu != ON_CPU}
    return sum(max(0, on_gpu(chosen, gpu) - limits.gpu_mib[gpu]) for gpu in used)


def _hosted(chosen: Chosen, limits: Limits, sessions: int) -> bool:
    if limits.total_mib is not None and on_cards(chosen) > limits.total_mib:
        return False
    return in_ram(chosen) <= limits.ram_mib and on_cores(chosen, sessions) <= limits.millicores


def _rests(rows: Rows) -> list[int]:
    """For each depth, the most that the roles from there on can be worth."""
    tops = [max((o.score for o in row), default=0) for row in rows]
    return [sum(tops[depth:]) for depth in range(len(rows) + 1)]
