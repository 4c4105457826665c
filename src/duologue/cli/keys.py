"""`duologue keys`: make API keys, list them, revoke them."""

import argparse
import datetime
import json
import sys

from duologue import settings
from duologue.server.keys import FILE, KeyFile


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    p = argparse.ArgumentParser(
        prog="duologue keys",
        description="API keys of this machine's server. Changes hold at once, also for one that runs.",
    )
    verbs = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="make a key; it is shown once")
    add.add_argument("name", metavar="NAME", help="what to call it")
    add.add_argument(
        "--max-sessions", type=int, metavar="N", help="conversations at a time; 0 for no limit"
    )
    add.add_argument(
        "--per-minute",
        type=int,
        metavar="N",
        help="session starts and REST calls; 0 for no limit (not said: the server's own limits)",
    )
    show = verbs.add_parser("list", help="names and limits; the keys themselves are kept nowhere")
    show.add_argument("--json", action="store_true", help="for programs")
    revoke = verbs.add_parser("revoke", help="end a key, its ephemeral keys and its sessions")
    revoke.add_argument("name", metavar="NAME")
    return p


def main(argv: list[str]) -> int:
    """Do it, in the user's data directory."""
    given = parser().parse_args(argv)
    file = KeyFile(settings.data_home() / FILE)
    if given.verb == "add":
        secret = file.add(given.name, max_sessions=given.max_sessions, per_minute=given.per_minute)
        print(secret)
        _note(f"This is the only time that '{given.name}' is shown: only a hash is kept.")
    elif given.verb == "revoke":
        _revoke(file, given.name)
    else:
        _list(file, as_json=given.json)
    return 0


def _revoke(file: KeyFile, name: str) -> None:
    left = file.revoke(name)
    print(f"'{name}' is revoked.")
    if not left:
        _note(
            f"No key is left, and the server still asks for one: `duologue keys add NAME`, "
            f"or remove {file.path} to ask for none."
        )


def _list(file: KeyFile, *, as_json: bool) -> None:
    keys, _ = file.read()
    if as_json:
        shown = [
            {
                "name": key.name,
                "created_at": key.created_at,
                "max_sessions": key.max_sessions,
                "per_minute": key.per_minute,
            }
            for key in keys
        ]
        print(json.dumps(shown, indent=2))
        return
    if not keys:
        print(f"There are no keys in {file.path}.")
        return
    print(f"{'name':<24} {'made (UTC)':<18} {'sessions':>9} {'a minute':>9}")
    for key in keys:
        made = datetime.datetime.fromtimestamp(key.created_at, datetime.UTC)
        print(
            f"{key.name:<24} {made:%Y-%m-%d %H:%M}   "
            f"{_limit(key.max_sessions):>9} {_limit(key.per_minute):>9}"
        )


def _limit(number: int | None) -> str:
    if number is None:
        return "server's"
    return str(number) if number else "no limit"


def _note(text: str) -> None:
    """For the person, not for the pipe."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
