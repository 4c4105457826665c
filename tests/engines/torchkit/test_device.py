"""Which device is chosen, from plain facts; what torch itself says is in `test_torch`."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from duologue.core.errors import EngineOutOfMemory, EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.cores import spare_cores
from duologue.engines.torchkit import host
from duologue.engines.torchkit.device import Device, Seen, ranked, settled, visible

CPU = Seen("cpu", "a CPU", 16_000)
CARD = Seen("cuda:0", "a card", 8_000, (8, 6))
SECOND = Seen("cuda:1", "another card", 24_000, (7, 5))
APPLE = Seen("mps", "Apple GPU", 10_000)


def chosen(seen: list[Seen], asked: str = "m", **failing: Exception) -> Device:
    def prove(one: Seen) -> int:
        if error := failing.get(one.device.replace(":", "")):
            raise error
        return 1_000

    placement = Placement.parse(asked)
    return settled(ranked(seen, placement), prove, placement)


@pytest.mark.parametrize(
    ("seen", "device"),
    [
        ([CPU, APPLE, SECOND, CARD], "cuda:1"),  # in the order in which torch counts them
        ([CPU, CARD, SECOND], "cuda:0"),
        ([CPU, APPLE], "mps"),
        ([CPU], "cpu"),
    ],
)
def test_cuda_comes_before_mps_before_the_cpu(seen: list[Seen], device: str) -> None:
    assert chosen(seen).device == device


def test_a_gpu_that_is_seen_and_does_not_compute_is_passed_over_and_told() -> None:
    broken = RuntimeError(
        "CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA"
    )
    device = chosen([CARD, SECOND, CPU], cuda0=broken)
    assert (device.device, device.index, device.kind) == ("cuda:1", 1, "cuda")
    assert device.why == (
        "cuda:0 is not used: it cannot compute: CUDA error: no kernel image is available",
        "cuda:1 works: another card, 1000 MiB free",
    )
    assert (device.name, device.total_mib, device.free_mib) == ("another card", 24_000, 1_000)


def test_what_is_known_to_be_missing_is_not_tried() -> None:
    device = chosen([Seen("cuda", trouble="this build of torch is for CPUs"), CPU])
    assert device.device == "cpu"
    assert device.why[0] == "cuda is not used: this build of torch is for CPUs"


def test_what_was_asked_for_is_not_replaced() -> None:
    with pytest.raises(EngineUnavailable, match="driver is too old") as caught:
        chosen([CARD, SECOND, APPLE, CPU], "m@cuda:1", cuda1=RuntimeError("driver is too old"))
    assert caught.value.code == "device_unusable"
    assert "on cuda:1" in caught.value.message
    assert "@cpu" in caught.value.remedy


def test_a_gpu_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(EngineUnavailable, match="torch sees cuda:0, cuda:1"):
        chosen([CARD, SECOND, CPU], "m@cuda:2")
    with pytest.raises(EngineUnavailable, match="is for CPUs"):
        chosen([Seen("cuda", trouble="this build of torch is for CPUs"), CPU], "m@cuda:0")


def test_a_full_gpu_that_was_asked_for_is_out_of_memory() -> None:
    full = RuntimeError("CUDA error: out of memory")
    with pytest.raises(EngineOutOfMemory) as caught:
        chosen([CARD, CPU], "m@cuda", cuda0=full)
    assert caught.value.code == "device_full"
    assert chosen([CARD, CPU], "m", cuda0=full).device == "cpu"


def test_a_cpu_that_fails_is_the_end() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        chosen([CPU], "m@cpu", cpu=RuntimeError("illegal instruction"))
    assert "Install PyTorch again" in caught.value.remedy


# --- what torch may say where there is a GPU ---
def torch_with(gpus: int, *, built: bool = True, warns: str = "", mps: bool = False) -> Any:
    def is_available() -> bool:
        if warns:
            warnings.warn(warns, UserWarning, stacklevel=2)
        return gpus > 0 and not warns

    def about(index: int) -> Any:
        if index == 1:
            raise RuntimeError("CUDA error: unknown error")
        return SimpleNamespace(name="a card", total_memory=8 * 2**30, major=8, minor=6)

    cuda = SimpleNamespace(
        is_available=is_available, device_count=lambda: gpus, get_device_properties=about
    )
    apple = SimpleNamespace(is_built=lambda: mps, is_available=lambda: mps)
    return SimpleNamespace(
        version=SimpleNamespace(cuda="13.0" if built else None),
        cuda=cuda,
        backends=SimpleNamespace(mps=apple),
        mps=SimpleNamespace(recommended_max_memory=lambda: 10 * 2**30),
    )


def test_the_devices_of_a_machine_are_listed_with_the_reasons_of_those_missing() -> None:
    cards = visible(torch_with(2))
    assert cards[0] == Seen("cuda:0", "a card", 8_192, (8, 6))
    assert cards[1].trouble == "it cannot be asked: CUDA error: unknown error"
    assert cards[-1].kind == "cpu"
    assert visible(torch_with(0, built=False))[0].trouble == "this build of torch is for CPUs"
    assert "no GPU or no driver" in visible(torch_with(0))[0].trouble
    old = visible(torch_with(1, warns="The NVIDIA driver on your system is too old."))
    assert old[0].trouble == "The NVIDIA driver on your system is too old"
    assert Seen("mps", "Apple GPU", 10_240) in visible(torch_with(0, mps=True))


def test_the_machine_is_known_without_torch() -> None:
    total, free = host.memory_mib()
    assert 0 < free <= total
    assert host.cpu_name()
    assert 1 <= spare_cores(host.MAX_THREADS) <= host.MAX_THREADS
    assert host.first_line("Failed.\nStack trace") == "Failed"
    assert host.first_line(MemoryError()) == "MemoryError"
