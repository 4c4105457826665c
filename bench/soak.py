"""`make soak`: sessions that talk for minutes, and others that come and go; memory, files and threads must stay flat.

Twenty conversations run in real time (fake engines, real VAD) while connections are opened and dropped beside
them. Resident memory is read every five seconds; the slope after the first minute is what is reported, with
open files, threads and sessions at the end.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import psutil

from bench.phrase import one_turn
from bench.run import Server, running, update

WARM_UP_S = 60.0


def churn(url: str) -> int:
    """Open thirty connections, speak a little into each, vanish."""
    from websockets.asyncio.client import connect

    async def come_and_go() -> int:
        done = 0
        for _ in range(30):
            socket = await connect(url, max_size=None)
            await socket.recv()
            await socket.send('{"type": "input_audio_buffer.append", "audio": "AAAA"}')
            socket.transport.abort()
            done += 1
        return done

    return asyncio.run(come_and_go())


def watch(server: Server, client: psutil.Popen, began: float) -> list[tuple[float, float]]:
    """Memory over time, with coming and going beside it, until the client is through."""
    samples = []
    while client.poll() is None:
        time.sleep(5)
        churn(server.url)
        samples.append((time.monotonic() - began, server.rss_mib()))
    return samples


def slope_kib_per_min(samples: list[tuple[float, float]]) -> float:
    """Least squares over what came after the warm-up."""
    late = [(t / 60, mib * 1024) for t, mib in samples if t > WARM_UP_S]
    if len(late) < 3:
        return float("nan")
    return statistics.linear_regression(*zip(*late, strict=True)).slope


def metric(url: str, name: str) -> float:
    """One value of `/metrics`."""
    base = url.replace("ws", "http", 1).split("/v1/")[0]
    with urllib.request.urlopen(f"{base}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--sessions", type=int, default=20)
    args = parser.parse_args()
    pcm, ends_ms = one_turn(30.0)
    with tempfile.NamedTemporaryFile(suffix=".pcm") as file, running("ours", 0) as server:
        file.write(pcm)
        file.flush()
        files, threads = server.process.num_fds(), server.process.num_threads()
        turns = int(args.minutes * 12)
        command = [sys.executable, "-m", "bench.load", server.url, "--pcm", file.name]
        command += ["--sessions", str(args.sessions), "--turns", str(turns)]
        command += ["--speech-ends-ms", str(ends_ms), "--update", update("pcm")]
        began = time.monotonic()
        client = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
        samples = watch(server, client, began)
        print(client.stdout.read())
        time.sleep(2)
        print(f"{args.sessions} sessions, {turns} turns each, {len(samples) * 30} come and gone")
        print(f"memory: {samples[0][1]:.1f} -> {samples[-1][1]:.1f} MiB; ", end="")
        print(f"slope after {WARM_UP_S:g} s: {slope_kib_per_min(samples):+.1f} KiB/min")
        print(f"open files {files} -> {server.process.num_fds()}, ", end="")
        print(f"threads {threads} -> {server.process.num_threads()}")
        print(f"sessions left {metric(server.url, 'duologue_sessions_open'):g}, ", end="")
        print(f"engine streams left {metric(server.url, 'duologue_engine_streams'):g}")


if __name__ == "__main__":
    main()
