"""Values as both databases take them.

PostgreSQL's text and JSONB hold no U+0000 ("8.3 Character Types", "8.14 JSON Types" of its manual), and neither
database takes half a surrogate pair: both become U+FFFD on the way in. JSON has no NaN or infinity: a record with
one is refused.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from duologue.store.backend import failed

_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
_INSTEAD = "\ufffd"


def clean(text: str) -> str:
    """The text with U+FFFD for what no database takes."""
    return _IMPOSSIBLE.sub(_INSTEAD, text)


def finite(number: float) -> float:
    """The number, if it is one.

    Raises:
        OurError: it is infinite, or none.
    """
    if not math.isfinite(number):
        raise failed("a time is infinite or not a number")
    return number


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Compact JSON.

    Raises:
        OurError: there is something in it that JSON cannot say.
    """
    try:
        text = _dumped(value)
        # Walking through all of it costs ten times as much as writing it, and is hardly ever needed.
        if "\\u0000" in text or (not text.isascii() and _IMPOSSIBLE.search(text)):
            return _dumped(_cleaned(json.loads(text)))
        return text
    except (ValueError, TypeError, RecursionError) as error:
        raise failed(f"not to be written as JSON ({type(error).__name__})") from None


def from_json(text: str) -> Any:
    """What `to_json` was given, in lists and dictionaries."""
    return json.loads(text)


def _dumped(value: object) -> str:
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
    )


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _cleaned(value: object) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(part) for part in value]
    if isinstance(value, dict):
        return {clean(name): _cleaned(part) for name, part in value.items()}
    return value
