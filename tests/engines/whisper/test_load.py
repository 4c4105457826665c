"""Loading real checkpoints, whole and otherwise."""

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineOutOfMemory, EngineUnavailable
from duologue.engines.cores import spare_cores
from duologue.engines.whisper.engine import Whisper
from duologue.engines.whisper.load import MAX_THREADS

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
    assert 1 <= spare_cores(MAX_THREADS) <= MAX_THREADS


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


@pytest.mark.parametrize(
    ("asked", "used"),
    [("", "int8_float32"), ("@cpu/fp32", "float32"), ("@cpu:1/int8", "int8_float32")],
)
def test_the_precision_that_was_asked_for_is_used(checkpoint: Path, asked: str, used: str) -> None:
    """CTranslate2 says of 8 bits with what they are computed."""
    engine = Whisper(f"{checkpoint}{asked}")
    engine.load()
    assert engine._model.model.compute_type == used
    engine.close()


def test_a_precision_that_the_device_lacks_is_refused_with_those_it_has(checkpoint: Path) -> None:
    error = unavailable(f"{checkpoint}@cpu/fp16")
    assert error.code == "whisper_precision_not_supported"
    assert "in fp16: cpu has int8, int8_float32" in error.message
    assert "float16" not in error.message


class Gpu:
    """A machine with a GPU into which only one precision fits: only what is asked of the library is looked at."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fits: str, why: str = "out of memory"
    ) -> None:
        import ctranslate2
        import faster_whisper

        self.asked: list[tuple[str, str]] = []
        self._fits = fits
        self._why = why
        self._real = faster_whisper.WhisperModel
        on_cpu = ctranslate2.get_supported_compute_types("cpu")
        types = {"cuda": {"float16", "int8_float16", "int8", "float32"}, "cpu": on_cpu}
        monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
        monkeypatch.setattr(
            ctranslate2, "get_supported_compute_types", lambda device, _=0: types[device]
        )
        monkeypatch.setattr(faster_whisper, "WhisperModel", self.open)

    def open(self, path: str, *, device: str, compute_type: str, **_: Any) -> Any:
        self.asked.append((device, compute_type))
        if device == "cuda" and compute_type != self._fits:
            raise RuntimeError(f"CUDA failed with error {self._why}")
        return self._real(path, device="cpu", compute_type="int8", local_files_only=True)


def test_what_does_not_fit_is_tried_smaller_and_the_log_says_so(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Gpu(monkeypatch, "int8_float16")
    with caplog.at_level(logging.INFO, "duologue.engines"):
        Whisper(f"{checkpoint}@cuda").load()
    assert gpu.asked == [("cuda", "float16"), ("cuda", "int8_float16")]
    told, said = [record.getMessage() for record in caplog.records]
    assert "cannot be loaded on cuda:0 in float16, trying cuda:0 in int8_float16" in told
    assert said.endswith("on cuda:0 in int8_float16")


def test_what_was_asked_for_and_does_not_fit_is_not_something_else(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(monkeypatch, "none")
    for argument, tried in (("@cuda/fp16", 1), ("@cuda", 3)):
        gpu.asked.clear()
        with pytest.raises(EngineOutOfMemory) as caught:
            Whisper(f"{checkpoint}{argument}").load()
        assert caught.value.code == "whisper_out_of_memory"
        assert {device for device, _ in gpu.asked} == {"cuda"}
        assert len(gpu.asked) == tried


def test_a_gpu_that_fails_otherwise_is_not_tried_in_less_precision(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(monkeypatch, "none", "no kernel image is available")
    Whisper(str(checkpoint)).load()
    assert gpu.asked == [("cuda", "float16"), ("cpu", "int8")]


def test_where_no_device_is_asked_for_the_cpu_is_the_last(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(monkeypatch, "none")
    Whisper(str(checkpoint)).load()
    assert gpu.asked[0] == ("cuda", "float16")
    assert gpu.asked[-1] == ("cpu", "int8")
    gpu.asked.clear()
    Whisper(f"{checkpoint}@auto/int8").load()
    assert gpu.asked == [("cuda", "int8"), ("cpu", "int8")]


def test_without_the_extra_the_remedy_is_to_install_it(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    error = unavailable(str(checkpoint))
    assert (error.code, "duologue[whisper]" in error.remedy) == ("whisper_missing", True)
