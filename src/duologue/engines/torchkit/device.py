"""Where a torch engine runs: CUDA before MPS before the CPU, and only where a sum comes out right.

A GPU that can be seen is not yet one that computes: its driver may be too old, torch may have no kernels for
its generation, others may have taken its memory, Metal may lack an operation. So each device is given a small
product of matrices to do, whose result is known, and the first that gives it is the engine's. Each engine asks
for itself: what suits one library need not suit another.

`ranked` and `settled` decide from plain facts; only `visible` and `prove` touch torch.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from duologue.core.errors import EngineError, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import is_out_of_memory
from duologue.core.placement import Placement
from duologue.engines.cores import spare_cores
from duologue.engines.torchkit import host

log = logging.getLogger("duologue.engines")

MIB = 1024 * 1024

PROOF_SIZE = 64
"""Rows and columns of the matrices: enough for a real kernel, nothing to wait for."""

_KINDS = ("cuda", "mps", "cpu")
"""Best first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A device as torch describes it, before anything is computed there.

    Attributes:
        device: torch's name of it: "cuda:0", "mps", "cpu"; of a kind that is not there at all: "cuda", "mps".
        capability: of CUDA; (0, 0) elsewhere.
        trouble: why it need not be tried; empty if nothing is known against it.
    """

    device: str
    name: str = ""
    total_mib: int = 0
    capability: tuple[int, int] = (0, 0)
    trouble: str = ""

    @property
    def kind(self) -> str:
        """ "cuda", "mps" or "cpu"."""
        return self.device.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Device:
    """A device that has been seen to compute.

    Attributes:
        device: what torch takes: "cuda:1", "mps", "cpu".
        name: as its maker calls it.
        total_mib: its memory; of the CPU: the machine's.
        free_mib: of that, what nobody had taken when it was tried.
        capability: of CUDA, (8, 0) for instance; (0, 0) elsewhere.
        threads: for a CPU, how many it may use; 0 elsewhere.
        why: a line for each device that was looked at, and the reason where it was rejected.
    """

    device: str
    name: str
    total_mib: int
    free_mib: int
    capability: tuple[int, int] = (0, 0)
    threads: int = 0
    why: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """ "cuda", "mps" or "cpu"."""
        return self.device.partition(":")[0]

    @property
    def index(self) -> int:
        """Of a GPU among those that torch sees; 0 elsewhere."""
        return int(self.device.partition(":")[2] or 0)

    def __str__(self) -> str:
        return f"{self.device} ({self.name}, {self.free_mib} of {self.total_mib} MiB free)"


def find(placement: Placement) -> Device:
    """The best device that works, among those that the placement allows. Blocks; logs what it found.

    On the CPU, the number of threads that torch uses is set, which holds for the whole process.

    Raises:
        EngineUnavailable: torch is not installed, or no device that is allowed computes; names each one's cause.
        EngineOutOfMemory: the one device that was asked for works, and its memory is taken.
    """
    torch = library()
    device = settled(ranked(visible(torch), placement), lambda seen: prove(torch, seen), placement)
    if device.kind == "cpu":
        device = replace(device, threads=placement.number or spare_cores(host.MAX_THREADS))
        torch.set_num_threads(device.threads)
    for line in device.why:
        log.info("= %s", line)
    return device


def library() -> Any:
    """The module `torch`.

    Raises:
        EngineUnavailable: it is not installed, or not whole.
    """
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that it needs cannot be mapped
        raise EngineUnavailable(
            "torch_missing",
            f"The engine needs PyTorch, which cannot be imported: {error}.",
            remedy="Run `make setup EXTRAS=transformers`, or `pip install 'duologue[transformers]'`.",
        ) from error
    return torch


# --- decided from facts ---
def ranked(seen: Sequence[Seen], placement: Placement) -> tuple[Seen, ...]:
    """The devices that the placement allows, in the order in which they are to be tried.

    GPUs of one machine are tried by their number, as CUDA_VISIBLE_DEVICES and the planner count them.
    """
    allowed = [one for one in seen if placement.device in ("", one.kind)]
    if placement.device in ("cuda", "mps") and placement.number is not None:
        wanted = f"{placement.device}:{placement.number}"
        allowed = [one for one in allowed if one.device in (wanted, placement.device)] or [
            Seen(wanted, trouble=f"there is no such GPU; torch sees {_listed(allowed)}")
        ]
    return tuple(sorted(allowed, key=lambda one: _KINDS.index(one.kind)))


def settled(
    candidates: Sequence[Seen], prove: Callable[[Seen], int], placement: Placement
) -> Device:
    """The first candidate that computes.

    Args:
        candidates: see `ranked`.
        prove: has a device compute, and returns its free memory in MiB; raises what the library raises.

    Raises:
        EngineUnavailable, EngineOutOfMemory: see `find`.
    """
    why: list[str] = []
    last: BaseException | None = None
    for seen in candidates:
        trouble = seen.trouble
        if not trouble:
            try:
                free_mib = prove(seen)
            except Exception as error:  # noqa: BLE001 - drivers fail in every way; the next device may work
                last, trouble = error, f"it cannot compute: {host.first_line(error)}"
            else:
                why.append(f"{seen.device} works: {seen.name}, {free_mib} MiB free")
                return Device(
                    seen.device, seen.name, seen.total_mib, free_mib, seen.capability, 0, tuple(why)
                )
        why.append(f"{seen.device} is not used: {trouble}")
    raise _none(placement, why, last) from last


def _none(placement: Placement, why: Sequence[str], last: BaseException | None) -> EngineError:
    asked: str = placement.device or "any device"
    if placement.number is not None and placement.device in ("cuda", "mps"):
        asked = f"{asked}:{placement.number}"
    message = f"The engine cannot run on {asked}: {'; '.join(why) or 'torch knows none'}."
    if last is not None and is_out_of_memory(last):
        return EngineOutOfMemory(
            "device_full",
            message,
            remedy="Free some of its memory, choose another device, or leave @cuda out.",
        )
    remedy = "Leave the device out to use the best that works, or write @cpu."
    if placement.device == "cpu":
        remedy = "Install PyTorch again: it cannot compute on this CPU."
    return EngineUnavailable("device_unusable", message, remedy=remedy)


def _listed(seen: Sequence[Seen]) -> str:
    return ", ".join(one.device for one in seen if not one.trouble) or "none"


# --- what torch says ---
def visible(torch: Any) -> list[Seen]:
    """The devices of this machine, and of each kind that is missing the reason; the CPU last."""
    return [*_cuda(torch), *_mps(torch), Seen("cpu", host.cpu_name(), host.memory_mib()[0])]


def _cuda(torch: Any) -> list[Seen]:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return [Seen("cuda", trouble="this build of torch is for CPUs")]
    with warnings.catch_warnings(
        record=True
    ) as told:  # a driver that is too old is told as a warning
        warnings.simplefilter("always")
        is_there = torch.cuda.is_available()
    if not is_there:
        reason = host.first_line(told[0].message) if told else "no GPU or no driver can be seen"
        return [Seen("cuda", trouble=reason)]
    return [_gpu(torch, index) for index in range(torch.cuda.device_count())]


def _gpu(torch: Any, index: int) -> Seen:
    device = f"cuda:{index}"
    try:
        about = torch.cuda.get_device_properties(index)
    except RuntimeError as error:
        return Seen(device, trouble=f"it cannot be asked: {host.first_line(error)}")
    return Seen(device, about.name, about.total_memory // MIB, (about.major, about.minor))


def _mps(torch: Any) -> list[Seen]:
    backend = torch.backends.mps
    if not backend.is_built():
        return [Seen("mps", trouble="this build of torch is not for Apple's GPUs")]
    if not backend.is_available():
        return [Seen("mps", trouble="there is no Apple GPU, or macOS is too old for it")]
    return [Seen("mps", "Apple GPU", int(torch.mps.recommended_max_memory()) // MIB)]


def prove(torch: Any, seen: Seen) -> int:
    """Have the device multiply two matrices of small integers, which every precision holds exactly.

    Returns:
        Its free memory in MiB.

    Raises:
        RuntimeError: it failed, or the result is wrong.
    """
    left = torch.arange(PROOF_SIZE * PROOF_SIZE).reshape(PROOF_SIZE, PROOF_SIZE) % 5
    right = left.T.contiguous()
    got = (left.float().to(seen.device) @ right.float().to(seen.device)).cpu()
    if not torch.equal(got.long(), left @ right):
        raise RuntimeError("a product of two small matrices comes out wrong")
    return _free_mib(torch, seen)


def _free_mib(torch: Any, seen: Seen) -> int:
    if seen.kind == "cuda":
        return int(torch.cuda.mem_get_info(seen.device)[0]) // MIB
    if seen.kind == "mps":
        return max(0, seen.total_mib - int(torch.mps.driver_allocated_memory()) // MIB)
    return host.memory_mib()[1]
