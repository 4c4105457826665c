"""The floor: a server that does what no voice server can do without, and nothing else.

JSON appends in, resampled to 16 kHz, judged by Silero in batches across connections (windows without any
sound are skipped, as ours does), a fixed pause as the end of the turn, two seconds of tone out in paced JSON
deltas. No sessions, no protocol, no transcripts, no errors, no interruption. What our server costs is
reported as a ratio to this, in the same run.

    python -m bench.floor PORT
"""

import asyncio
import math
import sys
import time
from typing import Any

import msgspec
import numpy as np
import picows
import soxr
import uvloop

from duologue.engines.vad_silero import Silero

SILENCE_MS = 200
REPLY_MS = 2_000
WINDOW = 512
GATE = WINDOW * 16.0**2


class Append(msgspec.Struct):
    type: str
    audio: bytes = b""


class Delta(msgspec.Struct):
    type: str
    delta: bytes


decode = msgspec.json.Decoder(Append).decode
encode = msgspec.json.Encoder().encode
_t = np.arange(24_000 * REPLY_MS // 1000) / 24_000
_tone = (np.sin(2 * math.pi * 440 * _t) * 9_000).astype("<i2").tobytes()
FRAMES = [_tone[at : at + 960] for at in range(0, len(_tone), 960)]


class Link(picows.WSListener):
    def __init__(self, floor: "Floor") -> None:
        self.floor = floor
        self.slot = floor.vad.open()
        self.resampler = soxr.ResampleStream(24_000, 16_000, 1, dtype="int16", quality="LQ")
        self.raw: list[bytes] = []
        self.rest = b""
        self.hot = 0
        self.speaking = False
        self.silent_ms = 0.0
        self.next_frame = len(FRAMES)
        self.began = 0.0

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def on_ws_disconnected(self, transport: Any) -> None:
        self.floor.talking.pop(self, None)
        self.floor.waiting.pop(self, None)
        self.floor.vad.close_slot(self.slot)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type is picows.WSMsgType.TEXT:
            event = decode(frame.get_payload_as_bytes())
            if event.audio:
                self.raw.append(event.audio)
                self.floor.notice(self)
        elif frame.msg_type is picows.WSMsgType.CLOSE:
            transport.disconnect()

    def window(self) -> bytes | None:
        if self.raw:
            data = b"".join(self.raw)
            self.raw.clear()
            pcm = self.resampler.resample_chunk(np.frombuffer(data, np.int16))
            self.rest += pcm.tobytes()
        if len(self.rest) < 2 * WINDOW:
            return None
        window, self.rest = self.rest[: 2 * WINDOW], self.rest[2 * WINDOW :]
        return window

    def judged(self, probability: float, power: float) -> None:
        if not self.speaking:
            self.hot = self.hot + 1 if probability >= 0.5 else 0
            if self.hot == 2:
                self.speaking, self.silent_ms = True, 0.0
                self.floor.talking.pop(self, None)
        elif probability >= 0.35:
            self.silent_ms = 0.0
        else:
            self.silent_ms += 32
            if self.silent_ms >= SILENCE_MS:
                self.speaking, self.hot = False, 0
                self.next_frame, self.began = 0, time.monotonic()
                self.floor.talking[self] = None
                self.floor.wake.set()
                self.send_due(self.began)

    def send_due(self, now: float) -> bool:
        due = min(len(FRAMES), int((now - self.began) * 50) + 6)
        while self.next_frame < due:
            delta = Delta("response.output_audio.delta", FRAMES[self.next_frame])
            self.transport.send(picows.WSMsgType.TEXT, encode(delta))
            self.next_frame += 1
        return self.next_frame < len(FRAMES)


class Floor:
    def __init__(self) -> None:
        self.vad = Silero()
        self.vad.load()
        self.vad.warm_up()
        self.waiting: dict[Link, None] = {}
        self.talking: dict[Link, None] = {}
        self.timer: Any = None
        self.wake = asyncio.Event()

    def notice(self, link: Link) -> None:
        self.waiting[link] = None
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(0.005, self.judge)

    def judge(self) -> None:
        self.timer = None
        while self.waiting:
            batch = []
            for link in list(self.waiting):
                if (window := link.window()) is None:
                    del self.waiting[link]
                else:
                    batch.append((link, window))
            if batch:
                self.judge_batch(batch)

    def judge_batch(self, batch: list[tuple[Link, bytes]]) -> None:
        pcm = np.frombuffer(b"".join([w for _, w in batch]), np.int16)
        sound = pcm.reshape(-1, WINDOW).astype(np.float32)
        hushed = (np.einsum("ij,ij->i", sound, sound) < GATE).tolist()
        shown = [at for at, (link, _) in enumerate(batch) if link.speaking or not hushed[at]]
        verdicts = [0.0] * len(batch)
        if shown:
            sound *= 1 / 32768
            found = self.vad.judge([batch[at][0].slot for at in shown], sound[shown])
            for at, verdict in zip(shown, found, strict=True):
                verdicts[at] = verdict
        for (link, _), verdict in zip(batch, verdicts, strict=True):
            link.judged(verdict, 0.0)

    async def pace(self) -> None:
        while True:
            await self.wake.wait()
            while self.talking:
                await asyncio.sleep(0.02)
                now = time.monotonic()
                for link in list(self.talking):
                    if not link.send_due(now):
                        self.talking.pop(link, None)
            self.wake.clear()


async def main(port: int) -> None:
    """Serve until killed."""
    floor = Floor()
    server = await picows.ws_create_server(lambda _request: Link(floor), "127.0.0.1", port)
    print(f"is ready after 0 s: http://127.0.0.1:{port}", flush=True)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(floor.pace())
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
