"""Recorded speech for benches and evals: the folder that DUOLOGUE_SPEECH names, with its manifest."""

import json
import os
import sys
from pathlib import Path
from typing import Any, TypeVar

import av

HERE = Path(__file__).resolve().parent.parent
MANIFEST = "manifest.jsonl"

T = TypeVar("T")


def wanted() -> Path:
    """`DUOLOGUE_SPEECH`, by default ../shared/speech."""
    return Path(os.environ.get("DUOLOGUE_SPEECH", HERE.parent / "shared" / "speech"))


def is_missing(base: Path, program: str) -> bool:
    """Whether a folder holds no recordings; said so, for programs that can do nothing without."""
    if (base / MANIFEST).is_file():
        return False
    print(
        f"{program}: no recordings: {base} has no {MANIFEST}. Set DUOLOGUE_SPEECH to a folder that has "
        "one (tests/data has a few; its README says what is in a manifest).",
        file=sys.stderr,
    )
    return True


def folder() -> Path:
    """The folder that is wanted; where that is missing, the tests' few clips, said so."""
    base = wanted()
    if (base / MANIFEST).is_file():
        return base
    print(f"(there is no recorded speech at {base}: using the few clips of tests/data)")
    return HERE / "tests" / "data"


def manifest(base: Path) -> list[dict[str, Any]]:
    """What is known of each recording of a folder; `path` is where it lies."""
    lines = (base / MANIFEST).read_text(encoding="utf-8").splitlines()
    return [{**(record := json.loads(line)), "path": base / record["file"]} for line in lines]


def spread(recordings: list[T], limit: int) -> list[T]:
    """At most so many, from all over the list; 0 for all."""
    return recordings[:: max(1, -(-len(recordings) // limit)) if limit else 1]


def pick(kind: str, shortest_s: float, longest_s: float) -> Path:
    """The first recording of a kind with a length in this range."""
    for record in manifest(folder()):
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
