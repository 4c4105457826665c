"""What goes wrong with a request, told in OpenAI's form: `{"error": {message, type, param, code}}`."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from duologue.core.errors import (
    AtCapacity,
    ClientError,
    DuologueError,
    EngineRefused,
    EngineUnavailable,
)
from duologue.server.door import SESSION_API, refusal

ENGINE_RETRY_S = 2
"""When an engine that is full may have a free stream: an utterance or a short answer takes about so long."""

START_RETRY_S = 5
"""When a server that is still loading may be ready."""


class Refusal(Exception):
    """A request that is not done.

    Args:
        param: the field that is wrong.
        retry_after_s: when it may be tried again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def response(self, path: str = "") -> Response:
        """As an answer of HTTP to what was asked there."""
        return refusal(
            self.status,
            self.code,
            self.message,
            param=self.param,
            retry_after_s=self.retry_after_s,
            path=path,
        )

    def event(self) -> dict[str, Any]:
        """As the last event of a stream that had begun well; the SDK raises it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"type": "error", "error": error}


def wrong(code: str, message: str, param: str | None = None) -> Refusal:
    """The client's mistake."""
    return Refusal(400, code, message, param=param)


_PARAMS = {"stt_language_not_supported": "language"}


def refused(error: DuologueError) -> Refusal:
    """An error of the house in HTTP's terms."""
    message = str(error)
    if isinstance(error, AtCapacity):
        return Refusal(429, error.code, message, retry_after_s=ENGINE_RETRY_S)
    if isinstance(error, ClientError):
        return wrong(error.code, message, error.param)
    if isinstance(error, EngineRefused):
        return wrong(error.code, message, _PARAMS.get(error.code))
    return Refusal(503 if isinstance(error, EngineUnavailable) else 500, error.code, message)


def install_errors(api: FastAPI) -> None:
    """Have every error below /v1 and /api told in OpenAI's form; other paths keep FastAPI's."""

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if not _is_ours(request):
            return await request_validation_exception_handler(request, error)
        return invalid(error.errors()).response(request.url.path)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if not _is_ours(request):
            return await http_exception_handler(request, error)
        response = _http(request, error).response(request.url.path)
        response.headers.update(error.headers or {})
        return response

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return error.response(request.url.path)

    async def on_bug(
        request: Request, _error: Exception
    ) -> Response:  # it is raised again, and logged
        if not _is_ours(request):
            return PlainTextResponse("Internal Server Error", 500)
        message = "The server failed in a way that it should not; its log says more."
        return Refusal(500, "internal_error", message).response(request.url.path)

    api.add_exception_handler(Exception, on_bug)
    api.add_exception_handler(RequestValidationError, on_invalid)
    api.add_exception_handler(HTTPException, on_http)
    api.add_exception_handler(Refusal, on_refusal)


def invalid(errors: Sequence[Any]) -> Refusal:
    """The first of pydantic's complaints."""
    first = errors[0]
    places = [str(place) for place in first["loc"] if place not in ("body", "query", "path")]
    param = ".".join(places[:1]) or None
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    named = f"Invalid '{param}': {first['msg']}." if param else f"{first['msg']}."
    message = f"Missing required parameter: '{param}'." if first["type"] == "missing" else named
    return wrong(code, message, param)


def _http(request: Request, error: HTTPException) -> Refusal:
    asked = f"{request.method} {request.url.path[:200]}"
    if error.status_code == 404:
        return Refusal(404, "unknown_url", f"Unknown request URL: {asked}.")
    if error.status_code == 405:
        return Refusal(405, "method_not_allowed", f"Not allowed to {asked}.")
    return Refusal(error.status_code, "http_error", str(error.detail))


def _is_ours(request: Request) -> bool:
    return request.url.path.startswith(("/v1/", SESSION_API))
