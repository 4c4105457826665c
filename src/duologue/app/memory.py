"""What this server's engines take of memory: who they are, for whoever watches it."""

import os
from collections.abc import Iterator, Sequence

from duologue.app.parts import Part
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory import planned, probe
from duologue.memory.watch import EngineUse

SERVER = "server"


def cards(visible: str | None) -> list[str]:
    """The GPUs that may be used, a line each; or why there are none. Blocks while the driver answers."""
    looked = probe.look(visible)
    gpus = [
        f"GPU {gpu.index}: {gpu.name}, {gpu.free_mib} of {gpu.total_mib} MiB free"
        for gpu in looked.machine.gpus
    ]
    return gpus or [f"no GPU: {reason}" for reason in looked.reasons]


def in_use(parts: Sequence[Part]) -> list[EngineUse]:
    """The server, with all that lives in it; each process of an engine that is up, and each engine on a card."""
    server = EngineUse(name=SERVER, pid=os.getpid())
    return [server, *(use for part in parts if part.state == "ready" for use in _uses(part))]


def _uses(part: Part) -> Iterator[EngineUse]:
    rung, name = _rung(part), f"{part.role}:{part.name}"
    card = _card(rung)
    plan = planned.on_card(rung, max(1, part.pool.streams if part.pool is not None else 1))
    pids = part.pids or ((os.getpid(),) if card is not None else ())
    for number, pid in enumerate(pids, 1):
        yield EngineUse(
            name=f"{name} {number}" if len(pids) > 1 else name,
            pid=pid,
            card=card,
            planned_mib=plan.gpu_mib if plan is not None else None,
            context_mib=plan.context_mib if plan is not None else None,
            kv_mib=(plan.kv_mib or None) if plan is not None else None,
        )


def _rung(part: Part) -> str:
    """The name of the form in which it runs now."""
    return part.name.split(">")[getattr(part.place, "rung", 0)].strip()


def _card(rung: str) -> int | None:
    """The GPU that its name asks for; the first where it only asks for one."""
    try:
        place = Placement.parse(rung.partition(":")[2])
    except SetupError:
        return None
    return (place.number or 0) if place.device == "cuda" else None
