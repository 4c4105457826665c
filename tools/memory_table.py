"""The tables of docs/memory.md, from the planner itself: what runs on which cards, the profiles, the steps down.

python -m tools.memory_table            # write them into the page
python -m tools.memory_table --check    # exit code 1 if they have drifted
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from duologue.memory.goals import GIB, PROFILES, Goal
from duologue.memory.machine import Machine
from duologue.memory.plan import Choice, Plan, plan

TARGET = Path(__file__).resolve().parent.parent / "docs" / "memory.md"

CARDS = {
    "0": "CPU only",
    "4": "4 GB",
    "6": "6 GB",
    "8": "8 GB",
    "12": "12 GB",
    "24": "24 GB",
    "3x8": "3 x 8 GB",
}

_PLACE = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- end -->)", re.S)


def document() -> str:
    """The page with its tables drawn anew.

    Raises:
        KeyError: the page asks for something that nobody draws.
    """
    drawn: Mapping[str, Callable[[], str]] = {
        "machines": lambda: _machines(1),
        "four_sessions": lambda: _machines(4),
        "profiles": _profiles,
        "ladder": _ladder,
        "account": _account,
    }
    text = TARGET.read_text(encoding="utf-8")
    return _PLACE.sub(lambda found: f"{found[1]}{drawn[found[2]]()}\n{found[3]}", text)


def _machines(sessions: int) -> str:
    rows = []
    for cards, title in CARDS.items():
        made = plan(Machine.parse(cards), Goal(sessions=sessions))
        rows.append([title, *map(_choice, made.choices), _held(made)])
    return _grid(["machine", "hears", "speaks", "thinks", "planned of what may be used, GB"], rows)


def _choice(choice: Choice) -> str:
    where = choice.device.replace("cuda:", "card ").replace("cpu", "CPU")
    what = choice.model or choice.engine
    if choice.precision and choice.precision not in what:
        what += f" {choice.precision}"
    by = f"{choice.engine}: " if choice.model else ""
    return f"{by}{what}, {where}"


def _held(made: Plan) -> str:
    sheets = made.certificate[: len(made.machine.gpus)]
    cards = "; ".join(f"{_gb(sheet.total)} of {_gb(sheet.limit)}" for sheet in sheets)
    ram = next(sheet for sheet in made.certificate if sheet.name == "host memory")
    return cards or f"{_gb(ram.total)} of the host's"


def _profiles() -> str:
    rows = []
    for name, profile in PROFILES.items():
        made = plan(Machine.parse("12"), Goal(profile=name))
        held = sum(sheet.total for sheet in made.certificate[: len(made.machine.gpus)])
        rows.append([f"`{name}`", profile.about, *map(_choice, made.choices), _gb(held)])
    return _grid(["profile", "what it is", "hears", "speaks", "thinks", "on the card, GB"], rows)


def _ladder() -> str:
    made = plan(Machine.parse("8"))
    rows = [
        [str(number), str(rung.role), _rung(rung.after), _gb(rung.gpu_mib)]
        for number, rung in enumerate(made.ladder, 1)
    ]
    return _grid(["step", "role", "then", "held on the card, GB"], rows)


def _rung(choice: Choice) -> str:
    flags = list(choice.flags)
    given = [flag for flag in ("-c", "--max-model-len") if flag in flags]
    tokens = [f"{flags[flags.index(flag) + 1]} tokens" for flag in given]
    eager = ["--enforce-eager"] if "--enforce-eager" in flags else []
    return ", ".join((_choice(choice), *eager, *tokens))


def _account() -> str:
    sheet = plan(Machine.parse("8")).certificate[0]
    rows = [[line.whom, line.what, str(line.value), line.source, line.why] for line in sheet.lines]
    rows.append(["", "**sum**", f"**{sheet.total}**", "", ""])
    rows.append(["", "limit", str(sheet.limit), "", sheet.of])
    rows.append(["", "left", str(sheet.slack), "", ""])
    return _grid(["whose", "what", "MiB", "known how", "from"], rows)


def _gb(mib: int) -> str:
    return f"{mib / GIB:.1f}"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> int:
    """Write the tables, or check them."""
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
