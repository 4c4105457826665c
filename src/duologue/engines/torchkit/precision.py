"""In which precision a torch engine computes, decided from what the device is.

bfloat16 has the range of float32, so a model that was trained in it does not overflow: the choice where the GPU
has units for it, which NVIDIA's have from compute capability 8.0 on. From 7.0 on float16 has units (tensor
cores); older GPUs do float16 no faster, or far slower, than float32. Apple's GPUs halve their memory traffic with
float16. A CPU is sure to gain nothing from either (measured: bfloat16 none on a CPU without units for it), so
there only the stopwatch says (`contest`); what does help there is int8: 2.5 times as fast at a token of 99 million
parameters, by torch's dynamic quantisation.

bitsandbytes' int8 on a GPU is not offered: it is about five times slower than bfloat16, and its author has no plan to
change that (bitsandbytes issue 490).
"""

from dataclasses import dataclass
from typing import Any

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.torchkit.device import Device

NAMES = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "int8": "float32",
}
"""Of each precision, the dtype in which torch loads the weights; int8 is quantised after that."""

_ALSO = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}

BF16_FROM = (8, 0)
FP16_FROM = (7, 0)


@dataclass(frozen=True, slots=True)
class Precision:
    """What was chosen.

    Attributes:
        name: "fp32", "fp16", "bf16" or "int8".
        why: for the log.
        rivals: what may turn out faster on this device and is left to the stopwatch; empty where it was asked for.
    """

    name: str
    why: str
    rivals: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of one weight."""
        return _BYTES[self.name]


def choose(device: Device, asked: str = "") -> Precision:
    """The precision for a device; the one asked for, if there is one.

    Args:
        asked: as a placement has it: a name above, torch's own name of it, or nothing.

    Raises:
        SetupError: there is no such precision.
        EngineUnavailable: the device cannot compute in it.
    """
    if asked:
        return _asked(device, _ALSO.get(asked, asked))
    if device.kind == "mps":
        return Precision("fp16", "Apple's GPUs read half as much in it", ("fp32",))
    if device.kind == "cpu":
        return Precision("fp32", "the CPU's own", ("int8", "bf16"))
    capability = "{}.{}".format(*device.capability)
    if device.capability >= BF16_FROM:
        return Precision("bf16", f"compute capability {capability} has units for it", ("fp16",))
    if device.capability >= FP16_FROM:
        return Precision("fp16", f"compute capability {capability} has units for it, none for bf16")
    return Precision("fp32", f"compute capability {capability} gains nothing from fewer bits")


def torch_dtype(torch: Any, name: str) -> Any:
    """The `torch.dtype` in which weights of this precision are loaded."""
    return getattr(torch, NAMES[name])


def _asked(device: Device, name: str) -> Precision:
    if name not in NAMES:
        raise SetupError(
            "precision_unknown",
            f"There is no precision '{name}' for models on PyTorch.",
            remedy=f"Write one of {', '.join(NAMES)}, or none to have it chosen.",
        )
    if name == "int8" and device.kind != "cpu":
        raise EngineUnavailable(
            "precision_unsupported",
            f"int8 runs on the CPU only; on {device.device} it would be slower than half precision.",
            remedy="Leave it out, or use a smaller model, or one quantised for vLLM or llama.cpp.",
        )
    return Precision(name, _doubt(device, name) or "asked for")


def _doubt(device: Device, name: str) -> str:
    if device.kind == "cuda" and name == "bf16" and device.capability < BF16_FROM:
        return "asked for, though this GPU has no units for it and is faster in fp16"
    if device.kind == "cpu" and name == "fp16":
        return "asked for, though CPUs are slow in it"
    return ""
