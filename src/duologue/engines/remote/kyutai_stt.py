"""Recognition by Kyutai's moshi-server: streaming, English and French, with word times.

    --stt "kyutai-stt:ws://box:8080"
    --stt "kyutai-stt:ws://box:8080?delay_s=2.5"       the 2.6b model, which hears 2.5 s ahead of its words

The model's words come a fixed delay after their sound, as sound after them pushes them out. At a flush nobody wants
to wait for that: so silence is sent, as much as the delay and faster than time, and a marker whose echo says that all
before it has been transcribed. Kyutai calls this the flush trick; the server works as fast as it can. What is said
after a flush follows the silence on the same connection.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duologue.core.audio import STREAM, AudioFrame, ms_to_samples, samples_to_ms
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineRefused
from duologue.engines import base
from duologue.engines.base import EngineSpec, NativeEngine
from duologue.engines.loading import run_apart
from duologue.engines.remote import moshi
from duologue.engines.remote.place import MAX_STREAMS, Place, parse
from duologue.engines.remote.stream import RemoteStream, finished
from duologue.ports import Final, Partial, StreamOptions, SttOptions, Word

PATH = "/api/asr-streaming"

DELAY_S = 0.5
"""Of the model stt-1b-en_fr (its model card; unmute's `STT_DELAY_SEC`)."""

FRAMES_BEFORE = 2
"""Of silence ahead of a marker: one that ends the frame in hand, and one for a last word of several tokens."""

FRAMES_AFTER = 2
"""Beyond the delay: the server counts its steps for all of its clients, and one may pass without us."""

LAST_WORD_MS = 500
"""Taken for the length of an utterance's last word, whose end the server does not tell in time."""

MAX_UNTAKEN = 1_024
"""Words and finals that nobody has taken."""

MAX_JOINTS = 1_000
"""Places remembered at which silence was put in or sound left out; older ones are given up."""

_OPTIONS = ("delay_s", "lead_s")


class KyutaiStt(NativeEngine):
    """See the module.

    Args:
        argument: URL[?delay_s=0.5&lead_s=…&streams=N]. `lead_s` is silence ahead of all sound, of which the 2.6b
            model needs a second (kyutai-labs/delayed-streams-modeling, transcribe_from_file_via_rust_server.py).
    """

    def __init__(self, argument: str = "", *, patience: moshi.Patience | None = None) -> None:
        self._place = parse(argument, Role.STT, _OPTIONS)
        self._delay_s = self._place.number("delay_s", DELAY_S)
        lead_s = self._place.number("lead_s", 1.0) if "lead_s" in self._place.options else 0.0
        self._lead_frames = math.ceil(lead_s * 1000 / moshi.FRAME_MS)
        self._patience = patience or moshi.Patience()
        self.capabilities = replace(SPEC.capabilities, max_streams=self._place.streams)

    def load(self) -> None:
        """Load what is needed here; the server is asked by `warm_up`."""
        import soxr  # noqa: F401
        import websockets.asyncio.client  # noqa: F401

    def warm_up(self) -> None:
        """Have a second of silence transcribed. Blocks.

        Raises:
            EngineError: nobody answers there, or the server refuses.
        """
        run_apart(self._hear_silence())

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        """A stream for one utterance."""
        assert isinstance(options, SttOptions)
        after = math.ceil(self._delay_s * 1000 / moshi.FRAME_MS) + FRAMES_AFTER
        return _Stream(self._place, options, self._patience, self._lead_frames, after)

    async def _hear_silence(self) -> None:
        stream = self.open("", SttOptions())
        await finished(stream, AudioFrame(bytes(2 * STREAM.rate_hz), 0))


@dataclass(frozen=True, slots=True)
class _Owed:
    """A flush. `marker` is None where nothing was said since the one before."""

    flush_id: int
    upto: int
    marker: int | None


class _Stream(RemoteStream):
    """One utterance."""

    def __init__(
        self,
        place: Place,
        options: SttOptions,
        patience: moshi.Patience,
        lead_frames: int,
        frames_after: int,
    ) -> None:
        super().__init__("kyutai-stt", STREAM.rate_hz, MAX_UNTAKEN)
        self._place = place
        self._options = options
        self._patience = patience
        self._lead_frames = lead_frames
        self._frames_after = frames_after
        self._clock = SessionClock()
        self._feed = _Feed()
        self._owed: deque[_Owed] = deque()
        self._markers = 0
        self._upto = 0
        self._has_sound = False  # since the last flush
        self._words: list[Word] = []
        self._is_ended = False  # the last of them
        self._settled = asyncio.Event()

    async def _work(self) -> None:
        if self._options.task == "translate":
            raise EngineRefused(
                "stt_translation_not_supported",
                f"{self._place.server.name} transcribes, and translates nothing.",
            )
        async with (
            moshi.connected(self._place, PATH, {}, self._patience) as socket,
            asyncio.TaskGroup() as tasks,
        ):
            hearing = tasks.create_task(self._hear(socket), name="kyutai-stt-hearing")
            await self._silence(socket, self._lead_frames)
            while (item := await self._take()) is not None:
                if isinstance(item, base.Flush):
                    await self._finish(socket, item.id)
                else:
                    await self._send(socket, item)
            while self._owed:
                self._settled.clear()
                await self._settled.wait()
            hearing.cancel()

    # --- there ---
    async def _send(self, socket: moshi.Socket, frame: AudioFrame) -> None:
        self._has_sound = True
        self._upto = frame.end
        self._clock.sound(frame.start, frame.end - frame.start)
        for message in self._feed.push(frame.pcm):
            await socket.send(message)

    async def _silence(self, socket: moshi.Socket, frames: int) -> None:
        samples = ms_to_samples(frames * moshi.FRAME_MS)
        self._clock.silence(samples)
        for message in self._feed.push(bytes(2 * samples)):
            await socket.send(message)

    async def _finish(self, socket: moshi.Socket, flush_id: int) -> None:
        if not self._has_sound:
            self._owed.append(_Owed(flush_id, self._upto, None))
            if len(self._owed) == 1:
                await self._answer(None)
            return
        self._has_sound = False
        self._markers += 1
        self._owed.append(_Owed(flush_id, self._upto, self._markers))
        marker = moshi.encode({"type": "Marker", "id": self._markers})
        await self._silence(socket, FRAMES_BEFORE)
        await socket.send(marker)
        await self._silence(socket, self._frames_after)

    # --- and back ---
    async def _hear(self, socket: moshi.Socket) -> None:
        while True:
            match await socket.receive():
                case moshi.Word(text=text, start_time=start_s):
                    await self._heard(text.strip(), start_s)
                case moshi.EndWord(stop_time=stop_s):
                    self._ended(self._clock.ms(stop_s))
                case moshi.Marker(id=marker):
                    await self._answer(marker)
                case None:
                    raise socket.broke_off()
                case _:
                    pass

    async def _heard(self, text: str, start_s: float) -> None:
        if text:
            start_ms = self._clock.ms(start_s)
            self._words.append(Word(text, start_ms, start_ms))
            self._is_ended = False
            await self._emit(Partial(self._text()))

    def _ended(self, end_ms: int) -> None:
        if self._words and not self._is_ended:
            word, self._is_ended = self._words[-1], True
            self._words[-1] = Word(word.text, word.start_ms, max(word.start_ms, end_ms))

    async def _answer(self, marker: int | None) -> None:
        """A marker came back; answer its flush, and those after it that had nothing to wait for."""
        while self._owed and self._owed[0].marker in (marker, None):
            owed = self._owed.popleft()
            if (
                self._words and not self._is_ended
            ):  # the server tells an end as the next word begins
                last_ms = self._words[-1].start_ms + LAST_WORD_MS
                self._ended(min(last_ms, samples_to_ms(owed.upto)))
            words = tuple(self._words) if self._options.word_times else ()
            final = Final(owed.flush_id, owed.upto, self._text(), words)
            self._words.clear()
            await self._emit(final)
        self._settled.set()

    def _text(self) -> str:
        return " ".join(word.text for word in self._words)


class _Feed:
    """Sound of the session, cut and packed as the server wants it."""

    def __init__(self) -> None:
        import soxr

        self._resampler: Any = soxr.ResampleStream(STREAM.rate_hz, moshi.RATE_HZ, 1, "float32")
        self._held = np.zeros(0, np.float32)

    def push(self, pcm: bytes) -> list[bytes]:
        """More of it; the messages that are whole."""
        sound = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)
        held = np.concatenate((self._held, self._resampler.resample_chunk(sound)))
        whole = len(held) - len(held) % moshi.FRAME_SAMPLES
        self._held = held[whole:]
        frames = held[:whole].reshape(-1, moshi.FRAME_SAMPLES)
        return [moshi.audio_message(frame) for frame in frames]


class SessionClock:
    """From the seconds that the server counts, our silence among them, to the session's stream."""

    def __init__(self) -> None:
        self._sent = 0
        self._begin = 0  # of the first sound on the session's stream
        self._has_begun = False
        self._joints: deque[tuple[int, int, bool]] = deque(maxlen=MAX_JOINTS)

    def sound(self, start: int, samples: int) -> None:
        """The next to be sent was taken from here."""
        if not self._has_begun:
            self._has_begun, self._begin = True, start
        if not self._joints or self._joints[-1][2] or self._at(self._sent) != start:
            self._joints.append((self._sent, start, False))
        self._sent += samples

    def silence(self, samples: int) -> None:
        """The next to be sent is ours."""
        self._joints.append((self._sent, self._at(self._sent), True))
        self._sent += samples

    def ms(self, seconds: float) -> int:
        """A moment of the server's as milliseconds of the session's stream."""
        sample = round(seconds * STREAM.rate_hz)
        at = self._at(max(0, min(sample, self._sent)))
        return samples_to_ms(max(at, self._begin))

    def _at(self, sample: int) -> int:
        for first, position, is_silence in reversed(self._joints):
            if first <= sample:
                return position if is_silence else position + sample - first
        return self._joints[0][1] if self._joints else 0


SPEC = EngineSpec(
    "kyutai-stt",
    Role.STT,
    Capabilities(languages=("en", "fr"), word_times=True, max_streams=MAX_STREAMS),
    KyutaiStt,
    about="Kyutai's streaming recogniser on a moshi-server",
)
