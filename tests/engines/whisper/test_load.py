"""Loading real checkpoints, whole and otherwise."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable
from duologue.engines.whisper.engine import Whisper
from duologue.engines.whisper.load import MAX_THREADS, spare_cores

pytest.importorskip("faster_whisper")
from tests.engines.whisper import tiny_whisper

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.make(tmp_path_factory.mktemp("models") / "mini")


def unavailable(argument: str) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        Whisper(argument).load()
    return caught.value


def copied(checkpoint: Path, to: Path) -> Path:
    shutil.copytree(checkpoint, to)
    return to


@pytest.mark.parametrize("device", ["", "@cpu", "@cpu:2"])
def test_a_whole_model_is_loaded_and_run(checkpoint: Path, device: str) -> None:
    engine = Whisper(f"{checkpoint}{device}")
    engine.load()
    engine.warm_up()
    engine.close()


def test_one_core_is_left_to_the_event_loop() -> None:
    assert 1 <= spare_cores() <= MAX_THREADS


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = unavailable(str(tmp_path / "base"))
    assert error.code == "whisper_folder_missing"
    assert "duologue models pull base" in error.remedy


def test_a_damaged_model_is_told_with_its_cause(checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(checkpoint, tmp_path / "m")
    (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:100_000])
    error = unavailable(str(folder))
    assert error.code == "whisper_not_loadable"
    assert "invalid payload size" in error.message
    assert "--again" in error.remedy


def test_a_model_whose_spectrum_differs_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(checkpoint, tmp_path / "m")
    features = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "feature_size": 128}))
    error = unavailable(str(folder))
    assert error.code == "whisper_features_differ"
    assert "takes 80 mel bands, and its files say 128" in error.message


def test_a_gpu_that_is_not_there_is_told(checkpoint: Path) -> None:
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a GPU")
    error = unavailable(f"{checkpoint}@cuda")
    assert error.code == "whisper_not_loadable"
    assert "on cuda" in error.message


def test_without_the_extra_the_remedy_is_to_install_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    error = unavailable(str(checkpoint))
    assert (error.code, "duologue[whisper]" in error.remedy) == ("whisper_missing", True)
