"""What an engine declares of itself: plain data, so that planners and pools may read it without loading it."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an engine does in a conversation."""

    VAD = "vad"
    STT = "stt"
    LLM = "llm"
    TTS = "tts"
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What may be expected of an engine.

    Attributes:
        languages: ISO-639-1 codes; "*" for any.
        rate_hz: of the sound it takes or gives.
        streaming: gives results while sound or text still comes.
        word_times: knows when each word is spoken.
        translates: can give what is said in another language as English text.
        acts: being asked does things beside finding words (sets timers), so its answers are never begun early.
        holds_gil: its work keeps Python's lock, so it belongs in a process of its own.
        voices: names by which a client may ask for a voice; there may be more than are listed.
        max_streams: how many streams one instance serves at a time; one more is refused at once.
        ram_mib: resident memory of one instance.
    """

    languages: tuple[str, ...] = ("*",)
    rate_hz: int = 16_000
    streaming: bool = True
    word_times: bool = False
    translates: bool = False
    holds_gil: bool = False
    acts: bool = False
    voices: tuple[str, ...] = ()
    max_streams: int = 1
    ram_mib: int = 0
