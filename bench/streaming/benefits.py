"""What a streaming session is better at than what one would do without it, each beside the other in one run.

    python -m bench.streaming [memory latency throughput bytes] [--rounds 3]

memory      of a long conversation, against keeping its sound and its words in lists
latency     from the end of an utterance to its transcript: WebSocket, server-sent events, and asking every second
throughput  seconds of talk a second: N sessions at once against one after the other
bytes       up, a minute of speech: hexadecimal in JSON, base64 in JSON, samples, Opus in WebM

Latency and bytes are those of a real server process (fake engines that take 200 ms) and a client beside it.
"""

import argparse
import asyncio
import base64
import gc
import http.client
import io
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np

from bench import speech
from bench.streaming.conversation import Conversation, generated, recorded
from bench.streaming.engines import Knowing
from bench.streaming.hour import Client, apart
from bench.streaming.service import FAKES, ROOT, Socket, running
from bench.streaming.weigh import MB, in_use
from duologue.core.streaming import AudioChunk, StreamOptions
from duologue.service import StreamingService

KINDS = ("libri_other", "libri_misc", "lj", "librivox_ps")
CHUNK_MS = 250
ASK_EVERY_S = 1.0


@dataclass(frozen=True)
class Row:
    """One measurement, ours beside the other way.

    Attributes:
        ours, other: one value a round.
        is_rate: more is better.
    """

    what: str
    unit: str
    other_way: str
    ours: list[float]
    other: list[float]
    is_rate: bool = False

    def line(self) -> str:
        """For a person: medians, spread, and the median of the ratios within a round."""
        ratios = [b / a for a, b in zip(self.ours, self.other, strict=True)]
        if self.is_rate:
            ratios = [1 / ratio for ratio in ratios]
        return (
            f"| {self.what} | {_spread(self.ours)} {self.unit} | {self.other_way}: {_spread(self.other)} {self.unit} "
            f"| x{statistics.median(ratios):.2g} | {len(self.ours)} |"
        )


HEAD = "| what | a streaming session | the other way | ratio | N |\n|---|---|---|--:|--:|"


def _spread(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    if len(values) == 1 or max(values) - min(values) < 0.005 * middle:
        return f"{middle:.3g}"
    return f"{middle:.3g} ({min(values):.3g} to {max(values):.3g})"


# --- memory ---
def memory(rounds: int, minutes: Sequence[float] = (10, 30, 60)) -> list[Row]:
    """What one session holds after so much talk, and what lists would."""
    folder = speech.folder()
    runs = [apart("reference", max(minutes), folder, seed + 1).weighed for seed in range(rounds)]
    rows = []
    for limit in minutes:
        ours = [max(kept for at, kept, _ in run if at <= limit * 60) / MB for run in runs]
        other = [keep_everything(generated(limit, seed + 1)) / MB for seed in range(rounds)]
        rows.append(Row(f"memory after {limit:g} min of talk", "MB", "all in lists", ours, other))
    return rows


def keep_everything(talk: Conversation) -> int:
    """Bytes that the sound and the messages of a conversation take, where nothing is let go."""
    gc.collect()
    before = in_use()
    sound = [bytes(chunk) for chunk in talk.chunks(2_000)]
    history = [{"role": "user", "text": each.text, "at": each.start_ms} for each in talk.utterances]
    gc.collect()
    kept = in_use() - before
    assert sound
    assert history
    return kept


# --- latency ---
def latency(rounds: int, turns: int = 12) -> list[Row]:
    """To the transcript of an utterance whose last chunk is marked as final."""
    rows: dict[str, tuple[list[float], list[float]]] = {
        "a WebSocket": ([], []),
        "server-sent events": ([], []),
    }
    with running(*FAKES) as address:
        for _ in range(rounds):
            asked = _polled(address, turns)
            for name, measured in (("a WebSocket", _by_socket), ("server-sent events", _by_events)):
                rows[name][0].append(statistics.median(measured(address, turns)))
                rows[name][1].append(statistics.median(asked))
    return [
        Row(f"end of utterance to transcript, by {name}", "ms", "asking every second", *both)
        for name, both in rows.items()
    ]


class _Http:
    """One kept connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._line = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """A request and its answer."""
        self._line.request(method, f"{ROOT}{path}", body or None, _RAW if body else {})
        answer = self._line.getresponse()
        told: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {told}")
        return told

    def session(self) -> str:
        """A new one."""
        return str(self.ask("POST", "/sessions")["session_id"])

    def close(self) -> None:
        """Hang up."""
        self._line.close()


_RAW = {"Content-Type": "audio/pcm;rate=16000"}


def _said(number: int) -> bytes:
    """A second and a half of speech."""
    talk = generated(0.2, seed=number + 1)
    start = talk.utterances[0].start_ms * 16
    return talk.sound(start, start + 24_000)


def _pieces(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + CHUNK_MS * 32] for at in range(0, len(pcm), CHUNK_MS * 32)]


def _polled(address: str, turns: int) -> list[float]:
    """Chunks by POST, and every second the question what is new."""
    line, took = _Http(address), []
    session_id, last = line.session(), 0
    dice = random.Random(1)
    for turn in range(turns):
        *before, final = _pieces(_said(turn))
        for piece in before:
            line.ask("POST", f"/sessions/{session_id}/audio", piece)
        time.sleep(dice.random() * ASK_EVERY_S)  # the utterance ends anywhere between two questions
        next_ask = time.monotonic() + dice.random() * ASK_EVERY_S
        began = time.monotonic()
        line.ask("POST", f"/sessions/{session_id}/audio?is_final=true", final)
        while True:
            time.sleep(max(0.0, next_ask - time.monotonic()))
            next_ask += ASK_EVERY_S
            told = line.ask("GET", f"/sessions/{session_id}/transcript?after={last}")
            if told["items"]:
                last = told["last_number"]
                took.append((time.monotonic() - began) * 1000)
                break
    line.ask("DELETE", f"/sessions/{session_id}")
    line.close()
    return took


def _by_socket(address: str, turns: int) -> list[float]:
    line, took = _Http(address), []
    session_id = line.session()
    socket = Socket(address, session_id, format="pcm16")
    for turn in range(turns):
        *before, final = _pieces(_said(turn))
        for piece in before:
            socket.send(piece)
        began = time.monotonic()
        socket.send(final)
        socket.send(b"")
        socket.until("transcription")
        took.append((time.monotonic() - began) * 1000)
    socket.close()
    line.ask("DELETE", f"/sessions/{session_id}")
    line.close()
    return took


def _by_events(address: str, turns: int) -> list[float]:
    line, took = _Http(address), []
    session_id = line.session()
    came = threading.Semaphore(0)

    def listen() -> None:
        parts = urlsplit(address)
        stream = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        stream.request("GET", f"{ROOT}/sessions/{session_id}/events?audio=false")
        for data in stream.getresponse():
            if data.startswith((b"event: transcription", b"event:transcription")):
                came.release()
        stream.close()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    for turn in range(turns):
        *before, final = _pieces(_said(turn))
        for piece in before:
            line.ask("POST", f"/sessions/{session_id}/audio", piece)
        began = time.monotonic()
        line.ask("POST", f"/sessions/{session_id}/audio?is_final=true", final)
        if not came.acquire(timeout=30):
            raise RuntimeError("no transcript came")
        took.append((time.monotonic() - began) * 1000)
    line.ask("DELETE", f"/sessions/{session_id}")
    listener.join(10)
    line.close()
    return took


# --- throughput ---
def throughput(rounds: int, sessions: int = 8, seconds: float = 40.0) -> list[Row]:
    """Seconds of talk that are understood a second."""
    rows = []
    for stt, workers, named in (
        ("bench.streaming.engines.SLOW", 2, "200 ms a window, 2 workers"),
        ("bench.streaming.engines.SLOW", 8, "200 ms a window, 8 workers"),
        ("pocketsphinx", 2, "pocketsphinx, a process a core"),
    ):
        together, alone = [], []
        for number in range(rounds):
            at_once, in_turn = asyncio.run(_drive(stt, workers, sessions, seconds, number))
            together.append(at_once)
            alone.append(in_turn)
        what = f"{sessions} sessions at once, {named}"
        rows.append(Row(what, "x real time", "one after the other", together, alone, is_rate=True))
    return rows


async def _drive(
    stt: str, workers: int, sessions: int, seconds: float, number: int
) -> tuple[float, float]:
    """All at once, and one by one; which comes first changes from round to round."""
    with tempfile.TemporaryDirectory() as place:
        async with StreamingService(
            engines="fake",
            stt=stt,
            num_workers=workers,
            turn_end="none",
            database_url=f"sqlite:///{Path(place) / 'many.db'}",
            log_level="warning",
        ) as service:
            rates = {}
            for at_once in (True, False) if number % 2 else (False, True):
                rates[at_once] = await _rate(service, stt, sessions, seconds, at_once=at_once)
            return rates[True], rates[False]


async def _rate(
    service: StreamingService, stt: str, sessions: int, seconds: float, *, at_once: bool
) -> float:
    async def one(number: int) -> float:
        talk = (
            recorded(speech.folder(), seconds / 60, KINDS, skip=3 * number)
            if stt == "pocketsphinx"
            else generated(seconds / 60, seed=number + 1)
        )
        session, _ = await service.desk.create("", StreamOptions())
        Knowing.words[session.id] = list(talk.words)
        client = Client(session)
        await session.join(client)
        for index, pcm in enumerate(talk.chunks(2_000)):
            await client.send(AudioChunk(pcm, index, format="pcm16"))
        await session.receive(AudioChunk(b"", None, is_final=True))
        await client.settle()
        await service.desk.end(session.id, "")
        return talk.seconds

    began = time.monotonic()
    if at_once:
        async with asyncio.TaskGroup() as tasks:
            running_now = [tasks.create_task(one(number)) for number in range(sessions)]
        talked = sum(task.result() for task in running_now)
    else:
        talked = sum([await one(number) for number in range(sessions)])
    return talked / (time.monotonic() - began)


# --- bytes ---
def wire_bytes(minutes: float = 1.0) -> list[Row]:
    """Of a minute of recorded speech, in messages of a quarter of a second; the server must have understood all."""
    talk = recorded(speech.folder(), minutes, KINDS)
    pcm = b"".join(talk.chunks(CHUNK_MS))
    ways: dict[str, tuple[Callable[[], list[str | bytes]], dict[str, str]]] = {
        "hexadecimal in JSON": (lambda: _json(pcm, "audio_data"), {}),
        "base64 in JSON": (lambda: _json(pcm, "audio_base64"), {}),
        "samples, binary": (lambda: [*_pieces(pcm)], {"format": "pcm16"}),
        "Opus in WebM, 24 kbit/s, binary": (lambda: [*webm(pcm)], {}),
    }
    sent: dict[str, float] = {}
    with running(*FAKES) as address:
        for name, (messages, parameters) in ways.items():
            sent[name] = _upload(address, messages(), parameters, len(pcm) / 32_000)
    hexadecimal = sent["hexadecimal in JSON"]
    return [
        Row(f"{name}, up", "kB a second of talk", "hexadecimal in JSON", [size], [hexadecimal])
        for name, size in sent.items()
    ]


def _json(pcm: bytes, field: str) -> list[str | bytes]:
    write = bytes.hex if field == "audio_data" else lambda data: base64.b64encode(data).decode()
    return [
        json.dumps(
            {
                "type": "audio_chunk",
                "data": {field: write(piece), "is_final": False, "chunk_index": number},
            }
        )
        for number, piece in enumerate(_pieces(pcm))
    ]


def _upload(
    address: str, messages: Sequence[str | bytes], parameters: dict[str, str], seconds: float
) -> float:
    line = _Http(address)
    session_id = line.session()
    socket = Socket(address, session_id, audio="none", **parameters)
    try:
        for message in messages:
            socket.send(message)
            socket.until("chunk_received")
        sent = socket.sent
        socket.send(b"")
        heard_s, ends = 0.0, time.monotonic() + 20
        while heard_s < seconds - 0.5 and time.monotonic() < ends:  # files are decoded aside
            told = line.ask("GET", f"/sessions/{session_id}/stats")
            heard_s = float(told["stats"]["heard_s"])
            time.sleep(0.02)
    finally:
        socket.close()
    line.ask("DELETE", f"/sessions/{session_id}")
    line.close()
    if abs(heard_s - seconds) > 0.5:
        raise RuntimeError(f"{heard_s} of {seconds} s were heard")
    return sent / 1000 / seconds


def webm(pcm: bytes) -> list[bytes]:
    """As a browser's MediaRecorder makes it: pieces of one file."""
    out = io.BytesIO()
    with av.open(out, "w", format="webm", options={"cluster_time_limit": str(CHUNK_MS)}) as file:
        stream = file.add_stream("libopus", rate=48_000, options={"b": "24000"})
        stream.bit_rate = 24_000
        samples = np.frombuffer(pcm, np.int16).reshape(1, -1)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000, frame_size=960)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        for each in [frame, None]:
            for part in resampler.resample(each):
                file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    whole = out.getvalue()
    size = max(1, len(whole) * CHUNK_MS // (len(pcm) // 32))
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts: dict[str, Callable[[int], list[Row]]] = {
        "memory": memory,
        "latency": latency,
        "throughput": throughput,
        "bytes": lambda _: wire_bytes(),
    }
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    rows: list[Row] = []
    print(HEAD)
    for name in args.parts or parts:
        found = parts[name](args.rounds)
        rows += found
        for row in found:
            print(row.line(), flush=True)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
