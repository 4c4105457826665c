"""The routes of WebRTC calls: an SDP offer in, an answer out, and the end of a call."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from duologue.core.errors import MalformedEvent
from duologue.server import bodies
from duologue.server.answers import GUARDED, answers
from duologue.server.door import refusal
from duologue.transports.admission import Visitor
from duologue.transports.webrtc import Switchboard
from duologue.transports.websocket import Rejection
from duologue.wire.choosing import BETA, GA, Choice
from duologue.wire.extension import is_wanted

MAX_BODY_BYTES = 256 * 1024
"""An offer has a few kilobytes, and the settings of a session with many tools no more than an event may have."""

SDP = "application/sdp"

_PHONE_ACTIONS = ("accept", "reject", "refer")

VisitorOf = Callable[[Request], Visitor]
"""Who asks, as the door knows."""


def call_routes(switchboard: Switchboard, visitor_of: VisitorOf) -> APIRouter:
    """The routes; they stand behind the `Doorkeeper`."""
    routes = APIRouter(tags=["calls"], responses=answers(*GUARDED))
    refusals = answers(400, 413, 415, 501)

    async def begin(request: Request, dialect: str) -> Response:
        try:
            offer, session = await _read(request)
            is_extended = is_wanted(session) if session is not None else False
        except MalformedEvent as error:
            return refusal(_status_of(error), error.code, str(error), param=error.param)
        choice = replace(
            _choice(request, dialect, session or {}), is_extended=is_extended and dialect == GA
        )
        call = await switchboard.begin(visitor_of(request), choice, offer, session)
        if isinstance(call, Rejection):
            return refusal(call.status, call.code, call.message, retry_after_s=call.retry_after_s)
        location = f"/v1/realtime/calls/{call.id}"
        return Response(call.answer.result(), 201, {"Location": location}, SDP)

    @routes.post(
        "/v1/realtime/calls", status_code=201, responses=refusals, openapi_extra=_described()
    )
    async def create(request: Request) -> Response:
        """Begin a call: its events go over the data channel `oai-events`, its sound over the audio tracks."""
        return await begin(request, GA)

    @routes.post("/v1/realtime", status_code=201, responses=refusals, openapi_extra=_described())
    async def create_beta(request: Request) -> Response:
        """The same in the protocol's beta, whose address this is."""
        return await begin(request, BETA)

    @routes.post("/v1/realtime/calls/{call_id}/hangup", responses=answers(404))
    async def hang_up(call_id: str, request: Request) -> Response:
        """End a call."""
        if switchboard.hang_up(call_id, visitor_of(request).name):
            return Response(status_code=200)
        return refusal(404, "call_not_found", f"There is no call '{call_id[:64]}'.")

    @routes.post("/v1/realtime/calls/{call_id}/{action}", include_in_schema=False)
    async def act(call_id: str, action: str) -> Response:
        if action not in _PHONE_ACTIONS:
            return refusal(404, "not_found", f"Nothing can be done to a call by '{action[:64]}'.")
        message = f"'{action}' is for calls that come in by SIP, which this server does not serve."
        return refusal(501, "sip_not_served", message)

    return routes


def _choice(request: Request, dialect: str, session: dict[str, Any]) -> Choice:
    query, named = request.query_params, session.get("model")
    transcribes = session.get("type") == "transcription"
    return Choice(
        dialect=dialect,
        model=query.get("model") or (named if isinstance(named, str) else ""),
        intent=query.get("intent") or ("transcription" if transcribes else ""),
    )


async def _read(request: Request) -> tuple[str, dict[str, Any] | None]:
    """The offer, and the settings that came with it.

    Raises:
        MalformedEvent: there is no offer, or the request is not of a form that carries one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (SDP, "multipart/form-data"):
        raise MalformedEvent(
            "unsupported_media_type",
            f"An offer comes as '{SDP}', or as 'multipart/form-data' with the parts sdp and session; "
            f"this is '{kind[:64]}'.",
        )
    body = await bodies.receive(request, MAX_BODY_BYTES)
    offer, session = body, None
    if kind != SDP:
        parts = await _parts(request, body)
        offer = parts.get("sdp", b"")
        session = _session(parts["session"]) if "session" in parts else None
    if not offer.strip():
        raise MalformedEvent("missing_sdp", "There is no SDP offer in this request.", param="sdp")
    try:
        return offer.decode(), session
    except UnicodeDecodeError as error:
        raise MalformedEvent("invalid_sdp", "The SDP offer is no text.", param="sdp") from error


async def _parts(request: Request, body: bytes) -> dict[str, bytes]:
    """The parts by their names, whether they were sent as fields or as files."""

    async def once() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once()).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError) as error:
        message = f"This is no multipart form: {getattr(error, 'message', 'it names no boundary')}"
        raise MalformedEvent("invalid_form", message) from error
    parts = {}
    for name, value in form.multi_items():
        parts[name] = await value.read() if isinstance(value, UploadFile) else value.encode()
    await form.close()
    return parts


def _session(data: bytes) -> dict[str, Any]:
    try:
        session = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedEvent("invalid_json", "'session' is no JSON.", param="session") from error
    if not isinstance(session, dict):
        raise MalformedEvent("invalid_type", "'session' must be an object.", param="session")
    return session


def _status_of(error: MalformedEvent) -> int:
    return {"request_too_large": 413, "unsupported_media_type": 415}.get(error.code, 400)


def _described() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    form = {"schema": {"type": "object", "properties": {"sdp": {"type": "string"}, "session": {}}}}
    return {
        "requestBody": {"content": {SDP: text, "multipart/form-data": form}},
        "responses": {"201": {"content": {SDP: text}}},
    }
