"""`duologue gpu`: memory of the cards and of each engine, planned and used, and what would help."""

import argparse
import json
import math
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from duologue import settings
from duologue.memory import host, probe, watch
from duologue.memory.probe import Looked
from duologue.memory.watch import EngineUse, Snapshot, size

URL = "http://127.0.0.1:8000"
WATCH_S = 2.0
TIMEOUT_S = 2.0

WORKER = "duologue.engines.worker"
"""Module of an engine's own process, followed on its command line by a role and a name."""

CLEAR = "\x1b[H\x1b[2J"


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue gpu",
        description="Memory of this machine's graphics cards and of each engine: planned, used, free.",
    )
    p.add_argument(
        "--watch",
        nargs="?",
        type=positive,
        const=WATCH_S,
        metavar="SECONDS",
        help=f"again and again, until Ctrl-C ({WATCH_S:g})",
    )
    p.add_argument(
        "--json", action="store_true", help="for programs; with --watch a line each time"
    )
    p.add_argument(
        "--url", type=_address, default=URL, help=f"a server to ask for its engines ({URL})"
    )
    return p


def positive(text: str) -> float:
    """A finite number above 0, of a command line.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0")
    return number


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise argparse.ArgumentTypeError(f"'{text}' is no address like {URL}")
    return text


def main(argv: list[str]) -> int:
    """Look, print; with --watch until interrupted."""
    given = parser().parse_args(argv)
    while True:
        looked, told = probe.look(settings.visible_gpus()), ask(given.url)
        seen = gathered(looked, told)
        if given.json:
            print(json.dumps(as_dict(looked, seen), indent=None if given.watch else 2), flush=True)
        else:
            lines = [*report(looked, seen, "" if told else given.url)]
            clear = CLEAR if given.watch and sys.stdout.isatty() else ""
            print(clear + "\n".join(lines), flush=True)
        if not given.watch:
            return 0
        time.sleep(max(0.1, given.watch))


def ask(url: str) -> dict[str, object] | None:
    """What a server says of its health; None if none answers."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/v1/health", timeout=TIMEOUT_S) as answer:
            told = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def gathered(looked: Looked, told: dict[str, object] | None) -> Snapshot:
    """This machine's cards, and the engines: as their server tells them, or else as processes that are seen here."""
    server = watch.parse((told or {}).get("memory"))
    cards = watch.cards_in_use(looked.cards)
    if server is not None:
        return msgspec.structs.replace(server, cards=cards or server.cards)
    return Snapshot(cards=cards, engines=watch.filled([*running_engines()], looked.cards))


def running_engines() -> Iterator[EngineUse]:
    """Servers and engines' own processes on this machine."""
    for pid, words in host.commands():
        if WORKER in words[:-2]:
            role, name = words[words.index(WORKER) + 1 :][:2]
            yield EngineUse(name=f"{role} {name}", pid=pid)
        elif "serve" in words[1:4] and any("duologue" in word for word in words[:3]):
            yield EngineUse(name="server", pid=pid)


def as_dict(looked: Looked, seen: Snapshot) -> dict[str, object]:
    """Everything, for programs; sizes in MiB."""
    advice = [
        {"about": found.about, "text": found.text, "advice": found.advice}
        for found in watch.compare(seen)
    ]
    machine = looked.machine
    return {
        "driver": looked.driver,
        "reasons": list(looked.reasons),
        "ram_available_mib": machine.ram_mib,
        "cores": machine.cores,
        **msgspec.to_builtins(seen),
        "findings": advice,
    }


# --- for a person ---
def report(looked: Looked, seen: Snapshot, unasked: str = "") -> Iterator[str]:
    """The lines of one look; `unasked` is the address at which no server answers."""
    yield from _cards(looked, seen)
    yield f"Memory: {size(looked.machine.ram_mib)} available, {looked.machine.cores} cores"
    yield ""
    yield from _engines(seen)
    if unasked:
        yield f"(no server answers at {unasked}: plans are not known; --url names another)"
    yield from (f"({note})" for note in seen.notes)
    yield ""
    yield from _advice(looked, seen)


def _cards(looked: Looked, seen: Snapshot) -> Iterator[str]:
    if not seen.cards:
        yield f"No GPU: {'; '.join(looked.reasons) or 'none is here'}."
        return
    rows = [("GPU", "", "total", "used", "planned", "free", "")]
    for card in seen.cards:
        planned = sum(e.planned_mib or 0 for e in seen.engines if e.card == card.index)
        share = f"{100 * card.used_mib / card.total_mib:.0f} %"
        rows.append(
            (
                *(str(card.index), card.name, size(card.total_mib), size(card.used_mib)),
                *(size(planned) if planned else "-", size(card.free_mib), share),
            )
        )
    yield from table(rows, left=2)
    driver = f"Driver {looked.driver}" if looked.driver else ""
    yield from (line for line in (driver, *(f"({why})" for why in looked.reasons)) if line)


def _engines(seen: Snapshot) -> Iterator[str]:
    if not seen.engines:
        yield "No engine runs here."
        return
    rows = [("engine", "on", "planned", "GPU", "RAM", "context", "KV cache", "process")]
    for engine in seen.engines:
        on_card = engine.card is not None
        rows.append(
            (
                engine.name,
                f"GPU {engine.card}" if on_card else "CPU",
                _or_dash(engine.planned_mib),
                ("?" if engine.used_mib is None else size(engine.used_mib)) if on_card else "-",
                _or_dash(engine.ram_mib),
                _or_dash(engine.context_mib),
                _or_dash(engine.kv_mib),
                str(engine.pid or "-"),
            )
        )
    yield from table(rows, left=2)


def _or_dash(mib: int | None) -> str:
    return "-" if mib is None else size(mib)


def _advice(looked: Looked, seen: Snapshot) -> Iterator[str]:
    found = watch.compare(seen)
    for finding in found:
        yield f"! {finding.about} {finding.text}"
        yield f"  -> {finding.advice}"
    if found:
        return
    if not seen.cards:
        yield "-> `duologue plan` shows what runs well without a GPU."
    elif any(engine.planned_mib for engine in seen.engines):
        yield "Everything is within its plan."
    else:
        yield "-> `duologue plan` shows what fits."


def table(rows: Sequence[tuple[str, ...]], left: int) -> Iterator[str]:
    """Rows in columns, the first ones ranged left, the others right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
