"""`kill -9` of the server at random moments of streaming sessions: no word is lost or doubled, and nothing told is.

The recogniser knows what is said, takes only whole windows, and errs at their edges; so what is in the store can be
held against what was said. The store is made slow, so that there is time to be killed between a transcript and the
commit that it waits for.
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from bench.streaming.conversation import Conversation, generated

from tests.store.postgres_server import postgres_server, programs
from tests.support.server import server
from tests.support.stream_client import PATH, Event, StreamClient
from tests.support.stream_server import Nursery, nursery

pytestmark = pytest.mark.timeout(120)

ROOT = PATH.removesuffix("/ws")
PACE = 12
"""Sound comes so many times faster than it lasts."""

STRETCH_S = 1.0
"""A server that has not met its fate by then is killed all the same."""

LATE_MS = 40.0
WINDOW_MS = 120
PART_MS = 60
TEXT = "This is one part. Here is another one. Now comes the third. Then the fourth. That is all."
PARTS = 5

TWICE = 5
"""Each so-manieth chunk is sent twice."""

Kind = Literal["joined", "upload", "message", "window", "final", "reply"]
KINDS: tuple[Kind, ...] = ("joined", "upload", "message", "window", "final", "reply")


@dataclass
class Fate:
    """When a server dies: at the `count`th of these, from when the client joined."""

    kind: Kind
    count: int

    @classmethod
    def drawn(cls, kind: Kind, dice: random.Random, chunk_ms: int) -> "Fate":
        most = {"joined": 1, "message": 40, "window": 3, "final": 1, "reply": PARTS}
        most["upload"] = max(1, 4_000 // chunk_ms)
        return cls(kind, dice.randint(1, most[kind]))

    def is_met(self, event: Event) -> bool:
        """Whether it is now, when this message has come."""
        counted = {
            "joined": event["type"] == "connection_established",
            "upload": False,
            "message": True,
            "window": event["type"] == "partial_transcription",
            "final": event["type"] == "transcription",
            "reply": event["type"] == "audio_response" and not event["data"]["is_last"],
        }
        return self._counts(is_one=counted[self.kind])

    def is_met_by_chunk(self) -> bool:
        """Whether it is now, in the midst of this chunk."""
        return self._counts(is_one=self.kind == "upload")

    def _counts(self, *, is_one: bool) -> bool:
        self.count -= is_one
        return is_one and self.count == 0


@dataclass
class Figures:
    """What was seen. Times in seconds, from when the new server is there.

    Attributes:
        late: of the kills, those at the end of a stretch: their moment had not come.
        joined_s: until the client has joined; news_s: until it was told a transcript or an answer.
    """

    kills: int = 0
    late: int = 0
    joined_s: list[float] = field(default_factory=list)
    news_s: list[float] = field(default_factory=list)


class Victim(StreamClient):
    """Whose server dies."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.fate: Fate | None = None
        self.kill: Callable[[], None] = lambda: None
        self.figures = Figures()
        self.began_s = 0.0

    async def send_chunk(self, index: int) -> None:
        """One that is to be killed by is sent by halves; and now and then one is sent twice, as it may be."""
        if self.fate is not None and self.fate.is_met_by_chunk():
            await self.send(self._broken_off())
            return
        await super().send_chunk(index)
        if index % TWICE == 0:
            await super().send_chunk(index)

    async def _broken_off(self) -> AsyncIterator[bytes]:
        yield bytes(1_000)
        self.die()
        yield bytes(1_000)

    async def _take(self, event: Event) -> None:
        self._measure(event)
        await super()._take(event)
        if self.fate is not None and self.fate.is_met(event):
            self.die()

    def die(self) -> None:
        self.fate = None
        self.figures.kills += 1
        self.kill()

    def _measure(self, event: Event) -> None:
        passed_s = time.monotonic() - self.began_s
        if event["type"] == "connection_established":
            self.figures.joined_s.append(passed_s)
        elif "number" in event and len(self.figures.news_s) < len(self.figures.joined_s):
            self.figures.news_s.append(passed_s)


@dataclass
class Stage:
    """A conversation, and the servers that it has one after the other."""

    servers: Nursery
    name: str
    settings: dict[str, Any]
    said: Conversation

    async def start(self) -> str:
        return await self.servers.start(self.name, self.settings, LATE_MS)

    def kill(self) -> None:
        self.servers.kill(self.name)


def stage(
    servers: Nursery, folder: Path, seed: int, database_url: str = "", minutes: float = 0.5
) -> Stage:
    said = generated(minutes, seed)
    said.write(folder / f"{seed}.json")
    settings = {
        "database_url": database_url or f"sqlite:///{folder / f'{seed}.db'}",
        "stt": f"bench.reference_stt.SPEC:{folder / f'{seed}.json'}?ms={WINDOW_MS}",
        "tts": f"tests.support.stream_server.VOICE:tts_ms={PART_MS}",
    }
    return Stage(servers, f"s{seed}", settings, said)


async def talk(client: Victim, said: Conversation, stretches: int, chunk_ms: int) -> None:
    """As a microphone does, whether somebody listens or not; each stretch when the one before has cost a server."""
    said_ms = 0
    for chunk in said.chunks(chunk_ms):
        stretch = said_ms * stretches // said.end_ms
        await client.until(lambda: client.figures.kills >= stretch)  # noqa: B023
        await client.say(chunk)
        said_ms += len(chunk) // 32
        await asyncio.sleep(len(chunk) / 32_000 / PACE)
    await client.say(b"", is_final=True)


async def converse(
    on: Stage, fates: list[Fate], options: Event, chunk_ms: int = 170, **more: Any
) -> Victim:
    """All of it, through all deaths."""
    url = await on.start()
    async with httpx.AsyncClient() as http:
        made = (await http.post(f"{url}{ROOT}/sessions", json=options)).json()
    client = Victim(made["session_id"], made["resume_token"], **more)
    client.kill = on.kill
    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(talk(client, on.said, len(fates) + 1, chunk_ms))
        for fate in fates:
            await live_until(client, url, fate)
            url = await on.start()
        client.began_s = time.monotonic()
        async with client.line(url.replace("http", "ws")):
            await client.until(lambda: talking.done() and client.joined and not client.asked)
            await all_committed(client)
            await compare(client, url, on.said)
    return client


async def live_until(client: Victim, url: str, fate: Fate) -> None:
    """With one server, until it is killed: at the end of its stretch, if not before."""
    client.began_s, client.fate = time.monotonic(), fate
    async with client.line(url.replace("http", "ws")):
        if fate.kind == "reply" or not client.asked:
            await client.ask(TEXT)
        with contextlib.suppress(TimeoutError):
            await client.until(lambda: client.fate is None, timeout_s=STRETCH_S)
        if client.fate is not None:
            client.figures.late += 1
            client.die()
        await client.until(lambda: client.lost)


async def all_committed(client: StreamClient) -> None:
    async with asyncio.timeout(10):
        while client.kept:
            await client.control("stats")
            await asyncio.sleep(0.1)


async def compare(client: StreamClient, url: str, said: Conversation) -> None:
    """What was said, what is in the store, what was told, and what is told again."""
    address = f"{url}{ROOT}/sessions/{client.session_id}/transcript"
    async with httpx.AsyncClient() as http:
        stored = (await http.get(address)).json()
    assert client.transcript == [word.text for word in said.words]
    items = {item["number"]: item for item in stored["items"]}
    assert list(items) == list(client.items) == list(range(1, len(items) + 1))
    for number, item in items.items():
        told = client.items[number]
        assert item["text"] == told["text"]
        assert [w["word"] for w in item.get("words", ())] == [
            w["word"] for w in told.get("words", ())
        ]
    again = StreamClient(client.session_id, client._token)
    async with again.line(url.replace("http", "ws")):
        await again.until(lambda: again.last_number == client.last_number)
    assert again.items == client.items
    responses: dict[str, list[Event]] = {}
    for part in client.spoken:
        responses.setdefault(part["response_id"], []).append(part)
    for parts in responses.values():
        assert [part["part"] for part in parts] == list(range(len(parts)))
        text = "".join(part["text"] for part in parts)
        assert text == TEXT if parts[-1]["is_last"] else TEXT.startswith(text)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture
def postgres_url() -> Iterator[str]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed; tests/store fails for that where it must be")
    with postgres_server(found) as running:
        yield running.url()


async def test_no_word_is_lost_or_doubled_when_the_server_is_killed_twenty_times(
    servers: Nursery, tmp_path: Path
) -> None:
    clients: list[Victim] = []

    async def one(seed: int, chunk_ms: int) -> None:
        dice = random.Random(seed)
        fates = [Fate.drawn(kind, dice, chunk_ms) for kind in dice.sample(KINDS, 5)]
        options = {"whole": False, "vad": seed % 2 == 0}
        frames = "hex" if seed == 1 else "binary"
        clients.append(
            await converse(stage(servers, tmp_path, seed), fates, options, chunk_ms, frames=frames)
        )

    async with asyncio.TaskGroup() as conversations:
        for seed, chunk_ms in enumerate((170, 90, 1_900, 650)):
            conversations.create_task(one(seed, chunk_ms))
    assert sum(client.figures.kills for client in clients) == 20
    assert all(client.sounds for client in clients)


async def test_nor_on_postgresql(servers: Nursery, tmp_path: Path, postgres_url: str) -> None:
    dice = random.Random(4)
    fates = [Fate.drawn(kind, dice, 170) for kind in ("final", "message")]
    on = stage(servers, tmp_path, 4, postgres_url, minutes=0.25)
    client = await converse(on, fates, {"whole": False})
    assert client.figures.kills == 2


async def test_lost_lines_and_a_server_that_goes_down_cost_nothing(tmp_path: Path) -> None:
    """Two listen to a session; each loses its line once, and the server is told to stop in mid-sentence."""
    said = generated(0.3, 7)
    said.write(tmp_path / "words.json")
    stt = f"bench.reference_stt.SPEC:{tmp_path / 'words.json'}?ms={WINDOW_MS}"
    arguments = ("--engines", "fake", "--stt", stt)
    database_url = f"sqlite:///{tmp_path / 'sessions.db'}"
    async with asyncio.TaskGroup() as tasks:
        with server(*arguments, DUOLOGUE_DATABASE_URL=database_url) as first:
            client, other = await two_clients(first.url)
            talking = tasks.create_task(talk(client, said, 1, 170))
            async with other.line(first.ws):
                async with client.line(first.ws):
                    await client.until(lambda: client.transcript)
                    await cut_off(client)
                async with client.line(first.ws):
                    await cut_off(other)
                    await client.ask(TEXT)
                    told = len(client.transcript)
                    await client.until(lambda: len(client.transcript) > told and not client.asked)
                    assert not talking.done()
                    assert await asyncio.to_thread(first.stop, signal.SIGTERM) == 0
                    await client.until(lambda: client.lost)
        with server(*arguments, DUOLOGUE_DATABASE_URL=database_url) as second:
            async with client.line(second.ws), other.line(second.ws):
                await client.until(talking.done)
                await all_committed(client)
                await other.until(lambda: other.last_number == client.last_number)
            assert other.items == client.items
            await compare(client, second.url, said)


async def two_clients(url: str) -> tuple[Victim, StreamClient]:
    async with httpx.AsyncClient() as http:
        made = (await http.post(f"{url}{ROOT}/sessions", json={"whole": False})).json()
    session = made["session_id"], made["resume_token"]
    return Victim(*session), StreamClient(*session)


async def cut_off(client: StreamClient) -> None:
    """Its line is gone, without a goodbye."""
    assert client._ws is not None
    client._ws.transport.abort()
    await client.until(lambda: client.lost)
