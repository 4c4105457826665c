"""Measured figures, kept between runs in a JSON file: one record for each engine, card, driver and set of libraries.

A figure holds only for the card (or processor), driver and library versions that it was measured with; after an
update it is no longer found, and the documented figures count again.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory.calibrate import Figures

FILE = "calibration.json"

VERSION = 1


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What figures hold for.

    Attributes:
        device: name of the card, or of the processor for an engine that uses none.
        capability: the card's, as "8.9"; empty without a card.
        driver: its version; empty without a card.
    """

    device: str
    capability: str = ""
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One engine, measured.

    Attributes:
        candidate: the engine by its key, as `candidate_key` writes it.
        libraries: versions of those that it loaded, by the names of their packages.
        streams: how many were tried at once.
        measured_at: seconds since 1970.
    """

    candidate: str
    under: Circumstances
    figures: Figures
    libraries: Mapping[str, str] = field(default_factory=dict)
    streams: int = 1
    measured_at: int = 0

    @property
    def _key(self) -> tuple[Any, ...]:
        return self.candidate, self.under, tuple(sorted(self.libraries.items()))


def candidate_key(role: str, engine: str) -> str:
    """The key of an engine's figures: its role, its name and what it was told, as "stt:whisper:base@cpu/int8".

    The number of a card or of threads is no part of it: figures hold on each of them.
    """
    name, colon, argument = engine.partition(":")
    return f"{role}:{name}{colon}{_unnumbered(argument)}"


def _unnumbered(argument: str) -> str:
    try:
        place = Placement.parse(argument)
    except SetupError:
        return argument  # not of that form; the engine knows what it is
    if not place.device:
        return argument
    return str(Placement(place.model, place.device, None, place.precision, place.options))


class CalibrationFile:
    """The records in one file; read and written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Record]:
        """All of them; none if there is no file.

        Raises:
            SetupError: it cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            told = json.loads(text)
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']}")
            return [_record(each) for each in told["measured"]]
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(
                "calibration_unreadable",
                f"{self.path} cannot be read: {error!r}.",
                remedy="Remove it, and run `duologue calibrate --write` again.",
            ) from error

    def add(self, records: Iterable[Record]) -> None:
        """Write these beside the others, each in the place of the same engine's under the same circumstances."""
        kept = {record._key: record for record in self.read()}
        kept.update((record._key, record) for record in records)
        told = {"version": VERSION, "measured": [asdict(record) for record in kept.values()]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        new.replace(self.path)


def holding(
    records: Iterable[Record], under: Iterable[Circumstances], versions: Mapping[str, str]
) -> dict[str, Figures]:
    """Figures by candidate that hold here: for one of these devices, with the libraries installed now. Pure.

    Where one engine was measured on several of the devices, the largest figures count.

    Args:
        versions: of the packages installed here; one that is missing here is not installed.
    """
    devices, found = set(under), dict[str, Figures]()
    for record in records:
        if record.under not in devices:
            continue
        if any(versions.get(name) != version for name, version in record.libraries.items()):
            continue
        known = found.get(record.candidate)
        if known is None or _size(record.figures) > _size(known):
            found[record.candidate] = record.figures
    return found


def _size(figures: Figures) -> tuple[int, int]:
    return figures.peak_mib(1), figures.ram_mib


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of these packages that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _record(told: dict[str, Any]) -> Record:
    figures = Figures(**{**told["figures"], "warnings": tuple(told["figures"]["warnings"])})
    return Record(**{**told, "under": Circumstances(**told["under"]), "figures": figures})
