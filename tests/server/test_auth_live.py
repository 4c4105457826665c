"""Keys, ephemeral keys and limits of a real server, as the stock `openai` client meets them."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import (
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    PermissionDeniedError,
    RateLimitError,
)
from websockets import exceptions
from websockets.asyncio.client import connect

from duologue.server.keys import FILE, KeyFile
from tests.support.server import RunningServer, server

OPTIONS = ("--engines", "fake", "--fake", "tts_s=0.2")
ORIGIN = "https://app.example.org"


@dataclass
class Place:
    """A server, and the data directory that its keys are in."""

    running: RunningServer
    keys: KeyFile

    def client(self, key: str) -> AsyncOpenAI:
        return AsyncOpenAI(
            api_key=key,
            base_url=f"{self.running.url}/v1",
            websocket_base_url=f"{self.running.ws}/v1",
            max_retries=0,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One server with a key file from its start, so that it asks for keys."""
    home = tmp_path_factory.mktemp("home")
    keys = KeyFile(home / "duologue" / FILE)
    keys.add("first")
    options = (*OPTIONS, "--api-key", "sesame", "--origin", ORIGIN)
    with server(*options, XDG_DATA_HOME=str(home)) as running:
        yield Place(running, keys)


@asynccontextmanager
async def talk(client: AsyncOpenAI) -> AsyncIterator[tuple[Any, dict[str, Any]]]:
    """A session, and what it showed of itself first."""
    async with client, client.realtime.connect(model="duologue") as connection:
        created = await connection.recv()
        assert created.type == "session.created"
        yield connection, json.loads(created.session.model_dump_json(exclude_unset=True))


async def refusal(client: AsyncOpenAI) -> tuple[int, str, str | None]:
    """Status, code and Retry-After of a session that is refused."""
    with pytest.raises(exceptions.InvalidStatus) as refused:
        async with talk(client):
            pass
    answer = refused.value.response
    code = json.loads(answer.body or b"{}")["error"]["code"]
    return answer.status_code, code, answer.headers.get("Retry-After")


# --- keys ---
async def test_made_and_given_keys_open_everything_and_others_nothing(place: Place) -> None:
    made = place.keys.add("opens")
    for key in (made, "sesame"):
        async with place.client(key) as client:
            assert [model.id async for model in client.models.list()] == ["duologue"]
        async with talk(place.client(key)):
            pass
    async with place.client("dl_wrong") as client:
        with pytest.raises(AuthenticationError) as refused:
            await client.models.list()
        assert refused.value.code == "invalid_api_key"
    assert await refusal(place.client("dl_wrong")) == (401, "invalid_api_key", None)


async def test_a_key_in_the_url_is_not_looked_at(place: Place) -> None:
    with pytest.raises(exceptions.InvalidStatus) as refused:
        async with connect(f"{place.running.ws}/v1/realtime?api_key=sesame"):
            pass
    assert refused.value.response.status_code == 401
    assert b"missing_api_key" in refused.value.response.body


async def test_revoking_ends_what_is_open_and_nothing_opens_again(place: Place) -> None:
    key = place.keys.add("leaked")
    async with (
        talk(place.client(key)) as (connection, _),
        talk(place.client("sesame")) as (
            other,
            _,
        ),
    ):
        place.keys.revoke("leaked")
        assert (await refusal(place.client(key)))[:2] == (401, "invalid_api_key")
        async with asyncio.timeout(10):
            with pytest.raises(exceptions.ConnectionClosed) as closed:
                await connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, "revoked" in closed.value.rcvd.reason) == (1008, True)
        await other.session.update(session={"type": "realtime", "instructions": "On."})
        assert (await other.recv()).type == "session.updated"
    assert "'leaked' is revoked" in place.running.output
    assert key not in place.running.output


# --- ephemeral keys ---
async def test_a_browsers_key_opens_sessions_as_they_were_bound(place: Place) -> None:
    async with place.client("sesame") as client:
        made = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 120},
            session={
                "type": "realtime",
                "instructions": "Speak of nothing but ships.",
                "audio": {"input": {"turn_detection": None}},
            },
        )
    assert abs(made.expires_at - time.time() - 120) < 5
    promised = json.loads(made.session.model_dump_json(exclude_unset=True))
    for _ in range(2):
        async with talk(place.client(made.value)) as (_, session):
            assert session["instructions"] == "Speak of nothing but ships."
            assert session["audio"]["input"]["turn_detection"] is None
            assert set(promised) == set(session)
            promised["id"] = session["id"]
            assert promised == session
    offered = ["realtime", f"openai-insecure-api-key.{made.value}"]
    url = f"{place.running.ws}/v1/realtime"
    async with connect(url, subprotocols=offered, origin=ORIGIN) as socket:  # type: ignore[arg-type]
        assert socket.subprotocol == "realtime"
        created = json.loads(await socket.recv())
        assert created["session"]["instructions"] == "Speak of nothing but ships."


async def test_a_browsers_key_opens_nothing_else(place: Place) -> None:
    async with place.client("sesame") as client:
        made = await client.realtime.client_secrets.create()
    async with place.client(made.value) as client:
        for call in (client.models.list, client.realtime.client_secrets.create):
            with pytest.raises(PermissionDeniedError) as refused:
                await call()
            assert refused.value.code == "ephemeral_key_not_allowed"
    assert (await refusal(place.client("ek_unknown")))[:2] == (401, "invalid_api_key")


async def test_a_session_that_cannot_be_is_refused_when_the_key_is_made(place: Place) -> None:
    async with place.client("sesame") as client:
        for session, param in (
            ({"type": "realtime", "audio": {"output": {"speed": "x"}}}, "speed"),
            ({"type": "realtime", "audio": {"input": {"turn_detection": {"type": "x"}}}}, "turn"),
        ):
            with pytest.raises(APIStatusError) as refused:
                await client.realtime.client_secrets.create(session=session)  # type: ignore[arg-type]
            assert refused.value.status_code == 400
            assert param in str(refused.value.param)


async def test_the_beta_form(place: Place) -> None:
    async with place.client("sesame") as client:
        made = await client.beta.realtime.sessions.create(instructions="Only ships.", voice="verse")
    assert (made.instructions, made.voice) == ("Only ships.", "verse")
    async with talk(place.client(made.client_secret.value)) as (_, session):
        assert session["instructions"] == "Only ships."


async def test_a_server_without_keys_makes_them_too(tmp_path: Path) -> None:
    with server(*OPTIONS, XDG_DATA_HOME=str(tmp_path)) as running:
        place = Place(running, KeyFile(tmp_path / "duologue" / FILE))
        async with place.client("none") as client:
            made = await client.realtime.client_secrets.create(
                session={"type": "realtime", "instructions": "Only ships."}
            )
        async with talk(place.client(made.value)) as (_, session):
            assert session["instructions"] == "Only ships."
        place.keys.add("first")  # the first key shuts the door
        assert (await refusal(place.client("none")))[:2] == (401, "invalid_api_key")
        assert (await refusal(place.client(made.value)))[:2] == (401, "invalid_api_key")


# --- limits ---
async def test_a_keys_sessions_are_counted_and_given_back(place: Place) -> None:
    key = place.keys.add("narrow", max_sessions=1)
    async with place.client(key) as client:
        ephemeral = (await client.realtime.client_secrets.create()).value
    for opens in (key, ephemeral):
        async with talk(place.client(opens)):
            status, code, retry_after = await refusal(place.client(key))
            assert (status, code) == (429, "session_limit_reached")
            assert 1 <= int(retry_after or 0) <= 300
        await _until_let_in(place.client(key))


async def test_a_handshake_that_fails_takes_no_place(place: Place) -> None:
    key = place.keys.add("clumsy", max_sessions=1)
    host, port = place.running.url.removeprefix("http://").split(":")
    head = (
        f"GET /v1/realtime HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )  # no Sec-WebSocket-Key
    with socket.create_connection((host, int(port))) as clumsy:
        clumsy.sendall(head.encode())
        clumsy.settimeout(5)
        clumsy.recv(1_000)
    await _until_let_in(place.client(key))


async def _until_let_in(client: AsyncOpenAI) -> None:
    """A place is free a moment after a session's end."""
    async with asyncio.timeout(5), client:
        while True:
            try:
                async with client.realtime.connect(model="duologue") as connection:
                    await connection.recv()
                    return
            except exceptions.InvalidStatus:
                await asyncio.sleep(0.05)


async def test_a_keys_requests_are_counted(place: Place) -> None:
    key = place.keys.add("slow", per_minute=2)
    async with place.client(key) as client:
        await client.models.list()
        async with talk(place.client(key)):
            pass
        with pytest.raises(RateLimitError) as refused:
            await client.models.list()
        assert refused.value.code == "rate_limit_exceeded"
        assert 55 <= int(refused.value.response.headers["retry-after"]) <= 60
    status, code, retry_after = await refusal(place.client(key))
    assert (status, code) == (429, "rate_limit_exceeded")
    assert 55 <= int(retry_after or 0) <= 60


async def test_the_servers_own_limits_hold_for_all_keys(tmp_path: Path) -> None:
    options = ("--api-key", "sesame", "--max-sessions-per-key", "1", "--requests-per-minute", "3")
    with server(*OPTIONS, *options, XDG_DATA_HOME=str(tmp_path)) as running:
        place = Place(running, KeyFile(tmp_path / "duologue" / FILE))
        async with talk(place.client("sesame")):
            assert (await refusal(place.client("sesame")))[1] == "session_limit_reached"
        async with place.client("sesame") as client:
            await client.models.list()
            await client.models.list()
            with pytest.raises(RateLimitError):
                await client.models.list()


# --- web pages ---
async def test_an_allowed_page_may_call_with_its_key(place: Place) -> None:
    """A browser asks first whether it may, without any key."""
    ask = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    async with httpx.AsyncClient(base_url=place.running.url) as page:
        allowed = await page.options("/v1/realtime/calls", headers=ask)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        other = await page.options(
            "/v1/realtime/calls", headers={**ask, "Origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in other.headers
        bearer = {"Authorization": "Bearer sesame", "Origin": "https://evil.example"}
        assert (await page.get("/v1/models", headers=bearer)).status_code == 403
        bearer["Origin"] = ORIGIN
        assert (await page.get("/v1/models", headers=bearer)).status_code == 200


# --- the start ---
def test_a_broken_key_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "duologue" / FILE
    file.parent.mkdir()
    file.write_text("{")
    with (
        pytest.raises(AssertionError, match="key_file_invalid"),
        server(*OPTIONS, XDG_DATA_HOME=str(tmp_path)),
    ):
        pass


def test_a_key_file_lets_a_server_bind_beyond_its_machine(tmp_path: Path) -> None:
    KeyFile(tmp_path / "duologue" / FILE).add("web")
    with server(*OPTIONS, "--host", "0.0.0.0", XDG_DATA_HOME=str(tmp_path)) as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/health").status_code == 200
