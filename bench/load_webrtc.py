"""The client of a load over WebRTC: as `bench.load`, with aiortc's own peer for each session.

An aiortc client costs several times what our server does, so a handful of sessions is all that one core can
hold; it counts bytes of RTP, and leaves latency to `bench.load`.

    python -m bench.load_webrtc URL --sessions N --turns K  ->  one line of JSON
"""

import argparse
import asyncio
import json
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import soxr
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from bench.load import TURN_S
from bench.run import SILENCE_MS

RATE_HZ = 48_000
FRAME = RATE_HZ // 50


class Microphone(MediaStreamTrack):  # type: ignore[misc]
    """The phrase, every five seconds."""

    kind = "audio"

    def __init__(self, pcm: bytes) -> None:
        super().__init__()
        self._pcm = pcm
        self._due = time.monotonic()
        self._samples = 0

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms."""
        self._due += 0.02
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME)
        at = self._samples * 2 % len(self._pcm)
        frame.planes[0].update(self._pcm[at : at + FRAME * 2].ljust(FRAME * 2, b"\0"))
        frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
        frame.pts = self._samples
        self._samples += FRAME
        return frame


class Talker:
    """One call."""

    def __init__(self, pcm: bytes) -> None:
        self.connection: Any = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Microphone(pcm))
        self.done = 0
        self.errors: list[str] = []
        self.channel: Any = self.connection.createDataChannel("oai-events")
        self.channel.on("message", self._read)
        self.track: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.connection.on("track", self.track.set_result)

    async def call(self, url: str, http: httpx.AsyncClient) -> None:
        """Ring, and listen from then on."""
        await self.connection.setLocalDescription()
        offer = self.connection.localDescription.sdp
        answer = await http.post(url, content=offer, headers={"Content-Type": "application/sdp"})
        answer.raise_for_status()
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    async def listen(self) -> None:
        """Take what comes, as a loudspeaker would."""
        track = await self.track
        try:
            while True:
                await track.recv()
        except MediaStreamError:
            pass

    async def traffic(self) -> tuple[int, int]:
        """Bytes of RTP, up and down."""
        stats = (await self.connection.getStats()).values()
        up = sum(s.bytesSent for s in stats if s.type == "outbound-rtp")
        down = sum(getattr(s, "bytesReceived", 0) for s in stats if s.type == "transport")
        return up, down

    def _read(self, text: str) -> None:
        event = json.loads(text)
        if event["type"] == "session.created":
            detection = {"type": "server_vad", "silence_duration_ms": SILENCE_MS}
            session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
            self.channel.send(json.dumps({"type": "session.update", "session": session}))
        self.done += event["type"] == "response.done"
        if event["type"] == "error":
            self.errors.append(text[:300])


async def run(url: str, sessions: int, turns: int, pcm: bytes) -> dict[str, Any]:
    """Talk, and report."""
    talkers = [Talker(pcm) for _ in range(sessions)]
    async with httpx.AsyncClient(timeout=20) as http, asyncio.TaskGroup() as tasks:
        listening = [tasks.create_task(talker.listen()) for talker in talkers]
        for talker in talkers:
            await talker.call(url, http)
        began = time.perf_counter()
        await asyncio.sleep(turns * TURN_S)
        seconds = time.perf_counter() - began
        traffic = [await talker.traffic() for talker in talkers]
        for talker in talkers:
            await talker.connection.close()
        for task in listening:
            task.cancel()
    rounds = sessions * turns
    return {
        "expected": rounds,
        "answered": sum(min(turns, talker.done) for talker in talkers),
        "seconds": seconds,
        "bytes_up": sum(up for up, _ in traffic) // rounds,
        "bytes_down": sum(down for _, down in traffic) // rounds,
        "errors": [error for talker in talkers for error in talker.errors][:3],
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--pcm", type=Path, required=True)
    parser.add_argument("--speech-ends-ms", type=float, default=0.0, help="not used")
    args = parser.parse_args()
    narrow = np.frombuffer(args.pcm.read_bytes(), "<i2")
    wide = soxr.resample(narrow, 24_000, RATE_HZ).astype("<i2").tobytes()
    print(json.dumps(asyncio.run(run(args.url, args.sessions, args.turns, wide))))


if __name__ == "__main__":
    main()
