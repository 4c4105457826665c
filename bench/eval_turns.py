"""Turn-taking on recorded speech: cut-offs, onsets and the wait at the end, by kind of recording.

    python -m bench.eval_turns [--limit N] [--silence-ms 500 800] [--within-db 20] [--json FILE]

Each English recording of a single speaker in the folder that DUOLOGUE_SPEECH names (../shared/speech by default) is
heard by a session's real ears, Silero and turn table, in virtual time: 0.3 s of faint noise, the recording, 3 s of
noise. There is no recogniser and no answer: a turn is committed after a fixed silence and left to the client. A turn
that the recogniser would find wordless counts as one here.

What is right is told by loudness, not by the detector that is judged. A recording is cut into frames of 10 ms; a
frame is speech if the median level of the five around it lies within 20 dB of the 95th percentile of all levels, and
if such frames last 100 ms (a syllable does, a knock or a click does not). Speech begins with the first and ends after
the last. That is rough: a soft first or last consonant is left out (some 50 ms, more where speech fades), and breath,
echo and noise as loud as that count as speech. With --within-db 30 less is left out, and breath and noise count in
many more recordings; run both. Where the quietest twentieth of the frames is not 5 dB further down, loudness cannot
tell noise from speech: such a recording counts for `more` and `missed`, and for nothing else.

N        recordings; `ref` of them with a usable reference
pause    recordings (of ref) with a pause at least as long as the silence: a fixed silence must cut most of them
cut      a turn ended more than 200 ms before the last speech did
more     not cut, and yet more than one turn; cut + more are the false cut-offs
missed   no turn at all
clipped  the sound that the recogniser got, pre-roll included, begins after speech does
onset    from the first speech until it was noticed: median / 95th percentile, milliseconds
end      from the end of speech to the end of the turn, where nothing was cut: median / 95th percentile, milliseconds

Onset and end are positions on the stream: what computing and the network take comes on top.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import speech
from duologue.core.audio import STREAM, AudioFrame, ms_to_samples, samples_to_ms
from duologue.core.facts import (
    AnnounceSpeech,
    CommitUtterance,
    Fact,
    FinishDraft,
    Listen,
    Order,
)
from duologue.core.options import SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.core.turn import TurnMachine
from duologue.engines.vad_silero import Silero
from duologue.session.ears import Ears
from duologue.session.hearing import Hearing

LEAD_MS, TAIL_MS = 300, 3_000
HUSH_DBFS = -70.0
"""Level of the noise around a recording: no microphone gives digital silence."""

FRAME_MS = 10
SYLLABLE_MS = 100
"""The least that a stressed syllable lasts."""

CLEAR_DB = 5.0
"""The quietest frames lie this much below what counts as speech, or there is no telling."""

EARLY_MS = 200
"""An end this much before the reference's is no matter of how rough the reference is."""

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Reference:
    """Where speech is in a recording, by loudness; milliseconds, `pause_ms` the longest stretch without."""

    begin_ms: int
    end_ms: int
    pause_ms: int


@dataclass
class Turn:
    """One turn as the session saw it; positions on the stream in milliseconds."""

    noticed_ms: int = -1
    sound_from_ms: int = -1
    ended_ms: int = -1


@dataclass(frozen=True)
class Heard:
    """A recording, what is right, and what came of it; all in milliseconds of the padded recording."""

    file: str
    kind: str
    reference: Reference | None
    turns: list[Turn]

    @property
    def cut(self) -> bool:
        """The user was taken to have finished, and had not."""
        if self.reference is None:
            return False
        limit = self.reference.end_ms - EARLY_MS
        return any(turn.ended_ms < limit for turn in self.turns)


@dataclass
class Tally:
    """What was found for one kind of recording."""

    recordings: int = 0
    referenced: int = 0
    pauses: int = 0
    cut: int = 0
    more: int = 0
    missed: int = 0
    clipped: int = 0
    onset_ms: list[int] = field(default_factory=list)
    end_ms: list[int] = field(default_factory=list)

    def add(self, heard: Heard, silence_ms: int) -> None:
        """Count one recording."""
        reference, turns = heard.reference, heard.turns
        self.recordings += 1
        self.missed += not turns
        self.cut += heard.cut
        self.more += len(turns) > 1 and not heard.cut
        if reference is None:
            return
        self.referenced += 1
        self.pauses += reference.pause_ms >= silence_ms
        if turns:
            self.clipped += turns[0].sound_from_ms > reference.begin_ms
            self.onset_ms.append(turns[0].noticed_ms - reference.begin_ms)
        if len(turns) == 1 and not heard.cut:
            self.end_ms.append(turns[0].ended_ms - reference.end_ms)


class Room:
    """A session's ears and turn table, and nobody behind them."""

    def __init__(self, hearing: Hearing, options: SessionOptions) -> None:
        self.turns: list[Turn] = []
        self._machine = TurnMachine(options.turn)
        self._ears = Ears(hearing, options, lambda: 0.0, self._report)
        self._turn = Turn()

    def hear(self, pcm: Pcm) -> None:
        """Take a whole recording; it is judged when `Hearing` is told to."""
        if not self._ears.hear(pcm.astype("<i2").tobytes()):
            raise SystemExit("eval_turns: a recording is too long for a session's buffer")

    def close(self) -> None:
        """Give the detector's slot back."""
        self._ears.close()

    def _report(self, fact: Fact) -> None:
        for order in self._machine.feed(fact):
            self._carry_out(order)
        self._ears.deadline = self._machine.deadline

    def _carry_out(self, order: Order) -> None:
        match order:
            case Listen(since=since):
                self._ears.listen(since, self._write)
            case AnnounceSpeech():
                self._turn.noticed_ms = samples_to_ms(self._ears.position)
            case FinishDraft():
                self._ears.hold()
            case CommitUtterance(upto=upto):
                self._ears.commit(upto)
                self._turn.ended_ms = samples_to_ms(upto)
                self.turns.append(self._turn)
                self._turn = Turn()
            case _:
                pass

    def _write(self, frame: AudioFrame) -> None:
        if self._turn.sound_from_ms < 0:
            self._turn.sound_from_ms = samples_to_ms(frame.start)


# --- what is right ---
def reference(pcm: Pcm, within_db: float) -> Reference | None:
    """Where there is speech in a recording; None if loudness cannot tell. See the module's docstring."""
    levels = _levels(pcm)
    threshold = np.percentile(levels, 95) - within_db
    if np.percentile(levels, 5) > threshold - CLEAR_DB:
        return None
    around = np.lib.stride_tricks.sliding_window_view(np.pad(levels, 2, mode="edge"), 5)
    speech = np.flatnonzero(_lasting(np.median(around, axis=1) >= threshold))
    if not len(speech):
        return None
    longest = int(np.diff(speech).max(initial=1)) - 1
    return Reference(
        int(speech[0]) * FRAME_MS, (int(speech[-1]) + 1) * FRAME_MS, longest * FRAME_MS
    )


def _lasting(loud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Only the runs of at least `SYLLABLE_MS`."""
    edges = np.flatnonzero(np.diff(loud.astype(np.int8), prepend=0, append=0))
    lasting = np.zeros_like(loud)
    for begin, end in edges.reshape(-1, 2):
        lasting[begin:end] = (end - begin) * FRAME_MS >= SYLLABLE_MS
    return lasting


def _levels(pcm: Pcm) -> NDArray[np.float64]:
    """Level of each frame in dBFS, digital silence at -120."""
    size = ms_to_samples(FRAME_MS)
    frames = pcm[: len(pcm) // size * size].reshape(-1, size).astype(np.float64) / 32_768
    levels: NDArray[np.float64] = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)
    return levels


def _shifted(found: Reference | None, ms: int) -> Reference | None:
    if found is None:
        return None
    return Reference(found.begin_ms + ms, found.end_ms + ms, found.pause_ms)


# --- recordings ---
def recordings(folder: Path, limit: int) -> Iterator[tuple[str, str]]:
    """File and kind of those in English with one known speaker, at most `limit` of a kind, spread over it."""
    kinds: dict[str, list[str]] = {}
    for entry in speech.manifest(folder):
        if entry.get("lang") == "en" and entry.get("speaker") and not entry.get("turns"):
            kinds.setdefault(entry["kind"], []).append(entry["file"])
    for kind, files in kinds.items():
        yield from ((file, kind) for file in speech.spread(files, limit))


def padded(pcm: Pcm) -> Pcm:
    """With faint noise before and after; always the same noise."""
    scale = 32_768 * 10 ** (HUSH_DBFS / 20)
    noise = np.random.default_rng(1).standard_normal(ms_to_samples(LEAD_MS + TAIL_MS)) * scale
    hush = noise.round().astype(np.int16)
    lead = ms_to_samples(LEAD_MS)
    return np.concatenate((hush[:lead], pcm, hush[lead:]))


async def take_turns(vad: Silero, sounds: Sequence[Pcm], silence_ms: int) -> list[list[Turn]]:
    """Play each recording to a room of its own, all at once: the detector judges them in batches."""
    hearing = Hearing(vad, lambda: 0.0)
    turn = TurnPolicy(silence_ms=silence_ms, create_response=False)
    options = SessionOptions(input_format=STREAM, turn=turn)
    rooms = [Room(hearing, options) for _ in sounds]
    for room, pcm in zip(rooms, sounds, strict=True):
        room.hear(padded(pcm))
    while not hearing.judge_waiting():
        pass
    hearing.close()
    for room in rooms:
        room.close()
    return [room.turns for room in rooms]


# --- the report ---
def tally(heard: Sequence[Heard], silence_ms: int) -> dict[str, Tally]:
    """By kind, and all together last."""
    tallies: dict[str, Tally] = {}
    total = Tally()
    for one in heard:
        tallies.setdefault(one.kind, Tally()).add(one, silence_ms)
        total.add(one, silence_ms)
    return {**tallies, "all": total}


def _quantile(values: Sequence[int], share: float) -> int | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _median_p95(values: Sequence[int]) -> str:
    return f"{_quantile(values, 0.5)} / {_quantile(values, 0.95)}" if values else "-"


def table(tallies: dict[str, Tally], silence_ms: int) -> str:
    """For a person."""
    lines = [
        f"silence of {silence_ms} ms",
        f"  {'kind':<12} {'N':>4} {'ref':>4} {'pause':>6} {'cut':>4} {'more':>5} {'missed':>7} {'clipped':>8}"
        f" {'onset ms':>11} {'end ms':>12}",
    ]
    for kind, found in tallies.items():
        lines.append(
            f"  {kind:<12} {found.recordings:>4} {found.referenced:>4} {found.pauses:>6} {found.cut:>4}"
            f" {found.more:>5} {found.missed:>7} {found.clipped:>8} {_median_p95(found.onset_ms):>11}"
            f" {_median_p95(found.end_ms):>12}"
        )
    return "\n".join(lines)


def row(found: Tally) -> dict[str, object]:
    """For a program."""
    figures: dict[str, object] = asdict(found)
    for name in ("onset_ms", "end_ms"):
        values = getattr(found, name)
        del figures[name]
        figures |= {f"{name}_p50": _quantile(values, 0.5), f"{name}_p95": _quantile(values, 0.95)}
    return figures


def evaluate(
    folder: Path, limit: int, silences_ms: Sequence[int], within_db: float
) -> dict[str, object]:
    """Hear all recordings once for each silence; prints the tables, returns their figures."""
    chosen = list(recordings(folder, limit))
    sounds = [np.frombuffer(speech.decode(folder / f, STREAM.rate_hz), np.int16) for f, _ in chosen]
    references = [_shifted(reference(pcm, within_db), LEAD_MS) for pcm in sounds]
    vad = Silero()
    vad.load()
    vad.warm_up()
    report: dict[str, object] = {}
    for silence_ms in silences_ms:
        began = time.perf_counter()
        turns = asyncio.run(take_turns(vad, sounds, silence_ms))
        took_s = time.perf_counter() - began
        heard = [
            Heard(file, kind, right, found)
            for (file, kind), right, found in zip(chosen, references, turns, strict=True)
        ]
        tallies = tally(heard, silence_ms)
        print(table(tallies, silence_ms), flush=True)
        sound_s = sum(map(len, sounds)) / STREAM.rate_hz
        print(f"  {sound_s:.0f} s of sound in {took_s:.1f} s", flush=True)
        report[str(silence_ms)] = {
            "kinds": {kind: row(found) for kind, found in tallies.items()},
            "recordings": [asdict(one) | {"cut": one.cut} for one in heard],
        }
    return report


def main(argv: list[str] | None = None) -> int:
    """Run it; 2 if there are no recordings."""
    parser = argparse.ArgumentParser(prog="eval_turns", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=0, help="recordings of a kind; 0 for all")
    parser.add_argument("--silence-ms", type=int, nargs="+", default=[500, 800], metavar="MS")
    parser.add_argument(
        "--within-db",
        type=float,
        default=20.0,
        metavar="DB",
        help="below the loudest, still speech",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)
    folder = speech.wanted()
    if speech.is_missing(folder, "eval_turns"):
        return 2
    report = evaluate(folder, args.limit, args.silence_ms, args.within_db)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
