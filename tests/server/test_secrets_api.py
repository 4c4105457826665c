"""The routes that make ephemeral keys, as the stock `openai` client and a plain HTTP client meet them."""

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from openai import APIStatusError, AsyncOpenAI, PermissionDeniedError, RateLimitError

from duologue.core.errors import MalformedEvent
from duologue.server import client_secrets
from duologue.server.auth import Admission, Guard
from duologue.server.client_secrets import ClientSecrets, Secret
from duologue.server.door import Doorkeeper, admission_of
from duologue.server.limits import Limits
from duologue.server.secrets_api import MAX_BODY_BYTES, client_secret_routes

WHOLE: dict[str, Any] = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "duologue",
    "output_modalities": ["audio"],
    "instructions": "Be friendly.",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {"type": "server_vad", "threshold": 0.5},
        },
        "output": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "voice": "default",
            "speed": 1.0,
        },
    },
}


def effective(session: dict[str, Any]) -> dict[str, Any]:
    """A small stand-in for the session document of the wire."""
    whole = copy.deepcopy(WHOLE)
    _merge(whole, session)
    if whole["audio"]["output"]["speed"] > 1.5:
        param = "session.audio.output.speed"
        raise MalformedEvent("invalid_value", "Too fast.", remedy="At most 1.5.", param=param)
    if whole["type"] == "transcription":
        whole = {"audio": {"input": whole["audio"]["input"]}, "type": "transcription", "id": "s"}
        whole["object"] = "realtime.transcription_session"
    return whole


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


class Hand:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """A small application behind the door."""

    clock: Hand
    guard: Guard
    app: FastAPI
    sdk: AsyncOpenAI
    http: httpx.AsyncClient
    calls: list[Admission] = field(default_factory=list)

    def settings(self, key: str) -> dict[str, Any]:
        """What an ephemeral key carries."""
        secret = self.guard.secrets.find(key)
        assert isinstance(secret, Secret)
        return secret.session


@asynccontextmanager
async def desk(**limits: int) -> AsyncIterator[Desk]:
    clock = Hand()
    guard = Guard(
        ["sesame"],
        limits=Limits(**limits),
        secrets=ClientSecrets(clock),
        clock_ms=lambda: clock.now * 1000,
    )
    app = FastAPI()
    app.add_middleware(Doorkeeper, guard=guard, open_paths={"/health"})
    app.include_router(client_secret_routes(guard.secrets, effective))
    sdk = AsyncOpenAI(
        api_key="sesame",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=httpx2.ASGITransport(app)),
    )
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"Authorization": "Bearer sesame"},
    )
    held = Desk(clock, guard, app, sdk, http)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}

    @app.post("/v1/realtime/calls")
    async def call(request: Request) -> Response:
        held.calls.append(admission_of(request))
        offer = (await request.body()).decode()
        if offer == "broken":
            raise RuntimeError("a bug")
        return PlainTextResponse("answer", 201 if offer == "offer" else 400)

    @app.get("/v1/stream")
    async def stream() -> Response:
        return StreamingResponse(iter(["a", "b"]))

    async with sdk, http:
        yield held


# --- today's API ---
async def test_the_stock_client_gets_a_key_and_the_whole_session() -> None:
    async with desk() as d:
        made = await d.sdk.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={
                "type": "realtime",
                "instructions": "Be brief.",
                "audio": {"output": {"voice": "marin"}},
            },
        )
        assert made.value.startswith("ek_")
        assert made.expires_at == 1_700_000_060
        whole = json.loads(made.session.model_dump_json(exclude_unset=True))
        assert whole["instructions"] == "Be brief."
        assert whole["audio"]["output"]["voice"] == "marin"
        assert whole["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert d.settings(made.value) == {
            "type": "realtime",
            "instructions": "Be brief.",
            "audio": {"output": {"voice": "marin"}},
        }


async def test_nothing_need_be_said() -> None:
    async with desk() as d:
        made = await d.sdk.realtime.client_secrets.create()
        assert made.expires_at == 1_700_000_600
        assert made.session.type == "realtime"
        empty = await d.http.post("/v1/realtime/client_secrets")
        assert empty.status_code == 200
        assert empty.headers["cache-control"] == "no-store"


async def test_a_transcription_session() -> None:
    async with desk() as d:
        made = await d.sdk.realtime.client_secrets.create(
            session={"type": "transcription", "audio": {"input": {"transcription": {"model": "x"}}}}
        )
        assert made.session.type == "transcription"


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"expires_after": {"seconds": 9}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": "60"}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": True}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": None}}, 400, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, 400, "invalid_value", "expires_after.anchor"),
        ({"expires_after": 60}, 400, "invalid_type", "expires_after"),
        ({"session": "x"}, 400, "invalid_type", "session"),
        ({"instructions": "x"}, 400, "unknown_parameter", "instructions"),
        (
            {"session": {"audio": {"output": {"speed": 2}}}},
            400,
            "invalid_value",
            "session.audio.output.speed",
        ),
        ('{"session": {"tools": ' + "[" * 99 + "]" * 99 + "}}", 400, "invalid_json", None),
        ([], 400, "invalid_type", None),
        ("{", 400, "invalid_json", None),
        ("[" * 100_000, 400, "invalid_json", None),
        ("\udcff", 400, "invalid_json", None),
        (" " * (MAX_BODY_BYTES + 1), 413, "request_too_large", None),
    ],
)
async def test_what_is_wrong_is_said(body: Any, status: int, code: str, param: str | None) -> None:
    async with desk() as d:
        text = body if isinstance(body, str) else json.dumps(body)
        answer = await d.http.post(
            "/v1/realtime/client_secrets", content=text.encode("utf-8", "surrogateescape")
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
        assert len(error["message"]) < 200
        assert len(d.guard.secrets) == 0


@pytest.mark.parametrize("seconds", [10, 7_200])
async def test_the_shortest_and_the_longest_time(seconds: int) -> None:
    async with desk() as d:
        made = await d.sdk.realtime.client_secrets.create(expires_after={"seconds": seconds})
        assert made.expires_at == 1_700_000_000 + seconds


# --- what an ephemeral key may not do ---
async def test_an_ephemeral_key_makes_no_others_and_reads_nothing() -> None:
    async with desk() as d:
        made = await d.sdk.realtime.client_secrets.create()
        borrowed = d.sdk.with_options(api_key=made.value)
        with pytest.raises(PermissionDeniedError) as refused:
            await borrowed.realtime.client_secrets.create()
        assert refused.value.code == "ephemeral_key_not_allowed"
        with pytest.raises(PermissionDeniedError):
            await borrowed.beta.realtime.sessions.create()
        with pytest.raises(PermissionDeniedError):
            await borrowed.beta.realtime.transcription_sessions.create()
        d.http.headers["Authorization"] = f"Bearer {made.value}"
        assert (await d.http.get("/v1/stream")).status_code == 403
        assert (await d.http.get("/health")).status_code == 200
        assert len(d.guard.secrets) == 1


async def test_it_may_call() -> None:
    async with desk(max_sessions=1) as d:
        made = await d.sdk.realtime.client_secrets.create(session={"type": "realtime"})
        d.http.headers["Authorization"] = f"Bearer {made.value}"
        assert (await d.http.post("/v1/realtime/calls", content="offer")).status_code == 201
        assert d.calls[0].session == {"type": "realtime"}
        full = await d.http.post("/v1/realtime/calls", content="offer")
        assert (full.status_code, full.json()["error"]["code"]) == (429, "session_limit_reached")
        assert full.headers["retry-after"] == "10"
        d.calls[0].leave()
        assert (await d.http.post("/v1/realtime/calls", content="offer")).status_code == 201


async def test_a_call_that_fails_takes_no_place() -> None:
    async with desk(max_sessions=1) as d:
        for _ in range(2):
            assert (await d.http.post("/v1/realtime/calls", content="nonsense")).status_code == 400
            with pytest.raises(RuntimeError):
                await d.http.post("/v1/realtime/calls", content="broken")
        assert (await d.http.post("/v1/realtime/calls", content="offer")).status_code == 201


# --- limits ---
async def test_the_stock_client_is_told_when_to_try_again() -> None:
    async with desk(per_minute=2) as d:
        await d.sdk.realtime.client_secrets.create()
        d.clock.now += 20
        await d.sdk.realtime.client_secrets.create()
        with pytest.raises(RateLimitError) as refused:
            await d.sdk.realtime.client_secrets.create()
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.response.headers["retry-after"] == "40"
        assert (await d.http.get("/health")).status_code == 200
        d.clock.now += 40
        await d.sdk.realtime.client_secrets.create()


async def test_there_is_no_end_of_ephemeral_keys_without_an_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_secrets, "MAX_OF_ONE_KEY", 1)
    async with desk() as d:
        await d.sdk.realtime.client_secrets.create(expires_after={"seconds": 30})
        with pytest.raises(RateLimitError) as refused:
            await d.sdk.beta.realtime.sessions.create()
        assert refused.value.response.headers["retry-after"] == "30"


# --- the beta API ---
async def test_a_beta_session() -> None:
    async with desk() as d:
        made = await d.sdk.beta.realtime.sessions.create(
            instructions="Be brief.",
            modalities=["text"],
            voice="verse",
            input_audio_format="g711_ulaw",
            input_audio_transcription={"model": "whisper-1"},
            max_response_output_tokens=50,
            temperature=0.7,
        )
        assert made.client_secret.expires_at == 1_700_000_060
        assert (made.instructions, made.voice, made.modalities) == ("Be brief.", "verse", ["text"])
        assert (made.input_audio_format, made.output_audio_format) == ("g711_ulaw", "pcm16")
        assert (made.temperature, made.max_response_output_tokens) == (0.7, 50)
        assert made.turn_detection is not None
        assert made.turn_detection.threshold == 0.5
        assert d.settings(made.client_secret.value) == {
            "type": "realtime",
            "instructions": "Be brief.",
            "output_modalities": ["text"],
            "max_output_tokens": 50,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "transcription": {"model": "whisper-1"},
                },
                "output": {"voice": "verse"},
            },
        }


@pytest.mark.parametrize("name", ["expires_after", "expires_at"])
async def test_a_beta_secret_lasts_as_long_as_wanted(name: str) -> None:
    async with desk() as d:
        wanted = {name: {"anchor": "created_at", "seconds": 300}}
        answer = await d.http.post("/v1/realtime/sessions", json={"client_secret": wanted})
        assert answer.json()["client_secret"]["expires_at"] == 1_700_000_300
        wrong = {name: {"anchor": "created_at", "seconds": 3}}
        answer = await d.http.post("/v1/realtime/sessions", json={"client_secret": wrong})
        assert answer.json()["error"]["param"] == f"client_secret.{name}.seconds"


async def test_a_beta_transcription_session() -> None:
    async with desk() as d:
        made = await d.sdk.beta.realtime.transcription_sessions.create(
            input_audio_format="pcm16", input_audio_transcription={"model": "whisper-1"}
        )
        assert made.input_audio_format == "pcm16"
        assert made.input_audio_transcription is not None
        assert d.settings(made.client_secret.value)["type"] == "transcription"


async def test_beta_errors_name_the_flat_field() -> None:
    async with desk() as d:
        with pytest.raises(APIStatusError) as refused:
            await d.sdk.beta.realtime.sessions.create(speed=2)
        assert (refused.value.status_code, refused.value.param) == (400, "speed")
