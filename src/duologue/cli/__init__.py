"""The command line. Each command's module is imported only when it is called: `--help` stays instant."""

import argparse
import sys
from importlib import import_module

from duologue import __version__

COMMANDS = {
    "serve": "run the server",
    "talk": "talk to a server: microphone, or recorded files",
    "replay": "feed a session's journal to today's rules of turn-taking",
    "doctor": "what is installed, what works, what to do about the rest",
    "keys": "make API keys, list them, revoke them",
    "models": "get model files, list them, check them, carry them elsewhere",
    "plan": "what fits into this machine's memory, or another's, and what to give up next",
    "gpu": "memory of the cards and of each engine: planned, used, free",
    "calibrate": "measure what engines take on this machine, for the planner",
    "engine-server": "lend one engine to servers on other machines",
}

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141
"""As of a program that SIGPIPE ends: what reads our output, `head` for one, has seen enough."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 well, 1 failed, 2 wrongly called, 130 interrupted, 141 unread."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="duologue",
        description="Spoken conversation on your own machine.",
        epilog="`duologue COMMAND --help` says more of each.",
    )
    parser.add_argument("--version", action="version", version=f"duologue {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    args, rest = parser.parse_known_args(argv[:1])
    if args.command is None:
        parser.print_help()
        return EXIT_USAGE
    del rest
    run = import_module(f"duologue.cli.{args.command.replace('-', '_')}").main
    try:
        code: int = run(argv[1:])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # or Python complains once more at its end
        return EXIT_NOBODY_READS
    except Exception as error:  # noqa: BLE001 - the outer wall of a command
        return _explain(error)
    return code


def _explain(error: Exception) -> int:
    """Errors that we raise on purpose are told in a line or two; anything else is a bug and keeps its trace."""
    from duologue.core.errors import DuologueError

    if not isinstance(error, DuologueError):
        raise error
    print(f"duologue: {error.message}", file=sys.stderr)
    if error.remedy:
        print(f"  {error.remedy}", file=sys.stderr)
    print(f"  ({error.code})", file=sys.stderr)
    return 1
