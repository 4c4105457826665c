"""The flat session and response objects of the beta, to and from today's. Plain data, no state."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TEMPERATURE = 0.8
"""The beta's default. Today's protocol has no such setting: it is echoed and does nothing."""

_SESSION = {
    "model": "model",
    "modalities": "output_modalities",
    "instructions": "instructions",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_response_output_tokens": "max_output_tokens",
    "tracing": "tracing",
    "include": "include",
}
_RESPONSE = {
    "modalities": "output_modalities",
    "instructions": "instructions",
    "voice": "audio.output.voice",
    "output_audio_format": "audio.output.format",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_response_output_tokens": "max_output_tokens",
}
_OF_TRANSCRIPTION = (
    "input_audio_format",
    "input_audio_transcription",
    "input_audio_noise_reduction",
    "turn_detection",
    "include",
)
_FORMATS: Mapping[str, Json] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
    "opus": {"type": "audio/opus"},
}
"""By the beta's name; "opus" is ours, as "audio/opus" is."""

_CHOICES = ("auto", "none", "required")


def from_flat(flat: Mapping[str, Any], kind: str = "realtime") -> Json:
    """Settings as in a `session.update` of today. Fields that are not the beta's stay as they are.

    Args:
        kind: "realtime" or "transcription"; the latter has only some of the fields.
    """
    dropped = ("temperature", "client_secret")
    kept = {name: value for name, value in flat.items() if name not in dropped}
    if kind == "transcription":
        kept = {n: v for n, v in kept.items() if n in _OF_TRANSCRIPTION or n not in _SESSION}
    return {**_unfold(kept, _SESSION), "type": kind}


def from_flat_response(flat: Mapping[str, Any]) -> Json:
    """The parameters of a `response.create` as today's."""
    return _unfold({n: v for n, v in flat.items() if n != "temperature"}, _RESPONSE)


def to_flat(session: Mapping[str, Any], temperature: Any = TEMPERATURE) -> Json:
    """A whole session object in the beta's form."""
    transcribes = session.get("type") == "transcription"
    flat: Json = {
        "id": session.get("id"),
        "object": "realtime.transcription_session" if transcribes else "realtime.session",
    }
    if "expires_at" in session:
        flat["expires_at"] = session["expires_at"]
    for name, path in _SESSION.items():
        if not transcribes or name in _OF_TRANSCRIPTION:
            flat[name] = _folded(name, _at(session, path))
    if transcribes:
        return {**flat, "client_secret": None}
    return {**flat, "temperature": temperature}


def to_flat_response(response: Mapping[str, Any], temperature: Any = TEMPERATURE) -> Json:
    """A response object in the beta's form, but for its items."""
    flat = {n: v for n, v in response.items() if n not in ("audio", "output_modalities")}
    for name in ("modalities", "voice", "output_audio_format"):
        flat[name] = _folded(name, _at(response, _RESPONSE[name]))
    return {**flat, "temperature": temperature}


def flat_param(param: str | None) -> str | None:
    """What the beta calls a parameter of today: "session.audio.output.voice" is "session.voice"."""
    root, _, tail = (param or "").partition(".")
    for name, path in (_RESPONSE if root == "response" else _SESSION).items():
        if tail == path or tail.startswith((f"{path}.", f"{path}[")):
            return f"{root}.{name}{tail.removeprefix(path)}"
    return param


def _unfold(flat: Mapping[str, Any], paths: Mapping[str, str]) -> Json:
    whole: Json = {}
    for name, value in flat.items():
        *folders, last = paths.get(name, name).split(".")
        place = whole
        for folder in folders:
            inner = place.get(folder)
            place[folder] = inner if isinstance(inner, dict) else {}
            place = place[folder]
        place[last] = _unfolded(name, value)
    return whole


def _unfolded(name: str, value: Any) -> Any:
    match name:
        case "input_audio_format" | "output_audio_format" if isinstance(value, str):
            return _FORMATS.get(value, {"type": value})
        case "modalities" if isinstance(value, list) and "audio" in value:
            return ["audio"]
        case "tool_choice" if isinstance(value, str) and value not in _CHOICES:
            return {"type": "function", "name": value}
        case "turn_detection" if isinstance(value, dict):
            return {"type": "server_vad", **value}
    return value


def _folded(name: str, value: Any) -> Any:
    match name:
        case "input_audio_format" | "output_audio_format" if isinstance(value, dict):
            kind = value.get("type")
            return next((beta for beta, fmt in _FORMATS.items() if fmt["type"] == kind), kind)
        case "modalities" if value == ["audio"]:
            return ["audio", "text"]
        case "tool_choice" if isinstance(value, dict):
            return value.get("name")
        case "turn_detection" if isinstance(value, dict):
            return {n: v for n, v in value.items() if n != "idle_timeout_ms" or v is not None}
    return value


def _at(whole: Mapping[str, Any], path: str) -> Any:
    place: Any = whole
    for name in path.split("."):
        place = place.get(name) if isinstance(place, Mapping) else None
    return place
