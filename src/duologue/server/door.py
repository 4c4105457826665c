"""The door of the HTTP routes: every request is admitted by the guard, and refusals have OpenAI's form."""

from collections.abc import Awaitable, Callable, Collection

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from duologue.server.auth import Admission, Denied, Guard, kind_of

Next = Callable[[Request], Awaitable[Response]]


def doorkeeper(
    guard: Guard, open_paths: Collection[str]
) -> Callable[[Request, Next], Awaitable[Response]]:
    """The middleware. Routes find who asks by `admission_of`.

    A route that starts a session takes its admission over by answering well (a status below 400), and calls
    `leave` when the session is over; of any other answer, nobody stays.

    Args:
        open_paths: answered without a key, and not counted.
    """

    async def admit(request: Request, call_next: Next) -> Response:
        if request.url.path in open_paths:
            return await call_next(request)
        peer = request.client.host if request.client is not None else ""
        kind = kind_of(request.method, request.url.path)
        admission = guard.admit(dict(request.headers), peer, kind)
        if isinstance(admission, Denied):
            return denial(admission)
        request.state.admission = admission
        try:
            response = await call_next(request)
        except BaseException:
            admission.leave()
            raise
        if response.status_code >= 400:
            admission.leave()
        return response

    return admit


def admission_of(request: Request) -> Admission:
    """Who asks."""
    admission: Admission = request.state.admission
    return admission


def denial(denied: Denied) -> JSONResponse:
    """A refusal at the door."""
    return refusal(denied.status, denied.code, denied.message, retry_after_s=denied.retry_after_s)


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    retry_after_s: int | None = None,
) -> JSONResponse:
    """A refusal in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": param, "code": code}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    return JSONResponse({"error": error}, status, headers)
