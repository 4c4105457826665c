from pathlib import Path

from duologue.cli.plan_needs import EXTRAS, gguf_files, needs
from duologue.core.capabilities import Role
from duologue.engines import registry
from duologue.memory.goals import Goal
from duologue.memory.machine import Machine
from duologue.memory.plan import plan


def lines(cards: str, folder: Path) -> list[str]:
    return [*needs(plan(Machine.parse(cards), Goal()).choices, folder)]


def test_what_is_to_be_installed_and_fetched_is_said_with_its_commands(tmp_path: Path) -> None:
    engines, programs, models, *unknown = lines("8", tmp_path)
    assert engines == 'Engines: make setup EXTRAS="kokoro whisper"'
    assert programs.endswith("vLLM")
    assert models == "Models:  duologue models pull large-v3-turbo kokoro-v1.0"
    assert "--as llama-3.2-3b-instruct-awq" in unknown[0]


def test_a_model_that_is_there_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "kokoro-v1.0").mkdir()
    (tmp_path / "kokoro-v1.0" / "model.onnx").write_bytes(b"x")
    assert "Models:  duologue models pull large-v3-turbo" in lines("8", tmp_path)


def test_what_is_built_in_needs_nothing(tmp_path: Path) -> None:
    choices = plan(Machine.parse("0"), Goal(profile="embedded")).choices
    assert [*needs(choices, tmp_path)] == []


def test_every_engine_with_an_extra_can_be_found_by_its_name() -> None:
    known = {*registry.names(Role.STT), *registry.names(Role.TTS), *registry.names(Role.LLM)}
    assert set(EXTRAS) <= known


def test_files_of_gguf_models_are_called_as_they_are_fetched() -> None:
    files = gguf_files()
    assert files["llama-3.2-3b-instruct-q4_k_m"].endswith(".gguf")
    assert all(name.endswith("q4_k_m") for name in files)
