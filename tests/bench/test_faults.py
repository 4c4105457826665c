"""No fault of an engine costs what was said; the whole of it, 200 runs, is `python -m bench.faults`."""

import pytest
from bench.turns import virtual

from bench import faults
from duologue.engines.breaker import STALL_LEAST_S

RUNS = 5


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_no_utterance_is_lost_and_the_better_engine_comes_back(fault: faults.Fault) -> None:
    outcomes = [virtual.run(faults.run_once(fault, seed, 4)) for seed in range(RUNS)]
    (row,) = (r for r in faults.table(outcomes) if r["fault"] == fault)
    assert row["injected"] >= RUNS
    assert (row["lost"], row["failed_replies"], row["ended"], row["not_recovered"]) == (0, 0, 0, 0)
    limit_ms = 1_500 if fault != "hang" else STALL_LEAST_S * 1_000 + 500
    assert row["added_p95_ms"] <= limit_ms
