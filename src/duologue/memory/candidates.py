"""What may be chosen for hearing, thinking and speaking: the form of it; `known` lists all.

`quality` (0 to 100) is a judgement of what a user meets, in the order of published figures: the mean English
word error rates of the Open ASR Leaderboard (Parakeet 6, large-v3 7.4, turbo 7.8, medium 8.1, small 8.6, base 10.3,
tiny 12.8 %), listeners' preferences between voices, and the size of a language model. Only differences count.
"""

from dataclasses import dataclass, replace
from typing import Literal

from duologue.core.capabilities import Role
from duologue.memory.footprints import Figure, Footprint, kv_mib

Kind = Literal["cuda", "cpu"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One engine with one model in one precision on one kind of device.

    Attributes:
        model: its name in the models folder; empty where the engine brings its own.
        is_alone: it has a process of its own (it holds Python's lock, has another licence, or is a server).
        capability: the least compute capability of a card.
        languages: those it understands or speaks; empty for any.
        max_tokens: the longest context (language models).
        max_sessions: more cannot be served in time; 0 for no limit.
        streams_at_most: more sessions than this share memory, for they wait for each other; 0 for no limit.
        is_built_in: comes with the server: there is always this.
        ubatch: tokens that llama.cpp takes at a time; its buffer for logits follows from it.
        is_rung_only: never planned; a step down when memory has run out.
        is_eager: vLLM without CUDA graphs.
    """

    role: Role
    engine: str
    model: str
    precision: str
    kind: Kind
    footprint: Footprint
    quality: float
    is_alone: bool = False
    capability: tuple[int, int] = (6, 0)
    languages: tuple[str, ...] = ()
    max_tokens: int = 0
    max_sessions: int = 0
    streams_at_most: int = 0
    is_built_in: bool = False
    ubatch: int = 0
    is_rung_only: bool = False
    is_eager: bool = False

    @property
    def key(self) -> str:
        """By which calibrations name it: "stt:whisper:large-v3-turbo@cuda/int8_float16"."""
        return f"{self.role}:{self.called}"

    @property
    def called(self) -> str:
        """As the settings take it, on any card: "whisper:large-v3-turbo@cuda/int8_float16"."""
        if not self.model:
            return self.engine
        precision = f"/{self.precision}" if self.says_precision else ""
        return f"{self.engine}:{self.model}@{self.kind}{precision}"

    @property
    def says_precision(self) -> bool:
        """Its precision is a choice at load, and not what the file is."""
        return self.engine in ("whisper", "csm", "transformers", "transformers-whisper", "voxtral")

    def terms(self, sessions: int, tokens: int) -> tuple[tuple[str, Figure], ...]:
        """What the model and its work take for all sessions, term by term, MiB; those of nothing left out."""
        f = self.footprint
        streams = min(sessions, self.streams_at_most or sessions)
        kept = self.context(tokens)
        kv = kv_mib(f.kv_bytes.value, sessions, kept)
        found = (
            ("weights", f.weights),
            ("work", f.work),
            (_times("stream", streams), replace(f.stream, value=f.stream.value * streams)),
            (_times(f"KV cache, {kept} tokens", sessions), replace(f.kv_bytes, value=kv)),
        )
        return tuple((name, figure) for name, figure in found if figure.value)

    def model_mib(self, sessions: int, tokens: int) -> int:
        """The sum of the terms."""
        return sum(figure.value for _, figure in self.terms(sessions, tokens))

    def context(self, tokens: int) -> int:
        """Tokens of context that a session gets of those wanted."""
        return min(tokens, self.max_tokens) if self.max_tokens else tokens

    def serves(self, sessions: int) -> bool:
        """It keeps up with so many."""
        return not self.max_sessions or sessions <= self.max_sessions

    def speaks(self, languages: tuple[str, ...]) -> bool:
        """It is right for these languages; for none named, a recogniser must know them all.

        The built-in recogniser is for English, and right for all: better a poor one than none.
        """
        if not self.languages or (self.is_built_in and self.role is Role.STT):
            return True
        return bool(languages or self.role is Role.TTS) and set(languages) <= set(self.languages)


def _times(what: str, number: int) -> str:
    return what if number == 1 else f"{what} x {number}"
