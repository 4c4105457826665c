"""The engine's argument."""

from pathlib import Path

import pytest

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.engines.local_llm.wanted import Wanted
from duologue.engines.models.store import in_folder


def test_everything_may_be_left_to_the_model() -> None:
    wanted = Wanted.parse("tinyllama")
    assert (wanted.placement.model, wanted.temperature, wanted.form) == ("tinyllama", None, "")
    assert wanted.contest


def test_options_are_read() -> None:
    wanted = Wanted.parse(
        "tinyllama@cuda:1/fp16?max_new_tokens=64&temperature=0&top_p=0.5&top_k=3"
        "&repetition_penalty=1&max_memory=4GiB&form=turns&attention=eager&contest=off"
    )
    assert (wanted.placement.device, wanted.placement.precision) == ("cuda", "fp16")
    assert (wanted.max_new_tokens, wanted.temperature, wanted.top_p) == (64, 0, 0.5)
    assert (wanted.top_k, wanted.repetition_penalty, wanted.max_memory) == (3, 1, "4GiB")
    assert (wanted.form, wanted.attention, wanted.contest) == ("turns", "eager", False)


@pytest.mark.parametrize(
    "option",
    "max_new_tokens=0 temperature=-1 temperature=nan top_p=2 top_k=x form=poem attention=flash "
    "contest=maybe".split(),
)
def test_a_value_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(SetupError, match="is no value for it") as caught:
        Wanted.parse(f"m?{option}")
    assert caught.value.code == "llm_option_invalid"


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SetupError, match="'heat'") as caught:
        Wanted.parse("m?heat=1")
    assert "temperature" in caught.value.remedy


def test_a_model_is_found_by_name_or_path(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    (tmp_path / "tiny" / "model.safetensors").write_text("")
    assert Wanted.parse("tiny").folder(tmp_path) == tmp_path / "tiny"
    assert Wanted.parse("/models/tiny@cpu").folder(tmp_path) == Path("/models/tiny")
    assert in_folder("tiny@cpu/int8?top_k=3", tmp_path) == f"{tmp_path}/tiny@cpu/int8?top_k=3"
    assert in_folder("/models/tiny", tmp_path) == "/models/tiny"
    with pytest.raises(EngineUnavailable) as caught:
        Wanted.parse("@cpu").folder(tmp_path)
    assert caught.value.code == "llm_model_unnamed"
