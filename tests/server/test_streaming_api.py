"""The routes of the session API, as an HTTP client meets them; behind them is a desk without engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from duologue.core.errors import AtCapacity, OurError
from duologue.core.records import ItemRecord
from duologue.core.streaming import AudioChunk, Pong, Renew, StreamEnded, StreamOptions, TextRequest
from duologue.server import streaming_events
from duologue.server.audio.refusals import install_errors
from duologue.server.auth import Guard
from duologue.server.door import Doorkeeper, admission_of
from duologue.server.engine_state import EngineState
from duologue.server.limits import Limits
from duologue.server.streaming_api import stream_routes
from duologue.server.streaming_events import Reader
from duologue.server.streaming_facade import StreamFacade
from duologue.transports.admission import Visitor
from duologue.transports.streaming import StreamDoor
from duologue.wire import streaming as wire
from tests.support.stream_desk import EXPIRES_S, FakeDesk, FakeSession, said

ROOT = "/api/v1/audio-streaming"
SESSIONS = f"{ROOT}/sessions"
RAW = {"Content-Type": "audio/pcm;rate=8000"}

ENGINES = [EngineState(role=role, name=f"fake-{role}", state="ready") for role in ("stt", "tts")]


@dataclass
class Place:
    """A server's routes, and what is behind them."""

    client: httpx.AsyncClient
    desk: FakeDesk
    door: StreamDoor
    app: FastAPI

    async def session(self, **options: Any) -> FakeSession:
        made = await self.client.post(SESSIONS, json=options)
        assert made.status_code == 201, made.text
        return self.desk.sessions[made.json()["session_id"]]


@asynccontextmanager
async def place(guard: Guard | None = None, **desk_options: Any) -> AsyncIterator[Place]:
    guard = guard or Guard()
    desk = FakeDesk(**desk_options)
    door = StreamDoor(desk.as_desk, lambda _: Visitor())

    def visitor_of(request: Any) -> Visitor:
        admission = admission_of(request)
        return Visitor(name=admission.name, leave=admission.leave, on_revoked=admission.on_revoked)

    app = FastAPI()
    app.add_middleware(Doorkeeper, guard=guard, open_paths=())
    facade = StreamFacade(
        desk.as_desk, door, visitor_of, lambda: ENGINES, defaults=StreamOptions(window_ms=3_000)
    )
    app.include_router(stream_routes(facade))
    install_errors(app)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(door.run())
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield Place(client, desk, door, app)
        running.cancel()


def keys(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


# --- sessions ---
@pytest.mark.parametrize(
    ("query", "body", "language"),
    [
        ("", {"language": "zh"}, "zh"),
        ("?language=de", None, "de"),
        ("", None, ""),
    ],
)
async def test_a_session_is_made_by_either_way_of_asking(
    query: str, body: dict[str, Any] | None, language: str
) -> None:
    async with place() as there:
        made = await there.client.post(f"{SESSIONS}{query}", json=body)
        told = made.json()
        (session,) = there.desk.sessions.values()
    assert made.status_code == 201
    assert (session.options.language, session.options.window_ms) == (language, 3_000)
    assert told["success"] is True
    assert told["session_id"] == told["sessionId"] == session.id
    assert told["websocket_url"] == told["websocketUrl"] == f"{ROOT}/ws/{session.id}"
    assert told["resume_token"] == told["resumeToken"] == "rt_good"
    assert told["expires_at"] == told["expiresAt"] == EXPIRES_S
    assert told["language"] == (language or "auto")
    assert told["message"]


async def test_the_overview_is_there_in_both_readings() -> None:
    async with place() as there:
        session = await there.session()
        told = (await there.client.get(SESSIONS)).json()
    assert told["totalSessions"] == told["stats"]["total_sessions"] == 1
    assert told["activeSessions"] == told["stats"]["active_sessions"] == [session.id]
    for status in (told["serviceStatus"], told["stats"]["service_status"]):
        assert status["isInitialized"] is status["is_initialized"] is True
        assert status["ttsInitialized"] is True
        assert (status["modelSize"], status["device"]) == ("fake-stt", "cpu")
        assert (status["transcriptionWorkers"], status["ttsWorkers"]) == (2, 2)


async def test_stats_are_flat_and_under_stats() -> None:
    async with place() as there:
        session = await there.session(language="en")
        for path in (session.id, f"{session.id}/stats"):
            told = (await there.client.get(f"{SESSIONS}/{path}")).json()
            assert told["success"] is True
            assert told["session_id"] == told["stats"]["session_id"] == session.id
            assert told["stats"]["pending_transcriptions"] == 0


async def test_ended_is_not_unknown_and_erased_is() -> None:
    async with place() as there:
        session = await there.session()
        ended = await there.client.delete(f"{SESSIONS}/{session.id}")
        assert (ended.status_code, ended.json()["success"]) == (200, True)
        again = await there.client.get(f"{SESSIONS}/{session.id}/stats")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "session_ended")
        assert (await there.client.get(f"{SESSIONS}/{session.id}/transcript")).status_code == 200
        erased = await there.client.delete(f"{SESSIONS}/{session.id}?erase=true")
        assert erased.status_code == 200
        gone = await there.client.get(f"{SESSIONS}/{session.id}/transcript")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "session_not_found")


async def test_errors_can_be_read_in_either_form() -> None:
    async with place() as there:
        unknown = (await there.client.get(f"{SESSIONS}/strm_9/stats")).json()
        wrong = await there.client.get(f"{SESSIONS}/strm_9/transcript?format=pdf")
        no_route = await there.client.get(f"{ROOT}/nothing")
    assert unknown["error"]["code"] == "session_not_found"
    assert (unknown["success"], unknown["detail"]) == (False, unknown["error"]["message"])
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "format")
    assert (no_route.status_code, no_route.json()["success"]) == (404, False)


async def test_a_full_server_says_so() -> None:
    async with place() as there:
        for _ in range(3):
            await there.session()
        full = await there.client.post(SESSIONS)
        assert (full.status_code, full.json()["error"]["code"]) == (503, "session_limit_reached")
        assert int(full.headers["retry-after"]) > 0
        there.desk.is_open = False
        loading = await there.client.post(SESSIONS)
        assert (loading.status_code, loading.json()["error"]["code"]) == (503, "not_ready")


@pytest.mark.parametrize("body", ["{", "[]", '"x"', '{"language": 5}', "[" * 100_000])
async def test_what_is_no_settings_is_explained(body: str) -> None:
    async with place() as there:
        refused = await there.client.post(SESSIONS, content=body)
        assert refused.status_code == 400, refused.text
        large = await there.client.post(SESSIONS, content=b" " * 300_000)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        assert not there.desk.sessions


# --- whose they are ---
async def test_a_session_is_its_keys_alone() -> None:
    async with place(Guard(("ann", "ben"))) as there:
        made = await there.client.post(SESSIONS, headers=keys("ann"))
        path = f"{SESSIONS}/{made.json()['session_id']}"
        names = {session.owner for session in there.desk.sessions.values()}
        assert len(names) == 1
        assert (await there.client.get(path)).status_code == 401
        denied = (await there.client.get(path)).json()
        assert (denied["success"], bool(denied["detail"])) == (False, True)


async def test_other_keys_find_nothing(tmp_path: Any) -> None:
    from duologue.server.keys import KeyBook, KeyFile

    file = KeyFile(tmp_path / "api-keys.json")
    ann, ben = file.add("ann"), file.add("ben")
    async with place(Guard(KeyBook(file.path))) as there:
        made = await there.client.post(SESSIONS, headers=keys(ann))
        path = f"{SESSIONS}/{made.json()['session_id']}"
        assert (await there.client.get(path, headers=keys(ann))).status_code == 200
        asked: list[Callable[..., Any]] = [there.client.get, there.client.delete]
        for ask in asked:
            assert (await ask(path, headers=keys(ben))).status_code == 404
        sound = await there.client.post(f"{path}/audio", content=b"x", headers=keys(ben))
        assert sound.status_code == 404
        mine = (await there.client.get(SESSIONS, headers=keys(ben))).json()
        assert mine["activeSessions"] == []


async def test_a_session_counts_as_its_keys_until_it_is_over() -> None:
    guard = Guard(limits=Limits(max_sessions=1))
    async with place(guard) as there:
        session = await there.session()
        full = await there.client.post(SESSIONS)
        assert (full.status_code, full.json()["error"]["code"]) == (429, "session_limit_reached")
        assert full.headers["retry-after"]
        assert (await there.client.get(SESSIONS)).status_code == 200
        await there.client.delete(f"{SESSIONS}/{session.id}")
        assert (await there.client.post(SESSIONS)).status_code == 201


async def test_a_session_that_was_not_made_is_not_counted() -> None:
    guard = Guard(limits=Limits(max_sessions=1))
    async with place(guard) as there:
        assert (await there.client.post(SESSIONS, content="{")).status_code == 400
        assert (await there.client.post(SESSIONS)).status_code == 201


async def test_an_ephemeral_key_makes_no_session() -> None:
    guard = Guard(("ann",))
    async with place(guard) as there:
        parent = guard.admit({"authorization": "Bearer ann"}, "::1", "request")
        secret: Any = guard.secrets.mint(parent.key, {}, 600)  # type: ignore[union-attr]
        refused = await there.client.post(SESSIONS, headers=keys(secret.value))
        assert refused.status_code == 403


async def test_the_sessions_of_a_revoked_key_end(tmp_path: Any) -> None:
    from duologue.server.keys import KeyBook, KeyFile

    file = KeyFile(tmp_path / "api-keys.json")
    ann = file.add("ann")
    file.add("ben")
    guard = Guard(KeyBook(file.path))
    async with place(guard) as there:
        await there.client.post(SESSIONS, headers=keys(ann))
        file.revoke("ann")
        guard.refresh()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not there.desk.sessions


# --- settings ---
async def test_settings_change_in_the_middle() -> None:
    async with place() as there:
        session = await there.session(language="en")
        path = f"{SESSIONS}/{session.id}"
        changed = await there.client.patch(path, json={"language": "zh"})
        assert (changed.status_code, changed.json()["options"]["language"]) == (200, "zh")
        assert session.options.language == "zh"
        lacking = await there.client.patch(path, json={"language": "xx"})
        assert lacking.status_code == 400
        assert lacking.json()["error"]["code"] == "language_not_available"
        assert not session.seats


async def test_a_session_is_renewed() -> None:
    async with place() as there:
        session = await there.session()
        renewed = (await there.client.post(f"{SESSIONS}/{session.id}/renew")).json()
        assert renewed["expires_at"] == renewed["expiresAt"] == EXPIRES_S
        assert session.asked == [Renew()]


async def test_nobody_joins_without_the_token_where_it_is_needed() -> None:
    async with place() as there:
        session = await there.session(needs_token=True)
        path = f"{SESSIONS}/{session.id}/events?follow=false"
        assert (await there.client.get(path)).status_code == 403
        assert (await there.client.get(f"{path}&resume_token=rt_bad")).status_code == 403
        assert (await there.client.get(f"{path}&resume_token=rt_good")).status_code == 200


async def test_workers_are_changed_while_it_runs() -> None:
    async with place() as there:
        path = f"{ROOT}/workers"
        now = (await there.client.get(path)).json()
        assert (now["transcription"], now["tts"], now["load"]["tts"]["waiting"]) == (2, 2, 0)
        changed = await there.client.patch(path, json={"transcription": 4})
        assert (changed.json()["transcription"], changed.json()["tts"]) == (4, 2)
        wrongs: list[Any] = [{"tts": 0}, {"tts": 65}, {"tts": "many"}, []]
        for wrong in wrongs:
            assert (await there.client.patch(path, json=wrong)).status_code == 400


# --- chunks ---
@pytest.mark.parametrize(
    ("kind", "query", "data", "taken"),
    [
        ("audio/pcm;rate=8000", "", b"\1\2\3\4", (b"\1\2\3\4", "pcm16", 8_000)),
        ("audio/pcm", "?rate=48000", b"\1\2", (b"\1\2", "pcm16", 48_000)),
        ("audio/pcm", "", b"\1\2", (b"\1\2", "pcm16", 0)),
        ("audio/L16; rate=16000; channels=1", "", b"\1\2\3\4", (b"\2\1\4\3", "pcm16", 16_000)),
        ("application/octet-stream", "", b"RIFF", (b"RIFF", "", 0)),
        ("application/octet-stream", "?rate=8000", b"\1\2", (b"\1\2", "pcm16", 8_000)),
        ("application/x-www-form-urlencoded", "", b"OggS", (b"OggS", "", 0)),
        ("audio/webm;codecs=opus", "", b"\x1aE", (b"\x1aE", "container", 0)),
        ("video/webm", "", b"\x1aE", (b"\x1aE", "container", 0)),
        ("application/ogg", "", b"OggS", (b"OggS", "container", 0)),
    ],
)
async def test_a_chunk_comes_as_raw_samples_or_as_a_file(
    kind: str, query: str, data: bytes, taken: tuple[bytes, str, int]
) -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/audio{query}"
        answer = await there.client.post(path, content=data, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text
        (chunk,) = session.asked
    assert isinstance(chunk, AudioChunk)
    assert (chunk.data, chunk.format, chunk.rate_hz) == taken
    assert (chunk.index, chunk.is_final) == (None, False)
    assert answer.json()["success"] is True
    assert answer.json()["chunk_id"] == "chunk_1"


async def test_a_chunk_has_its_place_and_may_be_empty_at_the_end() -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/audio?chunk_index=7&is_final=true"
        told = (await there.client.post(path)).json()
        (chunk,) = session.asked
    assert chunk == AudioChunk(b"", 7, is_final=True)
    assert (told["chunk_index"], told["is_final"], told["size"]) == (7, True, 0)


async def test_a_chunk_in_a_form() -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/audio"
        files = {"file": ("a.ogg", b"OggS", "audio/ogg")}
        assert (await there.client.post(path, files=files)).status_code == 200
        (chunk,) = session.asked
        assert chunk == AudioChunk(b"OggS", format="container")
        without = await there.client.post(path, files={"file": (None, b"text")})
        assert without.json()["error"]["code"] == "missing_required_parameter"
        broken = {"Content-Type": "multipart/form-data"}
        assert (await there.client.post(path, content=b"x", headers=broken)).status_code == 400


@pytest.mark.parametrize(
    ("kind", "data", "status", "code"),
    [
        ("text/plain", b"hello", 415, "unsupported_media_type"),
        ("audio/pcm;rate=1", b"\1\2", 400, "audio_rate_not_supported"),
        ("audio/pcm;rate=many", b"\1\2", 400, "invalid_value"),
        ("audio/pcm;channels=2", b"\1\2", 400, "unsupported_value"),
        ("audio/L16", b"\1", 400, "audio_not_whole"),
    ],
)
async def test_what_is_no_chunk_is_explained(
    kind: str, data: bytes, status: int, code: str
) -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/audio"
        refused = await there.client.post(path, content=data, headers={"Content-Type": kind})
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert not session.asked


async def test_no_more_of_a_chunk_is_read_than_it_may_have() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 64
            yield bytes(64)

    async with place(chunk_bytes=100) as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/audio"
        assert (await there.client.post(path, content=bytes(100), headers=RAW)).status_code == 200
        large = await there.client.post(path, content=bytes(101), headers=RAW)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "chunk_too_large")
        files = {"file": ("a.wav", bytes(101), "audio/wav")}
        assert (await there.client.post(path, files=files)).status_code == 413
        sent = await asgi(there.app, "POST", path, RAW, endless())
        assert sent[0]["status"] == 413
        assert read == 128
        announced = {**RAW, "Content-Length": "101"}
        assert (await asgi(there.app, "POST", path, announced, endless()))[0]["status"] == 413
        assert read == 128


async def test_a_full_buffer_says_when_to_come_again() -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}"
        session.refusal = AtCapacity("buffer_full", "This session holds as much as it may.")
        full = await there.client.post(f"{path}/audio", content=b"\1\2", headers=RAW)
        assert (full.status_code, full.json()["error"]["code"]) == (429, "buffer_full")
        assert full.headers["retry-after"]
        session.refusal = OurError("store_failed", "The store cannot be written.")
        broken = await there.client.post(f"{path}/text", json={"text": "Hello."})
        assert (broken.status_code, broken.json()["error"]["code"]) == (503, "store_failed")


# --- texts ---
async def test_a_text_is_asked_to_be_said() -> None:
    async with place() as there:
        session = await there.session()
        path = f"{SESSIONS}/{session.id}/text"
        wanted = {"text": "Hello.", "language": "en", "answers": True, "request_id": "r1"}
        told = await there.client.post(path, json=wanted)
        assert (told.status_code, told.json()["response_id"]) == (202, "resp_1")
        assert session.asked == [TextRequest("Hello.", "en", answers=True, request_id="r1")]
        for wrong in ({}, {"text": ""}, {"text": "x" * 5_000}, {"text": "x", "speed": 9}):
            refused = await there.client.post(path, json=wrong)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] in ("text", "speed")


# --- transcripts ---
def transcript(number: int, text: str, **body: Any) -> ItemRecord:
    words = [
        [w, number * 1_000 + i * 100, number * 1_000 + i * 100 + 90, None]
        for i, w in enumerate(text.split())
    ]
    whole = {"language": "en", "words": words, "ends_utterance": True, **body}
    at_ms = number * 1_000
    return ItemRecord(
        "s",
        f"i{number}",
        number,
        "transcript",
        "user",
        text,
        1.0,
        "completed",
        at_ms,
        at_ms + 900,
        whole,
    )


SAID = [
    transcript(1, "Hello <there>", ends_utterance=False),
    transcript(2, "again."),
    ItemRecord(
        "s",
        "i3",
        3,
        "gap",
        "",
        "",
        1.0,
        "completed",
        3_000,
        5_500,
        {"first_chunk": 4, "last_chunk": 5},
    ),
    ItemRecord("s", "i4", 4, "speech", "assistant", "Yes?", 1.0, body={"response_id": "r"}),
    transcript(6, "Good bye."),
]


async def test_transcripts_show_what_is_missing() -> None:
    async with place() as there:
        session = await there.session()
        there.desk.kept[session.id][1].extend(SAID)
        path = f"{SESSIONS}/{session.id}/transcript"
        whole = (await there.client.get(path)).json()
        text = await there.client.get(f"{path}?format=txt")
        srt = await there.client.get(f"{path}?format=srt")
        vtt = await there.client.get(f"{path}?format=vtt")
        rest = (await there.client.get(f"{path}?after=4")).json()
    assert text.text == "Hello <there> again.\n[2.5 s missing]\nGood bye.\n"
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole["text"] == "Hello <there> again. [2.5 s missing] Good bye."
    assert [(i["number"], i["kind"]) for i in whole["items"]] == [
        (1, "transcript"),
        (2, "transcript"),
        (3, "gap"),
        (4, "speech"),
        (6, "transcript"),
    ]
    assert whole["items"][0]["words"][1] == {"word": "<there>", "start": 1.1, "end": 1.19}
    assert (whole["complete"], whole["last_number"]) == (True, 6)
    assert [i["number"] for i in rest["items"]] == [6]
    assert "00:00:03,000 --> 00:00:05,500\n[2.5 s missing]\n" in srt.text
    assert srt.text.startswith("1\n00:00:01,000 --> ")
    assert vtt.text.startswith("WEBVTT\n")
    assert "Hello &lt;there&gt;" in vtt.text
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"


async def test_a_long_transcript_is_read_page_by_page() -> None:
    async with place() as there:
        session = await there.session()
        there.desk.kept[session.id][1].extend(transcript(n, f"n{n}") for n in range(1, 2_501))
        whole = (await there.client.get(f"{SESSIONS}/{session.id}/transcript")).json()
    assert [item["number"] for item in whole["items"]] == [*range(1, 2_501)]


# --- events ---
async def asgi(
    app: FastAPI, method: str, path: str, headers: dict[str, str], body: AsyncIterator[bytes]
) -> list[Any]:
    """A request whose body is sent as it is read; what was answered."""
    sent: list[Any] = []
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("::1", 1),
        "scheme": "http",
        "server": ("localhost", 80),
    }

    async def receive() -> dict[str, Any]:
        data = await anext(body, None)
        if data is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": data, "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


class Stream:
    """A reader of a session's events, one step after the other."""

    def __init__(self, app: FastAPI, path: str, headers: dict[str, str]) -> None:
        self.text = ""
        self.status = 0
        self.is_gone = asyncio.Event()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self._changed = asyncio.Condition()
        self._app, self._path, self._headers = app, path, headers

    async def run(self) -> None:
        path, _, query = self._path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in self._headers.items()],
            "client": ("::1", 1),
            "scheme": "http",
            "server": ("localhost", 80),
        }
        is_first = True

        async def receive() -> dict[str, Any]:
            nonlocal is_first
            if is_first:
                is_first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.is_gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await self.may_take.wait()
            if message["type"] == "http.response.start":
                self.status = message["status"]
            else:
                self.text += message.get("body", b"").decode()
            async with self._changed:
                self._changed.notify_all()

        await self._app(scope, receive, send)

    async def until(self, part: str) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: part in self.text)

    @property
    def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Each one's id, name and data."""
        found = []
        for block in self.text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line[1:])
            if "data" in fields:
                data = json.loads(fields["data"])
                found.append((fields.get("id", ""), fields["event"], data))
        return found


@asynccontextmanager
async def stream(
    there: Place, session: FakeSession, query: str = "", **headers: str
) -> AsyncIterator[Stream]:
    reader = Stream(there.app, f"{SESSIONS}/{session.id}/events{query}", headers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reader.run())
        await reader.until("retry: ")
        yield reader
        reader.may_take.set()
        reader.is_gone.set()


async def test_events_are_told_as_they_come_and_end_with_the_session() -> None:
    async with place() as there:
        session = await there.session()
        async with stream(there, session) as reader:
            session.tell(said(1, "Hello."))
            await reader.until("Hello.")
            session.end()
            await reader.until("deleted")
            await reader.until("")
        assert [event[:2] for event in reader.events][1] == ("1", "transcription")
        assert reader.events[-1][2]["data"]["reason"] == "deleted"
        assert not session.seats
        assert not there.door.connections


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?after=1", {}), ("", {"Last-Event-ID": "1"}), ("?after=0", {"Last-Event-ID": "1"})],
)
async def test_who_comes_back_is_told_what_it_missed(query: str, headers: dict[str, str]) -> None:
    async with place() as there:
        session = await there.session()
        for number in (1, 2, 3):
            session.tell(said(number, f"n{number}"))
        async with stream(there, session, query, **headers) as reader:
            session.tell(said(4, "n4"))
            await reader.until("n4")
        assert [event[0] for event in reader.events if event[0]] == ["2", "3", "4"]


async def test_much_that_was_missed_makes_nobody_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_events, "MAX_WAITING_BYTES", 10_000)
    async with place() as there:
        session = await there.session()
        for number in range(1, 4):
            session.tell(said(number, "x" * 10_000))
        path = f"{SESSIONS}/{session.id}/events?after=0&follow=false"
        told = await there.client.get(path)
        assert told.text.count("event: transcription") == 3


async def test_what_was_missed_can_be_asked_for_alone() -> None:
    async with place() as there:
        session = await there.session()
        session.tell(said(1, "n1"))
        told = await there.client.get(f"{SESSIONS}/{session.id}/events?after=0&follow=false")
        assert "n1" in told.text
        assert told.headers["content-type"].startswith("text/event-stream")
        assert not session.seats
        wrong = await there.client.get(
            f"{SESSIONS}/{session.id}/events", headers={"Last-Event-ID": "x"}
        )
        assert wrong.status_code == 400


async def test_a_reader_that_hangs_up_leaves_its_seat() -> None:
    async with place() as there:
        session = await there.session()
        async with stream(there, session):
            assert len(session.seats) == 1
        assert not session.seats


async def test_a_reader_that_does_not_read_is_told_so_and_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming_events, "MAX_WAITING_BYTES", 10_000)
    async with place() as there:
        session = await there.session()
        async with stream(there, session) as reader:
            session.tell(said(1, "n1"))
            await reader.until("n1")
            reader.may_take.clear()
            for number in range(2, 5):
                session.tell(said(number, "x" * 10_000))
            reader.may_take.set()
            await reader.until("reader_too_slow")
        assert reader.events[-1][1] == "error"
        assert len(reader.events) < 10
        assert not session.seats


async def test_a_server_that_goes_down_lets_readers_go() -> None:
    async with place() as there:
        session = await there.session()
        async with stream(there, session) as reader:
            (connection,) = there.door.connections
            connection.shutdown()
            await reader.until("server_going_down")
        assert there.desk.sessions
        assert not session.seats


class Outlet:
    """Takes what a reader sends; `end` tells it the session's end after so many signs of life."""

    def __init__(self, reader: Reader, signs: int = 0) -> None:
        self.sent: list[bytes] = []
        self._reader = reader
        self._signs = signs

    async def send(self, data: bytes) -> None:
        if data:
            self.sent.append(data)
        if self._signs and self.sent.count(b": still here\n\n") == self._signs:
            self._reader.tell(StreamEnded("idle"))


async def test_silence_is_broken_by_signs_of_life() -> None:
    reader = Reader(wire.notice_json, heartbeat_s=0.0)
    outlet = Outlet(reader, signs=2)
    await reader.work(outlet)  # type: ignore[arg-type]
    assert outlet.sent[1:3] == [b": still here\n\n"] * 2
    assert b"idle" in outlet.sent[-1]


@pytest.mark.parametrize(("events", "is_slow"), [(1, False), (2, True)])
async def test_one_large_event_makes_nobody_slow_and_another_behind_it_does(
    events: int, is_slow: bool
) -> None:
    reader = Reader(lambda _: {"type": "sound", "sound": "0" * 20_000_000})
    reader.is_caught_up = True
    for _ in range(events):
        reader.tell(Pong())
    reader.end()
    outlet = Outlet(reader)
    await reader.work(outlet)  # type: ignore[arg-type]
    assert (b"reader_too_slow" in outlet.sent[-1]) is is_slow
    assert sum(map(len, outlet.sent)) < 21_000_000
