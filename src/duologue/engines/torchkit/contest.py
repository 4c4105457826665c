"""Which way of running a model is the fastest on this machine: tried, within a time, and remembered.

No precision and no compiler is known to be faster before it has been timed here. bfloat16 gains nothing on many
CPUs; `torch.compile` with a static cache is up to four times as fast on a GPU, and was a fifth slower than plain
code on a CPU, after 90 seconds of compiling. So the candidates are run on what the engine is warmed up with,
one at a time, and the fastest wins that fits into memory and says the same as the first. The first is the plain
way: it is what the others have to beat, and by a margin, since a gain within the noise is not worth its risk.

The verdict holds for one GPU, driver, set of versions, model and list of candidates, and is kept under these.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from duologue.core.errors import EngineError
from duologue.core.oom import is_out_of_memory
from duologue.engines.torchkit import host
from duologue.engines.torchkit.device import Device
from duologue.ports import Clock

log = logging.getLogger("duologue.engines")

Way = TypeVar("Way")
Output = TypeVar("Output")

BUDGET_S = 60.0
"""For all candidates; the plain way is timed in any case."""

RUNS = 3
"""Timed runs of a candidate, after one that is not; the median counts."""

MARGIN = 0.95
"""A candidate wins over an earlier one if it takes at most this share of its time."""

HOPELESS = 2.0
"""A candidate whose first timed run takes this many times the best is not run again."""


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Way]):
    """One way to run the model.

    Attributes:
        name: as the verdict has it: "bf16", "int8", "bf16 compiled".
        prepare: loads the model this way; called when its turn comes, and what it returns is let go after it.
        least_s: what preparing and the first run are known to take; it is passed over where less time is left.
    """

    name: str
    prepare: Callable[[], Way]
    least_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How one candidate did.

    Attributes:
        ms: the median of its runs; None if it is out.
        why: the reason if it is out.
    """

    name: str
    ms: float | None
    why: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.why}" if self.ms is None else f"{self.name}: {self.ms:.1f} ms"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who won, and against whom."""

    winner: str
    timings: tuple[Timing, ...]

    def __str__(self) -> str:
        return f"{self.winner} wins ({'; '.join(map(str, self.timings))})"


def contest(
    candidates: Sequence[Candidate[Way]],
    run: Callable[[Way], Output],
    check: Callable[[Output, Output], str],
    budget_s: float,
    clock: Clock,
    after: Callable[[], str] = lambda: "",
) -> Verdict:
    """Time the candidates.

    Args:
        candidates: the plain way first, then by preference: an earlier one wins a tie.
        run: at the engine's warm-up shapes; returns when the result is there.
        check: (the plain way's result, another's) -> what is wrong with the other's; empty if it says the same.
        budget_s: no candidate but the first is begun, and none is run again, after this.
        clock: milliseconds; wall time.
        after: called when a candidate has run, to give its memory back; says why it does not fit, or nothing.

    Raises:
        EngineError, or what the library raises: the plain way itself does not run.
    """
    until_ms = clock() + budget_s * 1000
    timings: list[Timing] = []
    reference: Output | None = None
    best = Timing(candidates[0].name, None)
    for number, candidate in enumerate(candidates):
        left_s = (until_ms - clock()) / 1000
        if number and left_s <= candidate.least_s:
            timings.append(Timing(candidate.name, None, f"no time left ({max(0, left_s):.0f} s)"))
            continue
        trial = _Trial(run, clock, until_ms, best.ms)
        trial.go(candidate, must_run=not number)
        wrong = after() or trial.failure
        if number and not wrong:
            wrong = check(cast(Output, reference), cast(Output, trial.output))
        reference = reference if number else trial.output
        timing = Timing(candidate.name, None if wrong else trial.ms, wrong)
        timings.append(timing)
        if timing.ms is not None and (best.ms is None or timing.ms <= MARGIN * best.ms):
            best = timing
    return Verdict(best.name, tuple(timings))


class _Trial(Generic[Way, Output]):
    """The runs of one candidate.

    Attributes:
        output: of its first run; None if it failed.
        ms: the median of its timed runs.
        failure: why it does not run; empty if it does.
    """

    def __init__(
        self,
        run: Callable[[Way], Output],
        clock: Clock,
        until_ms: float,
        best_ms: float | None,
    ) -> None:
        self._run = run
        self._clock = clock
        self._until_ms = until_ms
        self._best_ms = best_ms
        self.output: Output | None = None
        self.ms = 0.0
        self.failure = ""

    def go(self, candidate: Candidate[Way], *, must_run: bool) -> None:
        """Run it. When this returns, nothing refers to the model any more."""
        try:
            way = candidate.prepare()
            self.output = self._run(way)  # also pays for memory, kernels and compiling
            took: list[float] = []
            while len(took) < RUNS and (not took or self._is_worth_it(took[0])):
                began = self._clock()
                self._run(way)
                took.append(self._clock() - began)
            self.ms = sorted(took)[len(took) // 2]
        except Exception as error:
            if must_run:
                raise
            self.failure = _reason(error)

    def _is_worth_it(self, first_ms: float) -> bool:
        is_hopeless = self._best_ms is not None and first_ms > HOPELESS * self._best_ms
        return not is_hopeless and self._clock() < self._until_ms


def _reason(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "it does not fit into memory"
    text = error.message if isinstance(error, EngineError) else host.first_line(error)
    return f"it does not run: {text}"


# --- remembered ---
def remembered(folder: Path, key: Mapping[str, str], hold: Callable[[], Verdict]) -> Verdict:
    """The verdict for this key: from the folder, or held now and put there.

    A file that is damaged, or cannot be written, costs only time.
    """
    text = json.dumps(dict(key), sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    verdict = _read(path)
    if verdict is not None:
        log.info("= %s, as timed before", verdict)
        return verdict
    verdict = hold()
    log.info("= %s", verdict)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"key": dict(key), "verdict": asdict(verdict)}, indent=2) + "\n")
        new.replace(path)
    except OSError as error:
        log.warning("! the verdict cannot be kept in %s: %s", folder, host.first_line(error))
    return verdict


def key(
    torch: Any, device: Device, model: str, candidates: Sequence[Candidate[Any]]
) -> dict[str, str]:
    """What a verdict depends on.

    Args:
        model: see `fingerprint`.
    """
    from importlib.metadata import version

    return {
        "device": device.name if device.kind != "cpu" else f"{device.name} x {device.threads}",
        "driver": host.driver() if device.kind == "cuda" else "",
        "torch": str(torch.__version__),
        "transformers": version("transformers"),
        "model": model,
        "candidates": ", ".join(candidate.name for candidate in candidates),
    }


def fingerprint(folder: Path) -> str:
    """Tells one model from another without reading gigabytes: its configuration, and names and sizes of its files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
    config = folder / "config.json"
    digest.update(config.read_bytes() if config.is_file() else b"")
    return digest.hexdigest()[:24]


def _read(path: Path) -> Verdict | None:
    try:
        verdict = json.loads(path.read_text())["verdict"]
        timings = tuple(Timing(t["name"], t["ms"], t["why"]) for t in verdict["timings"])
        return Verdict(str(verdict["winner"]), timings)
    except (OSError, ValueError, KeyError, TypeError):
        return None
