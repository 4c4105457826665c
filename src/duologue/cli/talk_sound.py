"""The ends of `duologue talk`: where sound comes from, and where it goes. All 24 kHz mono, signed 16-bit."""

import asyncio
import collections
import threading
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from duologue.core.errors import SetupError

RATE_HZ = 24_000
FRAME_MS = 20
FRAME_BYTES = RATE_HZ * FRAME_MS // 1000 * 2
SILENT_FRAME = bytes(FRAME_BYTES)


def read_sound(path: Path) -> bytes:
    """Any audio file as samples.

    Raises:
        SetupError: it is not there, or no sound.
    """
    import av

    out = bytearray()
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
            for frame in [*container.decode(audio=0), None]:
                for part in resampler.resample(frame):
                    out += bytes(part.planes[0])[: part.samples * 2]
    except (av.FFmpegError, IndexError, OSError) as error:
        is_there = path.is_file()
        raise SetupError(
            "file_unreadable",
            f"{path} is no sound." if is_there else f"There is no file {path}.",
            remedy="Give a recording: wav, flac, mp3, ogg, …" if is_there else "",
        ) from error
    return bytes(out)


class Files:
    """Recordings, one turn each, in real time; silence in between, as from a quiet microphone."""

    def __init__(self, paths: list[Path]) -> None:
        self._sounds = [(path.name, read_sound(path)) for path in paths]
        self._spoken = asyncio.Event()
        self._answered = asyncio.Event()

    @property
    def turns(self) -> int:
        """How many answers are expected."""
        return len(self._sounds)

    async def spoken(self) -> None:
        """Wait until this recording is through."""
        await self._spoken.wait()

    def answered(self) -> None:
        """Go on with the next."""
        self._spoken.clear()
        self._answered.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """The next 20 ms, whenever they are due."""
        for _name, sound in self._sounds:
            self._answered.clear()
            for at in range(0, len(sound), FRAME_BYTES):
                yield sound[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\0")
            self._spoken.set()
            while not self._answered.is_set():
                yield SILENT_FRAME


class Silent:
    """Plays nothing, but knows what would have been played: time stands for the sound card."""

    def __init__(self) -> None:
        self._ends_at = 0.0

    def start(self) -> None:
        """Nothing to open."""

    def stop(self) -> None:
        """Nothing to close."""

    def play(self, pcm: bytes) -> None:
        """Sound to be played after what is being played."""
        now = asyncio.get_running_loop().time()
        self._ends_at = max(self._ends_at, now) + len(pcm) / (2 * RATE_HZ)

    def flush(self) -> None:
        """Play nothing more of it."""
        self._ends_at = 0.0

    def left_ms(self) -> float:
        """What is still to be played."""
        return max(0.0, self._ends_at - asyncio.get_running_loop().time()) * 1000


def _sounddevice() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise SetupError(
            "no_sound_card",
            f"The sound card cannot be used: {error}.",
            remedy="Install the system's libportaudio2 (and duologue[device]), or talk with --file.",
        ) from error
    return sounddevice


class Microphone:
    """The default input. Frames that nobody takes within two seconds are dropped, the oldest first."""

    turns = 0

    def __init__(self) -> None:
        self._sounddevice = _sounddevice()
        self._frames: collections.deque[bytes] = collections.deque(maxlen=100)
        self._moved = asyncio.Event()

    def answered(self) -> None:
        """Nobody waits for it."""

    async def frames(self) -> AsyncIterator[bytes]:
        """What is heard, 20 ms at a time.

        Raises:
            SetupError: there is no microphone.
        """
        loop = asyncio.get_running_loop()

        def keep(data: Any, _count: int, _time: Any, _status: Any) -> None:
            self._frames.append(bytes(data))
            loop.call_soon_threadsafe(self._moved.set)

        try:
            stream = self._sounddevice.RawInputStream(
                samplerate=RATE_HZ, channels=1, dtype="int16", blocksize=480, callback=keep
            )
        except self._sounddevice.PortAudioError as error:
            raise SetupError(
                "no_microphone",
                f"There is no microphone to listen to: {error}.",
                remedy="Plug one in, or talk with --file recording.wav.",
            ) from error
        with stream:
            while True:
                await self._moved.wait()
                self._moved.clear()
                while self._frames:
                    yield self._frames.popleft()


class Speakers:
    """The default output."""

    def __init__(self) -> None:
        self._sounddevice = _sounddevice()
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._stream: Any = None

    def start(self) -> None:
        """Open the sound card."""
        self._stream = self._sounddevice.RawOutputStream(
            samplerate=RATE_HZ, channels=1, dtype="int16", blocksize=480, callback=self._fill
        )
        self._stream.start()

    def stop(self) -> None:
        """Close it."""
        if self._stream is not None:
            self._stream.close()

    def play(self, pcm: bytes) -> None:
        """Sound to be played after what is being played."""
        with self._lock:
            self._waiting += pcm

    def flush(self) -> None:
        """Play nothing more of it."""
        with self._lock:
            self._waiting.clear()

    def left_ms(self) -> float:
        """What is still to be played."""
        with self._lock:
            return len(self._waiting) * 500 / RATE_HZ

    def _fill(self, out: Any, _count: int, _time: Any, _status: Any) -> None:
        with self._lock:
            chunk = bytes(self._waiting[: len(out)])
            del self._waiting[: len(chunk)]
        out[:] = chunk.ljust(len(out), b"\0")


class WavFile:
    """Everything that was said to us, one after another."""

    def __init__(self, path: Path) -> None:
        try:
            out = path.open("wb")
        except OSError as error:
            raise SetupError(
                "file_unwritable", f"{path} cannot be written: {error.strerror}."
            ) from error
        self._out = out
        self._file = wave.open(out, "wb")  # noqa: SIM115 - closed by its owner
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(RATE_HZ)

    def write(self, pcm: bytes) -> None:
        """More of it."""
        self._file.writeframes(pcm)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._out.close()
