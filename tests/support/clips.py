"""The recorded clips in tests/data, as samples."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

DATA = Path(__file__).parent.parent / "data"


@lru_cache(maxsize=64)
def clip(name: str, rate_hz: int = 24_000) -> bytes:
    """A clip of tests/data as mono 16-bit samples."""
    return decode(DATA / name, rate_hz)


def decode(path: Path, rate_hz: int) -> bytes:
    """Any audio file as mono 16-bit samples."""
    out = bytearray()
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        for frame in [*container.decode(audio=0), None]:
            for part in resampler.resample(frame):
                out += bytes(part.planes[0])[: part.samples * 2]
    return bytes(out)


def manifest() -> list[dict[str, Any]]:
    """What is known of each clip."""
    return [json.loads(line) for line in (DATA / "manifest.jsonl").read_text().splitlines()]


def silence(ms: int, rate_hz: int = 24_000) -> bytes:
    """Digital silence."""
    return bytes(rate_hz * ms // 1000 * 2)
