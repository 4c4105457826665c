"""What this server's engines take of memory: who they are, for whoever watches it."""

import os
from collections.abc import Iterator, Sequence

from duologue.app.parts import Part
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory import probe
from duologue.memory.watch import EngineUse


def cards(visible: str | None) -> list[str]:
    """The GPUs that may be used, a line each; or why there are none. Blocks while the driver answers."""
    looked = probe.look(visible)
    gpus = [
        f"GPU {gpu.index}: {gpu.name}, {gpu.free_mib} of {gpu.total_mib} MiB free"
        for gpu in looked.machine.gpus
    ]
    return gpus or [f"no GPU: {reason}" for reason in looked.reasons]


def in_use(parts: Sequence[Part]) -> list[EngineUse]:
    """Each engine that is up, once for each of its processes; those within the server carry its own number."""
    return [use for part in parts if part.state == "ready" for use in _uses(part)]


def _uses(part: Part) -> Iterator[EngineUse]:
    pids = part.pids or (os.getpid(),)
    for pid in pids:
        yield EngineUse(name=f"{part.role} {part.name}", pid=pid, card=_card(part))


def _card(part: Part) -> int | None:
    """The GPU that its name asks for; the first where it only asks for one."""
    rung = part.name.split(">")[getattr(part.place, "rung", 0)]
    try:
        place = Placement.parse(rung.partition(":")[2])
    except SetupError:
        return None
    return (place.number or 0) if place.device == "cuda" else None
