"""`duologue plan`: which engines fit this machine, or one that one thinks of, and the proof that they do."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from duologue import settings
from duologue.cli.gpu import positive
from duologue.cli.plan_needs import gguf_files, needs
from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.engines.voices.espeak_voices import LANGUAGES
from duologue.memory import known, notes, probe, recipe
from duologue.memory.calibration_file import (
    FILE,
    CalibrationFile,
    Circumstances,
    holding,
    installed,
)
from duologue.memory.certificate import Sheet
from duologue.memory.footprints import Footprint
from duologue.memory.goals import GIB, PROFILES, Goal
from duologue.memory.host import cpu_name
from duologue.memory.machine import CORES, RAM_MIB, Machine
from duologue.memory.plan import Choice, Plan, Rung, Upgrade, plan
from duologue.memory.probe import Looked

CALLED = {"stt": "hears", "tts": "speaks", "llm": "thinks"}


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue plan",
        description="Which engines fit this machine, or one that you think of, and the proof.",
        epilog="profiles: " + "; ".join(f"{name}: {p.about}" for name, p in PROFILES.items()),
    )
    cards = p.add_mutually_exclusive_group()
    cards.add_argument("--vram", metavar="GB", help="think of one card of so much memory")
    cards.add_argument("--gpus", metavar="3x8|8,24", help="think of several; 0 for none")
    p.add_argument("--ram", type=positive, metavar="GB", help=f"free memory ({RAM_MIB // GIB})")
    p.add_argument("--cores", type=int, metavar="N", help=f"of the CPU ({CORES})")
    p.add_argument("--sessions", type=int, default=1, metavar="N", help="at a time (1)")
    p.add_argument("--context", type=int, default=4_096, metavar="TOKENS", help="of each (4096)")
    p.add_argument(
        "--language",
        type=_languages,
        default=(),
        metavar="en,de",
        help="only these are spoken (any)",
    )
    goal = p.add_mutually_exclusive_group()
    goal.add_argument("--profile", choices=tuple(PROFILES), default="auto", help="(auto)")
    goal.add_argument("--budget", type=positive, metavar="GB", help="of all cards, no more")
    p.add_argument(
        "--goal",
        choices=("balanced", "quality", "latency"),
        default="balanced",
        help="what counts more (balanced)",
    )
    p.add_argument(
        "--apart", action="store_true", help="each engine in a process or container of its own"
    )
    p.add_argument("--explain", action="store_true", help="every term, and where it is from")
    p.add_argument("--json", action="store_true", help="for programs")
    p.add_argument(
        "--write",
        action="store_true",
        help=f"write {recipe.SETTINGS_FILE}, {recipe.COMPOSE_FILE} and {recipe.DEVICES_FILE} here",
    )
    p.add_argument("--force", action="store_true", help="also over files that are there")
    return p


def _languages(text: str) -> tuple[str, ...]:
    """ISO-639 codes that somebody here speaks; espeak speaks most of them."""
    found = tuple(code.lower() for code in settings.listed(text))
    spoken = {code for c in known.CANDIDATES if c.role is Role.TTS for code in c.languages}
    spoken.update(code for code in LANGUAGES if len(code) <= 3)
    if strange := [code for code in found if code not in spoken]:
        raise argparse.ArgumentTypeError(
            f"'{strange[0]}' is no language that a voice is known for: {', '.join(sorted(spoken))}"
        )
    return found


def main(argv: list[str]) -> int:
    """Plan, print, and write if told to."""
    command = parser()
    given = command.parse_args(argv)
    if given.cores is not None and given.cores < 1:
        command.error("a machine has at least one core")
    goal = Goal(
        profile=given.profile,
        budget_mib=None if given.budget is None else round(given.budget * GIB),
        aim=given.goal,
        sessions=given.sessions,
        context_tokens=given.context,
        languages=given.language,
        is_apart=given.apart,
    )
    machine, measured, reasons = _machine(given)
    made = plan(machine, goal, measured=measured)
    if given.json:
        print(json.dumps(as_dict(made), indent=2))
    else:
        print("\n".join(report(made, reasons, explain=given.explain)))
        print("\n".join(("", *needs(made.choices, settings.load({"no_auth": True}).models_folder))))
    if given.write:
        apart = plan(machine, replace(goal, is_apart=True), measured=measured)
        write(made, apart, Path(), force=given.force)
    return 0


def _machine(
    given: argparse.Namespace,
) -> tuple[Machine, dict[str, Footprint], tuple[str, ...]]:
    """The machine asked for, what was measured on it, and why it has fewer cards than one might think."""
    ram_mib = None if given.ram is None else round(given.ram * GIB)
    cards = given.vram or given.gpus
    if cards is not None:
        return Machine.parse(cards, ram_mib or RAM_MIB, given.cores or CORES), {}, ()
    looked = probe.look(settings.visible_gpus())
    found = looked.machine
    here = Machine(
        found.gpus, ram_mib or found.ram_mib or RAM_MIB, given.cores or found.cores or CORES
    )
    return here, _measured(looked), looked.reasons


def _measured(looked: Looked) -> dict[str, Footprint]:
    records = CalibrationFile(settings.data_home() / FILE).read()
    under = [Circumstances(cpu_name())]
    under += [
        Circumstances(card.name, ".".join(map(str, card.capability)), looked.driver)
        for card in looked.cards
    ]
    versions = installed({name for record in records for name in record.libraries})
    return known.footprints(holding(records, under, versions))


# --- for a person ---
def report(made: Plan, reasons: Sequence[str] = (), *, explain: bool = False) -> Iterator[str]:
    """The plan in plain text."""
    yield _of_machine(made)
    yield from (f"  ({reason})" for reason in reasons)
    yield ""
    for choice, chain in zip(made.choices, made.chains, strict=True):
        yield from _of_choice(choice, chain[1:])
    yield ""
    yield from _tables(made.certificate, explain=explain)
    yield ""
    yield from _upward(made)
    yield from _downward(made)
    yield ""
    yield from made.notes
    if explain:
        yield from notes.WHY_NOT


def _of_machine(made: Plan) -> str:
    machine, goal = made.machine, made.goal
    cards = ", ".join(f"{gpu.name} ({_gb(gpu.free_mib)} free)" for gpu in machine.gpus)
    sessions = "1 session" if goal.sessions == 1 else f"{goal.sessions} sessions"
    wanted = goal.profile if goal.budget_mib is None else f"{_gb(goal.budget_mib)} of the cards"
    kept = _context(made)
    tokens = f"{goal.context_tokens} tokens"
    if kept < goal.context_tokens:
        tokens = (
            f"{kept} tokens (of {goal.context_tokens} asked for: its language model knows no more)"
        )
    return (
        f"{cards or 'no graphics card'}; {_gb(machine.ram_mib)} of memory, {machine.cores} cores. "
        f"{sessions} of {tokens}, {wanted}, {goal.aim}."
    )


def _context(made: Plan) -> int:
    """Tokens of context that a session gets of those asked for."""
    wanted = made.goal.context_tokens
    thinks = {choice.key for choice in made.choices if choice.role is Role.LLM}
    return min((c.context(wanted) for c in known.CANDIDATES if c.key in thinks), default=wanted)


def _of_choice(choice: Choice, standby: Sequence[str]) -> Iterator[str]:
    where = f"{_gb(choice.gpu_mib)} on {choice.device}" if choice.gpu_mib else "on the CPU"
    own = "in the server" if choice.process == "gateway" else "in a process of its own"
    yield f"{choice.role} {CALLED[choice.role]:<7} {_short(choice.name)}"
    yield f"            {where}, {own}, {_gb(choice.ram_mib)} of the host's memory"
    if choice.flags:
        yield f"            {' '.join(choice.flags)}"
    if standby:
        yield f"            if it fails: {', '.join(map(_short, standby))}"


def _short(name: str) -> str:
    """Without the options, which are told as flags."""
    return name.partition("?")[0]


def _tables(sheets: Sequence[Sheet], *, explain: bool) -> Iterator[str]:
    yield f"{'':<34} {'planned':>9} {'limit':>9} {'left':>9}"
    for sheet in sheets:
        figures = (_amount(sheet, n) for n in (sheet.total, sheet.limit, sheet.slack))
        told = " ".join(f"{figure:>9}" for figure in figures)
        yield f"{sheet.name:<34} {told}" + (f"   {sheet.of}" if explain else "")
        if explain:
            for line in sheet.lines:
                what = f"  {line.whom}: {line.what}"
                why = f"{line.source}{': ' if line.why else ''}{line.why}"
                yield f"{what:<34} {_amount(sheet, line.value):>9}   {why}"


def _amount(sheet: Sheet, value: int) -> str:
    return f"{value / 1_000:.2f}" if sheet.unit == "millicores" else _gb(value)


def _gb(mib: int) -> str:
    return f"{mib / GIB:.2f} GB"


def _upward(made: Plan) -> Iterator[str]:
    up = made.upgrade
    if up is None:
        yield "Nothing better is known for this goal."
        return
    yield f"Better ({_need(up, made.machine)}):"
    for new, old in zip(up.choices, made.choices, strict=True):
        if _short(new.name) != _short(old.name):
            yield f"  {new.role}: {_short(new.name)}"


def _need(up: Upgrade, machine: Machine) -> str:
    if up.card:
        return f"with a card of {up.card} GB"
    lacks = [
        f"{_gb(mib)} more free on GPU {machine.gpus[place].index}" for place, mib in up.lacks_mib
    ]
    return "with " + " and ".join(lacks)


def _downward(made: Plan) -> Iterator[str]:
    if not made.ladder:
        return
    yield f"If memory runs out, in this order (then held {'on cards' if made.uses_cards else 'by all'}):"
    for number, rung in enumerate(made.ladder, 1):
        left = rung.gpu_mib if made.uses_cards else rung.ram_mib
        yield f"  {number:>2}. {rung.role}: {_rung(rung, made.goal.sessions):<64} {_gb(left):>9}"


def _rung(rung: Rung, sessions: int) -> str:
    options = dict(Placement.parse(rung.after.argument).options)
    tokens = int(options.get("ctx_size", 0)) // sessions or int(options.get("max_model_len", 0))
    eager = ", --enforce-eager" if "enforce_eager" in options else ""
    return _short(rung.after.name) + (f" ({tokens} tokens{eager})" if tokens else "")


# --- for programs ---
def as_dict(made: Plan) -> dict[str, object]:
    """The plan as JSON has it; sums with the certificate's sheets."""
    told = asdict(made)
    told["settings"] = made.settings()
    for sheet, kept in zip(told["certificate"], made.certificate, strict=True):
        sheet.update(total=kept.total, slack=kept.slack)
    for choice, kept_choice in zip(told["choices"], made.choices, strict=True):
        choice["name"] = kept_choice.name
    for rung, kept_rung in zip(told["ladder"], made.ladder, strict=True):
        rung["after"]["name"] = kept_rung.after.name
    return told


# --- files ---
def write(made: Plan, apart: Plan, folder: Path, *, force: bool) -> None:
    """Write the three files into a folder.

    Args:
        apart: the plan of the compose services.

    Raises:
        SetupError: one is there and says something else, unless forced.
    """
    old = folder / recipe.SETTINGS_FILE
    known_text = old.read_text(encoding="utf-8") if old.is_file() else ""
    texts = {
        recipe.SETTINGS_FILE: recipe.settings(made.settings(), known_text),
        recipe.COMPOSE_FILE: recipe.compose(apart, gguf_files()),
        recipe.DEVICES_FILE: recipe.devices(apart, gguf_files()),
    }
    in_the_way = [*_in_the_way(folder, texts, made.settings(), known_text)]
    if in_the_way and not force:
        raise SetupError(
            "files_in_the_way",
            f"Nothing is written, for this would change: {'; '.join(in_the_way)}.",
            remedy="Say --force if that is meant; other settings in the file stay as they are.",
        )
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"written: {', '.join(texts)}", file=sys.stderr)


def _in_the_way(
    folder: Path, texts: dict[str, str], values: dict[str, str], known_text: str
) -> Iterator[str]:
    if known_text:
        for key, before, after in recipe.changes(values, known_text):
            yield f'{key} = "{before}" to "{after}"' if before else f'{key} = "{after}" (new)'
    for name in (recipe.COMPOSE_FILE, recipe.DEVICES_FILE):
        file = folder / name
        if file.is_file() and file.read_text(encoding="utf-8") != texts[name]:
            yield name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
