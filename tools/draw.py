"""`make docs`: docs/turn-taking.md, composed of what is written (tools/turn_taking.md), what the server runs by
(the rules, the presets and the weights), and what was measured last (docs/turn-figures.md, which
`python -m bench.eval_turns --markdown` writes).

python -m tools.draw            # write it
python -m tools.draw --check    # exit code 1 if it has drifted
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.turns import scenario

from duologue.core import endpointing, presets, turn
from duologue.core.cadence import Cadence
from duologue.core.endpointing import Habits, Pause
from duologue.core.facts import Fact
from duologue.core.policy import EVIDENCE_MS, SURE_OF_WORDS, TurnPolicy
from duologue.core.turn import ANYWHERE, RULES, Floor, Go, Row
from duologue.core.turn_parts import CUT_MS
from duologue.core.wording import Wording
from duologue.session.mouth import LEAD_MS
from duologue.session.rehearsal import MAX_SOUND_MS

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "turn-taking.md"
WRITTEN = ROOT / "tools" / "turn_taking.md"
FIGURES = ROOT / "docs" / "turn-figures.md"


def document() -> str:
    """The page.

    Raises:
        KeyError: the written part asks for something that nobody draws.
    """
    drawn: Mapping[str, Callable[[], str]] = {
        "weights": _weights,
        "examples": _examples,
        "presets": _presets,
        "figures": _figures,
        "floors": _floors,
        "picture": _picture,
        "rules": _rules,
    }
    values = _values()
    text = WRITTEN.read_text(encoding="utf-8")
    text = re.sub(r"@(\w+)@", lambda found: values[found[1]], text)
    return re.sub(r"<!-- draw: (\w+) -->", lambda found: drawn[found[1]]().strip(), text)


def _values() -> Mapping[str, str]:
    """Numbers within sentences, by the names that the written part has for them."""
    return {
        "base_percent": str(_percent(endpointing.BASE)),
        "cut_s": f"{CUT_MS / 1000:g}",
        "evidence_ms": str(EVIDENCE_MS),
        "lead_ms": str(LEAD_MS),
        "longest_factor": f"{endpointing.LONGEST_FACTOR:g}",
        "longest_s": f"{endpointing.LONGEST_MS / 1000:g}",
        "open_factor": f"{endpointing.OPEN_FACTOR:g}",
        "rehearsed_s": f"{MAX_SOUND_MS / 1000:g}",
        "scenarios": str(len(scenario.load())),
        "sure_of_words": f"{SURE_OF_WORDS:g}",
    }


# --- how the end of a turn is found ---
def _weights() -> str:
    words = [
        [f"words: {wording.value}{' (open)' if wording.is_open else ''}", f"{weight:+g}"]
        for wording, weight in endpointing.WORDING.items()
        if weight
    ]
    e = endpointing
    rows = [
        ["nothing else known", f"{e.BASE:+g}"],
        [
            f"the turn has lasted well under {e.SHORT_MS / 1000:g} s (half of it at that; nothing beyond)",
            f"up to {e.SHORT:+g}",
        ],
        [
            f"each pause after which the speaker went on in this turn, {e.MOST_COUNTED} at most",
            f"{e.WENT_ON:+g}",
        ],
        [
            "loudness: each dB that the last third of a second is softer than the loudest part of the turn, "
            f"{e.DEEPEST_FALL_DB:g} at most",
            f"{e.FALL_PER_DB:+g}",
        ],
        [
            "loudness: each dB a second by which the last two thirds of a second sink (or, negative, rise), "
            f"{e.FASTEST_DB_PER_S:g} at most",
            f"{e.SINKING:+g}",
        ],
        *words,
        [
            f"the acoustic model's own log odds, where it is at most {100 * e.SUREST:g} % sure",
            f"× {e.ACOUSTIC:g}",
        ],
        ["what was learned of this speaker", f"up to ±{e.HABIT_BOUND:g}"],
    ]
    return _grid(["evidence", "adds"], rows)


_FALLING = Cadence(fall_db=14, slope_db_per_s=-30)
_EXAMPLES: tuple[tuple[str, Pause], ...] = (
    (
        '"yes": half a second, the voice falling by 10 dB',
        Pause(500, cadence=Cadence(10, -25), wording=Wording.PLAIN),
    ),
    (
        "four seconds, the voice falling by 14 dB and sinking by 30 dB a second",
        Pause(4_000, cadence=_FALLING, wording=Wording.PLAIN),
    ),
    ("such a sentence with a question mark", Pause(4_000, cadence=_FALLING, wording=Wording.ASKED)),
    (
        'such a sentence up to a trailing "and"',
        Pause(4_000, cadence=_FALLING, wording=Wording.TRAILING),
    ),
    ("such a sentence, the third of its turn", Pause(9_000, 2, 600, _FALLING)),
    ("four seconds, the voice kept up", Pause(4_000, cadence=Cadence(2, 0))),
)


def _examples() -> str:
    rows = []
    for what, pause in _EXAMPLES:
        likely = _percent(endpointing.log_odds(pause, Habits()))
        waits = [_waits(pause, policy) for policy in presets.PRESETS.values()]
        rows.append([what, f"{likely} %", *(f"{ms} ms" for ms in waits)])
    return _grid(["pause after", "an end", *presets.PRESETS], rows)


def _waits(pause: Pause, policy: TurnPolicy) -> int:
    """With everything known that there is to know."""
    assert policy.endpointing is not None
    return max(policy.draft_ms, endpointing.wait(pause, policy.endpointing, Habits()).ms)


def _percent(log_odds: float) -> int:
    return round(100 / (1 + math.exp(-log_odds)))


def _endpointing(draw: Callable[[endpointing.Endpointing], str]) -> Callable[[TurnPolicy], str]:
    return lambda p: "-" if p.endpointing is None else draw(p.endpointing)


_PRESET_ROWS: tuple[tuple[str, Callable[[TurnPolicy], str]], ...] = (
    (
        "listening: `silence`, where nothing else is judged",
        lambda p: f"{p.silence_ms} ms" if p.endpointing is None else "-",
    ),
    ("`prompt`: the wait where an end is likely", _endpointing(lambda e: f"{e.prompt_ms} ms")),
    ("`patient`: the wait where it is not", _endpointing(lambda e: f"{e.patient_ms} ms")),
    (
        "`even`: so likely an end, and the wait lies in the middle",
        _endpointing(lambda e: f"{_percent(e.even)} %"),
    ),
    (
        "the slope: from here to there",
        _endpointing(lambda e: f"{_percent(e.even - e.spread)} to {_percent(e.even + e.spread)} %"),
    ),
    ("`draft_ms`: the recogniser is asked", lambda p: f"{p.draft_ms} ms"),
    ("`max_turn_ms`: a turn is ended", lambda p: f"{p.max_turn_ms / 1000:g} s"),
    ("thinking: the answer is begun early", lambda p: "yes" if p.speculate else "no"),
    ("speaking: `barge_in_ms` of speech take the floor", lambda p: f"{p.barge_in_ms} ms"),
    ("`barge_in_words` of a partial transcript, sooner", lambda p: str(p.barge_in_words)),
    ("`verdict_ms`: an answer stays held after a short sound", lambda p: f"{p.verdict_ms} ms"),
)


def _presets() -> str:
    policies = {"`server_vad`, unless told otherwise": TurnPolicy(), **presets.PRESETS}
    rows = [[label, *(draw(p) for p in policies.values())] for label, draw in _PRESET_ROWS]
    return _grid(["", *policies], rows)


def _figures() -> str:
    return FIGURES.read_text(encoding="utf-8")


# --- the rules ---
def _floors() -> str:
    lines = [f"- **{floor.name}**: {floor.value}" for floor in Floor]
    return "\n".join(lines)


def _picture() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> OPEN"]
    for floor in Floor:
        for fact, cell in RULES[floor].items():
            lines += [
                f"  {floor.name} --> {go.to.name}: {_edge(fact.__name__, go)}"
                for go in cell
                if go.to is not None and go.to is not floor
            ]
    return "\n".join([*lines, "```"])


def _edge(fact: str, go: Go) -> str:
    when = f" [{_words(go.when)}]" if go.when else ""
    return f"{fact}{when}"


def _rules() -> str:
    parts = [f"### {floor.name}\n\n{_rows(RULES[floor])}" for floor in Floor]
    parts.append(
        f"### Anywhere\n\nUnless the floor's own rules say otherwise.\n\n{_rows(ANYWHERE)}"
    )
    return "\n\n".join(parts)


def _rows(row: Row) -> str:
    rows = []
    for fact, cell in row.items():
        for number, go in enumerate(cell):
            what = _fact(fact) if number == 0 else ""
            to = go.to.name if go.to is not None else "stays"
            rows.append([what, _words(go.when), to, _move(go)])
    return _grid(["when this happens", "if", "the floor goes to", "and we"], rows)


def _fact(fact: type[Fact]) -> str:
    """Its name, in italics if the machine derives it."""
    is_derived = fact.__module__ == turn.__name__
    return f"*{fact.__name__}*" if is_derived else fact.__name__


def _words(when: tuple[object, ...]) -> str:
    return " and ".join(str(getattr(guard, "__name__", guard)).replace("_", " ") for guard in when)


def _move(go: Go) -> str:
    """The move's name, and the first sentence of what it says of itself."""
    said = (go.act.__doc__ or "").strip().splitlines()[0]
    sentence = re.match(r"[^.:]*[.:]?", said)
    return f"`{go.act.__name__}`: {sentence[0].rstrip('.:') if sentence else said}"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        return int(TARGET.read_text(encoding="utf-8") != document())
    TARGET.write_text(document(), encoding="utf-8")
    print(f"drawn: {TARGET.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
