"""The door of the HTTP routes: every request is admitted by the guard, and refusals have OpenAI's form."""

from collections.abc import Collection

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duologue.server.auth import Admission, Denied, Guard, kind_of

SESSION_API = "/api/"
"""Below it is the plain session API."""


class Doorkeeper:
    """The middleware. Routes find who asks by `admission_of`.

    A route that starts a session takes its admission over by answering well (a status below 400), and calls
    `leave` when the session is over; of any other answer, nobody stays. Answers are passed on as they come: one
    that breaks off in the middle must not end as if it were whole.

    Args:
        open_paths: answered without a key, and not counted.
    """

    def __init__(self, app: ASGIApp, guard: Guard, open_paths: Collection[str]) -> None:
        self._app = app
        self._guard = guard
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, or answer it here."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        peer = request.client.host if request.client is not None else ""
        kind = kind_of(scope["method"], scope["path"])  # not the URL: that takes in the Host header
        admission = self._guard.admit(dict(request.headers), peer, kind)
        if isinstance(admission, Denied):
            await denial(admission, scope["path"])(scope, receive, send)
            return
        request.state.admission = admission
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if status >= 400:
                admission.leave()


def admission_of(request: Request) -> Admission:
    """Who asks."""
    admission: Admission = request.state.admission
    return admission


def denial(denied: Denied, path: str = "") -> JSONResponse:
    """A refusal at the door."""
    return refusal(
        denied.status, denied.code, denied.message, retry_after_s=denied.retry_after_s, path=path
    )


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after_s: int | None = None,
    path: str = "",
) -> JSONResponse:
    """A refusal in OpenAI's form.

    Args:
        path: where it was asked; clients of the session API look for `success` and `detail`, too.
    """
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    also = {"success": False, "detail": message} if path.startswith(SESSION_API) else {}
    return JSONResponse({"error": error, **also}, status, headers)
