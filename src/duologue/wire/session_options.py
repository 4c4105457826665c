"""What the fields of a session object mean to us: plain options, each checked by its own name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from duologue.core.audio import AudioFormat, Codec
from duologue.core.context import Truncation
from duologue.core.errors import MalformedEvent
from duologue.core.options import Noise, Tool
from duologue.core.policy import TurnPolicy
from duologue.core.presets import PRESETS
from duologue.core.speech import SpeechPolicy

Json = dict[str, Any]

EAGERNESS = {"low": "patient", "medium": "balanced", "auto": "balanced", "high": "snappy"}
"""The preset that each eagerness of `semantic_vad` means."""

PADDING_MS = 300
"""The protocol's `prefix_padding_ms`, where the client cannot set it."""

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
"""PCM rates that are served; the protocol knows only 24 000, and gets it unless it asks for another."""

CODECS: Mapping[str, tuple[Codec, tuple[int, ...]]] = {
    "audio/pcm": ("pcm", RATES_HZ),
    "audio/pcmu": ("pcmu", (8_000,)),
    "audio/pcma": ("pcma", (8_000,)),
    "audio/opus": ("opus", (24_000,)),
}
"""By the protocol's name; "audio/opus" is ours: one packet a binary message."""

DEFAULT_VOICE = "default"
SPEEDS = (0.25, 1.5)
IDLE_MS = (5_000, 30_000)


def turn_detection(doc: Json | None, *, answers: bool) -> tuple[TurnPolicy, SpeechPolicy, int]:
    """How turns are taken, what counts as speech, and how much sound before it belongs to it (ms)."""
    if doc is None:
        return TurnPolicy(detect=False, create_response=False), SpeechPolicy(), PADDING_MS
    create = answers and doc["create_response"]
    interrupt = doc["interrupt_response"]
    if doc["type"] == "semantic_vad":
        preset = PRESETS[EAGERNESS[doc["eagerness"] or "auto"]]
        turn = replace(preset, create_response=create, interrupt_response=interrupt)
        return turn, SpeechPolicy(), PADDING_MS
    name = "session.audio.input.turn_detection"
    pause_ms = within(doc["silence_duration_ms"], 0, 60_000, f"{name}.silence_duration_ms")
    padding_ms = within(doc["prefix_padding_ms"], 0, 10_000, f"{name}.prefix_padding_ms")
    threshold = within(doc["threshold"], 0.0, 1.0, f"{name}.threshold")
    idle_ms = doc["idle_timeout_ms"]
    if idle_ms is not None:
        idle_ms = int(within(idle_ms, *IDLE_MS, f"{name}.idle_timeout_ms"))
    turn = TurnPolicy(
        silence_ms=int(pause_ms),
        create_response=create,
        interrupt_response=interrupt,
        idle_ms=idle_ms,
    )
    return turn, SpeechPolicy(threshold=threshold), int(padding_ms)


def within(value: float, low: float, high: float, param: str) -> float:
    """A number in its range.

    Raises:
        MalformedEvent: it is not.
    """
    if not low <= value <= high:
        message = f"Invalid '{param}': expected a value from {low:g} to {high:g}, got {value:g}."
        raise MalformedEvent("invalid_value", message, param=param)
    return value


def audio_format(doc: Json | None, param: str) -> AudioFormat:
    """One of `CODECS`, at one of its rates.

    Raises:
        MalformedEvent: it is none of them.
    """
    kind = (doc or {}).get("type") or "audio/pcm"
    if kind not in CODECS:
        message = f"Invalid '{param}.type': '{kind}'. Supported: {', '.join(CODECS)}."
        raise MalformedEvent("invalid_value", message, param=f"{param}.type")
    codec, rates = CODECS[kind]
    rate = (doc or {}).get("rate") or (24_000 if 24_000 in rates else rates[0])
    if rate not in rates:
        message = f"Invalid '{param}.rate': {rate}. Supported: {', '.join(map(str, rates))}."
        raise MalformedEvent("invalid_value", message, param=f"{param}.rate")
    return AudioFormat(rate, codec)


def format_json(fmt: AudioFormat) -> Json:
    """A format as the protocol shows it."""
    kind = next(kind for kind, (codec, _) in CODECS.items() if codec == fmt.codec)
    return {"type": kind, "rate": fmt.rate_hz} if fmt.codec == "pcm" else {"type": kind}


def noise(doc: Json | None) -> Noise:
    """What `noise_reduction` asks for."""
    kinds: dict[str | None, Noise] = {"near_field": "near", "far_field": "far"}
    return kinds.get((doc or {}).get("type"), "as it is")


def truncation(doc: Any, param: str) -> Truncation:
    """What becomes of a conversation that grows too long."""
    if not isinstance(doc, dict):
        return Truncation("disabled" if doc == "disabled" else "auto")
    keep = within(doc.get("retention_ratio", 1.0), 0.0, 1.0, f"{param}.retention_ratio")
    limit = (doc.get("token_limits") or {}).get("post_instructions")
    if limit is not None:
        within(limit, 1, 10_000_000, f"{param}.token_limits.post_instructions")
    return Truncation("auto", keep, limit)


def tools(docs: Sequence[Json] | None, param: str) -> tuple[Tool, ...]:
    """The client's functions; servers are found by `tool_servers.servers`."""
    found = []
    for number, doc in enumerate(docs or []):
        if doc.get("type") == "mcp":
            continue
        if doc.get("type", "function") != "function" or not doc.get("name"):
            raise unserved(
                f"{param}[{number}]", "Only tools of type 'function' and 'mcp' are served."
            )
        found.append(Tool(doc["name"], doc.get("description") or "", doc.get("parameters") or {}))
    return tuple(found)


def tool_choice(doc: Any) -> str:
    """ "auto", "none", "required", or a function's name."""
    if isinstance(doc, dict):
        return str(doc.get("name") or "auto")
    return doc or "auto"


def voice(doc: Any) -> str:
    """A voice's name; empty for the engine's own."""
    name = doc.get("id", "") if isinstance(doc, dict) else doc or ""
    return "" if name == DEFAULT_VOICE else name


def output_limit(doc: Any) -> int | None:
    """`max_output_tokens`; None for no limit.

    Raises:
        MalformedEvent: no answer could be so short.
    """
    if isinstance(doc, int) and doc < 1:
        message = f"Invalid 'max_output_tokens': {doc}. It is 1 or more, or 'inf'."
        raise MalformedEvent("invalid_value", message, param="max_output_tokens")
    return doc if isinstance(doc, int) else None


def metadata(doc: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """The client's labels, within the protocol's limits.

    Raises:
        MalformedEvent: too many, or too long.
    """
    param = "response.metadata"
    if doc is not None:
        longest = max((len(name) for name in doc), default=0)
        if len(doc) > 16 or longest > 64 or any(len(text) > 512 for text in doc.values()):
            message = f"'{param}' holds at most 16 pairs: keys of 64 characters, values of 512."
            raise MalformedEvent("invalid_value", message, param=param)
    return doc


def hints(prompt: str | None, functions: Sequence[Tool]) -> tuple[str, ...]:
    """Phrases that are likely to be said: the transcription prompt's, and the names of the client's functions."""
    phrases = [part.strip() for part in re.split(r"[\n,;.]+", prompt or "")]
    phrases += [tool.name.replace("_", " ") for tool in functions]
    return tuple(phrase for phrase in phrases if phrase)


def unserved(param: str, message: str = "") -> MalformedEvent:
    """Something that the protocol knows and we do not do."""
    text = f"'{param}' is not served by this version of Duologue."
    return MalformedEvent("unsupported_parameter", text, remedy=message, param=param)
