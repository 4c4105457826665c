"""Turn-taking on recorded speech: cut-offs, waits, interruptions and echo, each policy beside the others.

    python -m bench.eval_turns [--presets NAME ...] [--limit N] [--only-whole] [--json FILE] [--plot FILE]

Conversations are held in virtual time by the real session: ears, Silero, pacer, mouth and turn table, the embedded
recogniser on the very sound, and the acoustic model where its file is there. The folder is the one that
DUOLOGUE_SPEECH names (../shared/speech by default).

Whole recordings (`bench.turns.whole`): every recording of one person, untouched, is one turn. Its answer is heard in
the moment in which it is decided, for language model and voice take no time here.

cut %       an answer was to be heard before the speaker's last word ended (`bench.turns.reference`, by loudness; an
            end up to 200 ms early is left to its roughness, `at 0 ms` counts those too), or speech began anew over an
            answer within the recording (`more`)
of paused % the same among the recordings with a pause of 200 ms and more; not all cuts are among them
p50, p95    from the last word to the answer, where nothing was cut
lost        the last words were never taken for a turn; `unanswered`: they were, and the recogniser found no word

Made conversations (`bench/scenarios`): pauses, noise, coughs, echo and so on are put in; what each expects is in its
file. Coughs and backchannels are synthesised (`bench.turns.sounds`).

barge-in    from the onset of speech over an answer to the last sample of it that is heard, by class of client
            (`bench.turns.clients`); an answer that goes on is `missed`
echo        times that somebody was taken to speak while only the loudspeaker did
held        times that an answer was held for nothing

What engines find is kept in a folder of the user's cache by the hash of the sound: the first run takes minutes, later
ones less.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import speech
from bench.turns import acquainted, figures, judge, plot, policies, work
from bench.turns.recogniser import FINAL_MS
from bench.turns.world import TURN_END_MS, Setup
from duologue.engines.turn_end.smart_turn import packaged


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "duologue" / "eval-turns"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eval_turns", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add(
        "--presets",
        nargs="+",
        metavar="NAME",
        help="presets, or fixed-MS; all presets, fixed-500, fixed-800",
    )
    add("--limit", type=int, default=0, help="whole recordings of a kind; 0 for all")
    add(
        "--stt",
        choices=("real", "none"),
        default="real",
        help="the embedded recogniser, or any sound is a word",
    )
    add("--stt-ms", type=float, default=FINAL_MS, help="from a flush to its transcript")
    add("--turn-end-ms", type=float, default=TURN_END_MS, help="the acoustic model's answer")
    add("--turn-end-model", type=Path, default=packaged(), help="the acoustic model's file")
    add("--cache", type=Path, default=_cache(), help="a folder for what engines found")
    add("--processes", type=int, default=min(2, os.cpu_count() or 1))
    add("--no-turn-end", action="store_true", help="without the acoustic model")
    add("--scenarios", default="*", metavar="GLOB", help="files, names or a group of scenarios")
    add("--seed", type=int, default=0, help="other recordings, coughs and voices in the scenarios")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only-whole", action="store_true", help="the headline alone")
    only.add_argument("--only-scenarios", action="store_true", help="the made conversations alone")
    add("--show", action="store_true", help="a line for each failure")
    add("--plot", type=Path, help="write a picture (SVG), with a curve of fixed silences")
    add("--markdown", type=Path, help="write the table of the documentation")
    add("--json", type=Path, help="write the figures to this file")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run it; 2 if there are no recordings."""
    parser = _parser()
    args = parser.parse_args(argv)
    folder = speech.wanted()
    if speech.is_missing(folder, "eval_turns"):
        return 2
    names = tuple(args.presets or policies.default_names())
    if unknown := [name for name in names if not policies.is_known(name)]:
        known = ", ".join(policies.presets())
        parser.error(f"there is no policy '{unknown[0]}': there are {known}, and fixed-MS")
    part = work.Part(
        _setup(args),
        folder,
        names,
        limit=args.limit,
        whole=not args.only_scenarios,
        acquainted=not (args.only_scenarios or args.limit),
        scenarios="" if args.only_whole else args.scenarios,
        seed=args.seed,
    )
    found = work.do(part, args.processes)
    report = figures_of(found, names)
    print("\n\n".join(_tables(found, report)))
    if args.show:
        print("\n".join(_failures(found)))
    print(f"\n{_conditions(found, args)}")
    if args.plot:
        _plot(part, report, args)
    if args.markdown:
        args.markdown.write_text(figures.markdown(report) + "\n")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def figures_of(found: work.Found, names: Sequence[str]) -> dict[str, figures.Figures]:
    """All figures, by policy."""
    report: dict[str, figures.Figures] = {}
    for name in names:
        mine: figures.Figures = {}
        if name in found.whole:
            mine |= figures.of_whole(found.whole[name])
        if found.acquainted.get(name):
            both = acquainted.figures(found.whole[name], found.acquainted[name])
            mine["acquainted"] = both
        if found.played.get(name):
            played = found.played[name]
            mine |= judge.of_scenarios([judge.judge(one) for one in played], played)
        mine["turns_lost"] = mine.get("lost", 0) + mine.get("turns_lost_in_scenarios", 0)
        report[name] = mine
    return report


def _plot(part: work.Part, report: dict[str, figures.Figures], args: argparse.Namespace) -> None:
    """Those that were measured, and a curve of fixed silences, of which only the headline is measured."""
    curve = tuple(f"fixed-{ms}" for ms in policies.CURVE_MS if f"fixed-{ms}" not in report)
    more = work.do(
        replace(part, names=curve, whole=True, acquainted=False, scenarios=""), args.processes
    )
    every = report | figures_of(more, curve)
    points = [
        plot.Point(
            name,
            policies.find(name).family,
            found["end_of_turn_delay_p50_ms"],
            100 * found["false_cutoff_rate"],
        )
        for name, found in every.items()
        if found.get("end_of_turn_delay_p50_ms") is not None
    ]
    plot.draw(points, args.plot)


def _setup(args: argparse.Namespace) -> Setup:
    return Setup(
        stt=args.stt,
        final_ms=args.stt_ms,
        turn_end_ms=args.turn_end_ms,
        cache=args.cache,
        turn_end_model=None if args.no_turn_end else args.turn_end_model,
    )


def _tables(found: work.Found, report: dict[str, figures.Figures]) -> Iterator[str]:
    if found.whole:
        yield f"Whole recordings\n{figures.headline(report)}"
        yield f"By kind: false cut-offs / median delay in ms\n{figures.kinds(report)}"
    if known := acquainted.lines(report):
        yield "\n".join(known)
    if any(found.played.values()):
        yield f"Made conversations\n{figures.made(report)}"
        yield f"By group\n{figures.groups(report)}"


def _failures(found: work.Found) -> Iterator[str]:
    for name, outcomes in found.whole.items():
        for one in outcomes:
            if one.false_cutoff or one.lost:
                what = "cut" if one.cut else "more" if one.more else "lost"
                where = ", ".join(f"{at:.0f}" for at in one.heard_ms[:3])
                until = one.reference.end_ms if one.reference else one.ends_ms
                why = "; ".join(one.why)
                yield f"{name}: {one.file}: {what}: heard at {where}; speech until {until}; {why}"
    for name, played in found.played.items():
        for verdict in map(judge.judge, played):
            if verdict.failed:
                yield f"{name}: [{verdict.group}] {verdict.name}: {'; '.join(verdict.failed)}"


def _conditions(found: work.Found, args: argparse.Namespace) -> str:
    return (
        f"{found.sound_s:.0f} s of sound in {found.took_s:.0f} s. Recogniser: {args.stt}, final after "
        f"{args.stt_ms:g} ms. Acoustic model: {found.acoustic}, after {args.turn_end_ms:g} ms. Language model and "
        f"voice: at once; answers by {found.answer}. Coughs and backchannels are synthesised."
    )


if __name__ == "__main__":
    sys.exit(main())
