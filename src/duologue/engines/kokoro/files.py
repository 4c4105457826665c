"""The files of a Kokoro model: one network, and the styles of its voices.

Two layouts are published. kokoro-onnx's: `kokoro-v1.0.onnx` (`.int8`, `.fp16`) beside `voices-v1.0.bin`, an archive
of NumPy arrays. And the one of the ONNX community: `onnx/model.onnx` (`_quantized`, `_fp16`, …) beside a folder
`voices/`, of which each file is one voice, 510 rows of 256 floats.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.models.store import how_to_get
from duologue.engines.voices import model_files

STYLE = 256
"""Numbers that make a style; a voice has a row of them for each length of text."""

ALIASES = {"int8": ("quantized",)}

KNOWN = "kokoro-v1.0"
"""As the catalogue of models names it."""

Styles = dict[str, NDArray[np.float32]]
"""Of each voice: (rows, 1, 256)."""


def network(placement: Placement) -> Path:
    """The network's file.

    Raises:
        EngineUnavailable: there is none, or none of the precision that was asked for.
    """
    place = model_files.place_of(placement, "kokoro")
    if place.is_file():
        return place
    found = sorted(place.rglob("*.onnx"))
    precision = placement.precision
    file = model_files.of_precision(found, precision, ALIASES.get(precision, ()))
    if file is None and precision in ("", "fp32") and found:
        file = model_files.of_precision(found, "", ())
    if file is None:
        what = f"a network in {precision}" if precision and found else "a network (*.onnx)"
        raise model_files.missing("kokoro", place, what, _remedy(place))
    return file


def styles(network_file: Path) -> Styles:
    """The voices that belong to a network: beside it, or beside its folder.

    Raises:
        EngineUnavailable: there are none, or they are no styles.
    """
    for folder in (network_file.parent, network_file.parent.parent):
        archives = sorted([*folder.glob("voices*.bin"), *folder.glob("voices*.npz")])
        singles = sorted((folder / "voices").glob("*.bin"))
        if archives or singles:
            break
    else:
        lies = network_file.parent
        raise model_files.missing("kokoro", lies, "voices-v1.0.bin", _remedy(lies))
    try:
        found = _of_archive(archives[0]) if archives else {f.stem: _of_single(f) for f in singles}
    except (OSError, ValueError) as error:
        raise _unreadable(folder, str(error)) from error
    if not found or any(style.shape[-1] != STYLE for style in found.values()):
        raise _unreadable(folder, f"styles have {STYLE} numbers")
    return found


def _of_archive(file: Path) -> Styles:
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name].astype(np.float32) for name in archive.files}


def _of_single(file: Path) -> NDArray[np.float32]:
    return np.fromfile(file, "<f4").reshape(-1, 1, STYLE)


def _unreadable(folder: Path, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "kokoro_voices_unreadable",
        f"The voices of Kokoro in {folder} cannot be read: {why}.",
        remedy=_remedy(folder),
    )


def _remedy(folder: Path) -> str:
    return (
        f"Run {how_to_get(folder.name, instead=KNOWN, again=True)}, or place kokoro-v1.0.onnx and "
        "voices-v1.0.bin of kokoro-onnx's releases in one folder."
    )
