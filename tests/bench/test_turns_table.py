"""The table of turn-taking does not get worse: the few clips, and some made conversations, against what was recorded.

`recorded_turns.json` holds the figures; `python -m tests.bench.test_turns_table` writes it anew, to be done when a
change makes them better. The acoustic model is not used, for a machine may have none.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.eval_turns import figures_of
from bench.turns import work
from bench.turns.world import Setup

HERE = Path(__file__).parent
CLIPS = HERE.parent / "data"
RECORDED = HERE / "recorded_turns.json"

NAMES = ("balanced", "snappy", "fixed-500")

SCENARIOS = "pause of 800 *"
OVERLAPS = "barge-in * into the answer, intent, *"

NOISE: dict[str, float] = {
    "false_cutoff_rate": 0.05,
    "end_of_turn_delay_p50_ms": 60,
    "end_of_turn_delay_p95_ms": 200,
    "barge_in_p95_ms": 40,
    "missed_barge_in_rate": 0.0,
    "turns_lost": 0,
    "pauses_cut": 1,
}
"""By how much a figure may be worse: about one recording of the 22, two windows of the detector, and what
floating point of another processor changes."""


def measured() -> dict[str, dict[str, Any]]:
    """The figures of this checkout."""
    setup = Setup()
    found = work.do_part(work.Part(setup, CLIPS, NAMES, scenarios=SCENARIOS))
    overlaps = work.do_part(work.Part(setup, CLIPS, NAMES, whole=False, scenarios=OVERLAPS))
    pauses = figures_of(found, NAMES)
    barges = figures_of(overlaps, NAMES)
    table = {}
    for name in NAMES:
        every = {
            **pauses[name],
            **{k: barges[name][k] for k in ("barge_in_p95_ms", "missed_barge_in_rate")},
        }
        every["pauses_cut"] = pauses[name]["by_group"]["pause"]["cut"]
        table[name] = {key: every[key] for key in NOISE}
    return table


@pytest.mark.timeout(120)
def test_no_figure_is_worse_than_what_was_recorded() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    worse = []
    for name, figures in measured().items():
        for key, value in figures.items():
            was = recorded[name][key]
            if value is None or was is None:
                worse += [f"{name}: {key} is {value}, was {was}"] if value != was else []
            elif value > was + NOISE[key]:
                worse.append(f"{name}: {key} is {value}, was {was}")
    assert not worse, "; ".join(worse)


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    sys.exit(0)
