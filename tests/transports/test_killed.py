"""`kill -9` of the server at random moments of a conversation: nothing that the client was told is lost or doubled.

The store is made slow, so that there is time to be killed between a message and the commit that it stands for.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from duologue.store.opening import open_archive
from duologue.wire.extension_frames import Frame
from tests.support.clips import clip, silence

pytestmark = pytest.mark.timeout(120)

FRAME_BYTES = 960
PACE = 3
"""Sound is sent so many times faster than it lasts: a recording is welcome at any speed."""

LATE_MS = 40.0
FAKE = "stt_ms=60,llm_ms=5,tts_ms=20,tts_s=1.2"
CONVERSATIONS = 2
UTTERANCES = 5

MESSAGES = 110
"""From an utterance to the end of its answer there are about so many: 60 frames, the rest events."""

Event = dict[str, Any]


class Nursery:
    """Where servers are started."""

    def __init__(self, folder: Path) -> None:
        self._alive: dict[str, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kept_server", FAKE, str(LATE_MS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_DATA_HOME": str(folder)},
        )
        self._one_at_a_time = asyncio.Lock()

    async def start(self, path: Path) -> str:
        """A server on this store; its address."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._start, str(path))

    def _start(self, path: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        started, pid, url = self._process.stdout.readline().split()
        assert started == path
        self._alive[path] = int(pid)
        return url

    def kill(self, path: Path) -> None:
        os.kill(self._alive.pop(str(path)), signal.SIGKILL)

    def close(self) -> None:
        for path in list(self._alive):
            self.kill(Path(path))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    made = Nursery(tmp_path)
    try:
        yield made
    finally:
        made.close()


class Client:
    """Keeps what it was told, and the sound that the server may want again."""

    def __init__(self) -> None:
        self.received = 0
        self.token = ""
        self.session_id = ""
        self.items: dict[str, Event] = {}
        self.transcripts: dict[str, str | None] = {}
        self.heard: dict[str, str] = {}
        self.ended: set[str] = set()
        self.replies: dict[str, str] = {}
        self.kept: deque[Frame] = deque()
        self.wanted: int | None = None  # the frame that the server expects after a resume
        self.resumes = 0
        self._sequence = self._position = 0
        self._ws: ClientConnection | None = None
        self._came = asyncio.Condition()

    # --- the line ---
    @asynccontextmanager
    async def line(self, url: str) -> AsyncIterator[None]:
        offered = ["duologue.v1"]
        if self.token:
            offered.append(f"duologue-resume.{self.token}.{self.received}")
            self.wanted = None
        names = [Subprotocol(name) for name in offered]
        async with connect(f"{url}/v1/realtime", subprotocols=names) as ws:
            self._ws = ws
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(self._listen(ws))
                try:
                    yield
                finally:
                    listening.cancel()

    async def _listen(self, ws: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in ws:
                if isinstance(message, bytes):
                    self.received += 1
                else:
                    self._take(json.loads(message))
                async with self._came:
                    self._came.notify_all()

    async def drained(self) -> None:
        """The server is dead: take what it had still sent."""
        assert self._ws is not None
        async with asyncio.timeout(5):
            await self._ws.wait_closed()

    # --- what it is told ---
    def _take(self, event: Event) -> None:
        if event["type"] == "duologue.resumed":
            assert event["session_id"] == self.session_id
            assert event["sequence"] == self.received
            assert event["complete"] is False
            assert event["floor"] == "open"
            self.wanted, self.token = event["input_sequence"], event["resume_token"]
            self.resumes += 1
            return
        self.received += 1
        match event["type"].split("."):
            case ["session", "created"]:
                self.session_id = event["session"]["id"]
            case ["duologue", "welcome"]:
                self.token = event["resume_token"]
            case ["duologue", "ack"]:
                while self.kept and self.kept[0].sequence < event["sequence"]:
                    self.kept.popleft()
            case ["conversation", "item", "added"]:
                assert event["item"]["id"] not in self.items, "doubled"
                self.items[event["item"]["id"]] = event["item"]
            case ["conversation", "item", "done"]:
                self.items[event["item"]["id"]] = event["item"]
            case ["conversation", "item", "input_audio_transcription", "completed"]:
                assert self.transcripts.get(event["item_id"]) is None
                self.transcripts[event["item_id"]] = event["transcript"]
            case ["conversation", "item", "input_audio_transcription", "failed"]:
                self.transcripts[event["item_id"]] = None
            case _:
                self._take_reply(event)

    def _take_reply(self, event: Event) -> None:
        match event["type"]:
            case "response.created":
                self.replies[event["response"]["id"]] = "in_progress"
            case "response.done":
                self.replies[event["response"]["id"]] = event["response"]["status"]
            case "duologue.heard":
                self.heard[event["item_id"]] = event["text"]
                if event["ended"]:
                    self.ended.add(event["item_id"])
            case "error":
                raise AssertionError(event)
            case _:
                pass

    # --- what it says ---
    async def say(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), FRAME_BYTES):
            sound = pcm[at : at + FRAME_BYTES]
            frame = Frame(0, self._sequence, self._position, sound)
            self.kept.append(frame)
            self._sequence += 1
            self._position += len(sound) // 2
            await self._send(frame.pack())
            await asyncio.sleep(0.02 / PACE)

    async def begin_or_go_on(self, number: int) -> None:
        """So many utterances were said: they are understood, or will be from their sound."""
        if number:
            await self.say_again()
            await self.say(silence(900))
            await self.until(lambda: self.understood == number)
        else:
            await self.until(lambda: self.token)
            audio = {"input": {"transcription": {"model": "any"}}}
            await self.ask("session.update", session={"type": "realtime", "audio": audio})

    async def say_again(self) -> None:
        """What the server did not settle before it died."""
        await self.until(lambda: self.wanted is not None)
        for frame in list(self.kept):
            if frame.sequence >= (self.wanted or 0):
                await self._send(frame.pack())

    async def ask(self, kind: str, **fields: Any) -> None:
        await self._send(json.dumps({"type": kind, **fields}))

    async def _send(self, data: str | bytes) -> None:
        """To nobody, if the server is dead."""
        assert self._ws is not None
        with contextlib.suppress(ConnectionClosed):
            await self._ws.send(data)

    async def until(self, is_so: Any, timeout_s: float = 10) -> None:
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(is_so)

    @property
    def understood(self) -> int:
        return sum(text is not None for text in self.transcripts.values())


async def killed(nursery: Nursery, path: Path, client: Client) -> str:
    """The server is no more, and another is there."""
    nursery.kill(path)
    await client.drained()
    return await nursery.start(path)


async def retrieved(client: Client) -> dict[str, Event]:
    """What the server says of each item."""
    found: dict[str, Event] = {}
    take = client._take_reply

    def keep(event: Event) -> None:
        if event["type"] == "conversation.item.retrieved":
            found[event["item"]["id"]] = event["item"]
        take(event)

    client._take_reply = keep  # type: ignore[method-assign]
    for item_id in client.items:
        await client.ask("conversation.item.retrieve", item_id=item_id)
    await client.until(lambda: len(found) == len(client.items))
    return found


async def converse(nursery: Nursery, path: Path, client: Client, seed: int) -> dict[str, Event]:
    """Each utterance costs two servers: one while it is said, one while it is answered."""
    dice, url = random.Random(seed), await nursery.start(path)
    spoken = clip("commands-cards_003.flac") + silence(900)
    for number in range(UTTERANCES):
        cut = dice.randrange(1, len(spoken) // FRAME_BYTES) * FRAME_BYTES
        async with client.line(url):
            await client.begin_or_go_on(number)
            await client.say(spoken[:cut])
            url = await killed(nursery, path, client)
        async with client.line(url):
            await client.say_again()
            until = client.received + dice.randrange(1, MESSAGES)
            await client.say(spoken[cut:])
            with contextlib.suppress(TimeoutError):  # it had been answered before, or will not be
                await client.until(lambda n=until: client.received >= n, timeout_s=1)
            url = await killed(nursery, path, client)
    async with client.line(url):
        await client.begin_or_go_on(UTTERANCES)
        await client.until(lambda: "in_progress" not in client.replies.values())
        await client.until(lambda: set(client.heard) <= client.ended)
        return await retrieved(client)


async def test_no_item_is_lost_or_doubled_when_the_server_is_killed_twenty_times(
    nursery: Nursery, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as conversations:
        for seed in range(1, CONVERSATIONS + 1):
            path = tmp_path / f"{seed}.db"
            conversations.create_task(one_conversation(nursery, path, seed))


async def one_conversation(nursery: Nursery, path: Path, seed: int) -> None:
    client = Client()
    found = await converse(nursery, path, client, seed)
    assert client.resumes == 2 * UTTERANCES
    archive = open_archive(f"sqlite:///{path}", path.parent)
    await archive.start()
    try:
        stored = await archive.last_items(client.session_id)
        (session,) = await archive.sessions()
    finally:
        await archive.aclose()
    assert session.id == client.session_id
    assert [record.number for record in stored] == list(range(1, len(stored) + 1))
    assert {record.id for record in stored} == set(client.items) == set(found)
    for record in stored:
        (content,) = found[record.id]["content"]
        told = client.transcripts[record.id] if record.role == "user" else client.heard[record.id]
        assert content["transcript"] == told
        assert record.text == (told or "")
    assert len(client.heard) > UTTERANCES / 2
    assert client.understood == UTTERANCES, "an utterance was lost, or understood twice"
