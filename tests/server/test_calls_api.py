"""The routes of calls, as an HTTP client meets them; the calls behind them are stand-ins."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from duologue.server.calls_api import MAX_BODY_BYTES, call_routes
from duologue.transports import webrtc
from duologue.transports.admission import Visitor
from duologue.transports.webrtc import Switchboard
from duologue.transports.websocket import Rejection
from duologue.wire.choosing import Choice

SDP = {"Content-Type": "application/sdp"}


class Taken:
    """A call that was answered."""

    id = "rtc_1"

    def __init__(self, answer: str) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.answer.set_result(answer)


class Board:
    """Notes what it is asked."""

    def __init__(self, refusal: Rejection | None = None) -> None:
        self.refusal = refusal
        self.asked: list[tuple[Visitor, Choice, str, Mapping[str, Any] | None]] = []

    async def begin(
        self, visitor: Visitor, choice: Choice, offer: str, session: Mapping[str, Any] | None
    ) -> Taken | Rejection:
        self.asked.append((visitor, choice, offer, session))
        return self.refusal or Taken("v=0 the answer")

    def hang_up(self, call_id: str, owner: str) -> bool:
        return (call_id, owner) == ("rtc_1", "ann")


@asynccontextmanager
async def api(board: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(call_routes(cast(Switchboard, board), lambda _: Visitor(name="ann")))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_an_offer_is_answered_with_the_calls_address() -> None:
    board = Board()
    async with api(board) as client:
        taken = await client.post(
            "/v1/realtime/calls?model=gpt-x", content="v=0 offer", headers=SDP
        )
    assert taken.status_code == 201
    assert taken.headers["content-type"] == "application/sdp"
    assert taken.headers["location"] == "/v1/realtime/calls/rtc_1"
    assert taken.text == "v=0 the answer"
    ((visitor, choice, offer, session),) = board.asked
    assert (visitor.name, choice.dialect, choice.model) == ("ann", "ga", "gpt-x")
    assert (offer, session) == ("v=0 offer", None)


@pytest.mark.parametrize("as_files", [True, False])
async def test_a_form_carries_the_sessions_settings(as_files: bool) -> None:
    board = Board()
    settings = json.dumps({"type": "transcription", "model": "m", "audio": {}})
    parts = {
        "sdp": ("offer.sdp" if as_files else None, "v=0 offer", "application/sdp"),
        "session": ("session.json" if as_files else None, settings, "application/json"),
    }
    async with api(board) as client:
        taken = await client.post("/v1/realtime/calls", files=parts)
    assert taken.status_code == 201
    ((_, choice, offer, session),) = board.asked
    assert offer == "v=0 offer"
    assert session == {"type": "transcription", "model": "m", "audio": {}}
    assert (choice.model, choice.intent) == ("m", "transcription")


async def test_the_betas_address_speaks_the_beta() -> None:
    board = Board()
    async with api(board) as client:
        taken = await client.post("/v1/realtime?model=old", content="v=0 offer", headers=SDP)
    assert taken.status_code == 201
    ((_, choice, _, _),) = board.asked
    assert (choice.dialect, choice.model) == ("beta", "old")


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=xx"}


def form(name: str, value: str) -> str:
    return f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--xx--\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        ("", SDP, 400, "missing_sdp"),
        (b"\xff\xfe", SDP, 400, "invalid_sdp"),
        ("v" * (MAX_BODY_BYTES + 1), SDP, 413, "request_too_large"),
        ("{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ("x", {"Content-Type": "multipart/form-data"}, 400, "invalid_form"),
        ("no form at all", BOUNDARY, 400, "invalid_form"),
        (form("other", "x"), BOUNDARY, 400, "missing_sdp"),
        (form("session", "{"), BOUNDARY, 400, "invalid_json"),
        (form("session", "[]"), BOUNDARY, 400, "invalid_type"),
    ],
)
async def test_what_is_no_offer_is_explained(
    body: str | bytes, headers: dict[str, str], status: int, code: str
) -> None:
    board = Board()
    async with api(board) as client:
        refused = await client.post("/v1/realtime/calls", content=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert not board.asked


async def test_a_refusal_says_when_to_try_again() -> None:
    full = Rejection(503, "session_limit_reached", "All 2 sessions are taken.", 10)
    async with api(Board(full)) as client:
        refused = await client.post("/v1/realtime/calls", content="v=0", headers=SDP)
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "10"
    assert refused.json()["error"] == {
        "message": "All 2 sessions are taken.",
        "type": "server_error",
        "param": None,
        "code": "session_limit_reached",
    }


async def test_without_the_extra_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def missing() -> Any:
        raise ImportError("aiortc")

    monkeypatch.setattr(webrtc, "load_library", missing)
    async with api(Switchboard(cast(Any, None))) as client:
        refused = await client.post("/v1/realtime/calls", content="v=0", headers=SDP)
    assert refused.status_code == 501
    assert refused.json()["error"]["code"] == "webrtc_not_installed"
    assert 'pip install "duologue[webrtc]"' in refused.json()["error"]["message"]


async def test_hanging_up_and_what_only_telephones_do() -> None:
    async with api(Board()) as client:
        assert (await client.post("/v1/realtime/calls/rtc_1/hangup")).status_code == 200
        gone = await client.post("/v1/realtime/calls/rtc_2/hangup")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "call_not_found")
        for action in ("accept", "reject", "refer"):
            refused = await client.post(f"/v1/realtime/calls/rtc_1/{action}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (501, "sip_not_served")
        assert (await client.post("/v1/realtime/calls/rtc_1/sing")).status_code == 404
