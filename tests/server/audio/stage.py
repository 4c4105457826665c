"""The audio routes on a real socket, behind the real door, with the stock `openai` client before them."""

import asyncio
import contextlib
import io
import math
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import av
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from openai import AsyncOpenAI

from duologue.core.capabilities import Capabilities, Role
from duologue.engines.chain import Link
from duologue.engines.fakes import FakeStt, FakeTts
from duologue.engines.pool_inprocess import InProcessPool
from duologue.engines.resilient import ResilientPool
from duologue.engines.vad_silero import Silero
from duologue.ports import EngineStream, StreamOptions, VoiceActivity
from duologue.server.audio.desk import AudioDesk
from duologue.server.audio.refusals import install_errors
from duologue.server.audio.routes import routes
from duologue.server.auth import Guard
from duologue.server.door import Doorkeeper
from tests.support.clips import clip, silence

RATE = 24_000
LEVEL = 9_000
"""The peak of the fake voice's tone."""


@dataclass
class Pools:
    """An `EnginePool` that remembers what was asked of it."""

    pool: Any
    opened: list[tuple[Role, StreamOptions]] = field(default_factory=list)

    async def open(self, role: Role, key: str, options: StreamOptions) -> EngineStream:
        stream: EngineStream = await self.pool.open(role, key, options)
        self.opened.append((role, options))
        return stream


@dataclass
class Service:
    """One running server."""

    url: str
    client: AsyncOpenAI
    pools: Pools
    stt: Any
    tts: Any

    async def all_streams_closed(self) -> None:
        """Returns when no engine works any more."""
        async with asyncio.timeout(10):
            while self.stt.streams or self.tts.streams:  # noqa: ASYNC110 - pools tell nobody
                await asyncio.sleep(0.01)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@cache
def silero() -> Silero:
    """Loaded once; the tests use it from one desk at a time."""
    vad = Silero()
    vad.load()
    return vad


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[str]:
    """An application on a socket; its address."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves Nagle on
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve([listening]))
            while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            server.should_exit = True
            await serving
    finally:
        listening.close()


def application(desk: AudioDesk, *, has_door: bool = True) -> FastAPI:
    """As the product puts it together."""
    app = FastAPI()
    if has_door:
        app.add_middleware(Doorkeeper, guard=Guard(()), open_paths=frozenset())
    app.include_router(routes(desk))
    install_errors(app)
    return app


@asynccontextmanager
async def service(
    stt: Any = "",
    tts: Any = "",
    *,
    vad: VoiceActivity | None = None,
    recognisers: Sequence[Capabilities] | None = None,
    is_ready: bool = True,
    has_door: bool = True,
    **limits: int,
) -> AsyncIterator[Service]:
    """A server with fake engines of these policies, or with these pools."""
    ears = InProcessPool(FakeStt(stt)) if isinstance(stt, str) else stt
    voice = InProcessPool(FakeTts(tts)) if isinstance(tts, str) else tts
    chains = {Role.STT: [Link("stt", ears)], Role.TTS: [Link("tts", voice)]}
    pools = Pools(ResilientPool(chains, owed_timeout_s=30, keeps_pace=False))
    desk = AudioDesk(
        pool=pools,
        recognisers=lambda: [ears.capabilities] if recognisers is None else recognisers,
        make_vad=lambda: vad or silero(),
        is_ready=lambda: is_ready,
        clock=lambda: asyncio.get_running_loop().time() * 1000,
        **limits,
    )
    async with (
        running(application(desk, has_door=has_door)) as url,
        AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client,
    ):
        yield Service(url, client, pools, ears, voice)


# --- sound ---
Sound = NDArray[np.float64]


def encoded(pcm: bytes, rate_hz: int, container: str = "wav", codec: str = "pcm_s16le") -> bytes:
    """Samples as a file."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        track: Any = file.add_stream(codec, rate=rate_hz)
        track.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            np.frombuffer(pcm, np.int16).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = rate_hz, 0
        file.mux(track.encode(frame))
        file.mux(track.encode(None))
    return out.getvalue()


def decoded(data: bytes) -> Sound:
    """A file as samples at 24 kHz, in 16-bit units."""
    parts = []
    with av.open(io.BytesIO(data), "r") as file:
        resampler = av.AudioResampler("s16", "mono", RATE)
        for frame in [*file.decode(audio=0), None]:
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts).astype(float)


def samples(data: bytes, fmt: str) -> Sound:
    """The same for a format of the speech route."""
    return np.frombuffer(data, "<i2").astype(float) if fmt == "pcm" else decoded(data)


def level_db(sound: Sound) -> float:
    """Against the fake voice's tone; of the middle, away from the codec's ends."""
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    return 20 * math.log10(math.sqrt(float((middle**2).mean())) / (LEVEL / math.sqrt(2)))


def pitch_hz(sound: Sound) -> float:
    """Of the loudest tone in the middle."""
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(spectrum) * RATE / len(middle))


def talk(seconds: float, rate_hz: int = 16_000) -> bytes:
    """A long recording: clips with pauses of a second between them, up to this length."""
    names = ("commands-vosk_digits.flac", "lj-LJ001-0002.flac", "commands-numbers.flac")
    out = bytearray()
    while len(out) < seconds * rate_hz * 2:
        for name in names:
            out += clip(name, rate_hz) + silence(1_000, rate_hz)
    return bytes(out[: int(seconds * rate_hz) * 2])
