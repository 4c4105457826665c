from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.models.store import in_folder
from duologue.engines.whisper.files import (
    REQUIRED,
    check,
    folder_of,
    placed,
    precision_of,
)


def test_an_argument_names_a_model_and_its_place() -> None:
    assert placed("small") == Placement("small")
    assert placed("/m/base@cpu:4") == Placement("/m/base", "cpu", 4)
    placement = placed("small@cuda:1/int8_float16?batch=4")
    assert placement == Placement("small", "cuda", 1, "int8_float16", (("batch", "4"),))


@pytest.mark.parametrize(
    ("argument", "code", "tells"),
    [
        ("small@cpu:0", "placement_without_threads", "no thread"),
        ("small@mps", "whisper_device_unknown", "@cpu"),
        ("small@cpu/q4", "whisper_precision_unknown", "int8_float16, int8_bfloat16, float16"),
        ("small?batch=0", "whisper_option_unknown", "from 1 to 32"),
        ("small?batch=33", "whisper_option_unknown", "batch=N"),
        ("small?beams=2", "whisper_option_unknown", "beams=2"),
    ],
)
def test_what_whisper_does_not_have_is_refused(argument: str, code: str, tells: str) -> None:
    with pytest.raises(SetupError, match=tells) as caught:
        placed(argument)
    assert caught.value.code == code


def test_a_precision_may_be_called_by_its_short_name() -> None:
    names = ("fp16", "float16", "bf16", "fp32", "int8_fp16", "int8", "")
    assert [precision_of(Placement("m", precision=name)) for name in names] == [
        "float16",
        "float16",
        "bfloat16",
        "float32",
        "int8_float16",
        "int8",
        "",
    ]


def test_a_name_is_looked_up_and_a_path_is_taken(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    assert folder_of(Placement("small"), tmp_path) == tmp_path / "small"
    assert folder_of(Placement("/somewhere/else"), tmp_path) == Path("/somewhere/else")
    assert folder_of(Placement("~/x"), tmp_path) == Path.home() / "x"
    with pytest.raises(EngineUnavailable, match="duologue models pull base"):
        folder_of(Placement("base"), tmp_path)
    with pytest.raises(EngineUnavailable) as caught:
        folder_of(Placement(""), tmp_path)
    assert caught.value.code == "whisper_model_unnamed"


def test_another_models_folder_is_written_into_the_argument() -> None:
    assert in_folder("small@cpu:2", Path("/m")) == "/m/small@cpu:2"
    assert in_folder("/x/y@cpu", Path("/m")) == "/x/y@cpu"
    assert in_folder("small@cuda:1/int8?batch=2", Path("/m")) == "/m/small@cuda:1/int8?batch=2"
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
