"""The recordings of a folder with a manifest, by kind and index and never by name; decoded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench import speech
from bench.turns.reference import Pcm
from duologue.core.audio import STREAM

NOT_SPEECH = ("noise", "rir")


@dataclass(frozen=True)
class Recording:
    """One of the manifest's."""

    file: str
    kind: str
    lang: str
    speaker: str
    path: Path
    seconds: float

    def pcm(self) -> Pcm:
        """Its samples; read-only, and the same array each time."""
        return _decoded(self.path)


@lru_cache(maxsize=1024)
def _decoded(path: Path) -> Pcm:
    return np.frombuffer(speech.decode(path, STREAM.rate_hz), np.int16)


class Library:
    """All of a folder."""

    def __init__(self, folder: Path) -> None:
        entries = speech.manifest(folder)
        self.folder = folder
        self.speech = [_recording(e) for e in entries if _is_one_speaker(e)]
        self.noise = [_recording(e) for e in entries if e["kind"] == "noise"]
        self.rooms = [_recording(e) for e in entries if e["kind"] == "rir"]

    def whole(self, limit: int = 0) -> list[Recording]:
        """A single person speaking, in any language; at most so many of a kind, from all over it."""
        chosen: list[Recording] = []
        for found in self.by_kind().values():
            chosen += speech.spread(list(found), limit)
        return chosen

    def by_kind(self) -> Mapping[str, Sequence[Recording]]:
        """Speech by kind, in the manifest's order."""
        kinds: dict[str, list[Recording]] = {}
        for recording in self.speech:
            kinds.setdefault(recording.kind, []).append(recording)
        return {kind: list(found) for kind, found in kinds.items()}

    def pick(self, kind: str, index: int, shortest_s: float = 0, longest_s: float = 0) -> Recording:
        """The recording of a kind, counted round; of any kind where there is none of that length in this one.

        Raises:
            LookupError: the folder has no such speech at all.
        """
        for found in (self.by_kind().get(kind, ()), self.speech):
            fitting = [
                r
                for r in found
                if shortest_s <= r.seconds and (not longest_s or r.seconds <= longest_s)
            ]
            if fitting:
                return fitting[index % len(fitting)]
        if not self.speech:
            raise LookupError(f"{self.folder} has no recording of a single speaker")
        return min(self.speech, key=lambda r: abs(r.seconds - (shortest_s + longest_s) / 2))


def _is_one_speaker(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("speaker")) and not entry.get("turns") and entry["kind"] not in NOT_SPEECH


def _recording(entry: Mapping[str, Any]) -> Recording:
    return Recording(
        entry["file"],
        entry["kind"],
        entry.get("lang") or "",
        entry.get("speaker") or "",
        Path(entry["path"]),
        float(entry["seconds"]),
    )
