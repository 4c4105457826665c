"""How well the embedded recogniser hears: word errors by kind of recording, for each of its searches.

    python -m bench.eval_stt [--search assistant hints dictation] [--limit N] [--by-speaker] [--json FILE] [--show]

The engine's own code is run (load, warm_up, run), in a child process for each search, on 32 ms frames and a flush at
the end, as fast as it can. Recordings come from the folder that DUOLOGUE_SPEECH names (`manifest.jsonl`
says what is in it). Each recording is a stream of its own, as each utterance of a session is, so that nothing is
known of the speaker; with --by-speaker all of a speaker's recordings follow one another on one stream.

WER      substitutions, deletions and insertions by words of the transcript, in percent; case and punctuation aside
slots    spoken orders have no transcript: words of the order (drink, size, ...) that were recognised, in percent
RTF      seconds of CPU by seconds of sound; 1/RTF is how many talk at once on one core
final    milliseconds from the flush to its transcript: median and 95th percentile
"""

import argparse
import json
import multiprocessing
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from bench import speech
from duologue.core.audio import STREAM, WINDOW_SAMPLES, AudioFrame
from duologue.engines.base import Flush, Item
from duologue.engines.pocketsphinx.engine import DICTATION, Pocketsphinx
from duologue.ports import Event, Final, SttOptions

MIB = 2**20
SEARCHES = ("assistant", "hints", "dictation")

CARDS = (
    "ace two three four five six seven eight nine ten jack queen king of clubs diamonds hearts spades"
).split()
NAMES = ("alexa", "hey jarvis", "okay nabu", "hey mycroft", "computer", "hey peppa pig")
MENU = (
    "coffee, house coffee, drip coffee, iced coffee, americano, cappuccino, espresso, latte, mocha, iced mocha",
    "small, medium, large, eight ounce, twelve ounce, sixteen ounce, twenty ounce",
    "light roast, medium roast, dark roast, single shot, double shot, triple shot",
    "milk, whole milk, skim milk, soy milk, almond milk, cream, sugar, brown sugar, sweetener",
    "a lot of sugar, lots of cream, some milk, a little bit of sugar, a bit of brown sugar",
    "can i get a, could i have a, i would like a, i want a, give me a, with, and, please",
)
HINTS: dict[str, tuple[str, ...]] = {
    "commands": (*CARDS, "queen of clubs", "seven of hearts", "ace of spades"),
    "intent": MENU,
    "wake": NAMES,
    "wake_pv": NAMES,
}
"""What a session of a card game, a coffee bar or a named assistant would hint at; no transcript was consulted but
the coffee bar's list of values, which its orders name too."""


@dataclass(frozen=True)
class Recording:
    """One line of the manifest that can be scored: by its transcript, or by the words of its slots."""

    path: Path
    kind: str
    speaker: str
    transcript: str
    slots: tuple[str, ...]


@dataclass
class Tally:
    """What was found for one kind of recording."""

    recordings: int = 0
    words: int = 0
    errors: int = 0
    slot_words: int = 0
    slot_hits: int = 0
    sound_s: float = 0.0
    cpu_s: float = 0.0
    final_ms: list[float] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Costs:
    """What the engine takes before anybody speaks."""

    load_s: float
    rss_mib: float
    rss_more_mib: float
    streams: int


class TimedInbox:
    """An inbox that knows when its flush was taken."""

    cancelled = False

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self.flushed_at = 0.0

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            if isinstance(item, Flush):
                self.flushed_at = time.perf_counter()
            yield item


# --- recordings ---
def recordings(folder: Path, limit: int) -> list[Recording]:
    """English ones that can be scored, at most `limit` of a kind, spread over the kind; 0 for all."""
    kinds: dict[str, list[Recording]] = {}
    for entry in speech.manifest(folder):
        slots = " ".join((entry.get("slots") or {}).values())
        if entry.get("lang") == "en" and (entry.get("transcript") or slots):
            kinds.setdefault(entry["kind"], []).append(
                Recording(
                    entry["path"],
                    entry["kind"],
                    entry.get("speaker") or entry["file"],
                    entry.get("transcript") or "",
                    tuple(plain(slots)),
                )
            )
    return [one for kind in kinds.values() for one in speech.spread(kind, limit)]


def plain(text: str) -> list[str]:
    """Words to be compared."""
    words = re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("’", "'")).split()
    return [{"mister": "mr", "missus": "mrs", "ok": "okay"}.get(word, word) for word in words]


def word_errors(said: list[str], heard: list[str]) -> int:
    """Levenshtein's distance in words."""
    row = list(range(len(heard) + 1))
    for at, word in enumerate(said, 1):
        above, row = row, [at]
        for column, other in enumerate(heard, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (word != other)))
    return row[-1]


# --- one search, in its own process ---
def evaluate(
    search: str, chosen: list[Recording], *, by_speaker: bool, show: bool
) -> tuple[Costs, dict[str, Tally]]:
    """Run the engine on the recordings."""
    engine, costs = _start(DICTATION if search == "dictation" else "")
    tallies: dict[str, Tally] = {}
    groups: dict[str, list[Recording]] = {}
    for one in chosen:
        if search != "hints" or one.kind in HINTS:
            groups.setdefault(one.speaker if by_speaker else str(one.path), []).append(one)
    for group in groups.values():
        hints = HINTS.get(group[0].kind, ()) if search == "hints" else ()
        for one, tally, text in _transcribe(engine, group, SttOptions(hints=hints)):
            tallies.setdefault(one.kind, Tally()).add(tally)
            if show:
                said = one.transcript or "slots: " + " ".join(one.slots)
                print(f"{one.kind} {one.path.stem}\n  said  {said}\n  heard {text}")
    engine.close()
    return costs, tallies


def _start(argument: str) -> tuple[Pocketsphinx, Costs]:
    process = psutil.Process()
    began = time.perf_counter()
    engine = Pocketsphinx(argument)
    engine.load()
    engine.warm_up()
    took = time.perf_counter() - began
    loaded = process.memory_info().rss / MIB
    streams = engine.capabilities.max_streams
    _nest(engine, streams)
    more = (process.memory_info().rss / MIB - loaded) / streams
    return engine, Costs(took, loaded, more, streams)


def _nest(engine: Pocketsphinx, streams: int) -> None:
    """So many streams at once: each runs the next while it is itself at work."""

    def items() -> Iterator[Item]:
        yield AudioFrame(os.urandom(STREAM.bytes_for(1000)), 0)
        if streams > 1:
            _nest(engine, streams - 1)
        yield Flush(0)

    engine.run(SttOptions(), TimedInbox(items()), lambda event: None)


def _transcribe(
    engine: Pocketsphinx, group: list[Recording], options: SttOptions
) -> Iterator[tuple[Recording, Tally, str]]:
    pcms = [speech.decode(one.path, STREAM.rate_hz) for one in group]
    finals: list[tuple[float, float, str]] = []

    def items() -> Iterator[Item]:
        for number, pcm in enumerate(pcms):
            for at in range(0, len(pcm), 2 * WINDOW_SAMPLES):
                yield AudioFrame(pcm[at : at + 2 * WINDOW_SAMPLES], at // 2)
            yield Flush(number)

    inbox = TimedInbox(items())

    def emit(event: Event) -> None:
        if isinstance(event, Final):
            now = time.perf_counter()
            finals.append((time.thread_time(), 1000 * (now - inbox.flushed_at), event.text))

    began = time.thread_time()
    engine.run(options, inbox, emit)
    for one, pcm, (ended, final_ms, text) in zip(group, pcms, finals, strict=True):
        tally = _score(one, text)
        tally.sound_s = len(pcm) / STREAM.bytes_for(1000)
        tally.cpu_s, began = ended - began, ended
        tally.final_ms = [final_ms]
        yield one, tally, text


def _score(one: Recording, text: str) -> Tally:
    said, heard = plain(one.transcript), plain(text)
    errors = word_errors(said, heard) if said else 0
    hits = sum(word in heard for word in one.slots)
    return Tally(1, len(said), errors, len(one.slots), hits)


# --- the report ---
def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def table(search: str, costs: Costs, tallies: dict[str, Tally]) -> str:
    """For a person."""
    lines = [
        f"{search}: loaded and run in {costs.load_s:.2f} s, {costs.rss_mib:.0f} MiB resident, "
        f"{costs.rss_more_mib:.1f} MiB more for each of {costs.streams} streams at once",
        f"  {'kind':<12} {'N':>4} {'words':>6} {'WER %':>6} {'slots %':>8} {'RTF':>6} {'final ms':>12}",
    ]
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    for kind, tally in [*tallies.items(), ("all", total)]:
        wer, slots = (
            _percent(tally.errors, tally.words),
            _percent(tally.slot_hits, tally.slot_words),
        )
        median, p95 = _median_p95(tally.final_ms)
        lines.append(
            f"  {kind:<12} {tally.recordings:>4} {tally.words or tally.slot_words:>6} {wer:>6} {slots:>8} "
            f"{tally.cpu_s / tally.sound_s:>6.3f} {f'{median:.0f} / {p95:.0f}':>12}"
        )
    return "\n".join(lines)


def _median_p95(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _row(tally: Tally) -> dict[str, object]:
    median, p95 = _median_p95(tally.final_ms)
    row = asdict(tally)
    del row["final_ms"]
    return row | {
        "wer": tally.errors / tally.words if tally.words else None,
        "slot_recall": tally.slot_hits / tally.slot_words if tally.slot_words else None,
        "rtf": tally.cpu_s / tally.sound_s,
        "final_ms_median": median,
        "final_ms_p95": p95,
    }


def main(argv: list[str] | None = None) -> int:
    """Run it; 2 if there are no recordings."""
    parser = argparse.ArgumentParser(prog="eval_stt", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=speech.wanted(), help="of the recordings")
    parser.add_argument("--search", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    parser.add_argument("--limit", type=int, default=0, help="recordings of a kind; 0 for all")
    parser.add_argument("--by-speaker", action="store_true", help="one stream for each speaker")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--show", action="store_true", help="print every transcript")
    args = parser.parse_args(argv)
    if speech.is_missing(args.folder, "eval_stt"):
        return 2
    chosen = recordings(args.folder, args.limit)
    report: dict[str, object] = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as child:
        for search in args.search:
            ways = {"by_speaker": args.by_speaker, "show": args.show}
            costs, tallies = child.apply(evaluate, (search, chosen), ways)
            print(table(search, costs, tallies), flush=True)
            kinds = {kind: _row(tally) for kind, tally in tallies.items()}
            report[search] = {"costs": asdict(costs), "kinds": kinds}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
