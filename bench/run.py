"""`make bench`: what a conversation costs and how long it waits, ours beside the floor, in one run.

For N = 1, 10, 20, 100 sessions with fake engines and the real VAD: end of speech -> first sound (p50, p95)
less the configured silence and one VAD window; server CPU seconds per session-minute, as a ratio to
`bench.floor` doing the same work right before or after; resident memory per added session. Servers run on
one core, the client on the other. Runs in which the client itself was late are repeated, then marked.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.phrase import one_turn

SILENCE_MS = 200
WINDOW_MS = 32
LATE_MS = 15.0
"""A client whose ticks come later than this (p99) has measured itself."""

FORMATS = {
    "pcm": {"type": "audio/pcm", "rate": 24_000},
    "pcmu": {"type": "audio/pcmu"},
    "opus": {"type": "audio/opus"},
}


def update(codec: str) -> str:
    """The first event of a session."""
    detection = {"type": "server_vad", "silence_duration_ms": SILENCE_MS}
    sound: dict[str, Any] = {"input": {"turn_detection": detection}}
    if codec != "pcm":
        sound["input"]["format"] = FORMATS[codec]
        sound["output"] = {"format": FORMATS[codec]}
    session = {"type": "realtime", "audio": sound}
    return json.dumps({"type": "session.update", "session": session})


OURS = [sys.executable, "-m", "duologue.cli", "serve", "--port", "0", "--engines", "fake"]
OURS += ["--fake", "tts_s=2,llm_tokens=10", "--max-sessions", "1000", "--log-level", "warning"]
FLOOR = [sys.executable, "-m", "bench.floor"]


@dataclass
class Server:
    """A server process on core 0."""

    name: str
    process: psutil.Popen
    url: str
    idle_mib: float = 0.0

    def cpu_s(self) -> float:
        """CPU seconds so far, children included."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(p.cpu_times()[:2]) for p in family)

    def rss_mib(self) -> float:
        """Resident memory, children included."""
        family = [self.process, *self.process.children(recursive=True)]
        return float(sum(p.memory_info().rss for p in family)) / 2**20


@contextmanager
def running(name: str, port: int) -> Iterator[Server]:
    """Start the floor, or ours."""
    command = [*FLOOR, str(port)] if name == "floor" else OURS
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        process.cpu_affinity([0])
        url = ""
        while not url:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{name} did not start")
            if found := re.search(r"is ready after .* s: http(\S+)", line):
                url = f"ws{found[1]}/v1/realtime?model=duologue"
        time.sleep(0.5)
        yield Server(name, process, url)
    finally:
        process.terminate()
        process.wait(15)
        process.stdout.close()


@dataclass
class Row:
    """One server at one N."""

    name: str
    sessions: int
    cpu: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    answered: str = ""
    late: list[float] = field(default_factory=list)

    def add(self, result: dict[str, Any], cpu_s: float, rss_mib: float) -> None:
        """One measurement."""
        self.cpu.append(cpu_s / (self.sessions * result["seconds"] / 60))
        added = SILENCE_MS + WINDOW_MS
        self.p50.append(result["p50_ms"] - added)
        self.p95.append(result["p95_ms"] - added)
        self.rss.append(rss_mib)
        self.late.append(result["client_late_p99_ms"])
        self.answered = f"{result['answered']}/{result['expected']}, {result['cut']} cut"


def drive(
    server: Server, sessions: int, turns: int, pcm: Path, ends_ms: float, codec: str = "pcm"
) -> dict[str, Any]:
    """Run the client on the other core."""
    command = [sys.executable, "-m", "bench.load", server.url, "--sessions", str(sessions)]
    command += ["--turns", str(turns), "--pcm", str(pcm), "--speech-ends-ms", str(ends_ms)]
    command += ["--update", update(codec), "--codec", codec]
    client = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    if (cores := os.cpu_count() or 1) > 1:
        client.cpu_affinity(list(range(1, cores)))
    out, _ = client.communicate(timeout=600)
    result: dict[str, Any] = json.loads(out)
    if result["errors"]:
        raise SystemExit(f"{server.name}: {result['errors']}")
    return result


def measure(row: Row, port: int, turns: int, pcm: Path, ends_ms: float) -> float:
    """One fresh server, measured once (again, up to three times, while the client is late); its idle memory."""
    with running(row.name, port) as server:
        idle_mib = server.rss_mib()
        for attempt in range(3):
            before = server.cpu_s()
            result = drive(server, row.sessions, turns, pcm, ends_ms)
            if result["client_late_p99_ms"] <= LATE_MS or attempt == 2:
                row.add(result, server.cpu_s() - before, server.rss_mib())
                break
        return idle_mib


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 10, 20, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--noise-rms", type=float, default=30.0, help="0 for a quiet line")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.NamedTemporaryFile(suffix=".pcm") as file:
        pcm, ends_ms = one_turn(args.noise_rms)
        file.write(pcm)
        file.flush()
        rows = {(name, n): Row(name, n) for n in args.sessions for name in ("floor", "ours")}
        idle: dict[str, list[float]] = {"floor": [], "ours": []}
        for number in range(args.rounds):
            for n in args.sessions:
                order = ("floor", "ours") if number % 2 == 0 else ("ours", "floor")
                for name in order:
                    path = Path(file.name)
                    idle[name].append(measure(rows[name, n], 18_130, args.turns, path, ends_ms))
    report(args, rows, idle)


def report(
    args: argparse.Namespace, rows: dict[tuple[str, int], Row], idle: dict[str, list[float]]
) -> None:
    """Print the table, and keep it where asked."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        f"commit {commit}, {platform.machine()}, {os.cpu_count()} cores, {args.rounds} rounds of "
        f"{args.turns} turns, noise rms {args.noise_rms:g}"
    )
    print("medians (min-max); latency less 200 ms of silence and one 32 ms window")
    print(
        "| N | server | CPU s/session-min | x floor | added p50 ms | added p95 ms "
        "| RSS per session MB | answered | client late p99 ms |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    kept = []
    for (name, n), row in rows.items():
        ratios = [a / b for a, b in zip(row.cpu, rows["floor", n].cpu, strict=True)]
        per_session = (statistics.median(row.rss) - statistics.median(idle[name])) / n * 1.048576
        cells = {
            "n": n,
            "server": name,
            "cpu": statistics.median(row.cpu),
            "ratio": statistics.median(ratios),
            "p50": statistics.median(row.p50),
            "p95": statistics.median(row.p95),
            "rss": per_session,
        }
        kept.append({**cells, "all": vars(row)})
        print(
            f"| {n} | {name} | {cells['cpu']:.3f} ({min(row.cpu):.3f}-{max(row.cpu):.3f}) "
            f"| {cells['ratio']:.2f} ({min(ratios):.2f}-{max(ratios):.2f}) | {cells['p50']:.1f} "
            f"| {cells['p95']:.1f} | {per_session:.2f} | {row.answered} | {max(row.late):.1f} |"
        )
    if args.json is not None:
        args.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
