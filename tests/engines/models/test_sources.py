from pathlib import Path

import pytest

from duologue.core.errors import SetupError
from duologue.engines.models.forms import (
    HubSource,
    Link,
    LocalSource,
    Source,
    UrlSource,
    WheelSource,
)
from duologue.engines.models.sources import CATALOGUE, SILERO, SMART_TURN, parse
from duologue.memory.known import CANDIDATES

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
        ("hub:a/b:*.json,x/y.bin", HubSource("a/b", "", ("*.json", "x/y.bin")), "b"),
        (
            "wheel:a==1:b/voices/,b/net.onnx",
            WheelSource("a", "1", "b/voices/,b/net.onnx"),
            "voices",
        ),
        (
            f"https://a.example/x/net.onnx?v=2#sha256={HASH}",
            UrlSource((Link("https://a.example/x/net.onnx?v=2", HASH),)),
            "net",
        ),
        (
            "https://a.example/net.onnx,http://b.example/voices-v1.0.bin",
            UrlSource(
                (Link("https://a.example/net.onnx"), Link("http://b.example/voices-v1.0.bin"))
            ),
            "net",
        ),
        (
            "https://a.example/it-1.0.tar.gz",
            UrlSource((Link("https://a.example/it-1.0.tar.gz"),)),
            "it-1.0",
        ),
    ],
)
def test_sources_are_read_and_written(text: str, source: Source, name: str | None) -> None:
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
        "hub:a/b:",
        f"wheel:a==1:b/,c#sha256={HASH}",
        f"wheel:a==1:b/#sha256={HASH}",
        "https://somebody:secret@a.example/x",
        "https://a.example",
        "https://a.example/x y",
        "https://a.example/x#sha256=12",
        "https://a.example/x.bin,https://b.example/x.bin",
        "file:///etc/passwd",
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


def test_the_files_of_a_source_are_named_for_those_who_place_them_by_hand() -> None:
    assert parse("kokoro-v1.0").wanted == ("kokoro-v1.0.onnx", "voices-v1.0.bin")
    assert parse("https://a.example/it.tar.gz").wanted == ("what is in it.tar.gz",)
    assert parse("wheel:a==1:b/voices/,b/net.onnx").wanted == ("all of b/voices/", "net.onnx")
    assert parse("hub:a/b").wanted == ("all files",)


@pytest.mark.parametrize(
    "path", ["/x/..%2f..%2fetc", "/%2e%2e/%2e%2e", "/x/.hidden", "/x/", "/a%00b"]
)
def test_the_name_of_a_file_leads_nowhere(path: str) -> None:
    file = Link(f"https://a.example{path}").file
    assert file == Path(file).name
    assert file[0] != "."
    assert "\0" not in file


def test_what_the_planner_plans_can_be_pulled_by_the_name_that_it_uses() -> None:
    """All but these: vLLM takes a hub's name itself, and for the others no file names were found."""
    planned = {c.model for c in CANDIDATES if c.model and c.engine != "vllm" and not c.is_built_in}
    assert planned - CATALOGUE.keys() <= {
        "sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8",  # not a streaming model: no engine of ours
        "dialogpt-small",
        "tinyllama-1.1b-chat-q4_k_m",
    }


@pytest.mark.parametrize("source", [SILERO, SMART_TURN])
def test_the_known_file_is_the_one_that_the_package_carries(source: WheelSource) -> None:
    step = (ROOT / "hatch_build.py").read_text()
    assert f'sha256="{source.sha256}"' in step
    assert f'package="{source.package}"' in step
    assert f'member="{source.member}"' in step
    assert f"{source.package}=={source.version}\n" in (ROOT / "requirements/assets.in").read_text()
