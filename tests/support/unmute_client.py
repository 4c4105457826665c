"""A client like unmute's load test: strict about every event, Opus in Ogg both ways, turn by turn.

The sound that it sends is made by FFmpeg, and what it receives is read by FFmpeg: nothing here is our own code.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import av
import httpx
import websockets

from tests.support.ogg_files import pages_of, pcm_of
from tests.support.server import RunningServer

Event = dict[str, Any]
CHUNK_MS = 80
RATE_HZ = 24_000

_NUMBER = (int, float)
FIELDS: dict[str, dict[str, Any]] = {
    "error": {"error": dict},
    "session.updated": {"session": dict},
    "response.created": {"response": dict},
    "response.text.delta": {"delta": str},
    "response.text.done": {"text": str},
    "response.audio.delta": {"delta": str},
    "response.audio.done": {},
    "conversation.item.input_audio_transcription.delta": {"delta": str, "start_time": _NUMBER},
    "input_audio_buffer.speech_started": {},
    "input_audio_buffer.speech_stopped": {},
    "unmute.additional_outputs": {"args": dict},
    "unmute.response.text.delta.ready": {"delta": str},
    "unmute.response.audio.delta.ready": {"number_of_samples": int},
    "unmute.interrupted_by_vad": {},
}
"""Every event that unmute's server may send, with what must be in it."""


class Illegal(AssertionError):
    """An event at which unmute's client would break off, or be misled."""


class Referee:
    """One connection's events, in order."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.ogg = b""
        self.history: list[Event] = []
        self._ids: set[str] = set()
        self._ready: str | None = None  # of the answer in progress
        self._spoken: list[str] = []
        self._page = 0

    def see(self, data: bytes | str) -> Event:
        """Judge the next event; returns it as plain data."""
        event: Event = json.loads(data)
        kind = event.get("type", "")
        self._need(kind in FIELDS, f"unknown type {kind!r}")
        for name, of in FIELDS[kind].items():
            self._need(isinstance(event.get(name), of), f"{kind}.{name} is missing or wrong")
        self._need(event.get("event_id"), "an event has an id")
        self._need(event["event_id"] not in self._ids, "an event_id was used twice")
        self._ids.add(event["event_id"])
        foreign = {"item_id", "response_id", "usage", "audio_start_ms"} & set(event)
        self._need(not foreign, f"{kind} has {foreign}, of another dialect")
        handler = getattr(self, "_" + kind.replace(".", "_"), None)
        if handler is not None:
            handler(event)
        self.seen.append(event)
        return event

    @staticmethod
    def _need(held: object, what: str) -> None:
        if not held:
            raise Illegal(what)

    def _session_updated(self, e: Event) -> None:
        self._need(set(e["session"]) == {"instructions", "voice", "allow_recording"}, "its echo")

    def _response_created(self, e: Event) -> None:
        self._need(self._ready is None, "an answer begins before the last one ended")
        r = e["response"]
        self._need((r.get("object"), r.get("status")) == ("realtime.response", "in_progress"), "r")
        self._need(isinstance(r.get("voice"), str), "an answer has a voice")
        self._need(isinstance(r.get("chat_history"), list), "an answer shows the history")
        self._ready, self._spoken = "", []

    def _unmute_response_text_delta_ready(self, e: Event) -> None:
        self._need(self._ready is not None, "a word outside an answer")
        self._ready = (self._ready or "") + e["delta"]

    def _response_text_delta(self, e: Event) -> None:
        self._need(self._ready is not None, "a spoken word outside an answer")
        self._need(e["delta"] and e["delta"] == e["delta"].strip(), "one word without spaces")
        self._need(" " not in e["delta"], "one word at a time")
        self._spoken.append(e["delta"])
        ready = (self._ready or "").split()
        self._need(
            self._spoken == ready[: len(self._spoken)], "a word is spoken that was not ready"
        )

    def _response_text_done(self, e: Event) -> None:
        self._need(self._ready is not None, "the text is done outside an answer")
        self._need((self._ready or "").split() == e["text"].split(), "the text is not its words")

    def _response_audio_delta(self, e: Event) -> None:
        self._need(self._ready is not None, "sound outside an answer")
        pages = base64.b64decode(e["delta"], validate=True)
        self._need(pages, "an empty delta")
        for page in pages_of(pages):
            self._need(page.startswith(b"OggS"), "whole pages of Ogg")
            number = int.from_bytes(page[18:22], "little")
            self._need(number == self._page, "one continuous stream")
            self._need(bool(page[5] & 2) == (number == 0), "which begins once")
            self._page += 1
        self.ogg += pages

    def _unmute_additional_outputs(self, e: Event) -> None:
        history = e["args"].get("chat_history")
        self._need(history, "the history is not empty")  # the load test looks at its last message
        for message in history:
            self._need(message["role"] in ("user", "assistant"), "somebody said it")
            self._need(isinstance(message["content"], str), "something was said")
        self.history = history

    def _response_audio_done(self, e: Event) -> None:
        self._need(self._ready is not None, "the sound is done outside an answer")
        self._need(self._last() == "unmute.additional_outputs", "the history comes right before")
        self._ready = None

    def _unmute_interrupted_by_vad(self, e: Event) -> None:
        self._need(self._ready is not None, "an interruption of nothing")
        self._ready = None

    def _last(self) -> str:
        return str(self.seen[-1]["type"]) if self.seen else ""


class Microphone:
    """Samples become Opus in Ogg, as they come."""

    def __init__(self) -> None:
        self._out = _Pipe()
        options = {"page_duration": str(CHUNK_MS * 1000), "flush_packets": "1"}
        self._container = av.open(self._out, "w", format="ogg", options=options)
        self._stream = self._container.add_stream("libopus", rate=RATE_HZ, layout="mono")
        self._at = 0

    def push(self, pcm: bytes) -> bytes:
        """The pages that are complete with these samples."""
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.sample_rate, frame.pts = RATE_HZ, self._at
        frame.planes[0].update(pcm)
        self._at += frame.samples
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
        return self._out.take()


class _Pipe:
    def __init__(self) -> None:
        self._data = b""

    def write(self, data: bytes) -> int:
        self._data += bytes(data)
        return len(data)

    def take(self) -> bytes:
        data, self._data = self._data, b""
        return data


class UnmuteClient:
    """One conversation."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.referee = Referee()
        self.events: list[tuple[float, Event]] = []
        self._microphone = Microphone()
        self._came = asyncio.Condition()

    async def listen(self) -> None:
        """Keep and judge everything that comes."""
        async for message in self.socket:
            event = self.referee.see(message)
            async with self._came:
                self.events.append((time.monotonic(), event))
                self._came.notify_all()

    async def send(self, event: Event) -> None:
        await self.socket.send(json.dumps(event))

    async def update(self, instructions: Any, voice: str | None) -> None:
        """What the page and the load test send first."""
        session = {"instructions": instructions, "voice": voice, "allow_recording": False}
        await self.send({"type": "session.update", "session": session})

    async def say(self, pcm: bytes) -> None:
        """Stream sound in real time."""
        due = time.monotonic()
        for piece in _pieces(pcm):
            if pages := self._microphone.push(piece):
                audio = base64.b64encode(pages).decode()
                await self.send({"type": "input_audio_buffer.append", "audio": audio})
            due += CHUNK_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def until(self, kind: str, count: int = 1, timeout_s: float = 20) -> Event:
        """Wait for the n-th event of a type."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[Event]:
        """All events of a type."""
        return [event for _, event in self.events if event["type"] == kind]

    def when(self, kind: str, number: int = 0) -> float:
        """When the n-th event of a type came."""
        return [at for at, event in self.events if event["type"] == kind][number]

    def heard(self) -> bytes:
        """All that was said to it, as samples."""
        return pcm_of(self.referee.ogg)

    def errors(self) -> list[str]:
        return [event["error"]["message"] for event in self.of("error")]


def _pieces(pcm: bytes) -> Iterator[bytes]:
    size = RATE_HZ * CHUNK_MS // 1000 * 2
    return (pcm[at : at + size] for at in range(0, len(pcm), size))


@asynccontextmanager
async def unmute_client(server: RunningServer) -> AsyncIterator[UnmuteClient]:
    """As the load test does it: health, voices, and in, with nothing but the subprotocol."""
    async with httpx.AsyncClient(base_url=server.url) as http:
        health = (await http.get("/v1/health")).json()
        assert all(health[name] for name in ("ok", "tts_up", "stt_up", "llm_up"))
        voices = (await http.get("/v1/voices")).json()
        voice = next(v["source"]["path_on_server"] for v in voices if v["source"]["path_on_server"])
    url = f"{server.ws}/v1/realtime"
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("realtime")]) as socket:
        assert socket.subprotocol == "realtime"
        client = UnmuteClient(socket)
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(client.listen())
            await client.update({"type": "smalltalk", "language": None}, voice)
            yield client
            listening.cancel()
