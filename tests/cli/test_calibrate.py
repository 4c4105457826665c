"""`duologue calibrate`, with engines that really run."""

import json
import os
import sys
from pathlib import Path

import pytest

from duologue.cli import calibrate
from duologue.cli.calibrate_work import speech_like
from duologue.core.errors import SetupError
from duologue.memory.calibrate import Figures
from duologue.memory.calibration_file import CalibrationFile, Circumstances, Record
from tests.memory import card_engine
from tests.memory.fake_driver import CONTEXT_MIB, FakeCard, fake_driver, no_driver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")

CARD_ENGINE = "tests.memory.card_engine.SPEC"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # no duologue.toml of somebody's
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    return tmp_path / "duologue" / "calibration.json"


def test_embedded_engines_are_measured_and_kept(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_driver():
        wanted = ["pocketsphinx", "espeak", "skills", "silero"]
        assert calibrate.main([*wanted, "--seconds", "0.5", "--write"]) == 0
    told = capsys.readouterr()
    records = {record.candidate: record for record in CalibrationFile(home).read()}
    assert list(records) == ["stt:pocketsphinx", "tts:espeak", "llm:skills", "vad:silero"]
    hears = records["stt:pocketsphinx"]
    assert not hears.figures.uses_card
    assert 30 < hears.figures.weights_mib < 100
    assert 3 < hears.figures.per_stream_mib < 40
    assert hears.streams == 2
    assert 10 < hears.figures.ram_mib < 100
    assert hears.libraries.keys() == {"pocketsphinx"}
    assert records["vad:silero"].streams == 1
    for name in ("stt:pocketsphinx", "tts:espeak", "llm:skills"):
        assert 0 < (records[name].figures.first_ms or 0) < 5_000
    assert told.out.splitlines()[0].split() == [
        *("engine", "on", "context", "weights", "work", "a", "stream", "besides", "first", "median")
    ]
    assert [line.split()[0] for line in told.out.splitlines()[1:5]] == list(records)
    assert f"Kept in {home}" in told.err


def test_an_engine_on_a_card_is_told_to_programs_and_kept_only_if_asked(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_driver(tmp_path, FakeCard()) as driver:
        monkeypatch.setenv("LD_LIBRARY_PATH", driver.env["LD_LIBRARY_PATH"])
        assert calibrate.main([CARD_ENGINE, "--json", "--seconds", "0.2"]) == 0
    told = capsys.readouterr()
    (record,) = json.loads(told.out)
    assert record["under"] == {"device": "Fake 4060", "capability": "8.9", "driver": "580.12"}
    figures = record["figures"]
    assert (figures["context_mib"], figures["weights_mib"], figures["per_stream_mib"]) == (
        *(CONTEXT_MIB, card_engine.WEIGHTS_MIB, card_engine.STREAM_MIB),
    )
    assert "--write" in told.err
    assert not home.exists()


def test_one_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with no_driver():
        wanted = [f"{CARD_ENGINE}:oom", "nix", "fake-stt", "espeak"]
        assert calibrate.main([*wanted, "--seconds", "0.2"]) == 1
    told = capsys.readouterr()
    assert "! tests.memory.card_engine.SPEC:oom: The card is full. Take a larger one." in told.err
    assert "! nix: There is no engine 'nix'. Known here: " in told.err
    assert "! fake-stt: fake-stt runs elsewhere" in told.err
    assert told.out.splitlines()[1].startswith("tts:espeak  CPU")


def test_uncertain_figures_are_shown_and_not_kept(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sure = Record("stt:a", Circumstances("CPU"), Figures())
    doubtful = Record("stt:b", Circumstances("CPU"), Figures(warnings=("It strayed.",)))
    calibrate.keep([sure, doubtful], CalibrationFile(home), is_wanted=True)
    assert [record.candidate for record in CalibrationFile(home).read()] == ["stt:a"]
    assert "not kept" in capsys.readouterr().err
    assert "! stt:b: It strayed." in list(calibrate.report([sure, doubtful]))


def test_ballast_needs_a_card() -> None:
    with no_driver(), pytest.raises(SetupError, match="no GPU"):
        calibrate.main(["espeak", "--ballast-to", "6"])


def test_with_ballast_an_engine_meets_a_smaller_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context, 100 MiB of weights, 40 of work and 20 of streams: 460 MiB."""
    with fake_driver(tmp_path, FakeCard()) as driver:
        monkeypatch.setenv("LD_LIBRARY_PATH", driver.env["LD_LIBRARY_PATH"])
        wanted = [CARD_ENGINE, "--seconds", "0.2", "--ballast-to"]
        assert calibrate.main([*wanted, "0.4"]) == 1
        assert "cuMemAlloc_v2" in capsys.readouterr().err
        assert calibrate.main([*wanted, "0.46"]) == 0
        assert "tests.memory.card_engine.SPEC" in capsys.readouterr().out


@pytest.mark.full
def test_whisper_is_measured_with_a_checkpoint_of_its_own_form(tmp_path: Path, home: Path) -> None:
    from tests.engines.whisper import tiny_whisper

    folder = tiny_whisper.make(tmp_path / "mini")
    with no_driver():
        assert calibrate.main([f"whisper:{folder}@cpu:1", "--seconds", "1", "--write"]) == 0
    (record,) = CalibrationFile(home).read()
    assert record.candidate == f"stt:whisper:{folder}@cpu"
    assert record.figures.peak_mib(1) > 20
    assert {"faster-whisper", "ctranslate2"} <= record.libraries.keys()


@pytest.mark.parametrize(
    "args",
    [
        *(["--streams", text] for text in ("0", "-1", "x", "1.5", "inf", "9" * 5_000)),
        *(["--seconds", text] for text in ("0", "-1", "nan", "inf", "x")),
        *(["--ballast-to", text] for text in ("x", "nan")),
    ],
)
def test_wrong_numbers_are_refused(args: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        calibrate.main(["espeak", *args])
    assert stopped.value.code == 2


def test_the_sound_to_work_on_swells_and_is_always_the_same() -> None:
    frames = speech_like(0.5, 16_000)
    assert frames == speech_like(0.5, 16_000)
    assert (len(frames), frames[-1].end) == (5, 8_000)
