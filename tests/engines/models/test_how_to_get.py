"""The command that gets a missing model, as every engine tells it."""

from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.csm import model as csm_model
from duologue.engines.kokoro import files as kokoro_files
from duologue.engines.local_llm import wanted
from duologue.engines.managed_llm import kinds
from duologue.engines.models import store
from duologue.engines.models.sources import CATALOGUE
from duologue.engines.models.store import how_to_get
from duologue.engines.piper import files as piper_files
from duologue.engines.pocket import files as pocket_files
from duologue.engines.sherpa import files as sherpa_files
from duologue.engines.voices import model_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_what_the_engines_name_is_in_the_catalogue() -> None:
    for module in (kokoro_files, piper_files, pocket_files, csm_model):
        assert module.KNOWN in CATALOGUE


@pytest.mark.parametrize(
    ("name", "more", "command"),
    [
        ("small", {}, "small"),
        ("small", {"again": True, "instead": "base"}, "small --again"),
        ("mine", {}, "SOURCE --as mine"),
        ("mine", {"again": True}, "SOURCE --as mine --again"),
        ("mine", {"again": True, "instead": "base"}, "base"),
    ],
)
def test_a_model_that_is_known_is_got_by_its_name(
    name: str, more: dict[str, Any], command: str
) -> None:
    assert how_to_get(name, **more) == f"`duologue models pull {command}`"


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("kokoro", kokoro_files.KNOWN),
        ("piper", piper_files.KNOWN),
        ("pocket", pocket_files.KNOWN),
        ("csm", csm_model.KNOWN),
        ("voxtral", "voxtral-mini-3b-2507"),
        ("piper", f"{piper_files.KNOWN}.onnx"),
    ],
)
def test_every_voice_names_the_command_of_a_model_that_is_known(
    engine: str, name: str, folder: Path
) -> None:
    place = Placement.parse(store.in_folder(name, folder))
    with pytest.raises(EngineUnavailable) as caught:
        model_files.place_of(place, engine)
    known = name.removesuffix(".onnx")
    assert f"`duologue models pull {known}`" in caught.value.remedy


def test_one_that_is_not_whole_names_it_too(folder: Path) -> None:
    for read, name, more in (
        (kokoro_files.network, kokoro_files.KNOWN, " --again"),
        (piper_files.read, piper_files.KNOWN, " --again"),
        (pocket_files.read, pocket_files.KNOWN, " --again"),
        (kokoro_files.network, "mine", ""),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        with pytest.raises(EngineUnavailable) as caught:
            read(Placement.parse(str(folder / name)))
        known = name if more else kokoro_files.KNOWN
        assert f"`duologue models pull {known}{more}`" in caught.value.remedy


def test_language_models_and_recognisers_name_it_too(folder: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"pull distilgpt2`"):
        wanted.check_there(folder / "distilgpt2")
    with pytest.raises(EngineUnavailable, match=r"pull llama-3.2-1b-instruct-q4_k_m`"):
        kinds.gguf(str(folder / "llama-3.2-1b-instruct-q4_k_m.gguf"))
    with pytest.raises(EngineUnavailable, match=r"pull SOURCE --as mine`"):
        kinds.checkpoint(str(folder / "mine"))
    name = "sherpa-onnx-streaming-zipformer-en-2023-06-26"
    (folder / name).mkdir(parents=True)
    with pytest.raises(EngineUnavailable, match=rf"pull {name} --again`"):
        sherpa_files.find(Placement.parse(name), folder)
