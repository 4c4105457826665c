"""Voice activity by Silero's ONNX model, batched over streams, state in slots.

The model takes 512 new samples after 64 of context, and a state of [2, N, 128]; one ONNX Runtime session
serves all streams, with one thread, for a thread pool's wake-ups cost more than the model.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import WINDOW_SAMPLES
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import AtCapacity
from duologue.engines.base import Engine, EngineSpec
from duologue.engines.onnx import open_model

CONTEXT = 64
STATE = 128
MAX_SLOTS = 4_096
"""Sessions of one process; a slot is 1.3 KiB."""


class Silero(Engine):
    """See `ports.VoiceActivity`.

    Args:
        path: of the ONNX file; empty for the one that came with the package.
    """

    def __init__(self, path: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self._path = Path(path) if path else Path(str(files("duologue") / "assets/silero_vad.onnx"))
        self._session: Any = None
        self._state = np.zeros((2, 0, STATE), np.float32)
        self._context = np.zeros((0, CONTEXT), np.float32)
        self._free: list[int] = []
        self._rate = np.array(16_000, np.int64)

    def load(self) -> None:
        """Open the model.

        Raises:
            EngineUnavailable: ONNX Runtime or the file is not there.
        """
        self._session = open_model(
            self._path,
            without="Speech cannot be detected",
            code="vad_model_missing",
            remedy="Run `make setup`, or `python hatch_build.py` in a checkout.",
            keeps_memory=False,
        )

    def warm_up(self) -> None:
        """Run the shapes that sessions will ask for."""
        for batch in (1, 2, 16):
            slots = [self.open() for _ in range(batch)]
            for _ in range(3):
                self.judge(slots, np.zeros((batch, WINDOW_SAMPLES), np.float32))
            for slot in slots:
                self.close_slot(slot)

    def open(self) -> int:
        """A slot with fresh state.

        Raises:
            AtCapacity: there are `MAX_SLOTS` already.
        """
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._state[:, slot] = 0
        self._context[slot] = 0
        return slot

    def close_slot(self, slot: int) -> None:
        """Give the slot back."""
        self._free.append(slot)

    def judge(self, slots: Sequence[int], windows: NDArray[np.float32]) -> Sequence[float]:
        """Speech probabilities; see `ports.VoiceActivity.judge`."""
        at = np.asarray(slots)
        sound = np.concatenate((self._context[at], windows), axis=1)
        feeds = {"input": sound, "state": self._state[:, at], "sr": self._rate}
        verdicts, state = self._session.run(None, feeds)
        self._state[:, at] = state
        self._context[at] = windows[:, -CONTEXT:]
        probabilities: list[float] = verdicts.ravel().tolist()
        return probabilities

    def _grow(self) -> None:
        have = len(self._context)
        if have >= MAX_SLOTS:
            raise AtCapacity(
                "vad_at_capacity", f"All {MAX_SLOTS} sessions of this process are taken."
            )
        more = max(16, have)
        self._state = np.concatenate((self._state, np.zeros((2, more, STATE), np.float32)), axis=1)
        self._context = np.concatenate((self._context, np.zeros((more, CONTEXT), np.float32)))
        self._free.extend(range(have + more - 1, have - 1, -1))


SPEC = EngineSpec(
    "silero",
    Role.VAD,
    Capabilities(rate_hz=16_000, max_streams=MAX_SLOTS, ram_mib=30),
    Silero,
    about="Silero VAD v6 (MIT) on ONNX Runtime",
)
