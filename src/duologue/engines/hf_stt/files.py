"""Whether a checkpoint is of the right kind: known before anything is loaded."""

import json
from pathlib import Path

from duologue.core.errors import EngineUnavailable
from duologue.engines.torchkit import loading


def check(folder: Path, kind: str, engine: str) -> None:
    """See that a checkpoint is there and is of this kind.

    Args:
        kind: as Transformers writes it into config.json, under "model_type".

    Raises:
        EngineUnavailable: what is missing, or what it is instead.
    """
    loading.check(folder)
    try:
        found = json.loads((folder / "config.json").read_text()).get("model_type", "")
    except (OSError, ValueError, AttributeError):
        found = ""
    if found != kind:
        raise EngineUnavailable(
            "stt_other_model",
            f"The model in {folder} is not for {engine}: its config.json says '{found}', not '{kind}'.",
            remedy="Use a checkpoint in Transformers' format; one converted for CTranslate2 is for whisper:.",
        )
