"""The session object of the protocol: merged field by field, echoed in full, and read as our options."""

import copy
from collections.abc import Callable
from typing import Any

from duologue.core.conversation import Item, ItemReference
from duologue.core.errors import MalformedEvent
from duologue.core.options import ReplyOptions, SessionOptions
from duologue.core.tool_servers import ToolServer
from duologue.wire import codec
from duologue.wire import session_options as read
from duologue.wire.configuring import Defaults
from duologue.wire.items import read_item
from duologue.wire.session_options import CODECS, DEFAULT_VOICE
from duologue.wire.tool_servers import choice, servers, shown

Json = dict[str, Any]

SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": read.PADDING_MS,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: Json = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
LOGPROBS = "item.input_audio_transcription.logprobs"

_FIXED = ("type", "object", "id", "model")
_OF_TRANSCRIPTION = ("type", "object", "id", "include")
_KEEPS_NULL = ("idle_timeout_ms",)
_SECTIONS = ("audio", "input", "output")
_KNOWN = {
    "session": frozenset(
        "output_modalities instructions tools tool_choice max_output_tokens truncation tracing prompt "
        "include audio reasoning parallel_tool_calls".split()
    ),
    "session.audio": frozenset(("input", "output")),
    "session.audio.input": frozenset(
        ("format", "transcription", "noise_reduction", "turn_detection")
    ),
    "session.audio.output": frozenset(("format", "voice", "speed")),
}
"""By path, the fields that are kept and echoed; others are passed over, as lenient as OpenAI's clients need."""

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Room for hundreds of tools with their schemas; every `session.updated` repeats it."""


class SessionDocument:
    """One session's settings, as the client sees them.

    Args:
        transcribes: it begins as a transcription session, which makes no answers.
        defaults: the operator's choice of what the protocol says nothing of.
    """

    def __init__(
        self,
        session_id: str,
        model: str,
        instructions: str,
        *,
        transcribes: bool = False,
        defaults: Defaults = Defaults(),  # noqa: B008 - frozen
    ) -> None:
        self._defaults = defaults
        self._doc: Json = {
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
                    "turn_detection": _turn_detection_of(defaults.turns),
                },
                "output": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "voice": DEFAULT_VOICE,
                    "speed": 1.0,
                },
            },
        }
        if transcribes:
            self._become("transcription")
        self._options = self._read()

    @property
    def json(self) -> Json:
        """To be shown; not to be changed."""
        if self.answers:
            return {**self._doc, "tools": shown(self._doc["tools"] or [])}
        fields = {name: self._doc[name] for name in _OF_TRANSCRIPTION if name in self._doc}
        return {**fields, "audio": {"input": self._doc["audio"]["input"]}}

    @property
    def answers(self) -> bool:
        """It is a conversation; a transcription session only listens."""
        return bool(self._doc["type"] == "realtime")

    @property
    def shows_transcripts(self) -> bool:
        """The client asked to be told what the user said."""
        return self._doc["audio"]["input"]["transcription"] is not None or not self.answers

    @property
    def shows_logprobs(self) -> bool:
        """The client asked how sure the recogniser is."""
        return LOGPROBS in (self._doc["include"] or ())

    def update(self, patch: Json) -> None:
        """Merge what a client sends, which the SDK's types have let through.

        Raises:
            MalformedEvent: a setting that is not served. Nothing has changed then.
        """
        before, self._doc = self._doc, copy.deepcopy(self._doc)
        try:
            self._become(patch.get("type") or before["type"])
            changes = {name: v for name, v in patch.items() if name not in _FIXED}
            _merge(self._doc, changes, "session")
            options = self._read()
            _check_size(self._doc)
        except Exception:
            self._doc = before
            raise
        self._options = options

    def options(self) -> SessionOptions:
        """As the session understands it."""
        return self._options

    def _read(self) -> SessionOptions:
        """Raises `MalformedEvent` for a setting that is not served."""
        sound_in, sound_out = self._doc["audio"]["input"], self._doc["audio"]["output"]
        transcription = sound_in["transcription"] or {}
        turn, speech, padding_ms = read.turn_detection(
            sound_in["turn_detection"], answers=self.answers
        )
        speed = sound_out["speed"] or 1.0
        found = servers(self._doc["tools"], "session.tools")
        chosen, choice_server = _choice(self._doc["tool_choice"], found)
        reply = ReplyOptions(
            instructions=self._doc["instructions"] or "",
            spoken=self._doc["output_modalities"] != ["text"],
            voice=read.voice(sound_out["voice"]),
            speed=read.within(speed, *read.SPEEDS, "session.audio.output.speed"),
            tools=read.tools(self._doc["tools"], "session.tools"),
            tool_choice=chosen,
            servers=found,
            choice_server=choice_server,
            max_output_tokens=read.output_limit(self._doc["max_output_tokens"]),
            format=read.audio_format(sound_out["format"], "session.audio.output.format"),
        )
        options = SessionOptions(
            reply=reply,
            input_format=read.audio_format(sound_in["format"], "session.audio.input.format"),
            turn=turn,
            speech=speech,
            prefix_padding_ms=padding_ms,
            language=transcription.get("language") or "",
            hints=read.hints(_transcription_prompt(transcription), reply.tools),
            logprobs=self.shows_logprobs,
            noise=read.noise(sound_in["noise_reduction"]),
            truncation=read.truncation(self._doc["truncation"], "session.truncation"),
            answers=self.answers,
        )
        return self._defaults.under(options)

    def reply_options(self, params: Json, new_id: Callable[[str], str]) -> ReplyOptions:
        """The session's, overridden by those of one `response.create`.

        Raises:
            MalformedEvent: one that is not served.
        """
        base = self.options().reply
        output = (params.get("audio") or {}).get("output") or {}
        modalities = params.get("output_modalities")
        tools, asked = params.get("tools"), params.get("tool_choice")
        aside = params.get("conversation") == "none"
        found = self._servers(base.servers, tools, aside=aside)
        asked = self._doc["tool_choice"] if asked is None else asked
        chosen, choice_server = _choice(asked, found)
        limit, instructions = params.get("max_output_tokens"), params.get("instructions")
        fmt = output.get("format")
        return ReplyOptions(
            instructions=base.instructions if instructions is None else instructions,
            spoken=base.spoken if modalities is None else modalities != ["text"],
            voice=read.voice(output["voice"]) if output.get("voice") else base.voice,
            speed=base.speed,
            tools=base.tools if tools is None else read.tools(tools, "response.tools"),
            tool_choice=chosen,
            servers=found,
            choice_server=choice_server,
            max_output_tokens=base.max_output_tokens if limit is None else read.output_limit(limit),
            metadata=read.metadata(params.get("metadata")),
            format=read.audio_format(fmt, "response.audio.output.format") if fmt else base.format,
            out_of_band=aside,
            context=_context(params.get("input"), new_id),
        )

    @staticmethod
    def _servers(
        base: tuple[ToolServer, ...], tools: list[Json] | None, *, aside: bool
    ) -> tuple[ToolServer, ...]:
        """Those of one answer. One out of band has none: what its calls return would have no item to stand in."""
        if tools is None:
            return () if aside else base
        found = servers(tools, "response.tools")
        if aside and found:
            message = "Responses out of band call no tools of MCP servers."
            raise read.unserved("response.tools", message)
        return found

    def _become(self, kind: str) -> None:
        """A session of this type; a client may say at first which it wants, and change its mind."""
        self._doc["type"] = kind
        named = "realtime.session" if kind == "realtime" else "realtime.transcription_session"
        self._doc["object"] = named


def _choice(doc: Any, among: tuple[ToolServer, ...]) -> tuple[str, str]:
    """`tool_choice` and `choice_server`."""
    return choice(doc, among) or (read.tool_choice(doc), "")


def lenient(patch: Any) -> Any:
    """A session patch in the form that the SDK's types judge, without what stock clients do differently.

    pipecat says `false` for no turn detection; formats beyond the SDK's are checked by ourselves.
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
        side.update(lenient_format(side))
    return patch


def lenient_request(params: Any) -> Any:
    """The parameters of a `response.create` in the form that the SDK's types judge."""
    if not isinstance(params, dict):
        return params
    params = copy.deepcopy(params)
    if isinstance(params.get("input"), list):
        params["input"] = [doc for doc in params["input"] if not _is_reference(doc)]
    output = (
        (params.get("audio") or {}).get("output") if isinstance(params.get("audio"), dict) else None
    )
    if isinstance(output, dict):
        output.update(lenient_format(output))
    return params


def _is_reference(doc: Any) -> bool:
    """An item named by its id, which not all versions of the SDK know."""
    return (
        isinstance(doc, dict)
        and doc.get("type") == "item_reference"
        and isinstance(doc.get("id"), str)
    )


def lenient_format(side: Json) -> Json:
    """The `format` of one side of the sound as the SDK's types know it, where it is one that we know."""
    fmt = side.get("format")
    if not isinstance(fmt, dict):
        return {}
    codec, rates = CODECS.get(fmt.get("type", "audio/pcm"), ("", ()))
    if codec in ("pcm", "opus") and fmt.get("rate", rates[0]) in rates:
        return {"format": {"type": "audio/pcm", "rate": 24_000}}
    return {}


def _check_size(doc: Json) -> None:
    if len(codec.write(doc)) > MAX_DOCUMENT_BYTES:
        raise MalformedEvent(
            "session_too_large",
            f"The session's settings take more than {MAX_DOCUMENT_BYTES} bytes.",
            remedy="Send fewer or shorter tools and instructions.",
            param="session",
        )


def _context(
    docs: list[Json] | None, new_id: Callable[[str], str]
) -> tuple[Item | ItemReference, ...] | None:
    if docs is None:
        return None
    return tuple(
        ItemReference(doc["id"])
        if doc.get("type") == "item_reference"
        else read_item(doc, new_id, f"response.input[{number}]")
        for number, doc in enumerate(docs)
    )


def _transcription_prompt(doc: Json) -> str:
    """The prompt, and what later versions of the protocol say in a list of its own."""
    return "\n".join([doc.get("prompt") or "", *(doc.get("keywords") or ())])


def _merge(into: Json, patch: Json, path: str) -> None:
    for name, value in patch.items():
        if name not in _KNOWN.get(path, (name,)) or (value is None and name in _SECTIONS):
            continue  # nobody knows it, or nothing is said of it
        if name == "turn_detection":
            into[name] = _turn_detection_json(into.get(name), value)
        elif name == "format":
            into[name] = _format_json(into.get(name), value, f"{path}.format")
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value, f"{path}.{name}")
        else:
            into[name] = value


def _format_json(old: Json | None, new: Json | None, param: str) -> Json:
    """A change of type starts afresh: a rate belongs to its type."""
    if not new:
        return {"type": "audio/pcm", "rate": 24_000}
    same = old is not None and new.get("type", old["type"]) == old["type"]
    merged = {**(old or {}), **new} if same else dict(new)
    return read.format_json(read.audio_format(merged, param))


def _turn_detection_of(preset: str) -> Json:
    """What a session begins with; the protocol's own where no preset is named."""
    if not preset:
        return dict(SERVER_VAD)
    eagerness = next(name for name, meant in read.EAGERNESS.items() if meant == preset)
    return {**SEMANTIC_VAD, "eagerness": eagerness}


def _turn_detection_json(old: Json | None, new: Any) -> Json | None:
    """A change of type starts from that type's defaults, so that the echo is always complete."""
    if not new:
        return None
    kind = new.get("type") or (old or SERVER_VAD)["type"]
    defaults = SEMANTIC_VAD if kind == "semantic_vad" else SERVER_VAD
    base = old if old is not None and old["type"] == kind else defaults
    given = {name: v for name, v in new.items() if v is not None or name in _KEEPS_NULL}
    return {**base, **given, "type": kind}
