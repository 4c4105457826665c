"""The manners that are measured side by side."""

from collections.abc import Mapping
from dataclasses import dataclass

from duologue.core.policy import TurnPolicy

FIXED_MS = (500, 800)
"""The naive points of the table."""

CURVE_MS = (300, 400, 500, 600, 800, 1000, 1200, 1500)
"""The curve of fixed silences in the plot."""


@dataclass(frozen=True)
class Manner:
    """A policy by name; `family` is its curve in the plot."""

    name: str
    policy: TurnPolicy
    family: str


def fixed(silence_ms: int) -> Manner:
    """A fixed silence, and nothing else."""
    return Manner(f"fixed-{silence_ms}", TurnPolicy(silence_ms=silence_ms), "fixed silence")


def presets() -> Mapping[str, TurnPolicy]:
    """Those that the product ships."""
    try:
        from duologue.core import presets as shipped
    except ImportError:
        return {}
    return shipped.PRESETS


def find(name: str) -> Manner:
    """A preset by its name, or "fixed-500".

    Raises:
        KeyError: there is none of that name.
    """
    if name.startswith("fixed-"):
        return fixed(int(name.removeprefix("fixed-")))
    return Manner(name, presets()[name], "presets")


def is_known(name: str) -> bool:
    """Whether `find` knows it."""
    return name in presets() or name.removeprefix("fixed-").isdigit()


def default_names() -> list[str]:
    """What is measured unless told otherwise."""
    return [*presets(), *(f"fixed-{ms}" for ms in FIXED_MS)]
