"""How a session of the session API is set up, as JSON: read from a client, shown to it, and described."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from duologue.core.errors import MalformedEvent
from duologue.core.streaming import Configure, StreamOptions
from duologue.wire.streaming_fields import LANGUAGE, MAX_LANGUAGE_CHARS, Fields, both

RATES_HZ = (8_000, 48_000)
WINDOW_S = (0.5, 13.0)
"""Under load two windows go into one, and Whisper hears 30 seconds at most."""

SPEED = (0.25, 4.0)
MAX_INSTRUCTIONS = 32_000
MAX_VOICE = 256

_INSTRUCTIONS = ("instructions", "system_prompt")
_ANSWERS = ("answers", "respond")
_SPEAKS = ("speaks", "enable_tts", "enableTTS")
_RECORDS = ("records", "record")


def options(
    body: Mapping[str, Any], language: str = "", defaults: StreamOptions | None = None
) -> StreamOptions:
    """What a new session is asked to be. Fields that are not known are passed over.

    Args:
        language: where the address says it; the body counts before it.
        defaults: for what is not said.

    Raises:
        MalformedEvent: a value is wrong.
    """
    fields = Fields(body)
    found = defaults or StreamOptions()
    said: dict[str, Any] = _common(fields)
    if "language" not in said and language:
        said["language"] = Fields({"language": language}).language("language")
    said["rate_hz"] = fields.whole("sample_rate", "rate_hz", least=RATES_HZ[0], most=RATES_HZ[1])
    said["needs_token"] = fields.flag("needs_token", "require_token")
    window_s = fields.number("chunk_duration", least=WINDOW_S[0], most=WINDOW_S[1])
    overlap_s = fields.number("overlap_duration", least=0, most=WINDOW_S[1])
    said["window_ms"] = None if window_s is None else round(window_s * 1000)
    said["overlap_ms"] = None if overlap_s is None else round(overlap_s * 1000)
    found = replace(found, **{name: value for name, value in said.items() if value is not None})
    if found.overlap_ms * 2 > found.window_ms:
        message = "'overlap_duration' may be at most half of 'chunk_duration'."
        raise MalformedEvent("invalid_value", message, param="overlap_duration")
    return found


def configure(body: Mapping[str, Any]) -> Configure:
    """What a client wants changed.

    Raises:
        MalformedEvent: a value is wrong.
    """
    return Configure(**_common(Fields(body)))


def options_json(found: StreamOptions) -> dict[str, Any]:
    """A session's settings, under the names by which they are asked for."""
    shown = both(
        {
            "language": found.language or "auto",
            "sample_rate": found.rate_hz,
            "vad": found.vad,
            "answers": found.answers,
            "respond": found.answers,
            "speaks": found.speaks,
            "enable_tts": found.speaks,
            "whole": found.whole,
            "instructions": found.instructions,
            "voice": found.voice,
            "speed": found.speed,
            "records": found.records,
            "record": found.records,
            "needs_token": found.needs_token,
            "chunk_duration": found.window_ms / 1000,
            "overlap_duration": found.overlap_ms / 1000,
        }
    )
    return {**shown, "enableTTS": found.speaks}


def _common(fields: Fields) -> dict[str, Any]:
    """What can be said at first and changed later; nothing of what is not said."""
    voice = fields.inner("voice_settings")
    speed = {"least": SPEED[0], "most": SPEED[1]}
    said = {
        "language": fields.language("language"),
        "vad": fields.flag("vad"),
        "answers": fields.flag(*_ANSWERS),
        "speaks": fields.flag(*_SPEAKS),
        "whole": fields.flag("whole"),
        "instructions": fields.text(*_INSTRUCTIONS, longest=MAX_INSTRUCTIONS),
        "voice": _or(
            fields.text("voice", longest=MAX_VOICE), voice.text("voice", longest=MAX_VOICE)
        ),
        "speed": _or(fields.number("speed", **speed), voice.number("speed", **speed)),
        "records": fields.flag(*_RECORDS),
    }
    return {name: value for name, value in said.items() if value is not None}


def _or(first: Any, second: Any) -> Any:
    return second if first is None else first


# --- as they are described ---
_BOOLEAN = {"type": ["boolean", "null"]}
_SECONDS = {"type": ["number", "null"], "minimum": 0, "maximum": WINDOW_S[1]}

CONFIGURE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Each field may be in snake_case or camelCase, here or in an object `data`; others are ignored.",
    "properties": {
        "language": {
            "type": ["string", "null"],
            "maxLength": MAX_LANGUAGE_CHARS,
            "pattern": LANGUAGE,
            "description": "ISO-639-1; 'auto' or empty for whichever is spoken",
        },
        "vad": {**_BOOLEAN, "description": "silence is neither recognised nor recorded"},
        "answers": {**_BOOLEAN, "description": "what was said is answered; also `respond`"},
        "speaks": {**_BOOLEAN, "description": "answers are spoken; also `enable_tts`, `enableTTS`"},
        "whole": {**_BOOLEAN, "description": "the sound of an answer comes in one piece"},
        "instructions": {"type": ["string", "null"], "maxLength": MAX_INSTRUCTIONS},
        "voice": {"type": ["string", "null"], "maxLength": MAX_VOICE},
        "speed": {"type": ["number", "null"], "minimum": SPEED[0], "maximum": SPEED[1]},
        "records": {**_BOOLEAN, "description": "both sides' sound is kept; also `record`"},
    },
}

OPTIONS_SCHEMA: dict[str, Any] = {
    **CONFIGURE_SCHEMA,
    "properties": {
        **CONFIGURE_SCHEMA["properties"],
        "sample_rate": {
            "type": ["integer", "null"],
            "minimum": RATES_HZ[0],
            "maximum": RATES_HZ[1],
            "description": "of raw samples, in Hz",
        },
        "needs_token": {**_BOOLEAN, "description": "nobody joins without the resume token"},
        "chunk_duration": {
            **_SECONDS,
            "minimum": WINDOW_S[0],
            "description": "seconds that a recogniser of whole windows is given at a time",
        },
        "overlap_duration": {
            **_SECONDS,
            "description": "seconds of them again; at most half of `chunk_duration`",
        },
    },
}
