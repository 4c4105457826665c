"""What a process holds: bytes in use, to the byte, and resident pages.

Resident memory moves by megabytes while nothing is kept (pages that the allocator keeps for later), so a slope of
kilobytes an hour cannot be read off it. `mallinfo2` counts what was asked for and not given back, in all arenas; with
`PYTHONMALLOC=malloc` that is everything, Python's own objects, SQLite's pages and ONNX Runtime's tensors included.
It also counts what each thread keeps at hand of what was given back, unless it is told to keep nothing.
"""

import ctypes
import ctypes.util
import gc
import statistics
from dataclasses import dataclass, field

import psutil

KB, MB = 1_000, 1_000_000

ENVIRONMENT = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Of a process that is to be weighed."""


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_libc = ctypes.CDLL(ctypes.util.find_library("c"))
_libc.mallinfo2.restype = _Mallinfo2


def in_use() -> int:
    """Bytes that are allocated in this process."""
    info = _libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def resident() -> int:
    """Bytes of this process's pages in memory."""
    return int(psutil.Process().memory_info().rss)


@dataclass
class Scale:
    """One session's weight over its talk.

    Attributes:
        idle: what the process holds beside it; idle_resident: its pages.
        peak, peak_resident: most that was seen beyond that.
        kept: (seconds of talk, bytes beyond `idle` once what nobody wants is collected, how many of them are sound).
    """

    idle: int = 0
    idle_resident: int = 0
    peak: int = 0
    peak_resident: int = 0
    kept: list[tuple[float, int, int]] = field(default_factory=list)

    @classmethod
    def balanced(cls) -> "Scale":
        """With what the process holds now as nothing."""
        gc.collect()
        return cls(in_use(), resident())

    def look(self) -> None:
        """At the moment."""
        self.peak = max(self.peak, in_use() - self.idle)
        self.peak_resident = max(self.peak_resident, resident() - self.idle_resident)

    def weigh(self, talk_s: float, sound: int = 0) -> None:
        """What is kept after so much talk, and how much of it is sound by the session's own count."""
        gc.collect()
        self.kept.append((talk_s, in_use() - self.idle, sound))

    def slope_kb_per_hour(self, after_s: float) -> float:
        """Least squares over what was weighed after the warm-up, by the hour of talk.

        Sound is left out: it has a bound (4 MiB of what was said lately), is at it within minutes, and goes up and
        down below it by half an answer, which is more than what is looked for.
        """
        late = [
            (talk_s / 3_600, (kept - sound) / KB)
            for talk_s, kept, sound in self.kept
            if talk_s >= after_s
        ]
        if len(late) < 3:
            return float("nan")
        return float(statistics.linear_regression(*zip(*late, strict=True)).slope)
