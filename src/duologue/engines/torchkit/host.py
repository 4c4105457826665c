"""The machine that torch runs on, as far as torch does not describe it."""

import os
import platform
from pathlib import Path

MAX_THREADS = 16
"""Small models decode by reading their weights: some cores saturate the memory, more only wait for one another."""

MAX_CHARS = 240
"""Of what a library says, to be quoted."""

_CPU_FACTS = Path("/proc/cpuinfo")
_MEMORY_FACTS = Path("/proc/meminfo")
_DRIVER_FACTS = Path("/proc/driver/nvidia/version")


def memory_mib() -> tuple[int, int]:
    """The machine's memory, and what of it can be had (caches that give way counted in), in MiB."""
    facts = _fields(_MEMORY_FACTS)
    try:
        return int(facts["MemTotal"].split()[0]) // 1024, int(
            facts["MemAvailable"].split()[0]
        ) // 1024
    except (KeyError, ValueError, IndexError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        return total, total


def cpu_name() -> str:
    """As its maker calls it."""
    return _fields(_CPU_FACTS).get("model name", "") or platform.processor() or platform.machine()


def driver() -> str:
    """NVIDIA's kernel driver, on Linux; empty where there is none."""
    try:
        return _DRIVER_FACTS.read_text(errors="replace").partition("\n")[0].strip()
    except OSError:
        return ""


def first_line(error: object) -> str:
    """What a library says, to be quoted within a sentence."""
    text = (str(error).strip().splitlines() or [""])[0][:MAX_CHARS].rstrip(". ")
    return text or type(error).__name__


def _fields(path: Path) -> dict[str, str]:
    """ "key: value" lines; the first of each key."""
    fields: dict[str, str] = {}
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields
