"""A conversation of an hour, replayed as fast as it is understood, and weighed.

    python -m bench.streaming.hour [--minutes 60] [--engines reference embedded whole] [--json FILE]

Each set of engines in a process of its own; everything else is the product: desk, session, real voice-activity model,
SQLite on disk, the language model's window, the voice's cache. Every utterance is answered, and now and then a text
is to be said. Chunks of 2 s
at most are sent when the last has been dealt with and what is to be said has been said.

reference  generated talk; the recogniser knows its words, its times are off, its edges err; the rest is fake
embedded   the recordings of DUOLOGUE_SPEECH, again and again; pocketsphinx as it is, the skills, flite (or espeak)
whole      the same recordings; pocketsphinx as a recogniser that takes only whole windows
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench import speech
from bench.eval_stt import plain, word_errors
from bench.streaming.conversation import Conversation, generated, recorded
from bench.streaming.crowd import committed
from bench.streaming.engines import Echo, Knowing
from bench.streaming.weigh import ENVIRONMENT, KB, MB, Scale
from duologue.core.audio import AudioFrame
from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity
from duologue.core.records import ItemRecord, SessionRecord
from duologue.core.streaming import (
    AudioChunk,
    PlayedSoFar,
    Spoken,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    TextRequest,
    Transcribed,
)
from duologue.ports import EnginePool, Final, SttOptions
from duologue.service import StreamingService
from duologue.session.streaming.seats import Seat
from duologue.session.streaming.session import StreamSession
from duologue.session.streaming.workers import KEPT_WAITS

CHUNK_MS = 2_000
WEIGH_EVERY_S = 30.0
SAY_EVERY = 15
"""Chunks: two texts a minute are to be said beside the answers."""

TEXTS = tuple(
    f"This is announcement number {number} of eight, and it is said again and again."
    for number in range(1, 9)
)
PATIENCE_S = 60.0
KINDS = ("commands", "lj", "librivox_ps", "libri_misc", "libri_other")
"""Recordings in sentences: of a name alone the embedded recogniser makes any number of words."""

STILL, STILL_S = 3, 0.002
"""Looks in a row that find nothing changed, and the time between them."""

SETS: dict[str, dict[str, Any]] = {
    "reference": {
        "engines": "fake",
        "fake": "tts_hz=440",  # one tone: the fake voice remembers all that it has sung, three megabytes of them
        "stt": "bench.streaming.engines.KNOWING",
        "llm": "bench.streaming.engines.ECHO",
        "turn_end": "none",
    },
    "embedded": {"turn_end": "none"},
    "whole": {"stt": "bench.streaming.engines.WHOLE", "turn_end": "none"},
}


@dataclass
class Result:
    """One conversation. Sizes in bytes.

    Attributes:
        wrong: words put in, left out or changed, against what was said (`words` of them).
        alone_wrong: the same where each recording is given to the recogniser whole, as a stream of its own.
        slope_kb: kilobytes an hour of talk, after the warm-up; late_slope_kb: over the second half.
        voices_cached: texts that needed no voice.
    """

    engines: str
    minutes: float
    took_s: float
    cpu_s: float
    words: int
    wrong: int
    alone_wrong: int
    parts: int
    spoken: int
    answers_cut: int
    texts_said: int
    gaps: int
    problems: list[str]
    chunks: int
    committed: int
    missing_numbers: int
    peak: int
    peak_resident: int
    kept: int
    slope_kb: float
    late_slope_kb: float
    store: int
    prompts: int
    largest_prompt: int
    voices_cached: int
    first_difference: str = ""
    weighed: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Times real time."""
        return self.minutes * 60 / self.took_s


class Client:
    """Hears what it is told, and says how far it has listened. Keeps nothing of it."""

    def __init__(self, session: StreamSession) -> None:
        self.session = session
        self.parts = self.spoken = 0
        self.problems: list[str] = []
        self.seat: Seat | None = None
        self.took_s = 0.0

    def __call__(self, notice: StreamNotice) -> None:
        match notice:
            case Transcribed():
                self.parts += 1
            case Spoken():
                self.spoken += 1
                if self.seat is not None:
                    self.seat.ask(PlayedSoFar(notice.response_id, 3_600_000))
            case StreamProblem(error=error):
                self.problems.append(error.code)
            case _:
                pass

    async def send(self, chunk: AudioChunk) -> None:
        """A chunk, when there is room for it."""
        while True:
            try:
                await self.session.receive(chunk)
                break
            except AtCapacity:
                await asyncio.sleep(0.02)
        await self.settle()

    async def settle(self) -> None:
        """What was sent has been dealt with, and what was to be said has been said: nothing moves any more."""
        still = 0
        before: object = None
        async with asyncio.timeout(PATIENCE_S):
            while still < STILL:
                await asyncio.sleep(STILL_S)
                stats = self.session.stats()
                now = (stats.buffer_size, stats.last_number, self.parts, self.spoken)
                waits = stats.pending_transcriptions or stats.pending_responses
                still = 0 if waits or now != before else still + 1
                before = now


async def replay(
    service: StreamingService, talk: Conversation, *, scale: Scale | None, chunk_ms: int = CHUNK_MS
) -> Client:
    """One session, from its first chunk to the commitment of its last."""
    began = time.monotonic()
    options = StreamOptions(answers=True, instructions="Answer in one sentence.")
    session, _ = await service.desk.create("", options)
    Knowing.words[session.id] = list(talk.words)
    client = Client(session)
    client.seat = await session.join(client)
    last = -1
    for index, pcm in enumerate(talk.chunks(chunk_ms)):
        await client.send(AudioChunk(pcm, index, format="pcm16"))
        last = index
        if index % SAY_EVERY == SAY_EVERY - 1:
            await session.ask_text(TextRequest(TEXTS[index // SAY_EVERY % len(TEXTS)]))
            await client.settle()
        if scale is not None:
            scale.look()
            talk_s = session.stats().heard_s
            if not scale.kept or talk_s - scale.kept[-1][0] >= WEIGH_EVERY_S:
                scale.weigh(talk_s, session.held_bytes)
    await client.send(AudioChunk(b"", last + 1, is_final=True))
    await client.settle()
    client.took_s = time.monotonic() - began
    await committed(session, last + 1)  # what no words came of is stored every five seconds
    return client


async def measure(engines: str, minutes: float, folder: Path, seed: int = 1) -> Result:
    """The whole, in this process."""
    talk, first = _talks(engines, minutes, folder, seed)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "hour.db"
        async with StreamingService(
            **SETS[engines], database_url=f"sqlite:///{file}", log_level="warning"
        ) as service:
            warm = await replay(service, first, scale=None)
            for text in TEXTS:
                await warm.session.ask_text(TextRequest(text))
                await warm.settle()
            await service.desk.end(warm.session.id, "")
            del warm
            await _fill(service)
            await asyncio.sleep(0.5)  # its tasks end, and the store writes what it knows
            hits, prompts = service.desk.overview().cache_hits, Echo.prompts
            filled = _size(file)
            scale = Scale.balanced()
            cpu = _cpu_s()
            client = await replay(service, talk, scale=scale)
            spent = _cpu_s() - cpu
            scale.weigh(talk.seconds, client.session.held_bytes)
            found = await _found(service, client)
            size = _size(file) - filled
            alone = await _alone(service, talk)
            overview = service.desk.overview()
    said = [word for each in talk.utterances for word in plain(each.text)]
    heard = plain(" ".join(found.transcripts))
    warm_up = min(600.0, talk.seconds / 3)
    return Result(
        engines,
        talk.seconds / 60,
        client.took_s,
        spent,
        len(said),
        errors(said, heard),
        alone,
        len(found.transcripts),
        client.spoken,
        found.cut,
        sum(text in TEXTS for text in found.speeches),
        found.gaps,
        client.problems,
        client.session.stats().received + 1,
        client.session.stats().committed + 1,
        found.missing,
        scale.peak,
        scale.peak_resident,
        scale.kept[-1][1],
        scale.slope_kb_per_hour(warm_up),
        scale.slope_kb_per_hour(talk.seconds / 2),
        size,
        Echo.prompts - prompts,
        Echo.largest,
        overview.cache_hits - hits,
        _difference(said, heard),
        scale.kept,
    )


async def _alone(service: StreamingService, talk: Conversation) -> int:
    """Errors of the recogniser by itself; none is made where it knows the words."""
    wrong: dict[str, int] = {}
    for each in talk.utterances:
        if each.pcm is None:
            return 0
        if each.text not in wrong:
            text = await _transcribed(service.desk.shared.pool, each.pcm)
            wrong[each.text] = word_errors(plain(each.text), plain(text))
    return sum(wrong[each.text] for each in talk.utterances)


async def _transcribed(pool: EnginePool, pcm: bytes) -> str:
    stream = await pool.open(Role.STT, "alone", SttOptions())
    try:
        for at in range(0, len(pcm), 32_000):
            frame = AudioFrame(pcm[at : at + 32_000], at // 2)
            while not stream.offer(frame):
                await stream.room()
        stream.flush(1)
        async for event in stream.events():
            if isinstance(event, Final):
                return event.text
        return ""
    finally:
        await stream.aclose(cancel=True)


async def _fill(service: StreamingService) -> None:
    """What a server that has been up for a while has, whoever talks: SQLite's 2 MB of pages, and its latest waits."""
    shared = service.desk.shared
    for workers in (shared.listeners, shared.speech.workers):
        for _ in range(KEPT_WAITS):
            async with workers.turn():
                pass
    archive = shared.archive
    await archive.write(SessionRecord("before", "streaming", "", 0.0, 0.0, 0.0, 0.0))
    for number in range(1, 1_001):
        item = ItemRecord("before", f"i{number}", number, "message", "user", "x" * 4_000, 0.0)
        await archive.write(item)
    await archive.items("before")
    await archive.items(
        "before", limit=1
    )  # the store's thread holds its last answer until the next


@dataclass
class _Found:
    """What the store has."""

    transcripts: list[str] = field(default_factory=list)
    speeches: list[str] = field(default_factory=list)
    cut: int = 0
    gaps: int = 0
    missing: int = 0


async def _found(service: StreamingService, client: Client) -> _Found:
    found, after = _Found(), 0
    while records := await service.desk.records(client.session.id, "", after=after):
        for record in records:
            found.missing += record.number - after - 1
            after = record.number
            if record.kind == "transcript":
                found.transcripts.append(record.text)
            elif record.kind == "speech":
                found.speeches.append(record.text)
                found.cut += record.status != "completed"
            else:
                found.gaps += record.kind == "gap"
    if (len(found.transcripts), len(found.speeches)) != (client.parts, client.spoken):
        client.problems.append("told is not stored")
    return found


def _talks(
    engines: str, minutes: float, folder: Path, seed: int
) -> tuple[Conversation, Conversation]:
    """The one that is weighed, and one before it."""
    if engines == "reference":
        return generated(minutes, seed), generated(min(1.0, minutes), seed + 1)
    return recorded(folder, minutes, KINDS), recorded(folder, min(0.5, minutes), KINDS)


def errors(said: list[str], heard: list[str]) -> int:
    """`word_errors`, without what is equal at both ends."""
    first = 0
    while first < min(len(said), len(heard)) and said[first] == heard[first]:
        first += 1
    said, heard = said[first:], heard[first:]
    while said and heard and said[-1] == heard[-1]:
        said, heard = said[:-1], heard[:-1]
    return word_errors(said, heard)


def _difference(said: list[str], heard: list[str]) -> str:
    for at, (a, b) in enumerate(zip([*said, ""], [*heard, ""], strict=False)):
        if a != b:
            near = slice(max(0, at - 4), at + 5)
            return f"{at}: said {' '.join(said[near])!r}, heard {' '.join(heard[near])!r}"
    return ""


def _cpu_s() -> float:
    """Of this process and its engines'."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:2]) for process in family))


def _size(file: Path) -> int:
    """The store's file, and the log beside it."""
    return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))


# --- each in a process of its own ---
def apart(engines: str, minutes: float, folder: Path, seed: int = 1) -> Result:
    """`measure` in a child whose every allocation is seen."""
    command = [sys.executable, "-m", "bench.streaming.hour", "--here", engines]
    command += ["--minutes", str(minutes), "--folder", str(folder), "--seed", str(seed)]
    done = subprocess.run(
        command,
        env={**os.environ, **ENVIRONMENT},
        cwd=speech.HERE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def table(results: Sequence[Result]) -> str:
    """For a person."""
    lines = [
        "| engines | talk, min | x real time | CPU s per min | words | wrong | WER % | alone % | chunks committed "
        "| slope kB/h | 2nd half | peak MB | resident MB | store kB | problems |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    return "\n".join([*lines, *map(_row, results), *map(_note, results)])


def _row(r: Result) -> str:
    cells = [
        *(r.engines, f"{r.minutes:.0f}", f"{r.speed:.1f}", f"{r.cpu_s / r.minutes:.2f}"),
        *(r.words, r.wrong, f"{100 * r.wrong / max(1, r.words):.1f}"),
        *(f"{100 * r.alone_wrong / max(1, r.words):.1f}", f"{r.committed}/{r.chunks}"),
        *(f"{r.slope_kb:+.0f}", f"{r.late_slope_kb:+.0f}"),
        *(f"{r.peak / MB:.1f}", f"{r.peak_resident / MB:.1f}", f"{r.store / KB:.0f}"),
        " ".join(r.problems) or "none",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _note(r: Result) -> str:
    return (
        f"{r.engines}: {r.parts} parts of transcript; {r.spoken} responses told, {r.answers_cut} of them cut off by "
        f"the user; {r.texts_said} texts said, {r.voices_cached} from the cache; {r.gaps} gaps, {r.missing_numbers} "
        f"numbers missing; {r.prompts} prompts, the largest of {r.largest_prompt} tokens; {r.kept / KB:.0f} kB kept"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """See the module; 1 if something is lost or grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--engines", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--folder", type=Path, default=None, help="of the recordings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", choices=list(SETS), help="in this process, as JSON")
    args = parser.parse_args(argv)
    folder = args.folder or speech.folder()
    if args.here:
        result = asyncio.run(measure(args.here, args.minutes, folder, args.seed))
        print(json.dumps(asdict(result)))
        return 0
    results: list[Result] = []
    for engines in args.engines:
        results.append(apart(engines, args.minutes, folder, args.seed))
        print(table(results[-1:]), flush=True)
    if args.json:
        kept: Any = [asdict(result) for result in results]
        args.json.write_text(json.dumps(kept, indent=1) + "\n")
    return int(any(map(failures, results)))


def failures(result: Result) -> list[str]:
    """What an issue demands and is not so."""
    is_reference = result.engines == "reference"
    demands = {
        "chunks were not committed": result.committed == result.chunks,
        "items are missing": not (result.missing_numbers or result.gaps or result.problems),
        "words are wrong": not is_reference or not result.wrong,
        "too slow": result.speed >= (20 if is_reference else 3),
        "too large": result.peak < 20 * MB,
        "it grows": not result.late_slope_kb >= 100,
    }
    return [what for what, holds in demands.items() if not holds]


if __name__ == "__main__":
    sys.exit(main())
