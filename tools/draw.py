"""`make docs`: docs/turn-taking.md, drawn from the table that the server runs by.

python -m tools.draw            # write it
python -m tools.draw --check    # exit code 1 if it has drifted
"""

import argparse
import re
import sys
from pathlib import Path

from duologue.core import turn
from duologue.core.turn import ANYWHERE, RULES, Floor, Go, Row

TARGET = Path(__file__).resolve().parent.parent / "docs" / "turn-taking.md"

HEAD = """# Turn-taking

Who has the floor, and what happens to it. This page is drawn from `RULES` in `src/duologue/core/turn.py` by
`make docs`, and a test fails when it drifts: what you read here is what the server does.

A **floor** is who speaks, or is about to. A **fact** is something that happened (`src/duologue/core/facts.py`);
the machine is fed facts, each with its place on the stream clock, and answers with orders. A cell lists
alternatives; the first whose condition holds applies. Facts in *italics* are derived by the machine itself:
*Waited* is the deadline, *Freed* follows every entry to OPEN.

How long is waited is policy data (`src/duologue/core/policy.py`): `draft_ms` into a pause the recogniser is
asked for what it has; at `silence_ms` the turn is over; speech over an answer holds the output at once and
takes the floor after `barge_in_ms`, or as soon as a word is recognised; a shorter sound has `verdict_ms` for
its transcript to arrive before the answer goes on from the held sample.
"""

_DERIVED = {"Waited", "Freed", "Understood", "WordsHeard", "NothingHeard", "PushToTalk"}


def document() -> str:
    """The page."""
    parts = [HEAD, "## The floors\n", _floors(), "## The picture\n", _picture(), "## The table\n"]
    parts += [_table(floor.name, RULES[floor]) for floor in Floor]
    parts.append("### Anywhere\n\nUnless the floor's own rules say otherwise.\n")
    parts.append(_rows(ANYWHERE))
    return "\n".join(parts)


def _floors() -> str:
    lines = [f"- **{floor.name}**: {floor.value}" for floor in Floor]
    return "\n".join(lines) + "\n"


def _picture() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "  [*] --> OPEN"]
    for floor in Floor:
        for fact, cell in RULES[floor].items():
            lines += [
                f"  {floor.name} --> {go.to.name}: {_edge(fact.__name__, go)}"
                for go in cell
                if go.to is not None and go.to is not floor
            ]
    return "\n".join([*lines, "```", ""])


def _edge(fact: str, go: Go) -> str:
    when = f" [{_words(go.when)}]" if go.when else ""
    return f"{fact}{when}"


def _table(name: str, row: Row) -> str:
    return f"### {name}\n\n{_rows(row)}"


def _rows(row: Row) -> str:
    lines = ["| when this happens | if | the floor goes to | and we |", "|---|---|---|---|"]
    for fact, cell in row.items():
        for number, go in enumerate(cell):
            what = _fact(fact.__name__) if number == 0 else ""
            to = go.to.name if go.to is not None else "stays"
            lines.append(f"| {what} | {_words(go.when)} | {to} | {_move(go)} |")
    return "\n".join(lines) + "\n"


def _fact(name: str) -> str:
    assert hasattr(turn, name)
    return f"*{name}*" if name in _DERIVED else name


def _words(when: tuple[object, ...]) -> str:
    return " and ".join(str(getattr(guard, "__name__", guard)).replace("_", " ") for guard in when)


def _move(go: Go) -> str:
    """The move's name, and the first sentence of what it says of itself."""
    said = (go.act.__doc__ or "").strip().splitlines()[0]
    sentence = re.match(r"[^.:]*[.:]?", said)
    return f"`{go.act.__name__}`: {sentence[0].rstrip('.:') if sentence else said}"


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
