from pathlib import Path

import pytest

from duologue.core.errors import SetupError
from duologue.engines.models.sources import (
    CATALOGUE,
    SILERO,
    SMART_TURN,
    HubSource,
    LocalSource,
    WheelSource,
    parse,
)

ROOT = Path(__file__).parents[3]
HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "source", "name"),
    [
        ("/models/it", LocalSource("/models/it"), "it"),
        ("./it.onnx", LocalSource("./it.onnx"), "it.onnx"),
        ("~/it", LocalSource("~/it"), "it"),
        (
            "wheel:pipecat-ai==1.14.0:pipecat/audio/smart-turn-v3.2-cpu.onnx",
            WheelSource("pipecat-ai", "1.14.0", "pipecat/audio/smart-turn-v3.2-cpu.onnx"),
            "smart-turn-v3.2-cpu",
        ),
        (f"wheel:a==1+cpu:b.bin#sha256={HASH}", WheelSource("a", "1+cpu", "b.bin", HASH), "b"),
        ("hub:Systran/faster-whisper-tiny", HubSource("Systran/faster-whisper-tiny"), None),
        ("hub:a/b@refs/pr/1", HubSource("a/b", "refs/pr/1"), "b"),
    ],
)
def test_sources_are_read_and_written(text: str, source: object, name: str | None) -> None:
    found = parse(text)
    assert found == source
    assert str(found) == text
    assert found.name == (name or "faster-whisper-tiny")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "huge",
        "wheel:a:b",
        "wheel:a==1",
        "wheel:a==1:b#sha256=12",
        "hub:a",
        "hub:a/b/c",
        "http://x/y",
    ],
)
def test_what_is_no_source_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(SetupError, match="wheel:NAME==VERSION") as caught:
        parse(text)
    assert caught.value.code == "model_source_invalid"
    assert "silero-vad" in caught.value.remedy


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_known_name_is_a_source_that_can_be_written_out(name: str) -> None:
    known = CATALOGUE[name]
    assert parse(name) == known.source
    assert str(parse(str(known.source))) == str(known.source)
    assert known.megabytes > 0


@pytest.mark.parametrize("source", [SILERO, SMART_TURN])
def test_the_known_file_is_the_one_that_the_package_carries(source: WheelSource) -> None:
    step = (ROOT / "hatch_build.py").read_text()
    assert f'sha256="{source.sha256}"' in step
    assert f'package="{source.package}"' in step
    assert f'member="{source.member}"' in step
    assert f"{source.package}=={source.version}\n" in (ROOT / "requirements/assets.in").read_text()
