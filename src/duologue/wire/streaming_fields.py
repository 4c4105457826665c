"""Fields of JSON as clients of the session API write them: flat or under `data`, in snake_case or in camelCase.

Its origin is a server and a page that disagree about both, so each reading is taken: what stands under `data` counts
before what stands beside it. A field that is null is not there; one that nobody asks for is passed over.
"""

import re
from collections.abc import Mapping
from typing import Any

from duologue.core.errors import MalformedEvent
from duologue.core.streaming import SoundFormat

MAX_LANGUAGE_CHARS = 35
"""BCP 47, section 4.4.1."""

LANGUAGE = r"^(auto|[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*)?$"

_FORMATS: dict[str, SoundFormat] = {
    "": "",
    "auto": "",
    **dict.fromkeys(("pcm16", "pcm", "pcm_s16le", "s16le", "raw", "audio/pcm"), "pcm16"),
    **dict.fromkeys(("container", "file"), "container"),
    **dict.fromkeys(
        ("wav", "webm", "ogg", "opus", "mp3", "mp4", "m4a", "aac", "flac"), "container"
    ),
}
_language = re.compile(LANGUAGE)


def camel(name: str) -> str:
    """chunk_index -> chunkIndex."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def both(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Each field in snake_case and, where that differs, in camelCase."""
    return {**fields, **{camel(name): value for name, value in fields.items()}}


class Fields:
    """One object's.

    Args:
        where: what errors' `param` begins with.

    Attributes:
        own: the object itself.
    """

    def __init__(self, event: Mapping[str, Any], where: str = "") -> None:
        inner = event.get("data")
        self._layers = (inner, event) if isinstance(inner, dict) else (event,)
        self._where = where
        self.own = dict(event)

    def get(self, *names: str) -> Any:
        """The first of these, in either case, that is there; None if none is."""
        for layer in self._layers:
            for name in names:
                for spelt in (name, camel(name)):
                    if (value := layer.get(spelt)) is not None:
                        return value
        return None

    def text(self, *names: str, longest: int) -> str | None:
        """A string of at most so many characters."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(names[0], "it must be a string")
        if len(value) > longest:
            raise self.wrong(names[0], f"it may have at most {longest} characters")
        return value

    def flag(self, *names: str) -> bool | None:
        """True or false."""
        value = self.get(*names)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(names[0], "it must be true or false")
        return value

    def number(self, *names: str, least: float, most: float) -> float | None:
        """Any number within bounds."""
        value = self.get(*names)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(names[0], "it must be a number")
        if not least <= value <= most:
            raise self.wrong(names[0], f"it must be within {least:g} and {most:g}")
        return value

    def whole(self, *names: str, least: int, most: int) -> int | None:
        """A whole number within bounds."""
        value = self.number(*names, least=least, most=most)
        if value is not None and value != int(value):
            raise self.wrong(names[0], "it must be a whole number")
        return None if value is None else int(value)

    def inner(self, *names: str) -> "Fields":
        """Those of an object within this one; none, where it is not there."""
        value = self.get(*names)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(names[0], "it must be an object")
        return Fields(value or {}, f"{self._where}{names[0]}.")

    def language(self, *names: str) -> str | None:
        """A language's tag; "auto" is the empty one."""
        value = self.text(*names, longest=MAX_LANGUAGE_CHARS)
        if value is not None and not _language.fullmatch(value):
            raise self.wrong(names[0], "it is an ISO-639-1 code, as 'en', or 'auto'")
        return "" if value == "auto" else value

    def format(self, *names: str) -> SoundFormat | None:
        """How sound is packed: a format's name or its media type."""
        value = self.text(*names, longest=64)
        return None if value is None else sound_format(value, self._where + names[0])

    def wrong(self, name: str, why: str, code: str = "invalid_value") -> MalformedEvent:
        """The error of a field."""
        param = self._where + name
        return MalformedEvent(code, f"Invalid value of '{param}': {why}.", param=param)


def sound_format(name: str, param: str) -> SoundFormat:
    """How sound of this name, or media type, is packed.

    Raises:
        MalformedEvent: there is none.
    """
    bare = name.lower().partition(";")[0].strip()
    if bare in _FORMATS:
        return _FORMATS[bare]
    if bare.startswith(("audio/", "video/")):
        return "container"
    raise MalformedEvent(
        "invalid_value",
        f"Invalid value of '{param}': '{name[:64]}' is no format of sound.",
        remedy="Say 'pcm16', 'container', or nothing.",
        param=param,
    )
