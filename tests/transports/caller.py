"""A WebRTC client as a test holds it: aiortc's own, with a microphone that speaks in real time."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np

from tests.support.judge import Referee

RATE_HZ = 48_000
FRAME_BYTES = RATE_HZ // 50 * 2


def library() -> Any:
    """aiortc, which is not part of what every environment has."""
    return importlib.import_module("aiortc")


class Microphone:
    """A track of silence, into which sound can be put; of the shape that aiortc sends from."""

    kind = "audio"
    id = "microphone"

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.spoken = asyncio.Event()
        self._due = time.monotonic()
        self._samples = 0

    async def recv(self) -> av.AudioFrame:
        self._due += 0.02
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        pcm = bytes(self.waiting[:FRAME_BYTES]).ljust(FRAME_BYTES, b"\0")
        del self.waiting[:FRAME_BYTES]
        if not self.waiting:
            self.spoken.set()
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_BYTES // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate = RATE_HZ
        frame.pts = self._samples
        frame.time_base = Fraction(1, RATE_HZ)
        self._samples += FRAME_BYTES // 2
        return frame

    def stop(self) -> None:
        self.spoken.set()


class Caller:
    """One call, from the offer to the end."""

    def __init__(self, *, channel: bool = True) -> None:
        configuration = library().RTCConfiguration(iceServers=[])
        self.connection: Any = library().RTCPeerConnection(configuration)
        self.microphone = Microphone()
        self.connection.addTransceiver("audio").sender.replaceTrack(self.microphone)
        self.referee = Referee()
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.closed = asyncio.Event()
        self.connected = asyncio.Event()
        self._heard: list[tuple[float, bytes]] = []
        self._came = asyncio.Condition()
        self._inbox: asyncio.Queue[str] = asyncio.Queue()
        if channel:
            self.channel: Any = self.connection.createDataChannel("oai-events")
            self.channel.on("message", self._inbox.put_nowait)
            self.channel.on("close", self.closed.set)
        self.connection.on("track", self._on_track)
        self.connection.on("connectionstatechange", self._on_state)
        self._track: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def offer(self) -> str:
        await self.connection.setLocalDescription()
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        description = library().RTCSessionDescription(answer, "answer")
        await self.connection.setRemoteDescription(description)

    def _on_track(self, track: Any) -> None:
        self._track.set_result(track)

    def _on_state(self) -> None:
        if self.connection.connectionState == "connected":
            self.connected.set()
        if self.connection.connectionState in ("failed", "closed"):
            self.closed.set()

    async def read(self) -> None:
        """Keep and judge every event."""
        while True:
            text = await self._inbox.get()
            self.referee.see(text)
            async with self._came:
                self.events.append((time.monotonic(), json.loads(text)))
                self._came.notify_all()

    async def listen(self) -> None:
        """Keep what is heard, mono at 48 kHz, with the time at which it came."""
        ended = library().mediastreams.MediaStreamError
        track = await self._track
        try:
            while True:
                frame = await track.recv()
                both = np.frombuffer(bytes(frame.planes[0])[: frame.samples * 4], np.int16)
                self._heard.append((time.monotonic(), both[::2].tobytes()))
        except ended:
            pass

    def heard(self, since: float = 0.0, until: float = float("inf")) -> bytes:
        return b"".join(pcm for at, pcm in self._heard if since <= at < until)

    def send(self, kind: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"type": kind, **fields}))

    async def say(self, pcm: bytes) -> None:
        """Speak, and return when it is said."""
        self.microphone.spoken.clear()
        self.microphone.waiting += pcm
        await self.microphone.spoken.wait()

    async def until(self, kind: str, count: int = 1, timeout_s: float = 20) -> dict[str, Any]:
        """The n-th event of a type."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["type"] == kind]

    def when(self, kind: str, count: int = 1) -> float:
        return [at for at, event in self.events if event["type"] == kind][count - 1]

    def types(self) -> list[str]:
        return [event["type"] for _, event in self.events]


@asynccontextmanager
async def caller(*, channel: bool = True) -> AsyncIterator[Caller]:
    """A client that lets go of everything in the end."""
    held = Caller(channel=channel)
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(held.read()), tasks.create_task(held.listen())]
        try:
            yield held
        finally:
            await held.connection.close()
            for reader in readers:
                reader.cancel()


def pitch_hz(pcm: bytes) -> float:
    """The strongest frequency."""
    sound = np.frombuffer(pcm, np.int16).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * RATE_HZ / len(sound)


def level(pcm: bytes) -> float:
    """Root mean square of the samples."""
    sound = np.frombuffer(pcm, np.int16).astype(np.float64)
    return float(np.sqrt((sound**2).mean())) if len(sound) else 0.0


def loud_ms(pcm: bytes) -> int:
    """How much of it is no silence, in steps of 10 ms."""
    step = RATE_HZ // 100 * 2
    return sum(10 for at in range(0, len(pcm), step) if level(pcm[at : at + step]) > 500)
