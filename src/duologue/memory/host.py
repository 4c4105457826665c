"""The machine beside its graphics cards, as Linux tells it: memory and cores that are really ours, and what processes
hold.

A container sees the whole machine in /proc/meminfo and in its number of CPUs; what it may use is in its control
group, or in one above it. Elsewhere than on Linux only the number of cores is known.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

KIB_PER_MIB = 1_024
MIB = 1 << 20

UNLIMITED = 1 << 60
"""Version 1 writes "no limit" as a number near 2**63, in whole pages."""

PROCESSES_AT_MOST = 256
"""Of one tree: a limit for trees that grow while they are read."""


def available_mib(root: Path = Path("/")) -> int:
    """Memory that may still be taken without swapping; 0 where it is not known."""
    known = [_meminfo_kib(root / "proc/meminfo", "MemAvailable") // KIB_PER_MIB]
    known += [left // MIB for left in _groups_leave(root)]
    return max(0, min(known))


def cores(root: Path = Path("/")) -> int:
    """CPUs that this process may use: those it is bound to, or its group's quota if that is less; at least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([bound or 1, *(int(quota) for quota in _quotas(root))]))


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's own name; "CPU" where it is not known."""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return "CPU"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "CPU")


# --- control groups ---
def _groups_leave(root: Path) -> Iterator[int]:
    """Bytes that each group with a limit leaves, ours and those above it.

    Pages of files that were read and are no longer in use are given back before anything fails.
    """
    for place in _places(root, "", "sys/fs/cgroup"):
        limit, used = _number(place / "memory.max"), _number(place / "memory.current")
        if limit is not None and used is not None:
            yield limit - used + _stat(place / "memory.stat", "inactive_file")
    for place in _places(root, "memory", "sys/fs/cgroup/memory"):
        limit, used = (
            _number(place / "memory.limit_in_bytes"),
            _number(place / "memory.usage_in_bytes"),
        )
        if limit is not None and used is not None and limit < UNLIMITED:
            yield limit - used + _stat(place / "memory.stat", "total_inactive_file")


def _quotas(root: Path) -> Iterator[float]:
    for place in _places(root, "", "sys/fs/cgroup"):
        quota, _, period = _read(place / "cpu.max").partition(" ")
        if quota.isdecimal() and period.strip().isdecimal():
            yield int(quota) / int(period)
    for place in (
        *_places(root, "cpu", "sys/fs/cgroup/cpu"),
        *_places(root, "cpu", "sys/fs/cgroup/cpu,cpuacct"),
    ):
        allowed, period_us = (
            _number(place / "cpu.cfs_quota_us"),
            _number(place / "cpu.cfs_period_us"),
        )
        if allowed is not None and allowed > 0 and period_us:
            yield allowed / period_us


def _places(root: Path, controller: str, mount: str) -> Iterator[Path]:
    """Folders of our group for a controller (version 2 has none), and of those above it.

    In a container /proc may name the group as the host sees it, of which only the top is mounted here.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        place = root / mount / path.lstrip("/")
        while place != root / mount:
            if place.is_dir():
                yield place
            place = place.parent
        yield place


# --- processes ---
def tree(pid: int, root: Path = Path("/"), *, without: Collection[int] = ()) -> list[int]:
    """A process and all that came of it, as far as they live; empty if it is gone.

    Args:
        without: processes that are left out with all that came of them.
    """
    if not (root / "proc" / str(pid)).is_dir():
        return []
    found = [pid]
    for parent in found:
        for thread in (root / "proc" / str(parent) / "task").glob("*/children"):
            found += [child for child in map(int, _read(thread).split()) if child not in without]
        if len(found) > PROCESSES_AT_MOST:
            break
    return found


def resident_mib(pid: int, root: Path = Path("/")) -> float:
    """Memory that a process holds (RSS), with pages that it shares with others; 0 if it is gone."""
    return _meminfo_kib(root / "proc" / str(pid) / "status", "VmRSS") / KIB_PER_MIB


def peak_mib(pid: int, root: Path = Path("/")) -> float:
    """The most that a process held since it began, or since `forget_peak`; 0 if it is gone."""
    return _meminfo_kib(root / "proc" / str(pid) / "status", "VmHWM") / KIB_PER_MIB


def forget_peak(pid: int, root: Path = Path("/")) -> None:
    """Let `peak_mib` begin anew: 5 in clear_refs (proc(5), since Linux 4.0). Where it may not, it goes on."""
    with suppress(OSError):
        (root / "proc" / str(pid) / "clear_refs").write_text("5")


def commands(root: Path = Path("/")) -> Iterator[tuple[int, list[str]]]:
    """Every process that can be looked at, with its command line."""
    for place in (root / "proc").glob("[0-9]*"):
        if words := [word for word in _read(place / "cmdline").split("\0") if word]:
            yield int(place.name), words


# --- files of numbers ---
def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    """The number that a file is; None if there is none, as for "max"."""
    text = _read(file).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _meminfo_kib(file: Path, name: str) -> int:
    """A line "Name:   123 kB"; 0 where it is missing."""
    for line in _read(file).splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _stat(file: Path, name: str) -> int:
    """A line "name 123"; 0 where it is missing."""
    for line in _read(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
