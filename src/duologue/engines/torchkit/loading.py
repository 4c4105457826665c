"""Opens a checkpoint of Transformers on one device, whole, and without the network.

Where memory is short, Transformers with Accelerate moves what does not fit to the host's memory, to the disk or to
the "meta" device, and goes on without a word: each step then copies those weights back, and a voice that was meant
to keep up with speech is ten or a hundred times too slow. So a model that is not wholly where it was to be
is refused, and the cause is named.
"""

import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.oom import is_out_of_memory
from duologue.engines.models.store import how_to_get
from duologue.engines.torchkit import host, oom
from duologue.engines.torchkit.device import Device, library
from duologue.engines.torchkit.precision import torch_dtype

log = logging.getLogger("duologue.engines")

WEIGHTS = ("*.safetensors", "*.bin")
"""Files that hold weights."""

INDEX = "model.safetensors.index.json"

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMG])(i?)B?", re.IGNORECASE)
_POWERS = {"K": 1, "M": 2, "G": 3}

_UNLOADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError)
"""What Transformers is seen to raise at files that are damaged, or of another kind of model."""


def transformers() -> Any:
    """The module `transformers`, with its own log and progress bars quiet.

    Raises:
        EngineUnavailable: it is not installed, or not whole.
    """
    try:
        import transformers
    except (ImportError, RuntimeError) as error:
        raise EngineUnavailable(
            "transformers_missing",
            f"The engine needs Transformers, which cannot be imported: {host.first_line(error)}.",
            remedy="Run `make setup EXTRAS=transformers`, or `pip install 'duologue[transformers]'`.",
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def check(folder: Path) -> None:
    """See that a checkpoint is there: its configuration, and all files of its weights.

    Raises:
        EngineUnavailable: what is missing.
    """
    if not folder.is_dir():
        raise EngineUnavailable(
            "model_folder_missing",
            f"There is no model: the folder {folder} does not exist.",
            remedy=_remedy(folder),
        )
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if (folder / INDEX).is_file():
        parts = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
        missing += sorted(name for name in parts if not (folder / name).is_file())
    elif not any(any(folder.glob(pattern)) for pattern in WEIGHTS):
        missing.append("model.safetensors")
    if missing:
        raise _incomplete(folder, ", ".join(missing))


def load_model(
    cls: Any,
    folder: Path,
    device: Device,
    dtype: str,
    *,
    max_memory: str | None = None,
    attention: str = "sdpa",
) -> Any:
    """A model in evaluation mode, all of it on the device.

    Args:
        cls: a class of Transformers with `from_pretrained`: `AutoModelForCausalLM`, for instance.
        folder: of the checkpoint; see `check`.
        dtype: a name of `precision.NAMES`.
        max_memory: as much of the device's memory as torch may take in this process: "4GiB", "800MB"; None for
            all there is.
        attention: "sdpa", which becomes "eager" for models that do not know it; or another of Transformers' names.

    Raises:
        EngineUnavailable: files are missing or contradict each other, or the model would not be wholly on the device.
        EngineOutOfMemory: it does not fit.
        SetupError: `max_memory` is no size.
    """
    torch = library()
    check(folder)
    options: dict[str, Any] = {
        "dtype": torch_dtype(torch, dtype),
        "local_files_only": True,
        "trust_remote_code": False,  # unsaid, a folder with code of its own makes it ask at the terminal
        "attn_implementation": attention,
        "output_loading_info": True,
    }
    if max_memory:  # Accelerate places each layer, and spills what is beyond
        limit = size_bytes(max_memory)
        oom.limit(torch, device, limit // 2**20)
        place = device.index if device.kind == "cuda" else device.kind
        options |= {"device_map": "auto", "max_memory": {place: limit}}
    elif device.kind != "cpu":
        options["device_map"] = {"": device.device}  # at once there: not twice in memory
    with oom.told(f"The model in {folder} was loaded on {device.device}"):
        model, about = _opened(cls, folder, options)
        if unset := sorted(about["missing_keys"]) + sorted(map(str, about["mismatched_keys"])):
            raise _incomplete(folder, f"{len(unset)} of its weights, {unset[0]} among them,")
        check_is_here(model, device, folder, max_memory)
        log.info("= %s: %d MiB on %s", folder.name, weights_mib(model), device.device)
        if dtype == "int8":
            model = quantised(torch, model)
    model.eval()
    return model


def check_is_here(model: Any, device: Device, folder: Path, max_memory: str | None = None) -> None:
    """See that all of a model is on the device.

    Raises:
        EngineUnavailable: parts of it are elsewhere: offloaded.
    """
    places = Counter(_places(model))
    elsewhere = {place: n for place, n in places.items() if place != device.kind}
    placed = getattr(model, "hf_device_map", None) or {}
    if not elsewhere and not any(str(place) in ("disk", "meta") for place in placed.values()):
        return
    where = "disk" if "disk" in placed.values() else next(iter(elsewhere), "meta")
    where = {"disk": "the disk", "cpu": "the host's memory"}.get(where, f"the {where} device")
    parts = f"{sum(elsewhere.values())} of {places.total()}"
    cause = f"max_memory={max_memory} is too small for it" if max_memory else "memory is short"
    raise EngineUnavailable(
        "model_offloaded",
        f"The model in {folder} does not fit on {device.device}: {parts} of its tensors were put on "
        f"{where}, for {cause}. Each step would fetch them from there, far too slow for speech.",
        remedy="Raise ?max_memory=, or use a smaller model or a lower precision.",
    )


def quantised(torch: Any, model: Any) -> Any:
    """The same model with its linear layers in int8, on the CPU: weights stored so, activations rounded as they come.

    Raises:
        EngineUnavailable: this build of torch has no such kernels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is to move to another package one day
            quantize = torch.ao.quantization.quantize_dynamic
            return quantize(model, {torch.nn.Linear}, dtype=torch.qint8)
    except (AttributeError, RuntimeError) as error:
        raise EngineUnavailable(
            "int8_unsupported",
            f"This build of torch has no int8 for this CPU: {host.first_line(error)}.",
            remedy="Leave /int8 out, or install another version of torch.",
        ) from error


def weights_mib(model: Any) -> int:
    """What the weights take."""
    return int(sum(t.numel() * t.element_size() for t in _tensors(model))) // 2**20


def advice(device: Device, what: str) -> str:
    """For users whose engine landed on a CPU: what would help; empty on a GPU."""
    if device.kind != "cpu":
        return ""
    return (
        f"{what} runs on the CPU ({device.name}, {device.threads} threads): what would help, most first: "
        "a GPU; a smaller model; the same model quantised in another engine; @cpu/int8; more threads (@cpu:N)"
    )


def size_bytes(text: str) -> int:
    """ "4GiB", "800MB", "1.5G" in bytes.

    Raises:
        SetupError: it is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise SetupError(
            "max_memory_invalid",
            f"max_memory={text} is no size of memory.",
            remedy="Write for instance ?max_memory=4GiB.",
        )
    base = 1024 if found[3] or not text.strip().upper().endswith("B") else 1000
    return int(float(found[1]) * base ** _POWERS[found[2].upper()])


def _opened(cls: Any, folder: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # between its own parts, and of the spill that is looked for below
            model, about = cls.from_pretrained(folder, **options)
    except Exception as error:
        if (
            "scaled_dot_product_attention" in str(error)
            and options["attn_implementation"] == "sdpa"
        ):
            return _opened(cls, folder, {**options, "attn_implementation": "eager"})
        damaged = type(error).__name__ == "SafetensorError"
        if is_out_of_memory(error) or not (damaged or isinstance(error, _UNLOADABLE)):
            raise
        raise EngineUnavailable(
            "model_not_loadable",
            f"The model in {folder} cannot be loaded: {host.first_line(error)}.",
            remedy="Fetch it again, whole, and see that the engine is made for this kind of model.",
        ) from error
    return model, about


def _incomplete(folder: Path, what: str) -> EngineUnavailable:
    return EngineUnavailable(
        "model_file_missing",
        f"The model in {folder} is not whole: {what} {'are' if ',' in what else 'is'} missing.",
        remedy=_remedy(folder),
    )


def _remedy(folder: Path) -> str:
    how = how_to_get(folder.name, again=folder.is_dir())
    return (
        f"Run {how}, or copy the model's files there (config.json, *.safetensors, tokenizer.json)."
    )


def _tensors(model: Any) -> Iterator[Any]:
    yield from model.parameters()
    yield from model.buffers()


def _places(model: Any) -> Iterator[str]:
    return (tensor.device.type for tensor in _tensors(model))
