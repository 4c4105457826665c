"""How well the embedded engines hear and speak: word error rates, and intelligibility by the same measure.

    python -m bench.eval [--limit N] [--stt-only | --tts-only]

Runs `bench.eval_stt` (recorded speech from the folder that DUOLOGUE_SPEECH names) and `bench.eval_tts` (sentences
of its own). Both have more options; the figures that count are kept in bench/RESULTS.md.
"""

import argparse

from bench import eval_stt, eval_tts


def main(argv: list[str] | None = None) -> int:
    """Run both; 2 if there are no recordings."""
    parser = argparse.ArgumentParser(prog="eval", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=0, help="recordings of a kind; 0 for all")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stt-only", action="store_true")
    which.add_argument("--tts-only", action="store_true")
    args = parser.parse_args(argv)
    heard = 0 if args.tts_only else eval_stt.main(["--limit", str(args.limit)])
    return heard or (0 if args.stt_only else eval_tts.main([]))


if __name__ == "__main__":
    raise SystemExit(main())
