"""How much memory an engine really takes: watched from outside while it is loaded, warmed up and worked.

The engine runs in a fresh process that tells each phase as a line of JSON on its standard output and then waits for
a line on its standard input, so that what it holds is read while it holds still. Between the phases a thread reads
it twenty times a second for the peak.

    started    Python and the engine's module are there, nothing is loaded
    context    the card's context is (only where the engine may use a card; with "bus_id", the card's place)
    loaded     the model is
    warm       it has run once
    alone      one stream has run at its longest; with "first_ms" and "p50_ms"
    crowded    as many as were asked for have, all at once; with "streams"
    failed     it could not go on; with "kind" of error, "code", "message" and "remedy"
"""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from duologue.core.errors import EngineError, EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import KILLED
from duologue.memory import host
from duologue.memory.nvml import Nvml, NvmlUnavailable

POLL_S = 0.05

PATIENCE_S = 900.0
"""For one phase: a large model off a slow disk, or many long streams on a slow machine."""

NOISE_MIB = 16
"""What a card's memory may change by without its meaning anything: the driver's pages and its own use."""


STRAY_MIB = 64
"""What others may have taken or given back on the card meanwhile: a window opened on a desktop is about so much."""


@dataclass(frozen=True, slots=True)
class Level:
    """Memory at one moment.

    Attributes:
        ram_mib: held by the engine's process and its children.
        gpu_mib: used on each card by anybody, by its place on the PCI bus.
        high_mib: the most that the process held since `Reader.forget`, where the kernel says so.
    """

    ram_mib: float
    gpu_mib: Mapping[str, int] = field(default_factory=dict)
    high_mib: float = 0.0

    def over(self, other: "Level") -> "Level":
        """The higher of both, each by itself."""
        highest = {
            card: max(self.gpu_mib.get(card, 0), other.gpu_mib.get(card, 0))
            for card in {**self.gpu_mib, **other.gpu_mib}
        }
        ram_mib = max(self.ram_mib, self.high_mib, other.ram_mib, other.high_mib)
        return Level(ram_mib, highest)


@dataclass(frozen=True, slots=True)
class Phase:
    """What was read when a phase was over.

    Attributes:
        level: while the engine held still.
        peak: the highest since the phase before.
        told: by the engine's process.
    """

    name: str
    level: Level
    peak: Level
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """What an engine takes: of the card's memory, or of the machine's if it uses no card.

    With n streams at once it took context + weights + work + n x per_stream.

    Attributes:
        uses_card: the four below are on the card.
        context_mib: once for the process, whatever it runs; 0 without a card.
        weights_mib: with the model loaded and idle.
        work_mib: at the peak of loading or of work, beside the weights and its streams.
        per_stream_mib: for each stream.
        ram_mib: of the machine's memory, beside all that: Python and libraries, and the peak of loading onto a card.
        load_ms: until the model was loaded.
        first_ms: to the first output of the first request after warming up.
        p50_ms: to the first output, the median of those after it.
        warnings: what makes these figures uncertain.
    """

    uses_card: bool = False
    context_mib: int = 0
    weights_mib: int = 0
    work_mib: int = 0
    per_stream_mib: int = 0
    ram_mib: int = 0
    load_ms: int = 0
    first_ms: float | None = None
    p50_ms: float | None = None
    warnings: tuple[str, ...] = ()

    def peak_mib(self, streams: int) -> int:
        """The most that it takes with so many streams at once, without `ram_mib`."""
        return self.context_mib + self.weights_mib + self.work_mib + streams * self.per_stream_mib


def measure(
    command: Sequence[str],
    reader: "Reader",
    on_phase: Callable[[Phase], None] = lambda _: None,
    *,
    patience_s: float = PATIENCE_S,
    poll_s: float = POLL_S,
) -> list[Phase]:
    """Start the engine's process and follow it to its end.

    Args:
        on_phase: called after each phase.

    Returns:
        The phases, and a last one "gone", of when the process had ended.

    Raises:
        EngineError: it failed, died or hung; the process is gone by then.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        phases: list[Phase] = []
        patience = _Patience(process, patience_s)
        try:
            with _Meter(reader, process.pid, poll_s) as meter:
                assert process.stdout is not None
                assert process.stdin is not None
                answer = process.stdin.fileno()
                for line in process.stdout:
                    phases.append(_phase(line, meter))
                    on_phase(phases[-1])
                    patience.renew()
                    with suppress(BrokenPipeError):  # it died; the next line will not come
                        os.write(answer, b"\n")
        finally:
            patience.end()
            process.kill()
        code = process.wait()
    if not phases or phases[-1].name != "crowded" or code not in (0, -9):
        raise _broke_off(phases, code, patience)
    after = reader(process.pid)
    return [*phases, Phase("gone", after, after)]


def _phase(line: str, meter: "_Meter") -> Phase:
    try:
        told = json.loads(line)
        name = told.pop("phase")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineLost(
            "calibrate_garbled", f"The engine's process said: {line.strip()[:200]}"
        ) from error
    if name == "failed":
        kind = EngineOutOfMemory if told["kind"] == "EngineOutOfMemory" else EngineUnavailable
        raise kind(told["code"], told["message"], remedy=told["remedy"])
    return Phase(name, *meter.take(), told)


def _broke_off(phases: Sequence[Phase], code: int, patience: "_Patience") -> EngineError:
    after = f"after '{phases[-1].name}'" if phases else "at once"
    if patience.is_over:
        text = (
            f"The engine's process said nothing for {patience.limit_s:g} s {after}, and was ended."
        )
        return EngineLost("calibrate_timed_out", text)
    text = f"The engine's process ended {after} with exit code {code}."
    hint = "It was killed: mostly the kernel does that for want of memory."
    return EngineLost("calibrate_broke_off", text, remedy=hint if code in KILLED else "")


class _Patience:
    """Kills a process that has said nothing for too long."""

    def __init__(self, process: "subprocess.Popen[str]", limit_s: float) -> None:
        self.limit_s = limit_s
        self.is_over = False
        self._process = process
        self._timer: threading.Timer
        self._start()

    def renew(self) -> None:
        self._timer.cancel()
        self._start()

    def end(self) -> None:
        self._timer.cancel()

    def _start(self) -> None:
        self._timer = threading.Timer(self.limit_s, self._kill)
        self._timer.daemon = True
        self._timer.start()

    def _kill(self) -> None:
        self.is_over = True
        self._process.kill()


class _Meter:
    """Reads memory in a thread of its own, and keeps the highest."""

    def __init__(self, reader: "Reader", pid: int, poll_s: float) -> None:
        self._reader = reader
        self._pid = pid
        self._poll_s = poll_s
        self._peak = Level(0)
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-meter", daemon=True)

    def __enter__(self) -> "_Meter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def take(self) -> tuple[Level, Level]:
        """Memory as it is now, and the peak since this was last asked."""
        with self._guard:
            now = self._reader(self._pid)
            self._reader.forget(self._pid)
            peak, self._peak = self._peak.over(now), replace(now, high_mib=0.0)
        return now, peak

    def _run(self) -> None:
        while not self._over.wait(self._poll_s):
            with self._guard:
                self._peak = self._peak.over(self._reader(self._pid))


def figures(phases: Sequence[Phase]) -> Figures:
    """What the phases of one engine come to. Pure.

    An engine that never took anything beside the context uses no card, and the context was ours.
    """
    by_name = {phase.name: phase for phase in phases}
    started, alone = by_name["started"], by_name["alone"]
    card, context = "", by_name.get("context")
    if context is not None:
        card = str(context.told["bus_id"])
        if max(_on(card, phase.peak) for phase in phases) - _on(card, context.level) < NOISE_MIB:
            card = ""
    base = context.level if card and context is not None else started.level
    return Figures(
        uses_card=bool(card),
        context_mib=round(_on(card, base) - _on(card, started.level)),
        **_terms(card, phases, _on(card, base)),
        ram_mib=round(max(phase.peak.ram_mib for phase in phases) if card else base.ram_mib),
        load_ms=round(by_name["loaded"].told.get("took_ms", 0)),
        first_ms=alone.told.get("first_ms"),
        p50_ms=alone.told.get("p50_ms"),
        warnings=_doubts(card, started, by_name["gone"]),
    )


def _terms(card: str, phases: Sequence[Phase], base_mib: float) -> dict[str, int]:
    """Weights, work and streams, such that the peaks with one stream and with all come out again."""
    by_name = {phase.name: phase for phase in phases}
    loaded, alone, crowded = by_name["loaded"], by_name["alone"], by_name["crowded"]
    streams = int(crowded.told.get("streams", 1))
    each = 0.0
    if streams > 1:
        each = max(0.0, _on(card, crowded.peak) - _on(card, alone.peak)) / (streams - 1)
    until_alone = phases[: phases.index(alone) + 1]
    peak = max(_on(card, phase.peak) for phase in until_alone if phase.name != "started")
    weights = max(0.0, _on(card, loaded.level) - base_mib)
    return {
        "weights_mib": round(weights),
        "work_mib": round(max(0.0, peak - base_mib - weights - each)),
        "per_stream_mib": round(each),
    }


def _on(card: str, level: Level) -> float:
    """Memory of the card, or the machine's where there is none."""
    return level.gpu_mib.get(card, 0) if card else level.ram_mib


def _doubts(card: str, before: Phase, after: Phase) -> tuple[str, ...]:
    strayed = abs(_on(card, after.level) - _on(card, before.level)) if card else 0
    if strayed <= STRAY_MIB:
        return ()
    return (
        f"The card's use changed by {strayed:.0f} MiB from before to after: something else uses it, and these "
        "figures are uncertain.",
    )


class Reader:
    """Reads what an engine's process holds; to be used as `with Reader() as read`. Cards only where there are."""

    def __init__(self) -> None:
        try:
            self._nvml: Nvml | None = Nvml()
        except NvmlUnavailable:
            self._nvml = None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        if self._nvml is not None:
            self._nvml.close()

    def __call__(self, pid: int) -> Level:
        """Memory of a process with its children, and of all cards."""
        held = sum(host.resident_mib(each) for each in host.tree(pid))
        return Level(held, self.cards(), host.peak_mib(pid))

    def forget(self, pid: int) -> None:
        """A new phase begins: its peak is not that of the one before."""
        host.forget_peak(pid)

    def cards(self) -> dict[str, int]:
        """Memory in use on each card, by its place on the PCI bus."""
        if self._nvml is None:
            return {}
        try:
            return {card.bus_id: card.used_mib for card in self._nvml.cards()}
        except NvmlUnavailable:
            return {}
