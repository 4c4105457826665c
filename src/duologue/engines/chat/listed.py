"""What servers of OpenAI's form list: their models' names, in the shapes in which they give them."""

from typing import Any


def model_names(listed: Any) -> tuple[str, ...]:
    """The names in an answer to `/v1/models`, decoded from JSON; none, if it is no list of models."""
    if isinstance(listed, dict):
        listed = listed.get("data") or listed.get("models")
    entries = listed if isinstance(listed, list) else []
    names = (entry.get("id") or entry.get("name") for entry in entries if isinstance(entry, dict))
    return tuple(name for name in names if isinstance(name, str) and name)
