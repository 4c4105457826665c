"""Opens a Whisper checkpoint on the device that works."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from duologue.core.errors import EngineError, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import is_out_of_memory
from duologue.core.placement import Placement
from duologue.engines.cores import spare_cores
from duologue.engines.whisper.files import PRECISIONS, precision_of

log = logging.getLogger("duologue.engines")

WINDOW_FRAMES = 3_000
"""Spectra of the 30 s that the encoder takes."""

MAX_THREADS = 8
"""CTranslate2 gains little beyond."""

DEFAULTS = {"cuda": ("float16", "int8_float16", "int8"), "cpu": ("int8",)}
"""Precisions by device, where none is asked for, best first. Whisper was published in half precision; 8 bits take
half the memory of it, and are the fastest on a CPU."""


def library() -> Any:
    """The module `faster_whisper`.

    Raises:
        EngineUnavailable: it is not installed, or not whole.
    """
    try:
        import faster_whisper
    except ImportError as error:
        raise EngineUnavailable(
            "whisper_missing",
            f"Whisper cannot run: {error.name or 'faster-whisper'} is not installed.",
            remedy="Run `make setup EXTRAS=whisper`, or `pip install 'duologue[whisper]'`.",
        ) from error
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # it has a line for every call
    return faster_whisper


def open_model(whisper: Any, folder: Path, placement: Placement) -> Any:
    """A `WhisperModel` on the GPU if there is one that works, otherwise on the CPU; or on the one asked for.

    What nobody asked for may be given up, and the log says so: where no device is named, the GPU; where no
    precision is, half precision, if it does not fit.

    Args:
        folder: of a checkpoint that is whole; see `files.check`.
        placement: as `files.placed` returns it.

    Raises:
        EngineOutOfMemory: it does not fit where it was asked to be.
        EngineUnavailable: no device can load it in that precision, or its files contradict each other.
    """
    import ctranslate2

    tries = _tries(ctranslate2, placement)
    while True:
        place = tries.pop(0)
        try:
            model = _open(whisper, folder, place, placement.number)
        except (RuntimeError, ValueError, MemoryError) as error:
            if not is_out_of_memory(error):  # less precision will not help
                tries = [each for each in tries if each.device != place.device]
            if not tries:
                raise _not_loadable(folder, place.device, error) from error
            log.warning(
                "! whisper cannot be loaded on %s, trying %s: %s", place, tries[0], reason(error)
            )
        else:
            log.info("~ whisper: %s on %s", folder.name, place)
            return model


@dataclass(frozen=True, slots=True)
class _Place:
    """Where and how a model may be loaded; `index` is a GPU's."""

    device: str
    index: int
    precision: str

    def __str__(self) -> str:
        index = f":{self.index}" if self.device == "cuda" else ""
        return f"{self.device}{index} in {self.precision}"


def _tries(ctranslate2: Any, placement: Placement) -> list[_Place]:
    """Places for a model, best first; at least one.

    Raises:
        EngineUnavailable: no device has the precision.
    """
    devices = ["cuda", "cpu"] if ctranslate2.get_cuda_device_count() else ["cpu"]
    if placement.device:
        devices = [placement.device]
    tries: list[_Place] = []
    has: dict[str, Collection[str]] = {}
    for device in devices:
        index = (placement.number or 0) if device == "cuda" else 0
        try:
            has[device] = ctranslate2.get_supported_compute_types(device, index)
        except (RuntimeError, ValueError) as error:  # there is no such GPU
            raise _not_loadable(Path(placement.model), device, error) from error
        asked = precision_of(placement)
        wanted = [asked] if asked else DEFAULTS[device]
        tries += [_Place(device, index, each) for each in wanted if each in has[device]]
    if not tries:
        raise _precision_lacks(placement, has)
    return tries


def _open(whisper: Any, folder: Path, place: _Place, number: int | None) -> Any:
    on_cpu = place.device == "cpu"
    model = whisper.WhisperModel(
        str(folder),
        device=place.device,
        device_index=place.index,
        compute_type=place.precision,
        cpu_threads=(number or spare_cores(MAX_THREADS)) if on_cpu else 0,
        local_files_only=True,
    )
    _check_features(model, folder)
    if not on_cpu:  # libraries that are missing show only when something is computed
        model.encode(np.zeros((_mel_bands(model), WINDOW_FRAMES), np.float32))
    return model


def _not_loadable(folder: Path, device: str, error: Exception) -> EngineError:
    if is_out_of_memory(error):
        return EngineOutOfMemory(
            "whisper_out_of_memory",
            f"The Whisper model in {folder} does not fit into the memory of {device}: {reason(error)}.",
            remedy="Use a smaller model, less precision (whisper:NAME@cuda/int8) or the CPU (whisper:NAME@cpu).",
        )
    return EngineUnavailable(
        "whisper_not_loadable",
        f"The Whisper model in {folder} cannot be loaded on {device}: {reason(error)}.",
        remedy="Fetch it again with `duologue models pull NAME --again`, or choose another "
        "device: whisper:NAME@cpu.",
    )


def _precision_lacks(placement: Placement, has: Mapping[str, Collection[str]]) -> EngineUnavailable:
    known = "; ".join(
        f"{device} has {', '.join(each for each in PRECISIONS if each in types)}"
        for device, types in has.items()
    )
    return EngineUnavailable(
        "whisper_precision_not_supported",
        f"Whisper cannot run here in {placement.precision}: {known}.",
        remedy="Use one of these, or leave the precision open: whisper:NAME.",
    )


def _mel_bands(model: Any) -> int:
    return int(model.feature_extractor.mel_filters.shape[0])


def _check_features(model: Any, folder: Path) -> None:
    """The large models take 128 bands of the spectrum, and only `preprocessor_config.json` says so."""
    made, wanted = _mel_bands(model), model.model.n_mels
    if made != wanted:
        raise EngineUnavailable(
            "whisper_features_differ",
            f"The Whisper model in {folder} takes {wanted} mel bands, and its files say {made}.",
            remedy=f"Place the model's own preprocessor_config.json (feature_size {wanted}) in {folder}.",
        )


def reason(error: BaseException) -> str:
    """The first line of what a library says, to be quoted within a sentence."""
    text = (str(error).splitlines() or [""])[0].rstrip(".")
    return text or type(error).__name__
