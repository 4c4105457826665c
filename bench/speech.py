"""Recorded speech for benches and evals: the folder that DUOLOGUE_SPEECH names, with its manifest."""

import json
import os
from pathlib import Path
from typing import Any

import av

HERE = Path(__file__).resolve().parent.parent


def folder() -> Path:
    """`DUOLOGUE_SPEECH`, by default ../shared/speech; where that is missing, the tests' few clips, said so."""
    wanted = Path(os.environ.get("DUOLOGUE_SPEECH", HERE.parent / "shared" / "speech"))
    if (wanted / "manifest.jsonl").is_file():
        return wanted
    print(f"(there is no recorded speech at {wanted}: using the few clips of tests/data)")
    return HERE / "tests" / "data"


def manifest() -> list[dict[str, Any]]:
    """What is known of each recording; `path` is where it lies."""
    base = folder()
    lines = (base / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**(record := json.loads(line)), "path": base / record["file"]} for line in lines]


def pick(kind: str, shortest_s: float, longest_s: float) -> Path:
    """The first recording of a kind with a length in this range."""
    for record in manifest():
        if record["kind"] == kind and shortest_s <= record["seconds"] <= longest_s:
            return Path(record["path"])
    raise SystemExit(f"no recording of kind {kind} with {shortest_s:g} to {longest_s:g} s")


def decode(path: Path, rate_hz: int) -> bytes:
    """Any audio file as mono 16-bit samples."""
    out = bytearray()
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
        for frame in [*container.decode(audio=0), None]:
            for part in resampler.resample(frame):
                out += bytes(part.planes[0])[: part.samples * 2]
    return bytes(out)
