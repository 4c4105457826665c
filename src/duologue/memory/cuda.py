"""What little of CUDA measuring needs, from the driver's own library (libcuda), which is wherever a card works.

A process pays for its context once per card, whichever library asks first: `hold` asks before any of them, so that
the context can be told from the weights. `Ballast` takes memory away, so that a large card behaves as a small one.
"""

import ctypes
from collections.abc import Callable
from typing import Any

from duologue.core.errors import EngineError, EngineOutOfMemory, EngineUnavailable, SetupError
from duologue.memory.nvml import MIB, bus_id

LIBRARY = "libcuda.so.1"

CHUNK_MIB = 256
"""Ballast is taken in pieces: a card's memory need not be free in one piece."""

CLOSE_ENOUGH_MIB = 16
"""The driver gives memory in pages of 2 MiB and keeps some for itself."""

BUS_ID_BYTES = 32

OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY, of the CUDA Driver API."""


class Cuda:
    """The driver's library, and one card of it whose context is held until `close`.

    Args:
        index: by which CUDA knows the card in this process, or its place on the PCI bus.

    Raises:
        EngineUnavailable: there is no CUDA here, or no such card.
    """

    def __init__(self, index: int | str, library: str = LIBRARY) -> None:
        try:
            self._library: Any = ctypes.CDLL(library)
        except OSError as error:
            raise EngineUnavailable(
                "cuda_missing",
                f"CUDA cannot be used: {error}.",
                remedy="Install NVIDIA's driver; start a container with `--gpus all`.",
            ) from error
        self._device = ctypes.c_int()
        self._do("cuInit", 0)
        if isinstance(index, str):
            self._do("cuDeviceGetByPCIBusId", ctypes.byref(self._device), index.encode())
        else:
            self._do("cuDeviceGet", ctypes.byref(self._device), index)
        context = ctypes.c_void_p()
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._do("cuCtxSetCurrent", context)

    @property
    def bus_id(self) -> str:
        """The card's place on the PCI bus, as `nvml.bus_id` writes it."""
        text = ctypes.create_string_buffer(BUS_ID_BYTES)
        self._do("cuDeviceGetPCIBusId", text, BUS_ID_BYTES, self._device)
        return bus_id(text.value.decode())

    def take(self, mib: int) -> int:
        """Allocate memory; returns its address.

        Raises:
            EngineOutOfMemory: there is not so much.
        """
        address = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(mib * MIB))
        return address.value

    def give_back(self, address: int) -> None:
        """Free what `take` gave."""
        self._do("cuMemFree_v2", ctypes.c_uint64(address))

    def close(self) -> None:
        """Let the card's context go."""
        self._do("cuDevicePrimaryCtxRelease_v2", self._device)

    def _do(self, name: str, *args: Any) -> None:
        code = getattr(self._library, name)(*args)
        if code == OUT_OF_MEMORY:
            raise EngineOutOfMemory("cuda_out_of_memory", f"The card is full ({name}).")
        if code:
            raise EngineUnavailable("cuda_failed", f"CUDA's {name} failed with error {code}.")


class Ballast:
    """Memory that is held on a card until no more than a target is free; to be used as `with Ballast(…)`.

    It is plain device memory, never managed memory, which would be moved out of the way.

    Args:
        free_mib: what the card has free now, with this process's context on it.
        leave_mib: what is to be left free.

    Raises:
        SetupError: less than that is free already.
    """

    def __init__(self, cuda: Cuda, free_mib: Callable[[], int], leave_mib: int) -> None:
        free = free_mib()
        if free < leave_mib:
            raise SetupError(
                "ballast_above_free",
                f"Only {free} MiB are free on that card, and {leave_mib} were to be left.",
                remedy="Leave less, or end what else uses the card.",
            )
        self._cuda = cuda
        self._held: list[int] = []
        try:
            while (chunk := next_chunk(free_mib(), leave_mib)) > 0:
                self._held.append(cuda.take(chunk))
        except EngineError:
            self.close()
            raise

    def __enter__(self) -> "Ballast":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        while self._held:
            self._cuda.give_back(self._held.pop())


def next_chunk(free_mib: int, leave_mib: int) -> int:
    """How much to take next; 0 when it is near enough."""
    surplus = free_mib - leave_mib
    return min(CHUNK_MIB, surplus) if surplus > CLOSE_ENOUGH_MIB else 0
