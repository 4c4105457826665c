"""The `openai` package's own types as the judge of what a client sends."""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from openai.types.realtime import RealtimeClientEvent
from pydantic import BaseModel, ValidationError

from duologue.core.errors import MalformedEvent

MAX_EVENT_ID = 512


@cache
def client_events() -> Mapping[str, type[BaseModel]]:
    """The SDK's model for each type of client event."""
    union = get_args(RealtimeClientEvent)[0]
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


def check(event: Any) -> dict[str, Any]:
    """An event as the SDK would have it.

    Raises:
        MalformedEvent: with the code and param that OpenAI's server would name.
    """
    if not isinstance(event, dict):
        raise MalformedEvent("invalid_event", "An event is a JSON object.")
    kind = event.get("type")
    if not isinstance(kind, str):
        raise MalformedEvent("invalid_event", "Missing required parameter: 'type'.", param="type")
    if kind not in client_events():
        raise MalformedEvent(
            "invalid_value",
            f"Invalid value: '{kind[:64]}'.",
            remedy=f"Supported values are: {', '.join(sorted(client_events()))}.",
            param="type",
        )
    event_id = event.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID):
        message = f"'event_id' is a string of at most {MAX_EVENT_ID} characters."
        raise MalformedEvent("invalid_value", message, param="event_id")
    try:
        client_events()[kind].model_validate(event)
    except ValidationError as error:
        raise _explain(error) from error
    return event


def _explain(error: ValidationError) -> MalformedEvent:
    """The most telling of pydantic's complaints, in the protocol's words."""
    found: list[Any] = error.errors(include_url=False, include_input=False)
    for name in ("type", "role"):
        found = _of_meant_branches(found, name) or found
    worst = max(found, key=lambda e: len(e["loc"]))
    param = _param(worst["loc"])
    if worst["type"] == "missing":
        message = f"Missing required parameter: '{param}'."
        return MalformedEvent("missing_required_parameter", message, param=param)
    return MalformedEvent("invalid_value", f"Invalid '{param}': {worst['msg']}.", param=param)


def _of_meant_branches(found: list[Any], name: str) -> list[Any]:
    """Of a union's members, leave out those that `name` ("type") says were not meant."""
    others = [e["loc"][:-1] for e in found if e["type"] == "literal_error" and e["loc"][-1] == name]
    return [e for e in found if not any(e["loc"][: len(o)] == o for o in others)]


def _param(loc: tuple[int | str, ...]) -> str:
    """ "session.audio.input": the path without the names of union members."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step[:1].islower() and "[" not in step:
            path += f".{step}" if path else step
    return path
