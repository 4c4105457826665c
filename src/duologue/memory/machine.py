"""A machine as the planner sees it: its graphics cards, its memory and its cores."""

import re
from dataclasses import dataclass

from duologue.core.errors import SetupError

TAKEN_MIB = 512
"""Of a card that is only thought of: a desktop and the driver hold about so much before anything is loaded."""

RAM_MIB = 16_384
CORES = 8
"""Of a machine of which nothing else is said."""

ORDINARY = (8, 6)
"""Compute capability of a card that is only thought of: an Ampere, as most home cards since 2020 at least are."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics card, with the index by which CUDA knows it here."""

    index: int
    name: str
    total_mib: int
    free_mib: int
    capability: tuple[int, int]

    @classmethod
    def of(cls, index: int, gib: float) -> "Gpu":
        """A card of so many gigabytes that nobody has in hand."""
        total = round(gib * 1_024)
        return cls(index, f"{gib:g} GB card", total, max(0, total - TAKEN_MIB), ORDINARY)


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is; `ram_mib` is available, not total."""

    gpus: tuple[Gpu, ...]
    ram_mib: int
    cores: int

    @classmethod
    def parse(cls, cards: str, ram_mib: int = RAM_MIB, cores: int = CORES) -> "Machine":
        """A machine that one thinks of: "6" is a card of 6 GB, "3x8" three of 8 GB, "8,24" two, "0" none.

        Raises:
            SetupError: it is none of these forms.
        """
        sizes: list[float] = []
        for part in cards.lower().split(","):
            found = _CARDS.fullmatch(part.strip())
            if found is None:
                raise SetupError(
                    "cards_invalid",
                    f"'{cards}' says no graphics cards.",
                    remedy="Write gigabytes: 6 for one card, 3x8 for three of 8 GB, 8,24 for two, 0 for none.",
                )
            sizes += [float(found["gib"])] * int(found["count"] or 1)
        gpus = [Gpu.of(index, gib) for index, gib in enumerate(size for size in sizes if size)]
        return cls(tuple(gpus), ram_mib, cores)


_CARDS = re.compile(r"(?:(?P<count>[1-9]|1[0-6])x)?(?P<gib>\d{1,4}(?:\.\d+)?)")
