"""The routes that make ephemeral keys, in the form of today's API and in the beta's two."""

import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from duologue.core.errors import MalformedEvent
from duologue.server import bodies
from duologue.server.answers import GUARDED, answers
from duologue.server.auth import denied_by
from duologue.server.client_secrets import (
    DEFAULT_LIFETIME_S,
    MAX_LIFETIME_S,
    MIN_LIFETIME_S,
    ClientSecrets,
    Minted,
)
from duologue.server.door import admission_of, denial, refusal
from duologue.wire.beta_session import TEMPERATURE, flat_param, from_flat, to_flat

BETA_LIFETIME_S = 60
"""As the beta API has it."""

MAX_BODY_BYTES = 256 * 1024
"""Long instructions and many tools fit; ten thousand of them would not, hence `client_secrets.MAX_BYTES`."""

MAX_DEPTH = 100
"""Far beyond the schemas of tools, and far below what recursion over it can bear."""

Effective = Callable[[dict[str, Any]], dict[str, Any]]
"""Settings, as in a `session.update`, to the whole session object that they give.

Raises:
    MalformedEvent: a setting that is wrong, or not served.
"""

_NOT_STORED = {"Cache-Control": "no-store"}


def client_secret_routes(secrets: ClientSecrets, effective: Effective) -> APIRouter:
    """The routes; they stand behind the `Doorkeeper`, which keeps ephemeral keys out."""
    routes = APIRouter(tags=["ephemeral keys"], responses=answers(400, 413, *GUARDED))

    def mint(request: Request, session: dict[str, Any], lifetime_s: int) -> Minted | Response:
        minted = secrets.mint(admission_of(request).key, session, lifetime_s)
        return minted if isinstance(minted, Minted) else denial(denied_by(minted))

    @routes.post("/v1/realtime/client_secrets", openapi_extra=_described("expires_after, session"))
    async def create(request: Request) -> Response:
        """Make a key for a browser: short-lived, and bound to these settings of its sessions."""
        try:
            body = await _body(request)
            _only(body, {"expires_after", "session"})
            lifetime_s = _lifetime_s(body.get("expires_after"), DEFAULT_LIFETIME_S, "expires_after")
            session = _object(body.get("session"), "session")
            whole = effective(session)
        except MalformedEvent as error:
            return _malformed(error, error.param)
        minted = mint(request, session, lifetime_s)
        if isinstance(minted, Response):
            return minted
        answer = {"value": minted.value, "expires_at": minted.expires_at, "session": whole}
        return JSONResponse(answer, headers=_NOT_STORED)

    async def create_flat(request: Request, kind: str) -> Response:
        try:
            flat = await _body(request)
            wanted = _object(flat.pop("client_secret", None), "client_secret")
            name = next((n for n in ("expires_after", "expires_at") if n in wanted), "")
            path = f"client_secret.{name}"
            lifetime_s = _lifetime_s(wanted.get(name), BETA_LIFETIME_S, path)
            session = from_flat(flat, kind)
            whole = effective(session)
        except MalformedEvent as error:
            return _malformed(error, _flat(error.param))
        minted = mint(request, session, lifetime_s)
        if isinstance(minted, Response):
            return minted
        answer = to_flat(whole, flat.get("temperature", TEMPERATURE))
        answer["client_secret"] = {"value": minted.value, "expires_at": minted.expires_at}
        return JSONResponse(answer, headers=_NOT_STORED)

    @routes.post("/v1/realtime/sessions", openapi_extra=_described("a session's fields"))
    async def create_session(request: Request) -> Response:
        """The same in the beta API's form: a flat session object with its `client_secret`."""
        return await create_flat(request, "realtime")

    @routes.post("/v1/realtime/transcription_sessions", openapi_extra=_described("its fields"))
    async def create_transcription_session(request: Request) -> Response:
        """The same for a session that only transcribes."""
        return await create_flat(request, "transcription")

    return routes


def _described(fields: str) -> dict[str, Any]:
    schema = {"type": "object", "description": fields}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; an empty one if nothing was."""
    data = await bodies.receive(request, MAX_BODY_BYTES)
    if not data.strip():
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedEvent("invalid_json", "The body is no JSON.") from error
    if not isinstance(body, dict):
        raise MalformedEvent("invalid_type", "The body must be a JSON object.")
    if _is_deeper(body, MAX_DEPTH):
        raise MalformedEvent("invalid_json", f"The body is nested more than {MAX_DEPTH} deep.")
    return body


def _only(body: dict[str, Any], known: set[str]) -> None:
    for name in body:
        if name not in known:
            message = f"Unknown parameter: '{name[:64]}'."
            remedy = "Settings of the session stand within 'session'."
            raise MalformedEvent("unknown_parameter", message, remedy=remedy, param=name[:64])


def _object(value: Any, param: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedEvent("invalid_type", f"'{param}' must be an object.", param=param)
    return value


def _lifetime_s(value: Any, default_s: int, param: str) -> int:
    wanted = _object(value, param)
    if wanted.get("anchor", "created_at") != "created_at":
        message = f"'{param}.anchor' can only be 'created_at'."
        raise MalformedEvent("invalid_value", message, param=f"{param}.anchor")
    seconds = wanted.get("seconds", default_s)
    if not isinstance(seconds, int) or not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        message = f"'{param}.seconds' is a whole number from {MIN_LIFETIME_S} to {MAX_LIFETIME_S}."
        raise MalformedEvent("invalid_value", message, param=f"{param}.seconds")
    return seconds


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        inside = [
            outer.values() if isinstance(outer, dict) else outer
            for outer in layer
            if isinstance(outer, dict | list)
        ]
        layer = [inner for values in inside for inner in values]
        if not layer:
            return False
    return True


def _flat(param: str | None) -> str | None:
    """ "session.audio.output.voice" is "voice" where the body itself is the session."""
    flat = flat_param(param)
    return flat.removeprefix("session.") if flat else None


def _malformed(error: MalformedEvent, param: str | None) -> Response:
    status = 413 if error.code == "request_too_large" else 400
    return refusal(status, error.code, str(error), param=param)
