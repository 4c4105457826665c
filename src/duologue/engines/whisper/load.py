"""Opens a Whisper checkpoint on the device that works."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from duologue.core.errors import EngineUnavailable
from duologue.engines.whisper.files import Choice

log = logging.getLogger("duologue.engines")

WINDOW_FRAMES = 3_000
"""Spectra of the 30 s that the encoder takes."""

MAX_THREADS = 8
"""CTranslate2 gains little beyond."""


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


def open_model(whisper: Any, folder: Path, choice: Choice) -> Any:
    """A `WhisperModel` on the GPU if there is one that works, otherwise on the CPU; or on the one asked for.

    Args:
        folder: of a checkpoint that is whole; see `files.check`.

    Raises:
        EngineUnavailable: no device can load it, or its files contradict each other.
    """
    import ctranslate2

    devices = ["cuda", "cpu"] if ctranslate2.get_cuda_device_count() else ["cpu"]
    if choice.device:
        devices = [choice.device]
    while True:
        device = devices.pop(0)
        try:
            return _open(whisper, folder, device, choice.number)
        except (RuntimeError, ValueError, MemoryError) as error:
            if not devices:
                raise EngineUnavailable(
                    "whisper_not_loadable",
                    f"The Whisper model in {folder} cannot be loaded on {device}: {reason(error)}.",
                    remedy="Fetch it again with `duologue models pull NAME --again`, or choose another "
                    "device: whisper:NAME@cpu.",
                ) from error
            log.warning("! whisper cannot be loaded on %s: %s", device, reason(error))


def _open(whisper: Any, folder: Path, device: str, number: int | None) -> Any:
    make = _on_cpu if device == "cpu" else _on_gpu
    model = make(whisper, str(folder), number)
    _check_features(model, folder)
    if device != "cpu":  # libraries that are missing show only when something is computed
        model.encode(np.zeros((_mel_bands(model), WINDOW_FRAMES), np.float32))
    return model


def _on_cpu(whisper: Any, path: str, threads: int | None) -> Any:
    return whisper.WhisperModel(
        path,
        device="cpu",
        compute_type="int8",
        cpu_threads=threads or spare_cores(),
        local_files_only=True,
    )


def _on_gpu(whisper: Any, path: str, index: int | None) -> Any:
    """In half precision where the GPU computes in it."""
    import ctranslate2

    index = index or 0
    types = ctranslate2.get_supported_compute_types("cuda", index)
    return whisper.WhisperModel(
        path,
        device="cuda",
        device_index=index,
        compute_type="float16" if "float16" in types else "float32",
        local_files_only=True,
    )


def _mel_bands(model: Any) -> int:
    return int(model.feature_extractor.mel_filters.shape[0])


def spare_cores() -> int:
    """All cores that this process may use but one, which is the event loop's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MAX_THREADS, (cores or 2) - 1))


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
