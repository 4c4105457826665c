from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.whisper.files import REQUIRED, Choice, check, in_folder


@pytest.mark.parametrize(
    ("argument", "choice"),
    [
        ("small", Choice("small")),
        ("small@cpu", Choice("small", "cpu")),
        ("/m/base@cpu:4", Choice("/m/base", "cpu", 4)),
        ("./it@cuda:1", Choice("./it", "cuda", 1)),
        ("a@home/base", Choice("a@home/base")),
        ("", Choice("")),
    ],
)
def test_an_argument_names_a_model_and_perhaps_a_device(argument: str, choice: Choice) -> None:
    assert Choice.parse(argument) == choice


def test_no_threads_are_too_few() -> None:
    with pytest.raises(SetupError) as caught:
        Choice.parse("small@cpu:0")
    assert caught.value.code == "whisper_threads_invalid"


def test_a_name_is_looked_up_and_a_path_is_taken(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert Choice("small").folder(tmp_path) == tmp_path / "small"
    assert Choice("/somewhere/else").folder(tmp_path) == Path("/somewhere/else")
    assert Choice("~/x").folder(tmp_path) == Path.home() / "x"
    with pytest.raises(EngineUnavailable, match="duologue models pull base"):
        Choice("base").folder(tmp_path)
    with pytest.raises(EngineUnavailable) as caught:
        Choice("").folder(tmp_path)
    assert caught.value.code == "whisper_model_unnamed"


def test_another_models_folder_is_written_into_the_argument() -> None:
    assert in_folder("small@cpu:2", Path("/m")) == "/m/small@cpu:2"
    assert in_folder("/x/y@cpu", Path("/m")) == "/x/y@cpu"
    assert in_folder("", Path("/m")) == ""


def whole(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in (*REQUIRED, "vocabulary.txt"):
        (folder / name).write_text("")
    return folder


def test_a_whole_model_passes(tmp_path: Path) -> None:
    check(whole(tmp_path))


@pytest.mark.parametrize("name", [*REQUIRED, "vocabulary.txt"])
def test_a_missing_file_is_named_with_the_command_that_gets_it(tmp_path: Path, name: str) -> None:
    folder = whole(tmp_path / "base")
    (folder / name).unlink()
    with pytest.raises(EngineUnavailable) as caught:
        check(folder)
    assert caught.value.code == "whisper_file_missing"
    assert name.partition(".")[0] in caught.value.message
    assert "duologue models pull base" in caught.value.remedy


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"nowhere does not exist.*models pull small") as it:
        check(tmp_path / "nowhere")
    assert it.value.code == "whisper_folder_missing"


def test_a_checkpoint_of_transformers_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(EngineUnavailable, match="ct2-transformers-converter") as caught:
        check(tmp_path)
    assert caught.value.code == "whisper_not_converted"
