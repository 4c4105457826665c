"""The graphics cards as NVIDIA's driver sees them: through NVML, by `nvidia-ml-py`.

NVML counts the whole card, whoever uses it, so its free memory is the truth among processes; what it says of
single processes is not: in a container it may name other process ids or none, and under Windows it gives no size.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MIB = 1 << 20

Lack = Literal["package", "library", "driver", "other"]


class NvmlUnavailable(Exception):
    """NVML cannot be asked: `lack` says what is missing, the text says it for a person."""

    def __init__(self, lack: Lack, text: str) -> None:
        super().__init__(text)
        self.lack = lack


@dataclass(frozen=True, slots=True)
class Card:
    """One graphics card.

    Attributes:
        index: NVML's own, in the order of the PCI bus.
        uuid: "GPU-…".
        bus_id: place on the PCI bus, as `bus_id` writes it.
        capability: CUDA's compute capability.
        processes: memory in MiB by process id; None for the size that NVML does not know.
    """

    index: int
    uuid: str
    bus_id: str
    name: str
    total_mib: int
    free_mib: int
    capability: tuple[int, int]
    processes: tuple[tuple[int, int | None], ...] = ()

    @property
    def used_mib(self) -> int:
        """Taken by anybody, with what the driver keeps for itself."""
        return self.total_mib - self.free_mib


class Nvml:
    """An open door to NVML; to be used as `with Nvml() as nvml`, for as long as it is asked.

    Raises:
        NvmlUnavailable: the package, the driver's library or the driver itself is not there.
    """

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlUnavailable(
                "package", "the Python package nvidia-ml-py is missing"
            ) from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise _unavailable(pynvml, error) from error

    def __enter__(self) -> "Nvml":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let NVML go. Not to be asked afterwards."""
        with suppress(self._nvml.NVMLError):  # the driver may have gone away first
            self._nvml.nvmlShutdown()

    @property
    def driver(self) -> str:
        """The driver's version; empty if it does not say."""
        with suppress(self._nvml.NVMLError):
            return str(self._nvml.nvmlSystemGetDriverVersion())
        return ""

    def cards(self) -> list[Card]:
        """All of them, as they are now; one that is broken is left out.

        Raises:
            NvmlUnavailable: the driver is gone.
        """
        nvml, cards = self._nvml, []
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise _unavailable(nvml, error) from error
        for index in range(count):
            try:
                cards.append(self._card(index))
            except nvml.NVMLError:
                continue  # fallen off the bus, or not ours to look at
        return cards

    def _card(self, index: int) -> Card:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return Card(
            index=index,
            uuid=nvml.nvmlDeviceGetUUID(handle),
            bus_id=bus_id(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
            name=nvml.nvmlDeviceGetName(handle),
            total_mib=memory.total // MIB,
            free_mib=memory.free // MIB,
            capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(handle)),
            processes=self._processes(handle),
        )

    def _processes(self, handle: Any) -> tuple[tuple[int, int | None], ...]:
        """Those that compute and those that draw; a process that does both is told twice, with the same size."""
        nvml, found = self._nvml, {}
        for ask in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            try:
                for process in ask(handle):
                    size = process.usedGpuMemory
                    found[process.pid] = None if size is None else size // MIB
            except nvml.NVMLError:
                continue  # not told on this system
        return tuple(sorted(found.items()))


def bus_id(text: str) -> str:
    """A place on the PCI bus, written in one way: NVML gives the domain eight digits, CUDA four."""
    domain, _, rest = text.strip().lower().partition(":")
    return f"{int(domain or '0', 16):04x}:{rest}"


def visible(cards: Sequence[Card], wanted: str | None) -> tuple[list[Card], str]:
    """The cards that CUDA will show, in its order, by CUDA_VISIBLE_DEVICES.

    Numbers are taken in the order of the PCI bus, as CUDA takes them with CUDA_DEVICE_ORDER=PCI_BUS_ID; a UUID may
    be shortened. As CUDA does it, the first entry that names no card ends the list, and a card that is named twice
    leaves none (CUDA C++ Programming Guide, "CUDA Environment Variables").

    Args:
        wanted: the variable's value; None where it is not set.

    Returns:
        The cards, and what is to be said about the variable; empty where it is not set.
    """
    if wanted is None:
        return list(cards), ""
    chosen: list[Card] = []
    for entry in (part.strip() for part in wanted.split(",")):
        card = _named(cards, entry)
        if card is None:
            break
        if card in chosen:
            return [], f"CUDA_VISIBLE_DEVICES={wanted} names a card twice, and so shows none"
        chosen.append(card)
    return chosen, f"CUDA_VISIBLE_DEVICES={wanted} shows {len(chosen)} of {len(cards)}"


def _named(cards: Sequence[Card], entry: str) -> Card | None:
    if entry.isdecimal():
        return next((card for card in cards if card.index == int(entry)), None)
    if not entry.startswith("GPU-"):
        return None  # nothing, -1, or a slice of a card (MIG), which NVML counts otherwise
    matches = [card for card in cards if card.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def why_none(error: NvmlUnavailable, root: Path = Path("/")) -> str:
    """Why no card can be seen, and what to do about it where there is one."""
    in_container = any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv"))
    has_driver = (root / "proc/driver/nvidia/version").exists()
    if error.lack == "package":
        return f"{error}; `pip install nvidia-ml-py`"
    if error.lack == "library" and in_container:
        return f"{error}; with a card, start this container with `--gpus all`"
    if error.lack == "library" and has_driver:
        return f"{error}, though the driver runs: install its libraries (libnvidia-compute)"
    if error.lack == "library":
        return f"{error}; with a card, install NVIDIA's driver"
    if error.lack == "driver":
        return f"{error}; `nvidia-smi` and `dmesg` say more, and a new driver wants a restart"
    return str(error)


def _unavailable(nvml: Any, error: Any) -> NvmlUnavailable:
    if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        text = "the NVIDIA driver's library (libnvidia-ml.so.1) is not here"
        return NvmlUnavailable("library", text)
    drivers = (nvml.NVML_ERROR_DRIVER_NOT_LOADED, nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
    if error.value in drivers:
        return NvmlUnavailable("driver", f"the NVIDIA driver does not answer ({error})")
    return NvmlUnavailable("other", f"NVML fails ({error})")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
