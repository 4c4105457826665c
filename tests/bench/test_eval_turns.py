"""The measure itself: its reference on made sound, what counts as what, and a run on the repository's own clips."""

import json
from pathlib import Path

import numpy as np
import pytest
from bench.turns.figures import of_whole
from bench.turns.reference import Pcm, Reference, reference
from bench.turns.whole import Outcome

from bench import eval_turns

CLIPS = Path(__file__).parent.parent / "data"


def made(*parts: tuple[int, float]) -> Pcm:
    """Noise of such lengths (ms) and levels (dBFS)."""
    random = np.random.default_rng(2)
    sound = [random.standard_normal(16 * ms) * 32_768 * 10 ** (db / 20) for ms, db in parts]
    return np.concatenate(sound).round().astype(np.int16)


def test_the_reference_goes_by_lasting_loudness() -> None:
    knock, still = (30, -20.0), (400, -65.0)
    sound = made(still, knock, still, (600, -20.0), (700, -65.0), (500, -25.0), (500, -45.0), still)
    found = reference(sound)
    assert found is not None
    assert found.begin_ms == pytest.approx(830, abs=20)
    assert found.end_ms == pytest.approx(2630, abs=20)
    assert found.pause_ms == pytest.approx(700, abs=40)
    softer = reference(sound, 30)
    assert softer is not None
    assert softer.end_ms == pytest.approx(3130, abs=20)


def test_where_noise_is_as_loud_as_speech_there_is_no_reference() -> None:
    assert reference(made((500, -30.0), (500, -20.0), (500, -30.0))) is None
    assert reference(made((50, -20.0), (950, -60.0))) is None
    assert reference(np.zeros(0, np.int16)) is None


RIGHT = Reference(300, 3_000, 600)


def outcome(
    heard: tuple[float, ...] = (),
    committed: tuple[float, ...] = (),
    again: tuple[float, ...] = (400.0,),
    right: Reference | None = RIGHT,
) -> Outcome:
    until_ms = 2_800 if right is not None else 2_000
    return Outcome("file", "kind", right, heard, committed, again, 3_500, until_ms)


def test_an_answer_before_the_last_word_is_a_cut_whatever_becomes_of_it() -> None:
    cut = outcome((2_000, 3_600), (1_990, 3_600), (400, 2_100))
    assert cut.cut
    assert cut.false_cutoff
    assert not cut.more
    assert cut.delay_ms is None
    assert not cut.lost


def test_a_turn_that_ends_early_and_is_not_heard_is_none() -> None:
    silent = outcome((3_600,), (2_000, 3_600))
    assert not silent.false_cutoff
    assert silent.delay_ms == 600


def test_within_the_tolerance_it_is_a_cut_only_without_it() -> None:
    close = outcome((2_900,), (2_890,))
    assert not close.cut
    assert close.cut_within(0)
    assert close.delay_ms == -100


def test_where_loudness_cannot_tell_speech_over_the_answer_tells() -> None:
    more = outcome((1_500,), (1_490, 2_600), (400, 1_900), right=None)
    assert more.more
    assert more.false_cutoff
    assert not outcome((1_500,), (1_490,), right=None).false_cutoff
    assert not outcome((2_900,), (2_890,), (400, 3_800)).more, "that was after the recording"


def test_a_turn_whose_last_words_nobody_took_is_lost() -> None:
    assert outcome((2_000,), (1_990,)).lost
    assert outcome().lost
    answerless = outcome((), (3_550,))
    assert not answerless.lost
    assert answerless.unanswered
    assert answerless.delay_ms == 550


def test_shares_are_of_all_and_of_those_with_a_pause() -> None:
    even = Reference(300, 3_000, 100)
    figures = of_whole(
        [
            outcome((2_000,), (1_990, 3_500)),
            outcome((3_500,), (3_500,)),
            outcome((3_900,), (3_900,), right=even),
        ]
    )
    assert figures["false_cutoff_rate"] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["false_cutoff_rate_of_paused"] == 0.5
    assert figures["end_of_turn_delay_p50_ms"] == 900
    assert figures["by_kind"]["kind"]["recordings"] == 3


def test_a_run_on_the_few_clips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUOLOGUE_SPEECH", str(CLIPS))
    out, picture = tmp_path / "turns.json", tmp_path / "turns.svg"
    asked = (
        "--limit 1 --presets fixed-700 --stt none --no-turn-end --processes 1 --scenarios questions"
    )
    more = ["--cache", str(tmp_path), "--json", str(out), "--plot", str(picture), "--show"]
    assert eval_turns.main([*asked.split(), *more]) == 0
    assert "fixed-700" in capsys.readouterr().out
    figures = json.loads(out.read_text())["fixed-700"]
    wanted = (
        "false_cutoff_rate end_of_turn_delay_p50_ms end_of_turn_delay_p95_ms barge_in_p95_ms missed_barge_in_rate "
        "backchannel_kill_rate echo_self_triggers turns_lost by_kind"
    )
    assert set(wanted.split()) <= set(figures)
    assert figures["recordings"] > 6
    assert figures["turns_lost"] == 0
    assert 700 <= figures["end_of_turn_delay_p50_ms"] <= 900
    assert "noise" not in figures["by_kind"]
    assert "1500" in picture.read_text()


def test_without_recordings_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DUOLOGUE_SPEECH", str(tmp_path))
    assert eval_turns.main([]) == 2
    assert "no recordings" in capsys.readouterr().err
