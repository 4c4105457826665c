"""The session object of the protocol: merged field by field, echoed in full, and read as our options."""

import copy
import re
from typing import Any

from duologue.core.audio import AudioFormat
from duologue.core.errors import MalformedEvent
from duologue.core.options import ReplyOptions, SessionOptions, Tool
from duologue.core.policy import TurnPolicy
from duologue.core.speech import SpeechPolicy

SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
EAGERNESS_MS = {"low": 1_000, "medium": 600, "auto": 600, "high": 400}
"""What eagerness means as long as no model judges the end of a turn: a pause of this length."""

RATES_HZ = (8_000, 16_000, 24_000, 48_000)
"""PCM rates that are served; the protocol knows only 24 000, and gets it unless it asks for another."""

DEFAULT_VOICE = "default"


class SessionDocument:
    """One session's settings, as the client sees them."""

    def __init__(self, session_id: str, model: str, instructions: str) -> None:
        self._doc: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": ["audio"],
            "instructions": instructions,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
            "include": None,
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": dict(SERVER_VAD),
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "voice": DEFAULT_VOICE,
                    "speed": 1.0,
                },
            },
        }

    @property
    def json(self) -> dict[str, Any]:
        """To be shown; not to be changed."""
        return self._doc

    @property
    def shows_transcripts(self) -> bool:
        """The client asked to be told what the user said."""
        return self._doc["audio"]["input"]["transcription"] is not None

    def update(self, patch: dict[str, Any]) -> None:
        """Merge what a client sends, which the SDK's types have let through.

        Raises:
            MalformedEvent: a setting that is not served. Nothing has changed then.
        """
        merged = copy.deepcopy(self._doc)
        fixed = {name: merged[name] for name in ("type", "object", "id", "model")}
        _merge(merged, {name: value for name, value in patch.items() if name not in fixed})
        before, self._doc = self._doc, merged
        try:
            self.options()
        except MalformedEvent:
            self._doc = before
            raise

    def options(self) -> SessionOptions:
        """As the session understands it.

        Raises:
            MalformedEvent: a setting that is not served.
        """
        sound_in, sound_out = self._doc["audio"]["input"], self._doc["audio"]["output"]
        transcription = sound_in["transcription"] or {}
        turn, speech, padding_ms = _turn_detection(sound_in["turn_detection"])
        reply = ReplyOptions(
            instructions=self._doc["instructions"] or "",
            spoken=self._doc["output_modalities"] != ["text"],
            voice=_voice(sound_out["voice"]),
            speed=sound_out["speed"] or 1.0,
            tools=_tools(self._doc["tools"], "session.tools"),
            tool_choice=_tool_choice(self._doc["tool_choice"]),
            max_output_tokens=_limit(self._doc["max_output_tokens"]),
        )
        return SessionOptions(
            reply=reply,
            input_format=_format(sound_in["format"], "session.audio.input.format"),
            output_format=_format(sound_out["format"], "session.audio.output.format"),
            turn=turn,
            speech=speech,
            prefix_padding_ms=padding_ms,
            language=transcription.get("language") or "",
            hints=_hints(transcription.get("prompt"), reply.tools),
        )

    def reply_options(self, params: dict[str, Any]) -> ReplyOptions:
        """The session's, overridden by those of one `response.create`.

        Raises:
            MalformedEvent: one that is not served.
        """
        base = self.options().reply
        for name in ("input", "prompt"):
            if params.get(name) is not None:
                raise _unserved(f"response.{name}")
        if params.get("conversation") not in (None, "auto"):
            raise _unserved("response.conversation", "Only 'auto' is served.")
        output = (params.get("audio") or {}).get("output") or {}
        modalities = params.get("output_modalities")
        tools, choice = params.get("tools"), params.get("tool_choice")
        limit, instructions = params.get("max_output_tokens"), params.get("instructions")
        return ReplyOptions(
            instructions=base.instructions if instructions is None else instructions,
            spoken=base.spoken if modalities is None else modalities != ["text"],
            voice=_voice(output["voice"]) if output.get("voice") else base.voice,
            speed=base.speed,
            tools=base.tools if tools is None else _tools(tools, "response.tools"),
            tool_choice=base.tool_choice if choice is None else _tool_choice(choice),
            max_output_tokens=base.max_output_tokens if limit is None else _limit(limit),
            metadata=params.get("metadata"),
        )


def lenient(patch: Any) -> Any:
    """A session patch in the form that the SDK's types judge, without what stock clients do differently.

    pipecat says `false` for no turn detection; rates beyond the SDK's one are checked by ourselves.
    """
    if not isinstance(patch, dict):
        return patch
    patch = copy.deepcopy(patch)
    patch.setdefault("type", "realtime")
    audio = patch.get("audio")
    for side in audio.values() if isinstance(audio, dict) else ():
        if not isinstance(side, dict):
            continue
        if side.get("turn_detection") is False:
            side["turn_detection"] = None
        fmt = side.get("format")
        if isinstance(fmt, dict) and fmt.get("rate") in RATES_HZ:
            fmt["rate"] = 24_000
    return patch


def _merge(into: dict[str, Any], patch: dict[str, Any]) -> None:
    for name, value in patch.items():
        if name == "turn_detection":
            into[name] = _turn_detection_json(into.get(name), value)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _turn_detection_json(old: dict[str, Any] | None, new: Any) -> dict[str, Any] | None:
    """A change of type starts from that type's defaults, so that the echo is always complete."""
    if not new:
        return None
    kind = new.get("type") or (old or SERVER_VAD)["type"]
    defaults = SEMANTIC_VAD if kind == "semantic_vad" else SERVER_VAD
    base = old if old is not None and old["type"] == kind else defaults
    merged = {**base, **{name: value for name, value in new.items() if value is not None}}
    for name in ("idle_timeout_ms",):
        if name in new:
            merged[name] = new[name]
    return {**merged, "type": kind}


def _turn_detection(doc: dict[str, Any] | None) -> tuple[TurnPolicy, SpeechPolicy, int]:
    if doc is None:
        return TurnPolicy(detect=False, create_response=False), SpeechPolicy(), 300
    create, interrupt = doc["create_response"], doc["interrupt_response"]
    if doc["type"] == "semantic_vad":
        silence_ms = EAGERNESS_MS[doc["eagerness"] or "auto"]
        turn = TurnPolicy(
            silence_ms=silence_ms, create_response=create, interrupt_response=interrupt
        )
        return turn, SpeechPolicy(), 300
    name = "session.audio.input.turn_detection"
    pause_ms = _within(doc["silence_duration_ms"], 0, 60_000, f"{name}.silence_duration_ms")
    padding_ms = _within(doc["prefix_padding_ms"], 0, 10_000, f"{name}.prefix_padding_ms")
    threshold = _within(doc["threshold"], 0.0, 1.0, f"{name}.threshold")
    turn = TurnPolicy(
        silence_ms=int(pause_ms), create_response=create, interrupt_response=interrupt
    )
    return turn, SpeechPolicy(threshold=threshold), int(padding_ms)


def _within(value: float, low: float, high: float, param: str) -> float:
    if not low <= value <= high:
        message = f"Invalid '{param}': expected a value from {low:g} to {high:g}, got {value:g}."
        raise MalformedEvent("invalid_value", message, param=param)
    return value


def _format(doc: dict[str, Any] | None, param: str) -> AudioFormat:
    kind, rate = (doc or {}).get("type", "audio/pcm"), (doc or {}).get("rate") or 24_000
    if kind != "audio/pcm":
        raise _unserved(f"{param}.type", "Only 'audio/pcm' is served.")
    if rate not in RATES_HZ:
        message = f"Invalid '{param}.rate': {rate}. Supported: {', '.join(map(str, RATES_HZ))}."
        raise MalformedEvent("invalid_value", message, param=f"{param}.rate")
    return AudioFormat(rate)


def _tools(docs: list[dict[str, Any]] | None, param: str) -> tuple[Tool, ...]:
    tools = []
    for number, doc in enumerate(docs or []):
        if doc.get("type", "function") != "function" or not doc.get("name"):
            raise _unserved(f"{param}[{number}]", "Only tools of type 'function' are served.")
        tools.append(Tool(doc["name"], doc.get("description") or "", doc.get("parameters") or {}))
    return tuple(tools)


def _tool_choice(doc: Any) -> str:
    if isinstance(doc, dict):
        return str(doc.get("name") or "auto")
    return doc or "auto"


def _voice(doc: Any) -> str:
    name = doc.get("id", "") if isinstance(doc, dict) else doc or ""
    return "" if name == DEFAULT_VOICE else name


def _limit(doc: Any) -> int | None:
    return doc if isinstance(doc, int) else None


def _hints(prompt: str | None, tools: tuple[Tool, ...]) -> tuple[str, ...]:
    """Phrases that are likely to be said: the transcription prompt's, and the names of the client's functions."""
    phrases = [part.strip() for part in re.split(r"[\n,;.]+", prompt or "")]
    phrases += [tool.name.replace("_", " ") for tool in tools]
    return tuple(phrase for phrase in phrases if phrase)


def _unserved(param: str, message: str = "") -> MalformedEvent:
    text = f"'{param}' is not served by this version of Duologue."
    return MalformedEvent("unsupported_parameter", text, remedy=message, param=param)
