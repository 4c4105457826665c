"""From what happened to figures: shares, medians, rates with the hours that they stand on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.turns.reference import EARLY_MS
from bench.turns.whole import Outcome

Figures = dict[str, Any]
"""JSON values."""


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value below which such a share lies; None of none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else None


def share(part: int, whole: int) -> float | None:
    """As a fraction; None of none."""
    return round(part / whole, 4) if whole else None


def rate_per_hour(events: int, hours: float) -> Figures:
    """Events an hour; where there were none, the bound that so many hours allow (three over the hours: 95 %)."""
    found: Figures = {"events": events, "hours": round(hours, 4)}
    if hours > 0:
        found["per_hour"] = round(events / hours, 2)
        if not events:
            found["per_hour_below"] = round(3 / hours, 1)
    return found


def of_whole(outcomes: Sequence[Outcome]) -> Figures:
    """The headline, and the same by kind."""
    kinds: dict[str, list[Outcome]] = {}
    for one in outcomes:
        kinds.setdefault(one.kind, []).append(one)
    by_kind = {kind: _of_kind(found) for kind, found in kinds.items()}
    everything = _of_kind(outcomes)
    return {**everything, "by_kind": by_kind}


def _of_kind(outcomes: Sequence[Outcome]) -> Figures:
    delays = [one.delay_ms for one in outcomes if one.delay_ms is not None]
    paused = [one for one in outcomes if one.paused]
    return {
        "false_cutoff_rate": share(sum(one.false_cutoff for one in outcomes), len(outcomes)),
        "end_of_turn_delay_p50_ms": quantile(delays, 0.5),
        "end_of_turn_delay_p95_ms": quantile(delays, 0.95),
        "recordings": len(outcomes),
        "false_cutoffs": sum(one.false_cutoff for one in outcomes),
        "cut": sum(one.cut for one in outcomes),
        "cut_without_tolerance": sum(one.cut_within(0) for one in outcomes),
        "tolerance_ms": EARLY_MS,
        "more": sum(one.more for one in outcomes),
        "paused": len(paused),
        "false_cutoff_rate_of_paused": share(sum(one.false_cutoff for one in paused), len(paused)),
        "without_reference": sum(one.reference is None for one in outcomes),
        "delays": len(delays),
        "lost": sum(one.lost for one in outcomes),
        "unanswered": sum(one.unanswered for one in outcomes),
    }


# --- for a person ---
def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def headline(found: Mapping[str, Figures]) -> str:
    """All policies side by side."""
    rows = [
        [
            "policy",
            "cut %",
            "of paused %",
            "p50 ms",
            "p95 ms",
            "N",
            "cut",
            "at 0 ms",
            "more",
            "lost",
            "unanswered",
        ]
    ]
    for name, f in found.items():
        rows.append(
            [
                name,
                _percent(f["false_cutoff_rate"]),
                _percent(f["false_cutoff_rate_of_paused"]),
                *(_cell(f[key]) for key in (
                    "end_of_turn_delay_p50_ms", "end_of_turn_delay_p95_ms", "recordings", "cut",
                    "cut_without_tolerance", "more", "lost", "unanswered",
                )),
            ]
        )  # fmt: skip
    return table(rows)


def made(found: Mapping[str, Figures]) -> str:
    """The made conversations, all policies side by side."""
    rows = [
        ["policy", "passed", "barge-in p50", "p95 ms", *(f"p95 {c}" for c in _clients(found)),
         "missed %", "backchannel kills %", "false barge-ins %", "echo <= -12 dB", "all /h", "phantom /h", "lost"]
    ]  # fmt: skip
    for name, f in found.items():
        clients = f["barge_in_by_client"]
        rows.append(
            [
                name,
                f"{len(f['scenarios_passed'])}/{f['scenarios']}",
                _cell(f["barge_in_p50_ms"]),
                _cell(f["barge_in_p95_ms"]),
                *(_cell(clients.get(c, {}).get("barge_in_p95_ms")) for c in _clients(found)),
                _percent(f["missed_barge_in_rate"]),
                _percent(f["backchannel_kill_rate"]),
                _percent(f["false_barge_in_rate"]),
                _cell(f["echo_self_triggers"]),
                _rate(f["echo"]["all"]),
                _rate(f["phantom_turns"]),
                _cell(f["turns_lost_in_scenarios"]),
            ]
        )
    return table(rows)


def groups(found: Mapping[str, Figures]) -> str:
    """How many scenarios of each group went as expected; a column a policy: passed, cut off, held for nothing."""
    return _by(
        found,
        ("by_group", "group", "ok/cut/held"),
        "scenarios",
        lambda f: f"{f['passed']}/{f['cut']}/{f['holds']}",
    )


def _by(
    found: Mapping[str, Figures],
    labels: tuple[str, str, str],
    size: str,
    cell: Callable[[Figures], str],
) -> str:
    """A row a kind or group, a column a policy; `labels`: where they stand, what a row is, what a cell tells."""
    key, row, told = labels
    rows = [[row, "N", *(f"{name} {told}" for name in found)]]
    for name, some in next(iter(found.values()))[key].items():
        rows.append([name, str(some[size]), *(cell(of[key][name]) for of in found.values())])
    return table(rows)


def markdown(found: Mapping[str, Figures]) -> str:
    """What the documentation shows: a row a figure, a column a policy."""
    lines = [f"| | {' | '.join(found)} |", f"|---|{'---:|' * len(found)}"]
    for label, value in _ROWS:
        cells = [_if_measured(value, f) for f in found.values()]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _if_measured(value: Callable[[Figures], str], figures: Figures) -> str:
    try:
        return value(figures)
    except KeyError:
        return "-"


def _client(name: str) -> Callable[[Figures], str]:
    return lambda f: _cell(f["barge_in_by_client"][name]["barge_in_p95_ms"])


_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("false cut-offs, % of recordings", lambda f: _percent(f["false_cutoff_rate"])),
    ("of those with a pause of 200 ms, %", lambda f: _percent(f["false_cutoff_rate_of_paused"])),
    ("end of turn to answer, ms, median", lambda f: _cell(f["end_of_turn_delay_p50_ms"])),
    ("the same, 95th percentile", lambda f: _cell(f["end_of_turn_delay_p95_ms"])),
    ("barge-in to silence, ms, 95th percentile", lambda f: _cell(f["barge_in_p95_ms"])),
    ("stock WebSocket client", _client("stock")),
    ("`duologue.v1`", _client("v1")),
    ("WebRTC", _client("webrtc")),
    ("the same over an echo (double-talk)", lambda f: _cell(f["double-talk"]["barge_in_p95_ms"])),
    ("missed barge-ins, %", lambda f: _percent(f["missed_barge_in_rate"])),
    ("false barge-ins (coughs, noise), %", lambda f: _percent(f["false_barge_in_rate"])),
    ("backchannels that end the answer, %", lambda f: _percent(f["backchannel_kill_rate"])),
    ("echo self-triggers, at most -12 dB", lambda f: _cell(f["echo_self_triggers"])),
    ("echo self-triggers an hour, all levels", lambda f: _rate(f["echo"]["all"])),
    ("phantom turns an hour of noise and silence", lambda f: _rate(f["phantom_turns"])),
    ("turns lost", lambda f: _cell(f["turns_lost"])),
    ("scenarios as expected", lambda f: f"{len(f['scenarios_passed'])} of {f['scenarios']}"),
)


def _clients(found: Mapping[str, Figures]) -> list[str]:
    return list(dict.fromkeys(c for f in found.values() for c in f["barge_in_by_client"]))


def _rate(found: Figures) -> str:
    if "per_hour_below" in found:
        return f"<{found['per_hour_below']:g}"
    return _cell(found.get("per_hour"))


def kinds(found: Mapping[str, Figures]) -> str:
    """Share of false cut-offs and median delay by kind, a column a policy."""
    return _by(
        found,
        ("by_kind", "kind", "cut/p50"),
        "recordings",
        lambda f: f"{f['false_cutoffs']} / {_cell(f['end_of_turn_delay_p50_ms'])}",
    )
