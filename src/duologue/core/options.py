"""What a client may set: plain values, already checked at the door."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from duologue.core.audio import WIRE, AudioFormat
from duologue.core.context import Truncation
from duologue.core.conversation import Item, ItemReference
from duologue.core.policy import TurnPolicy
from duologue.core.speech import SpeechPolicy
from duologue.core.tool_servers import ToolServer

Noise = Literal["as it is", "near", "far"]
"""Where the microphone is: at the mouth, or across the room."""

Echo = Literal["auto", "off", "half_duplex"]
"""What is done about our own voice in the microphone: judged by what was played; nothing; or what comes while we
speak is not listened to."""


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
        tool_choice: "auto", "none", "required", or the name of the one function or tool to call.
        servers: whose tools may be called, too.
        choice_server: the choice is among the tools of the server of this label; empty for all there are.
        max_output_tokens: None for no limit.
        metadata: the client's own labels, given back with the answer.
        format: of its sound.
        out_of_band: beside the conversation: it joins no history, takes no floor and is not paced.
        context: items to answer instead of the conversation's; `ItemReference` names one of those.
    """

    instructions: str = ""
    spoken: bool = True
    voice: str = ""
    speed: float = 1.0
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    servers: tuple[ToolServer, ...] = ()
    choice_server: str = ""
    max_output_tokens: int | None = None
    metadata: Mapping[str, str] | None = None
    format: AudioFormat = WIRE
    out_of_band: bool = False
    context: tuple[Item | ItemReference, ...] | None = None


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How one session behaves.

    Attributes:
        reply: how answers are made, unless the client asks for one in another way.
        prefix_padding_ms: sound before the detected start that belongs to the utterance.
        language: ISO-639-1 of the user's speech; empty if not known.
        hints: phrases that the user is likely to say.
        logprobs: the client wants to know how sure the recogniser is of each word.
        noise: what is done about noise in the user's sound.
        truncation: what becomes of a conversation that outgrows the language model.
        answers: responses are made at all; a transcription session makes none.
        filler: said while a tool runs that nobody has said a word about; empty for nothing.
        hang_up: the language model may end the conversation.
        echo: what is done about our own voice in the user's sound.
        greeting: said first, unless somebody else is quicker; empty to wait for the user.
    """

    reply: ReplyOptions = field(default_factory=ReplyOptions)
    input_format: AudioFormat = WIRE
    turn: TurnPolicy = field(default_factory=TurnPolicy)
    speech: SpeechPolicy = field(default_factory=SpeechPolicy)
    prefix_padding_ms: int = 300
    language: str = ""
    hints: tuple[str, ...] = ()
    logprobs: bool = False
    noise: Noise = "as it is"
    truncation: Truncation = field(default_factory=Truncation)
    answers: bool = True
    filler: str = ""
    hang_up: bool = False
    greeting: str = ""
    echo: Echo = "auto"
