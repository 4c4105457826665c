"""Memory as it is used, against what was planned: for each card and each engine.

The cards' own totals are sure. What one engine takes of a card is known only where NVML names its process and gives
a size; elsewhere (in most containers, under Windows) it is unknown, and is said to be.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from duologue.memory import host, nvml
from duologue.memory.nvml import MIB, Card, Nvml, NvmlUnavailable

log = logging.getLogger("duologue.memory")

OVER_PLAN = 1.10
"""Planned figures are meant to hold within a tenth."""

SLACK_MIB = 32
"""Of small engines a tenth is less than what Python itself varies by."""

NEARLY_FULL = 0.05
"""Share of a card below which the next allocation may be the one that fails."""

EVERY_S = 5.0


class EngineUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One engine's memory in MiB; None for what is not known.

    Attributes:
        name: role and engine, as "stt whisper:base".
        pid: of its process; several engines may share one.
        card: index of the card that it is on; None for none.
        planned_mib: of the card, or of the machine's memory for an engine on no card.
        used_mib: of the card, by its process and what came of it.
        ram_mib: of the machine's memory, likewise.
        context_mib: planned for the card's context; kv_mib: for the KV cache; both within `planned_mib`.
    """

    name: str
    pid: int = 0
    card: int | None = None
    planned_mib: int | None = None
    used_mib: int | None = None
    ram_mib: int | None = None
    context_mib: int | None = None
    kv_mib: int | None = None

    @property
    def measured_mib(self) -> int | None:
        """What is to be held against the plan."""
        return self.ram_mib if self.card is None else self.used_mib


class CardUse(msgspec.Struct, frozen=True, kw_only=True):
    """One card's memory in MiB; `index` as CUDA counts here."""

    index: int
    name: str
    total_mib: int
    used_mib: int
    free_mib: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment: the field `memory` of `/v1/health`.

    Attributes:
        notes: why something is not known; a sentence each.
    """

    cards: tuple[CardUse, ...] = ()
    engines: tuple[EngineUse, ...] = ()
    notes: tuple[str, ...] = ()


def parse(told: Any) -> Snapshot | None:
    """A snapshot out of a server's answer; None if it tells none, or one of another form."""
    if told is None:
        return None
    try:
        return msgspec.convert(told, Snapshot)
    except msgspec.ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as planned, and what would help.

    Attributes:
        about: the engine, or "GPU 0".
    """

    about: str
    text: str
    advice: str


# --- pure: what is wrong ---
def compare(seen: Snapshot) -> list[Finding]:
    """What is over its plan by more than a tenth, cards that are nearly full, and who else fills them."""
    found = [
        finding for group in _by_process(seen.engines) if (finding := _over_plan(group)) is not None
    ]
    for card in seen.cards:
        found += _crowded(card, seen.engines)
    return found


def _by_process(engines: Sequence[EngineUse]) -> list[list[EngineUse]]:
    """Engines that share a process and a card: what it takes is told of each, and is that of all together."""
    groups: dict[object, list[EngineUse]] = {}
    for engine in engines:
        key = (engine.pid, engine.card) if engine.pid else engine.name
        groups.setdefault(key, []).append(engine)
    return list(groups.values())


def _over_plan(group: Sequence[EngineUse]) -> Finding | None:
    one, plans = group[0], [engine.planned_mib for engine in group]
    used, planned = one.measured_mib, sum(plan or 0 for plan in plans)
    if None in plans or used is None or used <= max(planned * OVER_PLAN, planned + SLACK_MIB):
        return None
    share = f" (+{round(100 * (used / planned - 1))} %)" if planned else ""
    where = "RAM" if one.card is None else f"GPU {one.card}"
    text = f"takes {size(used)} of {where}, {size(planned)} were planned{share}"
    return Finding(" + ".join(engine.name for engine in group), text, _advice(group))


def _advice(group: Sequence[EngineUse]) -> str:
    measure = "`duologue calibrate --write` makes the plan know what it takes here"
    if any(engine.kv_mib for engine in group):
        return f"a shorter context or fewer sessions shrink its KV cache; {measure}"
    if group[0].card is not None:
        return f"a lower precision (…@cuda/int8) or a smaller model takes less; {measure}"
    return f"a smaller model takes less; {measure}"


def _crowded(card: CardUse, engines: Sequence[EngineUse]) -> Iterator[Finding]:
    about = f"GPU {card.index}"
    if card.free_mib < card.total_mib * NEARLY_FULL:
        text = f"is nearly full: {size(card.free_mib)} of {size(card.total_mib)} are free"
        yield Finding(about, text, "`duologue plan` shows what to give up next")
    here = [engine for engine in engines if engine.card == card.index]
    ours = sum(group[0].used_mib or 0 for group in _by_process(here))
    others = card.used_mib - ours
    if here and all(engine.used_mib is not None for engine in here) and others > _own_use(card):
        text = f"{size(others)} are taken by other programs"
        yield Finding(about, text, "`nvidia-smi` names them; end them, or plan around them")


def _own_use(card: CardUse) -> int:
    """What a card takes with nothing on it: the driver keeps up to some hundred MiB of a large one."""
    return max(512, card.total_mib // 100)


# --- measuring ---
def cards_in_use(cards: Sequence[Card]) -> tuple[CardUse, ...]:
    """The cards in CUDA's order."""
    return tuple(
        CardUse(
            index=index,
            name=card.name,
            total_mib=card.total_mib,
            used_mib=card.used_mib,
            free_mib=card.free_mib,
        )
        for index, card in enumerate(cards)
    )


def filled(engines: Sequence[EngineUse], cards: Sequence[Card]) -> tuple[EngineUse, ...]:
    """The engines with what their processes take now, as far as that is known.

    What came of a process counts with it (a server that an engine started), unless it is told by itself.
    """
    apart = {engine.pid for engine in engines}
    return tuple(_fill(engine, cards, apart) for engine in engines)


def _fill(engine: EngineUse, cards: Sequence[Card], apart: Collection[int]) -> EngineUse:
    if not engine.pid:
        return engine
    family = host.tree(engine.pid, without=apart)
    ram = round(sum(host.resident_mib(pid) for pid in family)) or None
    used = None
    if engine.card is not None and engine.card < len(cards):
        used = _used_by(family, cards[engine.card])
    return msgspec.structs.replace(engine, ram_mib=ram, used_mib=used)


def _used_by(family: Sequence[int], card: Card) -> int | None:
    sizes = [mib for pid, mib in card.processes if pid in family]
    known = [mib for mib in sizes if mib is not None]
    return sum(known) if known and len(known) == len(sizes) else None


class Watcher:
    """Looks at cards and engines every few seconds, in a thread; warns once of each thing that is wrong.

    Args:
        engines: those that run now, as planned, with their processes.
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.

    Attributes:
        last: the latest that was seen; for metrics and health, which must not wait for the driver.
    """

    def __init__(
        self, engines: Callable[[], Sequence[EngineUse]], visible: str | None = None
    ) -> None:
        self.last = Snapshot()
        self._engines = engines
        self._visible = visible
        self._nvml: Nvml | None = None
        self._lack = ""
        self._warned: set[tuple[str, str]] = set()

    async def run(self, every_s: float = EVERY_S) -> None:
        """Look until cancelled."""
        try:
            while True:
                await asyncio.to_thread(self.look, self._engines())
                await asyncio.sleep(every_s)
        finally:
            self.close()

    def look(self, engines: Sequence[EngineUse]) -> Snapshot:
        """See how things are; blocks for as long as the driver takes."""
        cards = self._cards()
        seen = Snapshot(
            cards=cards_in_use(cards),
            engines=filled(engines, cards),
            notes=(self._lack,) if self._lack else (),
        )
        self.last = _with_note(seen)
        self._warn(compare(self.last))
        return self.last

    def close(self) -> None:
        """Let the driver go."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _cards(self) -> list[Card]:
        try:
            if self._nvml is None and not self._lack:
                self._nvml = Nvml()
            if self._nvml is None:
                return []
            return nvml.visible(self._nvml.cards(), self._visible)[0]
        except NvmlUnavailable as error:
            self._lack = f"No GPU is seen: {nvml.why_none(error)}."
            return []

    def _warn(self, findings: Sequence[Finding]) -> None:
        """Once, until it was well in between."""
        for finding in findings:
            if (finding.about, finding.advice) not in self._warned:
                log.warning("! memory: %s %s; %s", finding.about, finding.text, finding.advice)
        self._warned = {(finding.about, finding.advice) for finding in findings}


def _with_note(seen: Snapshot) -> Snapshot:
    """The same, with a note if NVML does not tell what single engines take."""
    blind = [engine.name for engine in seen.engines if engine.card is not None and engine.pid]
    known = [engine for engine in seen.engines if engine.used_mib is not None]
    if not blind or known or not seen.cards:
        return seen
    note = (
        "What single engines take of a GPU is unknown: the driver does not name their processes here "
        "(as in most containers). The cards' own figures are sure."
    )
    return msgspec.structs.replace(seen, notes=(*seen.notes, note))


# --- for Prometheus ---
@dataclass(frozen=True, slots=True)
class Gauge:
    """One family of gauges: (labels, value) for each; the labels' names are those of the first."""

    name: str
    text: str
    values: tuple[tuple[Mapping[str, str], float], ...] = field(default=())


def gauges(seen: Snapshot) -> list[Gauge]:
    """A snapshot as gauges, in bytes; what is not known is left out."""
    cards = []
    for card in seen.cards:
        mine = [engine for engine in seen.engines if engine.card == card.index]
        kinds = {"total": card.total_mib, "used": card.used_mib, "free": card.free_mib}
        if any(engine.planned_mib is not None for engine in mine):
            kinds["planned"] = sum(engine.planned_mib or 0 for engine in mine)
        cards += [
            ({"gpu": str(card.index), "kind": kind}, float(mib * MIB))
            for kind, mib in kinds.items()
        ]
    engines = [
        ({"engine": engine.name, "kind": kind}, float(mib * MIB))
        for engine in seen.engines
        for kind, mib in (
            ("planned", engine.planned_mib),
            ("gpu", engine.used_mib),
            ("ram", engine.ram_mib),
        )
        if mib is not None
    ]
    return [
        Gauge("duologue_gpu_memory_bytes", "Memory of each GPU.", tuple(cards)),
        Gauge("duologue_engine_memory_bytes", "Memory of each engine's process.", tuple(engines)),
    ]


def size(mib: float) -> str:
    """An amount of memory for a person: "350 MiB", "4.42 GiB"."""
    return f"{mib:.0f} MiB" if abs(mib) < 1024 else f"{mib / 1024:.2f} GiB"
