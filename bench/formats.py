"""`make bench-formats`: what sound costs in each format and transport: server CPU and bytes on the wire.

The same conversation (a recorded phrase every five seconds, answered for two) over pcm16 in base64, µ-law in
base64 and Opus in binary messages, and over WebRTC where the extra is installed; in one run, in turn, as
ratios to pcm16. Bytes are those of messages (for WebRTC of RTP packets), without TCP, TLS and UDP heads.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.load import TURN_S
from bench.phrase import one_turn
from bench.run import Server, drive, running


def call(server: Server, sessions: int, turns: int, pcm: Path, ends_ms: float) -> dict[str, Any]:
    """The same over WebRTC."""
    import json

    url = server.url.replace("ws:", "http:", 1).replace("/realtime?", "/realtime/calls?")
    command = [sys.executable, "-m", "bench.load_webrtc", url, "--sessions", str(sessions)]
    command += ["--turns", str(turns), "--pcm", str(pcm), "--speech-ends-ms", str(ends_ms)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=4)
    args = parser.parse_args()
    kinds = ["pcm", "pcmu", "opus"]
    if importlib.util.find_spec("aiortc"):
        kinds.append("webrtc")
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    wire: dict[str, dict[str, Any]] = {}
    with tempfile.NamedTemporaryFile(suffix=".pcm") as file:
        pcm, ends_ms = one_turn(30.0)
        file.write(pcm)
        file.flush()
        for number in range(args.rounds):
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                with running("ours", 0) as server:
                    before = server.cpu_s()
                    talk = (server, args.sessions, args.turns, Path(file.name), ends_ms)
                    result = call(*talk) if kind == "webrtc" else drive(*talk, kind)
                    minutes = args.sessions * result["seconds"] / 60
                    cpu[kind].append((server.cpu_s() - before) / minutes)
                    wire[kind] = result
    print(
        f"{args.sessions} sessions, {args.rounds} rounds of {args.turns} turns, {os.cpu_count()} cores"
    )
    print("| sound | CPU s/session-min | x pcm16 | up kB/s | down kB/s of answer | answered |")
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        ratios = [a / b for a, b in zip(cpu[kind], cpu["pcm"], strict=True)]
        up, down = wire[kind]["bytes_up"] / TURN_S, wire[kind]["bytes_down"] / 2
        print(
            f"| {kind} | {statistics.median(cpu[kind]):.3f} ({min(cpu[kind]):.3f}-{max(cpu[kind]):.3f}) "
            f"| {statistics.median(ratios):.2f} | {up / 1000:.1f} | {down / 1000:.1f} "
            f"| {wire[kind]['answered']}/{wire[kind]['expected']} |"
        )


if __name__ == "__main__":
    main()
