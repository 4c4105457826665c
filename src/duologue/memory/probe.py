"""What this machine has: asked of NVIDIA's driver and of Linux."""

from dataclasses import dataclass
from pathlib import Path

from duologue.memory import host, nvml
from duologue.memory.machine import Gpu, Machine
from duologue.memory.nvml import Card, Nvml, NvmlUnavailable

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen.

    Attributes:
        reasons: why there are fewer cards than one might think; a sentence each, for a person.
        driver: version of NVIDIA's driver; empty where there is none.
        cards: those of the machine's `gpus`, in the same order, with all that NVML says of them.
    """

    machine: Machine
    reasons: tuple[str, ...] = ()
    driver: str = ""
    cards: tuple[Card, ...] = ()


def machine(visible: str | None = None) -> Machine:
    """This machine, with what is free now. See `look`."""
    return look(visible).machine


def look(visible: str | None = None, root: Path = ROOT) -> Looked:
    """This machine, with what is free now. Never fails: what cannot be asked is not there, and the reason is kept.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set. Cards are numbered as CUDA will number them.
        root: where /proc and /sys are.
    """
    driver, cards, reasons = "", list[Card](), list[str]()
    try:
        with Nvml() as asked:
            driver, found = asked.driver, asked.cards()
        cards, said = nvml.visible(found, visible)
        if said and len(cards) < len(found):
            reasons.append(said)
        if not found:
            reasons.append("the NVIDIA driver runs and has no card")
    except NvmlUnavailable as error:
        reasons.append(nvml.why_none(error, root))
    gpus = tuple(gpu(card, index) for index, card in enumerate(cards))
    seen = Machine(gpus, host.available_mib(root), host.cores(root))
    return Looked(seen, tuple(reasons), driver, tuple(cards))


def gpu(card: Card, index: int) -> Gpu:
    """A card as the planner takes it, under the index by which CUDA knows it here."""
    return Gpu(index, card.name, card.total_mib, card.free_mib, card.capability)
