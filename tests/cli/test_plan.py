"""`duologue plan`, as a person at a terminal meets it."""

import json
import tomllib
from pathlib import Path

import pytest

from duologue import settings
from duologue.cli import plan as command
from duologue.core.errors import SetupError
from duologue.memory import probe
from duologue.memory.calibrate import Figures
from duologue.memory.calibration_file import FILE, CalibrationFile, Circumstances, Record
from duologue.memory.machine import Gpu, Machine
from duologue.memory.nvml import Card
from duologue.memory.probe import Looked


@pytest.fixture(autouse=True)
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """An empty folder, and no user's data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(settings, "visible_gpus", lambda: None, raising=False)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert command.main([*args]) == 0
    return capsys.readouterr().out


def test_it_says_what_fits_what_is_better_and_what_is_given_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = said(capsys, "--vram", "6")
    assert "6 GB card (5.50 GB free)" in text
    assert "stt hears   whisper:large-v3-turbo@cuda:0/int8_float16\n" in text
    assert "if it fails: whisper:base@cpu/int8, pocketsphinx" in text
    assert "-c 4096 -ngl 99 -np 1" in text
    assert "GPU 0 (6 GB card)" in text
    assert "more free on GPU 0" in text
    assert "   1. llm: " in text
    assert "bitsandbytes" not in text
    assert all(len(line) <= 160 for line in text.splitlines() if "--language" not in line)


def test_it_explains_every_term(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--vram", "8", "--explain")
    assert "computed: 3213 M parameters in awq" in text
    assert "documented: faster-whisper issue 1030" in text
    assert "Why not bitsandbytes" in text
    assert "Why not offload" in text


def test_programs_get_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(said(capsys, "--gpus", "3x8", "--json"))
    assert [choice["device"] for choice in told["choices"]] == ["cuda:0", "cuda:1", "cuda:2"]
    assert told["settings"]["stt"].startswith(told["choices"][0]["name"] + ",")
    for sheet in told["certificate"]:
        assert sheet["total"] == sum(line["value"] for line in sheet["lines"])
        assert sheet["slack"] == sheet["limit"] - sheet["total"] >= 0
    held = [rung["gpu_mib"] for rung in told["ladder"]]
    assert held == sorted(held, reverse=True)
    assert told["ladder"][0]["after"]["name"]


def test_a_machine_without_a_card_is_told_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--gpus", "0", "--ram", "8", "--cores", "4")
    assert text.startswith("no graphics card; 8.00 GB of memory, 4 cores.")
    assert "Better (with a card of 4 GB):" in text
    assert "held by all" in text
    best = said(capsys, "--gpus", "0", "--profile", "embedded")
    assert "Nothing better is known for this goal." in best


def test_options_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--vram", "8", "--sessions", "4", "--context", "2048", "--goal", "latency")
    told = json.loads(said(capsys, *args, "--language", "en,de", "--apart", "--json"))
    assert told["goal"] == {
        "profile": "auto",
        "budget_mib": None,
        "aim": "latency",
        "sessions": 4,
        "context_tokens": 2_048,
        "languages": ["en", "de"],
        "is_apart": True,
    }
    budget = json.loads(said(capsys, "--vram", "24", "--budget", "5", "--json"))
    assert sum(choice["gpu_mib"] for choice in budget["choices"]) <= 5 * 1_024


@pytest.mark.parametrize(
    "args",
    [
        ("--profile", "nix"),
        ("--vram", "6", "--gpus", "8"),
        ("--profile", "low", "--budget", "3"),
        ("--cores", "0"),
        ("--ram", "-1"),
        ("--ram", "inf"),
        ("--budget", "nan"),
        ("--budget", "inf"),
        ("--budget", "0"),
        ("--budget", "-1"),
        ("--language", "klingon"),
        ("--language", "en,xx"),
        ("--language", "en-US"),
    ],
)
def test_wrong_calls_exit_with_2(args: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main([*args])
    assert stopped.value.code == 2


def test_a_language_that_nobody_speaks_is_told_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--gpus", "0", "--language", "de,xx"])
    assert "'xx' is no language that a voice is known for: af, " in capsys.readouterr().err
    told = json.loads(said(capsys, "--gpus", "0", "--language", "DA", "--json"))
    assert told["goal"]["languages"] == ["da"]  # espeak's


def test_a_context_beyond_the_models_own_is_said_to_be_less(
    capsys: pytest.CaptureFixture[str],
) -> None:
    much = said(capsys, "--vram", "8", "--context", "10000000").splitlines()[0]
    assert "of 32768 tokens (of 10000000 asked for: its language model knows no more)" in much
    assert " of 4096 tokens, auto" in said(capsys, "--vram", "8").splitlines()[0]


# --- this machine ---
CARD = Card(0, "GPU-0", "0000:01:00.0", "a card", 8_192, 7_000, (8, 6))


def looked(monkeypatch: pytest.MonkeyPatch, *cards: Card, reasons: tuple[str, ...] = ()) -> None:
    gpus = tuple(
        Gpu(i, card.name, card.total_mib, card.free_mib, (8, 6)) for i, card in enumerate(cards)
    )
    found = Looked(Machine(gpus, 0 if reasons else 16_384, 8), reasons, "550.1", cards)
    monkeypatch.setattr(probe, "look", lambda visible: found)


def test_unless_told_otherwise_it_plans_for_what_is_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked(monkeypatch, CARD)
    assert "a card (6.84 GB free)" in said(capsys)
    looked(monkeypatch, reasons=("no driver is installed",))
    text = said(capsys)
    assert "no graphics card; 16.00 GB of memory" in text  # what is not known is taken as usual
    assert "(no driver is installed)" in text


def test_what_was_measured_here_counts_here_and_not_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    looked(monkeypatch, CARD)
    capability = ".".join(map(str, CARD.capability))
    record = Record(
        candidate="stt:whisper:large-v3-turbo@cuda/int8_float16",
        under=Circumstances("a card", capability, "550.1"),
        figures=Figures(uses_card=True, context_mib=300, weights_mib=777, work_mib=111),
    )
    CalibrationFile(here / "data" / "duologue" / FILE).add([record])
    assert "measured: duologue calibrate, here" in said(capsys, "--explain")
    assert "measured: duologue calibrate, here" not in said(capsys, "--vram", "8", "--explain")


# --- files ---
FILES = ("duologue.toml", "docker-compose.plan.yml", "devices.json")


def test_files_are_written_and_read_back_by_the_settings(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    told = json.loads(said(capsys, "--vram", "8", "--json", "--write"))
    assert {file.name for file in here.iterdir()} == set(FILES)
    assert tomllib.loads((here / FILES[0]).read_text()) == told["settings"]
    before = [(here / name).read_text() for name in FILES]
    said(capsys, "--vram", "8", "--write")  # the same again changes nothing, and is no offence
    assert [(here / name).read_text() for name in FILES] == before


def test_what_is_there_is_not_overwritten_unless_forced(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    mine = 'port = 9000\nstt = "pocketsphinx"\n'
    (here / FILES[0]).write_text(mine)
    (here / FILES[2]).write_text("{}")
    with pytest.raises(SetupError) as error:
        command.main(["--vram", "8", "--write"])
    assert error.value.code == "files_in_the_way"
    assert 'stt = "pocketsphinx" to "whisper:' in error.value.message
    assert "devices.json" in error.value.message
    assert (here / FILES[0]).read_text() == mine
    assert not (here / FILES[1]).exists()
    said(capsys, "--vram", "8", "--write", "--force")
    now = tomllib.loads((here / FILES[0]).read_text())
    assert now["port"] == 9_000
    assert now["stt"].startswith("whisper:")
    assert "stt" in json.loads((here / FILES[2]).read_text())
