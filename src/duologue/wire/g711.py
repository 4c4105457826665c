"""G.711: telephone sound, one byte a sample at 8 kHz, by tables made of the standard's own formulas."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["pcmu", "pcma"]

_BIAS = 132
"""Added to a magnitude before its µ-law segment is looked for (G.711, at 16 bits)."""


def _decode_mu() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = ((mantissa << 3) + _BIAS << exponent) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _decode_a() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = (mantissa << 4) + np.where(exponent > 0, 264, 8) << np.maximum(exponent - 1, 0)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _encode(decoded: NDArray[np.int16]) -> NDArray[np.uint8]:
    """For each 16-bit sample the code whose value is nearest."""
    order = np.argsort(decoded, kind="stable")
    values = decoded[order].astype(np.int32)
    samples = np.arange(-32_768, 32_768, dtype=np.int32)
    above = np.searchsorted(values, samples).clip(1, len(values) - 1)
    nearer_below = samples - values[above - 1] <= values[above] - samples
    return order[np.where(nearer_below, above - 1, above)].astype(np.uint8)


_DECODED = {"pcmu": _decode_mu(), "pcma": _decode_a()}
_CODES = {law: np.roll(_encode(table), -32_768) for law, table in _DECODED.items()}
"""Indexed by the sample's bits read as unsigned."""


def decode(data: bytes, law: Law) -> bytes:
    """Codes to 16-bit samples."""
    return _DECODED[law][np.frombuffer(data, np.uint8)].astype("<i2").tobytes()


def encode(pcm: bytes, law: Law) -> bytes:
    """16-bit samples to codes, each the nearest there is."""
    return bytes(_CODES[law][np.frombuffer(pcm, "<u2")])
