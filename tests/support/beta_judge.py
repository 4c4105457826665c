"""The judge of what clients of the beta are sent: the `openai` package's own types of it."""

import json
from functools import cache
from typing import Any, get_args

from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import BaseModel


@cache
def beta_events() -> dict[str, type[BaseModel]]:
    """The SDK's model for each type of server event of the beta."""
    return {
        get_args(model.model_fields["type"].annotation)[0]: model
        for model in get_args(get_args(RealtimeServerEvent)[0])
    }


def judge(event: dict[str, Any]) -> None:
    """The SDK knows it: but for the model's and voices' names, which are ours."""
    shown = json.loads(json.dumps(event))
    for part in ("session", "response"):
        if isinstance(shown.get(part), dict):
            shown[part].pop("model", None)
    if "session" in shown and shown["type"].startswith("transcription"):
        shown["session"]["client_secret"] = {"expires_at": 0, "value": ""}  # null, on a connection
    if (
        shown["type"] != "transcription_session.created"
    ):  # OpenAI's server sent it, the SDK left it out
        beta_events()[shown["type"]].model_validate(shown, strict=False)
