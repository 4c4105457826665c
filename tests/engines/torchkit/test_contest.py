"""Who wins, in scripted time."""

from pathlib import Path

import pytest

from duologue.core.errors import EngineLost
from duologue.engines.torchkit.contest import (
    Candidate,
    Timing,
    Verdict,
    contest,
    fingerprint,
    remembered,
)


class Race:
    """Candidates that take scripted times; each is what it is called."""

    def __init__(self, **run_ms: float) -> None:
        self.run_ms = run_ms
        self.now_ms = 0.0
        self.runs: list[str] = []
        self.prepare_ms: dict[str, float] = {}
        self.fails: dict[str, Exception] = {}
        self.too_big: set[str] = set()

    def candidate(self, name: str, least_s: float = 0) -> Candidate[str]:
        def prepare() -> str:
            self.now_ms += self.prepare_ms.get(name, 0)
            return name

        return Candidate(name, prepare, least_s)

    def run(self, name: str) -> str:
        self.runs.append(name)
        self.now_ms += self.run_ms[name]
        if name in self.fails:
            raise self.fails[name]
        return "nonsense" if name == "wrong" else "words"

    def after(self) -> str:
        return f"it takes too much memory: {self.runs[-1]}" if self.runs[-1] in self.too_big else ""

    def held(self, *least_s: tuple[str, float], budget_s: float = 60) -> Verdict:
        skip = dict(least_s)
        return contest(
            [self.candidate(name, skip.get(name, 0)) for name in self.run_ms],
            self.run,
            lambda plain, other: "" if plain == other else f"it says {other}",
            budget_s,
            lambda: self.now_ms,
            self.after,
        )


def test_the_fastest_wins() -> None:
    verdict = Race(fp32=100, bf16=130, int8=40).held()
    assert verdict.winner == "int8"
    assert [str(t) for t in verdict.timings] == [
        "fp32: 100.0 ms",
        "bf16: 130.0 ms",
        "int8: 40.0 ms",
    ]


def test_a_win_within_the_noise_is_none() -> None:
    assert Race(plain=100, fancy=96).held().winner == "plain"
    assert Race(plain=100, fancy=94).held().winner == "fancy"


def test_what_is_fast_and_wrong_loses() -> None:
    verdict = Race(plain=100, wrong=10).held()
    assert verdict.winner == "plain"
    assert verdict.timings[1] == Timing("wrong", None, "it says nonsense")


def test_what_is_fast_and_does_not_fit_loses() -> None:
    race = Race(plain=100, big=10, huge=10)
    race.too_big, race.fails = {"big"}, {"huge": RuntimeError("CUDA out of memory. Tried 2 GiB")}
    verdict = race.held()
    assert verdict.winner == "plain"
    assert "too much memory" in verdict.timings[1].why
    assert verdict.timings[2].why == "it does not fit into memory"


def test_what_fails_is_out_and_says_why() -> None:
    race = Race(plain=100, one=10, other=10)
    race.fails = {"one": RuntimeError("no kernel\n…"), "other": EngineLost("x", "It broke.")}
    assert [t.why for t in race.held().timings[1:]] == [
        "it does not run: no kernel",
        "it does not run: It broke.",
    ]


def test_the_plain_way_must_run() -> None:
    race = Race(plain=1, other=1)
    race.fails = {"plain": RuntimeError("no kernel")}
    with pytest.raises(RuntimeError, match="no kernel"):
        race.held()


def test_no_candidate_is_begun_after_the_time_is_over() -> None:
    race = Race(plain=16_000, slow=16_000, late=1)
    verdict = race.held(budget_s=60)
    assert race.now_ms == 64_000  # the plain one's four runs
    assert race.runs == ["plain"] * 4
    assert verdict.winner == "plain"
    assert verdict.timings[2].why == "no time left (0 s)"


def test_a_compiler_that_is_known_to_take_long_is_passed_over_in_time() -> None:
    race = Race(plain=1_000, compiled=10, quick=500)
    verdict = race.held(("compiled", 57), budget_s=60)
    assert race.runs.count("compiled") == 0
    assert verdict.timings[1].why == "no time left (56 s)"
    assert verdict.winner == "quick"


def test_the_budget_ends_a_candidate_between_its_runs() -> None:
    race = Race(plain=1_000, slow=1_500)
    race.prepare_ms = {"slow": 54_000}
    race.held(budget_s=60)
    assert race.runs.count("slow") == 2  # one that is not timed, and one


def test_a_hopeless_candidate_is_not_run_again() -> None:
    race = Race(plain=100, slow=300)
    race.held()
    assert race.runs.count("plain") == 4
    assert race.runs.count("slow") == 2


KEY = {"device": "a card", "torch": "2.13.0"}
VERDICT = Verdict("int8", (Timing("fp32", 100.0), Timing("bf16", None, "it overflows")))


def never() -> Verdict:
    raise AssertionError


def test_a_verdict_is_remembered_for_its_key(tmp_path: Path) -> None:
    folder = tmp_path / "verdicts"
    assert remembered(folder, KEY, lambda: VERDICT) == VERDICT
    assert remembered(folder, KEY, never) == VERDICT
    other = Verdict("fp32", ())
    assert remembered(folder, {**KEY, "torch": "2.14.0"}, lambda: other) == other


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"key": {}, "verdict": {}}'])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str) -> None:
    remembered(tmp_path, KEY, lambda: VERDICT)
    (file,) = tmp_path.iterdir()
    file.write_text(damage)
    assert remembered(tmp_path, KEY, lambda: VERDICT) == VERDICT
    assert remembered(tmp_path, KEY, never) == VERDICT


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert remembered(tmp_path / "file", KEY, lambda: VERDICT) == VERDICT


def test_models_are_told_apart_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    (tmp_path / "config.json").write_text('{"a": 2}')
    second = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert len({first, second, fingerprint(tmp_path)}) == 3
