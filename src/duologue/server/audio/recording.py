"""A file as stretches of speech: decoded, judged and cut in a worker thread, a block at a time.

The judge is a voice-activity model of the desk's own. Energy alone would be cheaper by a few milliseconds a
second of sound, but takes music and noise for speech, of which recognisers then make words. It is not the
conversations' own judge because a file comes two hundred times as fast as a conversation: an hour of it would
take ten seconds of the event loop.
"""

import threading
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from duologue.core.audio import WINDOW_SAMPLES
from duologue.ports import VoiceActivity
from duologue.server.audio.decode import Decoder
from duologue.server.audio.stretches import WINDOW_BYTES, Splitter, Stretch

BLOCK_MS = 5_000
"""Decoded at a time: a worker thread is held for some 40 ms, and 160 KB are in flight."""


class Judge:
    """A voice-activity model for worker threads: made at the first need, one call at a time.

    The model has a state a slot, which its calls share arrays for; a call takes a tenth of a millisecond.
    """

    def __init__(self, make: Callable[[], VoiceActivity]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._model: VoiceActivity | None = None

    def open(self) -> int:
        """A slot with fresh state."""
        with self._lock:
            if self._model is None:
                self._model = self._make()
            return self._model.open()

    def close_slot(self, slot: int) -> None:
        """Give the slot back."""
        with self._lock:
            assert self._model is not None
            self._model.close_slot(slot)

    def judge(self, slot: int, pcm: bytes) -> list[float]:
        """Probabilities of the windows of some sound; the last may be short."""
        missing = -len(pcm) % WINDOW_BYTES
        sound = np.frombuffer(pcm + bytes(missing), "<i2").astype(np.float32) / np.float32(32_768)
        odds: list[float] = []
        for window in sound.reshape(-1, 1, WINDOW_SAMPLES):
            with self._lock:
                assert self._model is not None
                odds += self._model.judge([slot], window)
        return odds


class Recording:
    """One file. `read` is called by one thread at a time; `close` may be called at any time, by any.

    Args:
        least_ms: see `Splitter`.

    Raises:
        Refusal: see `Decoder`.
    """

    def __init__(self, file: BinaryIO, judge: Judge, least_ms: int) -> None:
        self._judge = judge
        self._decoder = Decoder(file)
        self._splitter = Splitter(least_ms)
        self._slot: int | None = None
        self._rest = b""
        self._in_use = threading.Lock()
        self._is_closed = False

    @property
    def duration_ms(self) -> int:
        """Of what was read."""
        return self._decoder.duration_ms

    def read(self) -> list[Stretch] | None:
        """The stretches that end in the next block, often none; None after the last block.

        Raises:
            Refusal: the file is broken, empty, too short or too long.
        """
        try:
            with self._in_use:
                return None if self._is_closed else self._read()
        finally:
            if self._is_closed:
                self.close()

    def _read(self) -> list[Stretch] | None:
        if self._slot is None:
            self._slot = self._judge.open()
        pcm = self._decoder.read(BLOCK_MS)
        sound, self._rest = self._rest + pcm, b""
        if pcm:
            whole = len(sound) - len(sound) % WINDOW_BYTES
            sound, self._rest = sound[:whole], sound[whole:]
        stretches = list(self._splitter.push(self._judge.judge(self._slot, sound), sound))
        if pcm:
            return stretches
        if (last := self._splitter.finish()) is not None:
            stretches.append(last)
        return stretches or None

    def close(self) -> None:
        """Give back what it holds; if a thread reads, as soon as that has ended."""
        self._is_closed = True
        if self._in_use.acquire(blocking=False):
            try:
                self._decoder.close()
                if self._slot is not None:
                    self._judge.close_slot(self._slot)
                    self._slot = None
            finally:
                self._in_use.release()
