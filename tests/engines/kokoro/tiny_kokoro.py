"""A Kokoro model of tones: its network and some voices, in the layout of kokoro-onnx."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.engines.voices import tone_onnx

VOICES = {"af_heart": 1.0, "am_michael": 1.25, "bf_emma": 1.5, "ff_siwis": 0.75, "jf_alpha": 1.0}
"""How long the symbols of each are."""


def style(pace: float) -> NDArray[np.float32]:
    rows = np.zeros((510, 1, 256), np.float32)
    rows[..., 0], rows[..., 1] = 1.0, pace
    return rows


def make(folder: Path, **network: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tone_onnx.kokoro(folder / "kokoro-v1.0.onnx", **network)
    with (folder / "voices-v1.0.bin").open("wb") as file:
        styles: dict[str, Any] = {name: style(pace) for name, pace in VOICES.items()}
        np.savez(file, **styles)
    return folder
