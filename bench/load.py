"""The client of a load: N conversations from one process, in real time, with its own punctuality measured.

Each session streams a recorded phrase in 20 ms frames (base64 JSON, 24 kHz, unless it is told to use another
codec), then quiet, a turn every five
seconds, and takes whatever sound comes back. Latency runs from the moment the last sample of speech was
*due* to go out to the first delta of the answer, so a late client cannot flatter the server.

    python -m bench.load URL --sessions N --turns K  ->  one line of JSON
"""

import argparse
import asyncio
import base64
import json
import sys
import time
from typing import Any

import numpy as np
import picows
import soxr
import uvloop

from duologue.core.audio import AudioFormat
from duologue.wire import coders

TURN_S = 5.0
DELTA = b'"response.output_audio.delta"'
DONE = b'"response.done"'


Frame = tuple[Any, bytes]
"""A WebSocket message: its type and its payload."""


def frames_of(pcm: bytes, codec: str) -> list[Frame]:
    """The messages of one turn, ready to be sent: the phrase, then quiet up to five seconds."""
    whole = pcm[: int(TURN_S * 48_000)].ljust(int(TURN_S * 48_000), b"\0")
    rate = 8_000 if codec == "pcmu" else 24_000
    if rate != 24_000:
        narrow = soxr.resample(np.frombuffer(whole, "<i2"), 24_000, rate)
        whole = narrow.astype("<i2").tobytes()
    size = rate // 50 * 2
    coder = coders.encoder(AudioFormat(rate, "opus" if codec == "opus" else "pcm"))
    if codec == "pcmu":
        coder = coders.G711("pcmu")
    chunks = [coder.encode(whole[at : at + size]) for at in range(0, len(whole), size)]
    if codec == "opus":
        return [(picows.WSMsgType.BINARY, chunk) for chunk in chunks]
    return [
        (
            picows.WSMsgType.TEXT,
            json.dumps(
                {"type": "input_audio_buffer.append", "audio": base64.b64encode(chunk).decode()}
            ).encode(),
        )
        for chunk in chunks
    ]


class Talker(picows.WSListener):
    """One session."""

    def __init__(self, update: bytes) -> None:
        self.update = update
        self.deltas: list[float] = []
        self.errors: list[str] = []
        self.done = 0
        self.bytes_in = 0
        self.transport: Any = None

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        transport.send(picows.WSMsgType.TEXT, self.update)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type is picows.WSMsgType.BINARY:
            self.bytes_in += len(frame.get_payload_as_bytes())
            self.deltas.append(time.perf_counter())
        if frame.msg_type is not picows.WSMsgType.TEXT:
            return
        data = frame.get_payload_as_bytes()
        self.bytes_in += len(data)
        head = data[:64]
        if DELTA in head:
            self.deltas.append(time.perf_counter())
        elif b'"error"' in head:
            self.errors.append(data.decode()[:300])
        elif DONE in head:
            self.done += 1


class Load:
    """N talkers, staggered over the turn."""

    def __init__(self, frames: list[Frame], speech_ends_ms: float, update: bytes) -> None:
        self.frames = frames
        self.speech_ends_s = speech_ends_ms / 1000
        self.update = update
        self.late_ms: list[float] = []
        self.latency_ms: list[float] = []
        self.jitter_ms: list[float] = []
        self.expected = 0
        self.answered = 0
        self.cut = 0
        self.bytes_in = 0

    async def run(self, url: str, sessions: int, turns: int) -> dict[str, Any]:
        """Talk, and report."""
        talkers = [Talker(self.update) for _ in range(sessions)]
        for talker in talkers:
            await picows.ws_connect(lambda talker=talker: talker, url)
        await asyncio.sleep(0.5)
        began = time.perf_counter() + 0.1
        offsets = [TURN_S * n / sessions for n in range(sessions)]
        await self._speak(talkers, began, offsets, turns)
        await asyncio.sleep(1.0)
        for talker, offset in zip(talkers, offsets, strict=True):
            self._count(talker, began + offset, turns)
        errors = [error for talker in talkers for error in talker.errors]
        for talker in talkers:
            talker.transport.disconnect()
        self.bytes_in = sum(talker.bytes_in for talker in talkers)
        return self._report(errors, time.perf_counter() - began)

    async def _speak(
        self, talkers: list[Talker], began: float, offsets: list[float], turns: int
    ) -> None:
        """One loop for all: at each 20 ms tick every session sends the frame that is due."""
        per_turn = len(self.frames)
        shift = [int(offset * 50) for offset in offsets]
        for tick in range(turns * per_turn + max(shift) + 1):
            due = began + tick / 50
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.late_ms.append((time.perf_counter() - due) * 1000)
            for talker, ahead in zip(talkers, shift, strict=True):
                at = tick - ahead
                if 0 <= at < turns * per_turn:
                    talker.transport.send(*self.frames[at % per_turn])

    def _count(self, talker: Talker, began: float, turns: int) -> None:
        for turn in range(turns):
            start = began + turn * TURN_S
            ended = start + self.speech_ends_s
            mine = [t for t in talker.deltas if ended < t < start + TURN_S + self.speech_ends_s / 2]
            self.expected += 1
            if not mine:
                continue
            self.answered += 1
            self.cut += len(mine) < 95  # two seconds are a hundred frames
            self.latency_ms.append((mine[0] - ended) * 1000)
            gaps = np.diff(mine)
            self.jitter_ms.append(float(gaps.max() * 1000) if len(gaps) else 0.0)

    def _report(self, errors: list[str], seconds: float) -> dict[str, Any]:
        def share(values: list[float], q: float) -> float:
            return round(float(np.percentile(values, q)), 1) if values else float("nan")

        return {
            "expected": self.expected,
            "answered": self.answered,
            "cut": self.cut,
            "p50_ms": share(self.latency_ms, 50),
            "p95_ms": share(self.latency_ms, 95),
            "max_ms": share(self.latency_ms, 100),
            "gap_p95_ms": share(self.jitter_ms, 95),
            "client_late_p99_ms": share(self.late_ms, 99),
            "seconds": round(seconds, 1),
            "errors": errors[:3],
            "bytes_up": sum(len(data) for _, data in self.frames),
            "bytes_down": self.bytes_in // max(1, self.expected),
        }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--pcm", required=True, help="a file with one turn's sound, 24 kHz")
    parser.add_argument("--speech-ends-ms", type=float, required=True)
    parser.add_argument("--update", default="{}")
    parser.add_argument("--codec", choices=["pcm", "pcmu", "opus"], default="pcm")
    args = parser.parse_args()
    with open(args.pcm, "rb") as file:
        load = Load(frames_of(file.read(), args.codec), args.speech_ends_ms, args.update.encode())
    json.dump(uvloop.run(load.run(args.url, args.sessions, args.turns)), sys.stdout)


if __name__ == "__main__":
    main()
