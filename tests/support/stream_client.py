"""A client of the session API as it should be: what it says is transcribed once, and what it is told it knows once.

    client = StreamClient(session_id, resume_token)
    async with client.line("ws://127.0.0.1:8000"):
        await client.say(pcm)                      # 16 kHz, 16 bit, mono
        await client.say(b"", is_final=True)
        await client.until(lambda: client.transcript)

Lines come and go, and so may the server; `say` and `ask` work between two lines as well. What it takes:

- Chunks are counted, and each is kept until `committed` has reached its index: then what was said in it is stored.
- What has a `number` is kept by it, and the largest is `last_seq` when the client comes back.
- `connection_established` comes first of all. Its `next_chunk` is sent next, and all that are kept after it, each
  whole: the server knows that `next_chunk_ms` of the first are stored.
- Chunks that are asked for (`chunks_missing`) or had no room (`buffer_full`) are sent again.
- A text is said when its last part is there, or when it was stopped. A server that was killed knows nothing of texts
  that it had not said; so whoever comes back asks how many responses are pending, and where there are none asks again
  for what is not said.

See docs/session-wire.md for the messages.
"""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PATH = "/api/v1/audio-streaming/ws"
HEADER = struct.Struct(">BBHI")  # version, flags, nothing yet, index or number
FINAL = 1

OF_THE_MOMENT = {"audio_data", "audioData", "audio_lost", "audioLost", "size", "binary"}
"""Fields of an answer's part that are others when it is told again: its sound may be no more."""

Event = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """A piece of sound; the utterance ends with a final one."""

    pcm: bytes
    is_final: bool


@dataclass(frozen=True)
class Text:
    """Something that is to be said."""

    text: str
    answers: bool


class StreamClient:
    """See the module.

    Args:
        frames: how sound travels, in both directions: in binary messages, or as hexadecimal in JSON.
        last_seq: -1: what was told before is not wanted.

    Attributes:
        kept: chunks that the server may ask for again, by index.
        items: what it was told for good, by number.
        sounds: of answers, by the number of their part: WAV files.
        asked: texts that are not said yet, by the name that the client gave them.
        joined: the last `connection_established`; None while there is no line.
    """

    def __init__(
        self,
        session_id: str,
        token: str = "",
        *,
        frames: Literal["binary", "hex"] = "binary",
        last_seq: int = 0,
    ) -> None:
        self.session_id = session_id
        self.kept: dict[int, Chunk] = {}
        self.items: dict[int, Event] = {}
        self.sounds: dict[int, bytes] = {}
        self.asked: dict[str, Text] = {}
        self.joined: Event | None = None
        self.last_number = last_seq
        self.committed = -1
        self.next_chunk = 0  # that will be said
        self._token = token
        self._frames = frames
        self._texts = 0
        self._responses: dict[str, str] = {}  # response -> the text that it says
        self._asked_here: set[str] = set()  # texts that were sent on this line
        self._refused: set[int] = set()  # chunks that had no room
        self._sound_of: int | None = None  # the part whose sound is the next binary message
        self._came_back = False
        self._ws: ClientConnection | None = None
        self._changed = asyncio.Condition()

    # --- the line ---
    @asynccontextmanager
    async def line(self, server: str) -> AsyncIterator[None]:
        """A connection, until it is left; it may be lost before (`lost`)."""
        binary = self._frames == "binary"
        query = f"resume_token={self._token}&format=pcm16&sample_rate=16000"
        query += "&audio=binary&binary=framed" if binary else "&audio=hex"
        if self.last_number >= 0:
            query += f"&last_seq={self.last_number}"
        async with (
            connect(f"{server}{PATH}/{self.session_id}?{query}", max_size=None) as ws,
            asyncio.TaskGroup() as tasks,
        ):
            self._ws = ws
            tasks.create_task(self._listen(ws), name="client")
            try:
                yield
            finally:
                await ws.close()

    async def _listen(self, ws: ClientConnection) -> None:
        try:
            async for message in ws:
                if isinstance(message, bytes):
                    self._hear(message)
                else:
                    await self._take(json.loads(message))
                await self._notify()
        except ConnectionClosed:
            pass  # whatever the reason is, the session goes on
        finally:
            self._ws = self.joined = None
            await self._notify()

    @property
    def lost(self) -> bool:
        """There is no line any more."""
        return self._ws is None

    async def until(self, is_so: Callable[[], object], timeout_s: float = 20) -> None:
        """Wait for something; looked at whenever a message has come, and when the line is lost."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(is_so)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def send(self, message: "Event | bytes | AsyncIterable[bytes]") -> None:
        """To nobody, if the line is lost."""
        if self._ws is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._ws.send(json.dumps(message) if isinstance(message, dict) else message)

    # --- what it says ---
    async def say(self, pcm: bytes, *, is_final: bool = False) -> None:
        """One more chunk. Without a line it is kept, and sent when there is one again."""
        index, self.next_chunk = self.next_chunk, self.next_chunk + 1
        self.kept[index] = Chunk(pcm, is_final)
        if self.joined is not None:
            await self.send_chunk(index)

    async def send_chunk(self, index: int) -> None:
        """Send it, or send it again."""
        chunk = self.kept[index]
        if self._frames == "binary":
            await self.send(HEADER.pack(1, FINAL * chunk.is_final, 0, index) + chunk.pcm)
        else:
            sound = {"audio_data": chunk.pcm.hex(), "chunk_index": index}
            await self.send({"type": "audio_chunk", "data": {**sound, "is_final": chunk.is_final}})

    async def ask(self, text: str, *, answers: bool = False) -> str:
        """Have something said, or answered. Returns the name of the request."""
        self._texts += 1
        name = f"text{self._texts}"
        self.asked[name] = Text(text, answers)
        if self.joined is not None:
            await self._ask(name)
        return name

    async def _ask(self, name: str) -> None:
        wanted = self.asked[name]
        self._asked_here.add(name)
        data = {"text": wanted.text, "answers": wanted.answers, "request_id": name}
        await self.send({"type": "text_request", "data": data})

    async def control(self, command: str) -> None:
        """`ping`, `stats`, `stop`, and so on."""
        await self.send({"type": "control", "data": {"command": command}})

    # --- what it is told ---
    async def _take(self, event: Event) -> None:
        data = event["data"]
        match event["type"]:
            case "connection_established":
                await self._join(data)
            case "chunk_received":
                await self._commit(data["committed"])
            case "chunks_missing":
                for index in range(data["first_chunk"], data["last_chunk"] + 1):
                    await self.send_chunk(index)
            case "transcription":
                self._keep(event)
                await self._commit(data["committed"])
            case "gap":
                self._keep(event)
            case "audio_response" | "text_response":
                await self._spoken(event)
            case "tts_queued":
                self._responses[data["response_id"]] = data["request_id"]
            case "speech_stopped":
                await self._said(self._responses.pop(data["response_id"], ""))
            case "stats_response":
                await self._look(data["stats"])
            case "error":
                await self._refuse(data)
            case _:
                pass  # partial transcripts, pongs and so on

    async def _join(self, data: Event) -> None:
        assert data["session_id"] == self.session_id
        assert data["complete"], "something that was told is no more"
        assert data["last_number"] >= self.last_number, "the server knows less than it has told"
        self._asked_here.clear()
        index = data["next_chunk"]
        assert index > self.committed, "a chunk is to be sent again that was committed"
        while index < self.next_chunk:  # others may be said meanwhile
            await self.send_chunk(index)
            index += 1
        self.joined = data
        if self._came_back:
            await self.control("stats")
        else:
            for name in list(self.asked):
                await self._ask(name)
        self._came_back = True

    async def _commit(self, index: int) -> None:
        """Up to there nothing is wanted any more."""
        if index <= self.committed:
            return
        for done in range(self.committed + 1, index + 1):
            self.kept.pop(done, None)
        self.committed = index
        again, self._refused = sorted(self._refused), set()
        for refused in again:
            if refused in self.kept:
                await self.send_chunk(refused)

    async def _refuse(self, error: Event) -> None:
        if error["code"] == "buffer_full":
            self._refused.add(error["chunk_index"])  # there is room when something is committed
        elif error.get("request_id"):
            await self._said(error["request_id"])
        else:
            raise AssertionError(error)

    def _keep(self, event: Event) -> None:
        number = event["number"]
        assert number > self.last_number, f"{number} was told after {self.last_number}"
        self.last_number = number
        self.items[number] = {
            name: value for name, value in event["data"].items() if name not in OF_THE_MOMENT
        } | {"type": event["type"]}

    async def _spoken(self, event: Event) -> None:
        self._keep(event)
        data = event["data"]
        if data.get("binary"):
            self._sound_of = event["number"]
        elif "audio_data" in data:
            self.sounds[event["number"]] = bytes.fromhex(data["audio_data"])
        parts = [item for item in self.spoken if item["response_id"] == data["response_id"]]
        played_ms = sum(part.get("duration_ms", 0) for part in parts[:-1])
        played = {"response_id": data["response_id"], "played_ms": played_ms}
        await self.send({"type": "played", "data": played})  # this part begins to play
        if data["is_last"]:
            await self._said(data["request_id"])

    def _hear(self, message: bytes) -> None:
        """The sound of a part, which was told just before."""
        _, _, _, number = HEADER.unpack_from(message)
        assert number == self._sound_of
        self.sounds[number] = message[HEADER.size :]
        self._sound_of = None

    async def _said(self, name: str) -> None:
        if self.asked.pop(name, None) is not None and self.asked:
            await self.control("stats")  # whether the others are still known

    async def _look(self, stats: Event) -> None:
        await self._commit(stats["committed"])
        if not stats["pending_responses"]:
            for name in [name for name in self.asked if name not in self._asked_here]:
                await self._ask(name)

    # --- what it knows ---
    @property
    def transcript(self) -> list[str]:
        """All words."""
        told = (item for item in self.items.values() if item["type"] == "transcription")
        return [word["word"] for item in told for word in item["words"]]

    @property
    def spoken(self) -> list[Event]:
        """The parts of answers."""
        return [item for item in self.items.values() if "response_id" in item]
