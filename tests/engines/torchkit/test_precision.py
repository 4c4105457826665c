"""The precision that suits a device."""

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.torchkit.device import Device
from duologue.engines.torchkit.precision import choose


def gpu(major: int, minor: int) -> Device:
    return Device("cuda:0", "a card", 8_000, 7_000, (major, minor))


CPU = Device("cpu", "a CPU", 16_000, 8_000, threads=4)
APPLE = Device("mps", "Apple GPU", 10_000, 9_000)


@pytest.mark.parametrize(
    ("device", "name", "rivals"),
    [
        (gpu(9, 0), "bf16", ("fp16",)),
        (gpu(8, 0), "bf16", ("fp16",)),
        (gpu(7, 5), "fp16", ()),
        (gpu(7, 0), "fp16", ()),
        (gpu(6, 1), "fp32", ()),
        (APPLE, "fp16", ("fp32",)),
        (CPU, "fp32", ("int8", "bf16")),
    ],
)
def test_what_a_device_has_units_for_is_chosen(
    device: Device, name: str, rivals: tuple[str, ...]
) -> None:
    chosen = choose(device)
    assert (chosen.name, chosen.rivals) == (name, rivals)
    assert chosen.why


@pytest.mark.parametrize(
    ("asked", "name"), [("fp32", "fp32"), ("float16", "fp16"), ("half", "fp16"), ("bf16", "bf16")]
)
def test_what_is_asked_for_is_obeyed_and_not_timed(asked: str, name: str) -> None:
    chosen = choose(gpu(7, 5), asked)
    assert (chosen.name, chosen.rivals) == (name, ())


def test_a_doubtful_wish_is_obeyed_and_told() -> None:
    assert "faster in fp16" in choose(gpu(7, 5), "bf16").why
    assert "slow" in choose(CPU, "fp16").why


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(SetupError, match="q4"):
        choose(CPU, "q4")
    with pytest.raises(EngineUnavailable, match="CPU only"):
        choose(gpu(9, 0), "int8")
    assert choose(CPU, "int8").bytes == 1
