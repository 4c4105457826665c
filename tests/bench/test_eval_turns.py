"""The measure itself: its reference on made sound, and a run on the repository's own clips."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import eval_turns

CLIPS = Path(__file__).parent.parent / "data"


def made(*parts: tuple[int, float]) -> eval_turns.Pcm:
    """Noise of such lengths (ms) and levels (dBFS)."""
    random = np.random.default_rng(2)
    sound = [random.standard_normal(16 * ms) * 32_768 * 10 ** (db / 20) for ms, db in parts]
    return np.concatenate(sound).round().astype(np.int16)


def test_the_reference_goes_by_lasting_loudness() -> None:
    knock, still = (30, -20.0), (400, -65.0)
    sound = made(still, knock, still, (600, -20.0), (700, -65.0), (500, -25.0), (500, -45.0), still)
    found = eval_turns.reference(sound, 20)
    assert found is not None
    assert found.begin_ms == pytest.approx(830, abs=20)
    assert found.end_ms == pytest.approx(2630, abs=20)
    assert found.pause_ms == pytest.approx(700, abs=40)
    softer = eval_turns.reference(sound, 30)
    assert softer is not None
    assert softer.end_ms == pytest.approx(3130, abs=20)


def test_where_noise_is_as_loud_as_speech_there_is_no_reference() -> None:
    assert eval_turns.reference(made((500, -30.0), (500, -20.0), (500, -30.0)), 20) is None
    assert eval_turns.reference(made((50, -20.0), (950, -60.0)), 20) is None


def test_what_counts_as_cut_more_missed_and_clipped() -> None:
    found, right = eval_turns.Tally(), eval_turns.Reference(300, 3000, 600)
    for reference, turns in (
        (right, [eval_turns.Turn(400, 100, 3600)]),
        (right, [eval_turns.Turn(800, 500, 2700), eval_turns.Turn(2900, 2700, 3600)]),
        (right, [eval_turns.Turn(400, 100, 2900), eval_turns.Turn(3400, 3000, 4000)]),
        (right, []),
        (None, [eval_turns.Turn(400, 100, 1000), eval_turns.Turn(1200, 1000, 2000)]),
    ):
        found.add(eval_turns.Heard("file", "kind", reference, turns), silence_ms=500)
    assert found == eval_turns.Tally(5, 4, 4, 1, 2, 1, 1, [100, 500, 100], [600])


def test_a_run_on_the_few_clips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUOLOGUE_SPEECH", str(CLIPS))
    out = tmp_path / "turns.json"
    assert eval_turns.main(["--limit", "2", "--silence-ms", "700", "--json", str(out)]) == 0
    assert "silence of 700 ms" in capsys.readouterr().out
    figures = json.loads(out.read_text())["700"]
    everything = figures["kinds"]["all"]
    assert everything["recordings"] == len(figures["recordings"]) > 8
    assert everything["missed"] == 0
    assert 700 <= everything["end_ms_p50"] <= 900
    assert "noise" not in figures["kinds"]


def test_without_recordings_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUOLOGUE_SPEECH", str(tmp_path))
    assert eval_turns.main([]) == 2
    assert "no recordings" in capsys.readouterr().err
