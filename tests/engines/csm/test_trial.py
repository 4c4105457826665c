"""CSM in the fastest way: found at load, from a checkpoint of the true architecture with random weights."""

import logging
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import SetupError
from duologue.engines.csm import trial
from duologue.engines.csm.engine import Csm
from duologue.engines.torchkit import loading

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch

from tests.engines.csm import tiny_csm

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_csm.make(tmp_path_factory.mktemp("models") / "csm-tiny")


def test_the_fastest_way_is_found_once(
    checkpoint: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bfloat16 it is made to say something else, and does not win."""
    load_model = loading.load_model

    def spoiled(cls: Any, folder: Path, device: Any, dtype: str, **how: Any) -> Any:
        model = load_model(cls, folder, device, dtype, **how)
        if dtype == "bf16":
            for weights in model.backbone_model.parameters():
                weights.data.normal_(0, 0.5)
        return model

    monkeypatch.setattr(loading, "load_model", spoiled)
    caplog.set_level(logging.INFO, "duologue.engines")
    for before in (False, True):
        caplog.clear()
        engine = Csm(f"{checkpoint}@cpu:1", verdicts=tmp_path / "verdicts")
        engine.load()
        engine.close()
        (told,) = (line for line in caplog.messages if " wins (" in line)
        assert ("as timed before" in told) is before
        tried = ("fp32 sdpa: ", "bf16 sdpa: its answers differ", "fp32 eager: ")
        assert [way for way in tried if way in told] == list(tried)
        assert "does not run" not in told
        assert "int8" not in told


def test_no_contest_is_held_where_none_is_wanted(checkpoint: Path, tmp_path: Path) -> None:
    engine = Csm(f"{checkpoint}@cpu:1?contest=off&attention=eager", verdicts=tmp_path / "none")
    engine.load()
    assert engine._loaded is not None
    assert engine._loaded.model.config._attn_implementation == "eager"
    engine.close()
    assert not (tmp_path / "none").exists()
    with pytest.raises(SetupError):
        Csm(f"{checkpoint}@cpu:1?contest=maybe").load()


def test_ways_are_compared_code_by_code(checkpoint: Path) -> None:
    engine = Csm(f"{checkpoint}@cpu:1/fp32")
    engine.load()
    loaded = engine._loaded
    assert loaded is not None
    scores = trial.tried(loaded)
    assert scores.shape == (trial.FRAMES * loaded.codebooks, loaded.codes)
    assert torch.equal(scores, trial.tried(loaded))
    assert len(scores.unique(dim=0)) == len(scores)
    engine.close()
