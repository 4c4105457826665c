"""`duologue replay FILE`: would today's rules decide as they did?"""

import argparse
import sys
from pathlib import Path

from duologue.core.errors import SetupError
from duologue.core.facts import Fact

EXIT_DIFFERS = 1


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue replay",
        description="Feed a session's journal (`serve --journal-dir`) to today's rules of "
        "turn-taking. Exit code 0 if they order the same, 1 if not.",
    )
    p.add_argument("file", type=Path, help="a journal, FILE.jsonl")
    p.add_argument("--quiet", action="store_true", help="only where they differ, and the sum")
    return p


def main(argv: list[str]) -> int:
    """Replay, and say where the orders differ."""
    args = parser().parse_args(argv)
    from duologue.session.journal import replay

    try:
        lines = args.file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SetupError("file_unreadable", f"{args.file}: {error.strerror}.") from error
    steps = differing = 0
    for step in replay(lines):
        steps += 1
        if not args.quiet:
            orders = ", ".join(type(order).__name__ for order in step.now)
            print(f"{step.fact.at:>8} ms  {_shown(step.fact):44s} {step.floor:9s} {orders}")
        if not step.same:
            differing += 1
            print(f"! line {step.line} differs\n    then: {step.then}\n    now:  {step.now}")
    print(f"{steps} facts, {differing} with other orders than then")
    return EXIT_DIFFERS if differing else 0


def _shown(fact: Fact) -> str:
    """What happened, without what was said."""
    names = ("utterance", "draft", "reply", "ask")
    parts = [f"{name} {getattr(fact, name)}" for name in names if getattr(fact, name, None)]
    return f"{type(fact).__name__} {' '.join(parts)}".strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
