"""`duologue calibrate`: measure what engines take on this machine, for the planner."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from duologue import settings
from duologue.cli.gpu import positive, table
from duologue.core.capabilities import Role
from duologue.core.errors import DuologueError, EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.memory import calibrate, calibration_file, host, probe
from duologue.memory.calibrate import Phase, Reader
from duologue.memory.calibration_file import CalibrationFile, Circumstances, Record
from duologue.memory.cuda import Ballast, Cuda
from duologue.memory.probe import Looked
from duologue.memory.watch import size

STREAMS = 2
SECONDS = 20.0

MOST_STREAMS = 1_000
"""More are a slip of the finger."""

CHILD = "duologue.cli.calibrate_work"

OWN_SERVERS = ("vllm", "llama-server", "ollama")
"""Engines that start a server of their own: its contexts and its KV cache cannot be told from its weights."""

ROLES = (Role.STT, Role.TTS, Role.LLM, Role.TURN, Role.VAD)


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        prog="duologue calibrate",
        description="Measure what engines take here: each is loaded and worked in a fresh process. "
        "Stop the server first, so that nothing else changes meanwhile.",
    )
    p.add_argument(
        "engines",
        nargs="*",
        metavar="ENGINE",
        help="as settings name them: whisper:base@cuda/int8, espeak (those of the settings)",
    )
    p.add_argument(
        "--streams", type=_count, default=STREAMS, help=f"at once, at the most ({STREAMS})"
    )
    p.add_argument(
        "--seconds",
        type=positive,
        default=SECONDS,
        help=f"of speech, in the longest piece of work ({SECONDS:g})",
    )
    p.add_argument("--json", action="store_true", help="for programs")
    p.add_argument("--write", action="store_true", help="keep the figures for `duologue plan`")
    p.add_argument(
        "--ballast-to",
        type=positive,
        metavar="GB",
        help="first fill the GPU until so much is free, as if it were a smaller one",
    )
    return p


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_STREAMS):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 to {MOST_STREAMS}")
    return int(text)


def main(argv: list[str]) -> int:
    """Measure one engine after another; a failure costs only its own engine."""
    given = parser().parse_args(argv)
    loaded = settings.load({"no_auth": True})
    looked = probe.look(settings.visible_gpus())
    records, failed = [], False
    with ExitStack() as stack:
        reader = stack.enter_context(Reader())
        if given.ballast_to is not None:
            _load_ballast(stack, looked, given.ballast_to, reader)
        for wanted in given.engines or _of_settings(loaded):
            try:
                role, name = find(wanted, loaded.models_folder)
                _note(f"{role} {wanted}: {given.streams} streams of {given.seconds:g} s")
                command = [*(str(role), name, str(given.streams), str(given.seconds))]
                records.append(_measure(wanted, role, command, looked, reader))
            except DuologueError as error:
                failed = True
                _note(f"! {wanted}: {error}")
    if given.json:
        print(json.dumps([asdict(record) for record in records], indent=2))
    elif records:
        print("\n".join(report(records)))
    keep(
        records,
        CalibrationFile(settings.data_home() / calibration_file.FILE),
        is_wanted=given.write,
    )
    return 1 if failed or not records else 0


def find(wanted: str, models_folder: Path) -> tuple[Role, str]:
    """An engine's role, and its name with its model's path written out.

    Raises:
        EngineUnavailable: no engine has this name.
    """
    from duologue.engines import registry

    name = wanted.partition(":")[0]
    for role in ROLES:
        try:
            spec, argument = registry.find(wanted, role)
        except EngineUnavailable as error:
            if error.code != "engine_unknown":
                raise
            continue
        if spec.locate is not None:
            argument = spec.locate(argument, models_folder)
        return role, f"{name}:{argument}" if argument else name
    known = sorted({name for role in ROLES for name in registry.names(role)})
    raise EngineUnavailable(
        "engine_unknown",
        f"There is no engine '{name}'.",
        remedy=f"Known here: {', '.join(known)}.",
    )


def _of_settings(loaded: settings.Settings) -> Sequence[str]:
    from duologue.app import names

    return [*names.stt(loaded), *names.tts(loaded)]


def _measure(
    wanted: str, role: Role, command: Sequence[str], looked: Looked, reader: Reader
) -> Record:
    card = _card_for(wanted, len(looked.cards))
    full = [sys.executable, "-m", CHILD, *command, str(card)]
    phases = calibrate.measure(full, reader, _progress)
    figures = calibrate.figures(phases)
    if wanted.partition(":")[0] in OWN_SERVERS:
        doubt = "Its KV cache is within its weights: good to know, and nothing for the planner."
        figures = replace(figures, warnings=(*figures.warnings, doubt))
    crowded = next(phase for phase in phases if phase.name == "crowded")
    under = Circumstances(host.cpu_name())
    if figures.uses_card:
        under = circumstances(looked)[card]
    return Record(
        candidate=calibration_file.candidate_key(role, wanted),
        under=under,
        figures=figures,
        libraries=crowded.told["libraries"],
        streams=crowded.told["streams"],
        measured_at=int(time.time()),
    )


def circumstances(looked: Looked) -> list[Circumstances]:
    """What figures of each card hold for."""
    return [
        Circumstances(card.name, ".".join(map(str, card.capability)), looked.driver)
        for card in looked.cards
    ]


def _card_for(wanted: str, cards: int) -> int:
    """The card that an engine may use: the one named, or the first; -1 for none."""
    try:
        place = Placement.parse(wanted.partition(":")[2])
    except SetupError:
        return -1  # its argument is of another form, and the engine of one that uses no card
    number = place.number or 0 if place.device in ("", "cuda") else -1
    return number if number < cards else -1


def _load_ballast(stack: ExitStack, looked: Looked, leave_gib: float, reader: Reader) -> None:
    """Fill the first card, until the stack is left."""
    if not looked.cards:
        raise SetupError(
            "ballast_without_gpu", "There is no GPU to be filled.", remedy="; ".join(looked.reasons)
        )
    card = looked.cards[0]
    _note(f"filling {card.name} until {leave_gib:g} GiB are free …")
    cuda = Cuda(card.bus_id)
    stack.callback(cuda.close)
    stack.enter_context(
        Ballast(
            cuda,
            lambda: card.total_mib - reader.cards()[card.bus_id],
            round(leave_gib * 1024),
        )
    )


def _progress(phase: Phase) -> None:
    took = f"{phase.told.get('took_ms', 0) / 1000:6.1f} s"
    cards = [f"{size(mib)} of a GPU" for mib in phase.peak.gpu_mib.values()]
    _note(f"  {phase.name:<8} {took}  {', '.join((size(phase.peak.ram_mib), *cards))}")


def report(records: Sequence[Record]) -> Iterator[str]:
    """A table for a person."""
    head = ("engine", "on", "context", "weights", "work", "a stream", "besides", "first", "median")
    rows = [head]
    for record in records:
        f = record.figures
        rows.append(
            (
                *(record.candidate, "GPU" if f.uses_card else "CPU"),
                *(size(f.context_mib) if f.uses_card else "-", size(f.weights_mib)),
                *(size(f.work_mib), size(f.per_stream_mib), size(f.ram_mib)),
                *(_ms(f.first_ms), _ms(f.p50_ms)),
            )
        )
    yield from table(rows, left=2)
    yield "besides: RAM for Python and libraries; first, median: to the first output, in a warm process"
    for record in records:
        yield from (f"! {record.candidate}: {warning}" for warning in record.figures.warnings)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def keep(records: Sequence[Record], file: CalibrationFile, *, is_wanted: bool) -> None:
    """Write what is sure, if that is wanted, and say what was done."""
    sure = [record for record in records if not record.figures.warnings]
    if len(sure) < len(records):
        _note("Figures with a warning are not for the planner, and are not kept.")
    if sure and is_wanted:
        file.add(sure)
        _note(f"Kept in {file.path}: `duologue plan` goes by these figures.")
    elif sure:
        _note("Nothing is kept: with --write `duologue plan` goes by these figures.")


def _note(text: str) -> None:
    """For the person, not for the pipe."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
