"""What a client may set: plain values, already checked at the door."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from duologue.core.audio import WIRE, AudioFormat
from duologue.core.policy import TurnPolicy
from duologue.core.speech import SpeechPolicy


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the client's that the language model may call.

    Attributes:
        parameters: its JSON schema.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """How one answer is made.

    Attributes:
        spoken: as sound with its transcript; otherwise as text only.
        voice: a voice's name; what it means is the engine's business, and an unknown one is its default.
        speed: 1.0 is the voice's own.
        tool_choice: "auto", "none", "required", or the name of the one function to call.
        max_output_tokens: None for no limit.
        metadata: the client's own labels, given back with the answer.
    """

    instructions: str = ""
    spoken: bool = True
    voice: str = ""
    speed: float = 1.0
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    max_output_tokens: int | None = None
    metadata: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How one session behaves.

    Attributes:
        prefix_padding_ms: sound before the detected start that belongs to the utterance.
        language: ISO-639-1 of the user's speech; empty if not known.
        hints: phrases that the user is likely to say.
    """

    reply: ReplyOptions = field(default_factory=ReplyOptions)
    input_format: AudioFormat = WIRE
    output_format: AudioFormat = WIRE
    turn: TurnPolicy = field(default_factory=TurnPolicy)
    speech: SpeechPolicy = field(default_factory=SpeechPolicy)
    prefix_padding_ms: int = 300
    language: str = ""
    hints: tuple[str, ...] = ()
