"""Memory that runs out on a GPU: kept within bounds, and told in the house's own words.

Torch keeps what it has once taken, in pieces that may be too small for the next need. Whoever starts the process of
a torch engine on a GPU sets `ALLOCATOR` in its environment: segments that grow leave fewer such pieces. It
must be there before torch is imported, so it cannot be set from here.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from duologue.core.errors import EngineError, EngineOutOfMemory
from duologue.core.oom import is_out_of_memory
from duologue.engines.torchkit.device import Device
from duologue.engines.torchkit.host import first_line

ALLOCATOR = ("PYTORCH_ALLOC_CONF", "expandable_segments:True")
"""A variable of the environment and its value (PyTorch's notes on CUDA, "Optimizing memory usage")."""


def limit(torch: Any, device: Device, mib: int) -> None:
    """Let torch take at most so much of a GPU's memory in this process; beyond, it runs out of memory at once.

    What CUDA itself takes for the process (its context, 300 to 500 MiB) is not counted in. Nothing on other devices.
    """
    if device.kind == "cuda" and device.total_mib:
        share = min(1.0, mib / device.total_mib)
        torch.cuda.set_per_process_memory_fraction(share, device.index)


def peak_mib(torch: Any, device: Device) -> int:
    """The most that torch has held of a GPU's memory in this process; 0 on other devices."""
    if device.kind != "cuda":
        return 0
    return int(torch.cuda.max_memory_reserved(device.index)) // 2**20


def release(torch: Any, device: Device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn a library's "out of memory" into ours; everything else passes as it is.

    Args:
        what: was done, for the message: "The language model was loaded".

    Raises:
        EngineOutOfMemory: memory ran out within.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise EngineOutOfMemory(
            "out_of_memory",
            f"{what}, and memory ran out: {first_line(error)}.",
            remedy="Use a smaller model or a lower precision, or give it more of the device's memory.",
        ) from error
