"""With torch itself: the CPU is proved, checkpoints are loaded, and ways to run one are timed."""

import json
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineOutOfMemory, EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.torchkit import contest, loading, oom
from duologue.engines.torchkit.device import Device, Seen, find, library, prove

pytest.importorskip("torch")
pytest.importorskip("transformers")
import torch
import transformers

from tests.engines.local_llm import tiny_llm

pytestmark = pytest.mark.full

CPU = Device("cpu", "a CPU", 16_000, 8_000, threads=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llm.make_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def load(folder: Path, dtype: str = "fp32", **options: Any) -> Any:
    return loading.load_model(transformers.AutoModelForCausalLM, folder, CPU, dtype, **options)


def refused(folder: Path, **options: Any) -> EngineUnavailable:
    with pytest.raises(EngineUnavailable) as caught:
        load(folder, **options)
    return caught.value


# --- the device ---
def test_the_cpu_computes_with_as_many_threads_as_were_asked_for(threads: Any) -> None:
    device = find(Placement.parse("m@cpu:2"))
    assert (device.device, device.threads) == ("cpu", 2)
    assert torch.get_num_threads() == 2
    assert device.free_mib > 0
    assert "cpu works" in device.why[0]


def test_a_gpu_that_is_not_there_is_told_and_one_that_need_not_be_is_passed_over(
    threads: Any,
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineUnavailable, match=r"cannot run on cuda:0: cuda is not used"):
        find(Placement.parse("m@cuda:0"))
    device = find(Placement.parse("m"))
    assert any(line.startswith("cuda is not used: ") for line in device.why)


def test_a_wrong_product_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.to(torch.float32) + 1)
    with pytest.raises(RuntimeError, match="comes out wrong"):
        prove(library(), Seen("cpu", "a CPU"))


# --- loading ---
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_whole_model_runs_in_each_precision(checkpoint: Path, dtype: str) -> None:
    model = load(checkpoint, dtype)
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert model.dtype == (torch.bfloat16 if dtype == "bf16" else torch.float32)
    kinds = {type(module).__module__ for module in model.modules()}
    assert any("quantized" in kind for kind in kinds) == (dtype == "int8")
    with torch.inference_mode():
        assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_a_model_that_knows_no_sdpa_is_loaded_all_the_same(tmp_path: Path) -> None:
    config = transformers.MambaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, state_size=4
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    assert load(tmp_path / "mamba").config._attn_implementation == "eager"


def test_a_spill_to_the_disk_is_refused_with_its_cause(checkpoint: Path) -> None:
    error = refused(checkpoint, max_memory="20KiB")
    assert error.code == "model_offloaded"
    assert "put on the disk, for max_memory=20KiB is too small" in error.message
    assert "?max_memory=" in error.remedy
    assert load(checkpoint, max_memory="1GiB") is not None


def test_a_part_on_the_meta_device_is_refused(checkpoint: Path) -> None:
    model = load(checkpoint)
    model.lm_head.to("meta")
    with pytest.raises(EngineUnavailable, match=r"1 of \d+ of its tensors were put on the meta"):
        loading.check_is_here(model, CPU, checkpoint)
    loading.check_is_here(load(checkpoint), CPU, checkpoint)


def test_a_part_in_the_hosts_memory_is_refused_of_a_gpu(checkpoint: Path) -> None:
    gpu = Device("cuda:0", "a card", 8_000, 100, (8, 6))
    with pytest.raises(EngineUnavailable, match="put on the host's memory, for memory is short"):
        loading.check_is_here(load(checkpoint), gpu, checkpoint)


def test_what_is_missing_is_named(checkpoint: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere").code == "model_folder_missing"
    assert "config.json, model.safetensors are missing" in refused(tmp_path).message
    folder = Path(shutil.copytree(checkpoint, tmp_path / "part"))
    parts = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (folder / loading.INDEX).write_text(json.dumps(parts))
    error = refused(folder)
    assert error.code == "model_file_missing"
    assert "model-1.safetensors is missing" in error.message


def test_weights_that_are_missing_are_not_made_up(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(checkpoint, tmp_path / "part"))
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    error = refused(folder)
    assert error.code == "model_file_missing"
    assert "model.layers.1.self_attn.q_proj.weight" in error.message


def test_a_damaged_file_is_told(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "part"))
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(10_000)
    error = refused(folder)
    assert error.code == "model_not_loadable"
    assert "incomplete metadata" in error.message


class Greedy:
    """Wants more memory than there is."""

    @staticmethod
    def from_pretrained(*_: object, **__: object) -> Any:
        return torch.empty(2**48)


def test_memory_that_runs_out_is_told_as_such(checkpoint: Path) -> None:
    with pytest.raises(EngineOutOfMemory) as caught:
        loading.load_model(Greedy, checkpoint, CPU, "fp32")
    assert caught.value.code == "out_of_memory"
    assert "can't allocate memory" in caught.value.message
    with pytest.raises(KeyError), oom.told("It ran"):
        raise KeyError("another error passes")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("800MB", 800_000_000), ("1.5g", 3 * 2**29), ("20KiB", 20_480)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert loading.size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "4", "lots", "0GiB", "-1GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="no size of memory"):
        loading.size_bytes(text)


def test_users_of_a_cpu_are_told_what_would_help() -> None:
    assert "a GPU; a smaller model" in loading.advice(CPU, "the voice")
    assert loading.advice(Device("cuda:0", "a card", 8_000, 100), "the voice") == ""


# --- the contest ---
def test_ways_to_run_a_real_model_are_timed_and_let_go(checkpoint: Path) -> None:
    made: list[weakref.ref[Any]] = []

    def prepare(dtype: str) -> Any:
        model = load(checkpoint, dtype)
        made.append(weakref.ref(model))
        return model

    def after() -> str:
        oom.release(torch, CPU)
        return "its model is still there" if any(model() is not None for model in made) else ""

    def run(model: Any) -> Any:
        with torch.inference_mode():
            return model(torch.arange(20)[None]).logits.float()

    verdict = contest.contest(
        [contest.Candidate(name, lambda name=name: prepare(name)) for name in ("fp32", "bf16")],  # type: ignore[misc]
        run,
        lambda plain, other: "" if torch.allclose(plain, other, atol=0.5) else "it differs",
        budget_s=10,
        clock=lambda: time.perf_counter() * 1000,
        after=after,
    )
    assert len(made) == 2
    assert [timing.why for timing in verdict.timings] == ["", ""]
    key = contest.key(torch, CPU, contest.fingerprint(checkpoint), [])
    assert key["torch"] == torch.__version__
    assert key["device"] == "a CPU x 1"
