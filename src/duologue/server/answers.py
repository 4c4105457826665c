"""What the routes may answer beside the good, as the OpenAPI description has it."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

GUARDED = (401, 403, 429, 503)
"""What the door answers for every guarded route: no key, a foreign page, a limit, keys that cannot be read."""

_ABOUT = {
    400: "Something in the request is wrong; `error.param` says what.",
    401: "There is no valid API key in the request.",
    403: "This page, or this kind of key, may not do that.",
    404: "There is nothing of that name, or it belongs to another key.",
    408: "The request's body did not arrive in time.",
    409: "It is not in a state for that.",
    413: "The body is too large.",
    415: "The body is of a type that is not read here.",
    429: "A limit is reached, or a queue is full: `Retry-After` says when to come again.",
    500: "An engine failed.",
    501: "What this takes is not installed here, or no engine can do it.",
    503: "The server is loading its engines, is full, or cannot be used now: `Retry-After` says when to come again.",
}

Responses = dict[int | str, dict[str, Any]]


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(description="invalid_request_error or server_error")
    param: str | None = Field(description="the field that is wrong")
    code: str | None = Field(description="stable; for programs")


class ErrorBody(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorDetail


def answers(
    *statuses: int, model: type[BaseModel] = ErrorBody, good: Mapping[str, Any] | None = None
) -> Responses:
    """The `responses` of a route, or of a router, with the statuses named.

    Args:
        good: media types and their schemas of a 200 that is no JSON of a model.
    """
    found: Responses = {
        status: {"model": model, "description": _ABOUT[status]} for status in statuses
    }
    if good is not None:
        found[200] = {"content": dict(good)}
    return found


def text(*media_types: str) -> dict[str, Any]:
    """The `good` of documents that are no JSON."""
    return {name: {"schema": {"type": "string"}} for name in media_types}


def events() -> dict[str, Any]:
    """The `good` of a stream of server-sent events: each of them."""
    names = ("id", "event", "data")
    fields = {name: {"type": "string"} for name in names}
    schema = {"type": "object", "required": ["data"], "properties": fields}
    return {"text/event-stream": {"schema": schema}}


def document(api: FastAPI) -> None:
    """Have the description say what comes: what is wrong with a request is told with 400 here, never with 422."""
    describe = api.openapi

    def openapi() -> dict[str, Any]:
        found = describe()
        for methods in found["paths"].values():
            for route in methods.values():
                route["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            found.get("components", {}).get("schemas", {}).pop(name, None)
        return found

    api.openapi = openapi  # type: ignore[method-assign]
