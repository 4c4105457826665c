"""The session API's desk as the routes see it: what is asked is read within bounds, errors become answers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from duologue.core.errors import AtCapacity, ClientError, DuologueError, MalformedEvent
from duologue.core.streaming import Configure, Renew, StreamNotice, StreamOptions, StreamProblem
from duologue.server import bodies
from duologue.server.audio.refusals import START_RETRY_S, Refusal, invalid, wrong
from duologue.server.calls_api import VisitorOf
from duologue.server.engine_state import EngineState
from duologue.session.streaming.desk import StreamDesk
from duologue.session.streaming.session import StreamSession
from duologue.transports.streaming import StreamDoor

MAX_BODY_BYTES = 256 * 1024
"""Of JSON."""

_FULL = {"session_limit_reached": 10, "not_ready": START_RETRY_S}
"""What is told with 503, and when to come again."""

BUSY_RETRY_S = 2
"""A window is transcribed, and a text spoken, in about so long."""

STATUSES = {
    "session_not_found": 404,
    "session_ended": 409,
    "resume_token_wrong": 403,
    "resume_token_required": 403,
    "too_many_listeners": 429,
    "chunk_too_large": 413,
}

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class StreamFacade:
    """What the routes read.

    Attributes:
        visitor_of: who asks, as the door knows.
        engines: their states, as they are now.
        device: what recognisers run on: "cpu", "cuda".
        defaults: of a session that says nothing else.
    """

    desk: StreamDesk
    door: StreamDoor
    visitor_of: VisitorOf
    engines: Callable[[], list[EngineState]] = list
    device: Callable[[], str] = lambda: "cpu"
    defaults: StreamOptions = field(default_factory=StreamOptions)

    def check_open(self) -> None:
        """Raises `Refusal` while the engines are being loaded."""
        if not self.desk.is_open:
            message = "The server is still loading its engines, or goes down: see /ready."
            raise Refusal(503, "not_ready", message, retry_after_s=START_RETRY_S)

    async def find(self, session_id: str, request: Request) -> StreamSession:
        """A session of whoever asks.

        Raises:
            Refusal: there is none, or it is over.
        """
        with told():
            return await self.desk.find(session_id, self.visitor_of(request).name)


def change(session: StreamSession, command: Configure | Renew) -> None:
    """Change something of a session; all its listeners are told.

    Raises:
        Refusal: it cannot be.
    """
    problems: list[DuologueError] = []

    def tell(notice: StreamNotice) -> None:
        if isinstance(notice, StreamProblem):
            problems.append(notice.error)

    session.answer(command, tell)
    with told():
        for error in problems:
            raise error


# --- what is asked ---
async def _received(request: Request) -> bytes:
    try:
        return await bodies.receive(request, MAX_BODY_BYTES)
    except MalformedEvent as error:
        raise Refusal(413, error.code, str(error)) from error
    except ClientDisconnect as error:
        raise wrong("client_gone", "The client hung up while it sent its request.") from error


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object that was sent; an empty one if nothing was.

    Raises:
        Refusal: it is too large, or no JSON object.
    """
    data = await _received(request)
    if not data.strip():
        return {}
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise wrong("invalid_json", "The body is no JSON.") from error
    if not isinstance(body, dict):
        raise wrong("invalid_type", "The body must be a JSON object.")
    return body


async def read_model(request: Request, kind: type[M]) -> M:
    """The body as this model has it.

    Raises:
        Refusal: it is too large, no JSON, or wrong.
    """
    data = await _received(request)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False)) from error


@contextmanager
def told() -> Iterator[None]:
    """An error of the house in HTTP's terms."""
    try:
        yield
    except DuologueError as error:
        raise _refusal(error) from error


def _refusal(error: DuologueError) -> Refusal:
    message = str(error)
    if error.code in _FULL:
        return Refusal(503, error.code, message, retry_after_s=_FULL[error.code])
    if isinstance(error, AtCapacity):
        return Refusal(429, error.code, message, retry_after_s=BUSY_RETRY_S)
    if isinstance(error, ClientError):
        return Refusal(STATUSES.get(error.code, 400), error.code, message, param=error.param)
    return Refusal(503, error.code, message, retry_after_s=START_RETRY_S)
