"""Speech probability for all sessions at once: one batch every few milliseconds, on the event loop.

A model call costs as much for sixteen windows as for two, and an executor hop more than either; so the
windows that came in within `GATHER_MS` are judged together, inline, and never more than `BUDGET_MS` at a
time. Windows in which there is nothing at all are not shown to the model while nobody speaks.
"""

import asyncio
from typing import Protocol

import numpy as np

from duologue.core.audio import WINDOW_SAMPLES
from duologue.core.speech import HUSHED_RMS
from duologue.ports import Clock, VoiceActivity

GATHER_MS = 5.0
"""How long the first window of a batch waits for the others, at most."""

GATHER_MS_PER_INPUT = 0.25
"""With few inputs open there is nobody to wait for: twenty of them are worth the whole wait."""

BUDGET_MS = 2.0
"""Longest stretch of the event loop that one batch may take; the rest waits for the next turn of the loop."""


class Heard(Protocol):
    """One input that has windows to judge."""

    slot: int

    def next_window(self) -> bytes | None:
        """The next window, if there is a whole one."""

    def may_skip(self) -> bool:
        """Whether a window without any sound in it may be called silence unseen."""

    def judged(self, probability: float, power: float) -> None:
        """The verdict on the window last given out, and its power (sum of squares). Must not raise."""


class Hearing:
    """The ears' shared judgement.

    Attributes:
        windows: judged so far; `skipped` of them without the model.
    """

    def __init__(self, vad: VoiceActivity, clock: Clock) -> None:
        self.vad = vad
        self._clock = clock
        self._waiting: dict[Heard, None] = {}
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._inputs = 0
        self.windows = 0
        self.skipped = 0

    def admit(self) -> int:
        """A new input; returns its slot in the model."""
        slot = self.vad.open()
        self._inputs += 1
        return slot

    def notice(self, who: Heard) -> None:
        """This one has something to judge: look at it within `GATHER_MS`."""
        self._waiting[who] = None
        if self._timer is None:
            wait_ms = min(GATHER_MS, GATHER_MS_PER_INPUT * self._inputs)
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._on_timer)

    def dismiss(self, who: Heard) -> None:
        """This one is gone."""
        self._waiting.pop(who, None)
        self._inputs -= 1
        self.vad.close_slot(who.slot)

    def close(self) -> None:
        """Judge nothing any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def judge_waiting(self) -> bool:
        """Judge for at most the budget; True if everything is done."""
        started = self._clock()
        while batch := self._next_batch():
            self._judge(batch)
            if self._clock() - started > BUDGET_MS:
                break
        return not self._waiting

    def _on_timer(self) -> None:
        self._timer = None
        if not self.judge_waiting():
            self._timer = asyncio.get_running_loop().call_soon(self._on_timer)

    def _next_batch(self) -> list[tuple[Heard, bytes]]:
        batch = []
        for who in list(self._waiting):
            if (window := who.next_window()) is None:
                del self._waiting[who]
            else:
                batch.append((who, window))
        return batch

    def _judge(self, batch: list[tuple[Heard, bytes]]) -> None:
        self.windows += len(batch)
        pcm = np.frombuffer(b"".join([window for _, window in batch]), np.int16)
        sound = pcm.reshape(-1, WINDOW_SAMPLES).astype(np.float32)
        power = np.einsum("ij,ij->i", sound, sound)
        hushed = (power < WINDOW_SAMPLES * HUSHED_RMS**2).tolist()
        shown = [at for at, (who, _) in enumerate(batch) if not (hushed[at] and who.may_skip())]
        self.skipped += len(batch) - len(shown)
        verdicts = [0.0] * len(batch)
        if shown:
            sound *= 1 / 32768
            slots = [batch[at][0].slot for at in shown]
            picked = sound if len(shown) == len(batch) else sound[shown]
            for at, verdict in zip(shown, self.vad.judge(slots, picked), strict=True):
                verdicts[at] = verdict
        for (who, _), verdict, loud in zip(batch, verdicts, power.tolist(), strict=True):
            who.judged(verdict, loud)
