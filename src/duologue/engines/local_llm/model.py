"""A language model in this process: loaded, timed, warmed up, and asked one thing at a time. Blocks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.core.errors import EngineUnavailable, OurError
from duologue.engines.chat.thoughts import ThoughtFilter
from duologue.engines.local_llm.decoding import (
    Cancelled,
    Decoder,
    Detokenizer,
    Sampler,
    ends,
    wall_ms,
)
from duologue.engines.local_llm.fitting import Line, fitted
from duologue.engines.local_llm.forms import Form, form_for
from duologue.engines.local_llm.stops import StopFinder
from duologue.engines.local_llm.wanted import Wanted, check_there
from duologue.engines.models.store import DEFAULT_FOLDER
from duologue.engines.torchkit import device, host, loading, oom, precision
from duologue.engines.torchkit.fastest import VERDICTS, Place, fastest, likeness
from duologue.engines.torchkit.ways import Asked, Way, ways
from duologue.ports import Clock

log = logging.getLogger("duologue.engines")

WINDOW = 1_024
"""Of a model whose files do not say: GPT-2's."""

WARM_UP = (
    Line("system", "You are a helpful voice assistant. Answer in one or two short sentences."),
    Line("user", "Hello, what can you do for me?"),
)
WARM_UP_TOKENS = 16
WARM_UPS = 8
STEADY = 1.3
"""Warm at the latest after eight answers; before, once the third or a later one takes at most this many times as long
as the best until its first word."""

PROBE_TOKENS = 48
"""Length of the prompt with which ways to run the model are compared."""

CACHE_LIKENESS = 0.9
"""Least likeness of the logits between reading at once and in parts. In int8 these differ a little:
it rounds by what it is given."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer is over.

    Attributes:
        cached_tokens: of the prompt, those that had been read before.
        is_cut: it reached its limit before its end.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    is_cut: bool


class LocalModel:
    """See the module.

    Args:
        argument: see `wanted.Wanted`.
        verdicts: a folder; see `contest.remembered`.
    """

    def __init__(self, argument: str, *, verdicts: Path = VERDICTS, clock: Clock = wall_ms) -> None:
        self._wanted = Wanted.parse(argument)
        self._verdicts = verdicts
        self._clock = clock
        self._tokenizer: Any = None
        self._form: Form | None = None
        self._decoder: Decoder | None = None
        self._sampler: Sampler | None = None
        self._ends: frozenset[int] = frozenset()
        self._device: device.Device | None = None
        self.window = WINDOW
        self.name = ""
        self.first_ms: tuple[float, ...] = ()

    def load(self) -> None:
        """Open the model on the best device, in the way that proves the fastest there.

        Raises:
            EngineUnavailable: a library, a file or the device is missing.
            EngineOutOfMemory: it does not fit.
        """
        folder = self._wanted.folder(DEFAULT_FOLDER)
        check_there(folder)
        loading.check(folder)  # before torch, which takes seconds to import
        torch, transformers = device.library(), loading.transformers()
        self._device = here = device.find(self._wanted.placement)
        self._tokenizer = _tokenizer(transformers, folder)
        choice = precision.choose(here, self._wanted.placement.precision)
        way = self._fastest(torch, transformers, folder, choice)
        model = self._open(transformers, folder, way)
        if text := loading.advice(here, "the language model"):
            log.info("~ %s", text)
        self._form = form_for(self._tokenizer, model.config, self._wanted.form)
        self._decoder = Decoder(torch, transformers, model, clock=self._clock)
        defaults = getattr(model, "generation_config", None)
        self._sampler = Sampler(torch, transformers, self._wanted, defaults)
        self._ends = ends(self._tokenizer, defaults)
        own = int(getattr(model.config, "max_position_embeddings", None) or WINDOW)
        self.window = min(own, self._wanted.context)
        self.name = folder.name
        check_cache(self._decoder, self._probe(), folder)

    def warm_up(self) -> None:
        """Answer the same again and again until that is as fast as it will be.

        Raises:
            EngineOutOfMemory: it does not fit.
        """
        assert self._decoder is not None
        took: list[float] = []
        while len(took) < WARM_UPS and not (len(took) > 2 and took[-1] <= STEADY * min(took)):
            began, first = self._clock(), _First(self._clock)
            told = self.answer(WARM_UP, WARM_UP_TOKENS, first.emit, lambda: False)
            over = self._clock()
            took.append((over if first.at is None else first.at) - began)
            tokens_s = told.output_tokens / max(over - began, 0.01) * 1000
            log.debug("~ %.0f ms, %.0f tokens/s", took[-1], tokens_s)
            self._decoder.forget()
        self.first_ms = tuple(took)
        log.info(
            "~ the language model says its first word after %.0f ms here, %d words of prompt read",
            *(took[-1], sum(len(line.text.split()) for line in WARM_UP)),
        )

    def answer(
        self,
        lines: Sequence[Line],
        max_tokens: int | None,
        emit: Callable[[str], None],
        is_cancelled: Cancelled,
    ) -> Told:
        """Find the words of an answer.

        Args:
            lines: the conversation, oldest first; instructions before it.
            max_tokens: of the answer; None for as many as the engine gives any.
            emit: called with each piece of text, as it comes.
            is_cancelled: asked before each token, and some times while the prompt is read.

        Raises:
            EngineRefused: the window is too small for the last words.
            EngineOutOfMemory: memory ran out; what was read is forgotten, and the next answer may fit.
        """
        if self._decoder is None or self._form is None:
            raise OurError("llm_not_loaded", "The language model was asked before it was loaded.")
        limit = min(self._wanted.max_new_tokens, self.window // 2, max_tokens or self.window)
        tokens = fitted(lines, self.window - limit, self._form.encode, self._cost)
        try:
            with oom.told("The language model was answering"):
                return self._answer(tokens, limit, emit, is_cancelled)
        except Exception:
            self._decoder.forget()  # half a step may have been kept
            raise

    def close(self) -> None:
        """Let the model go."""
        self._decoder = self._sampler = None
        if self._device is not None:
            oom.release(device.library(), self._device)

    def _answer(
        self, tokens: list[int], limit: int, emit: Callable[[str], None], is_cancelled: Cancelled
    ) -> Told:
        assert self._decoder is not None
        assert self._sampler is not None
        assert self._form is not None
        words = _Words(self._tokenizer, self._form.stops, emit)
        read = self._decoder.read(tokens, is_cancelled)
        if read is None:
            return Told(len(tokens), 0, 0, is_cut=False)
        logits, cached = read
        said: list[int] = []
        is_cut = True
        while len(said) < limit:
            token = self._sampler.pick(logits, [*tokens, *said])
            if token in self._ends or is_cancelled():
                is_cut = False
                break
            said.append(token)
            if words.push(token):
                is_cut = False
                break
            if len(said) < limit:
                logits = self._decoder.step(token)
        words.finish()
        return Told(len(tokens), len(said), cached, is_cut)

    def _cost(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def _open(self, transformers: Any, folder: Path, way: Way) -> Any:
        assert self._device is not None
        return loading.load_model(
            transformers.AutoModelForCausalLM,
            folder,
            self._device,
            way.precision,
            max_memory=self._wanted.max_memory,
            attention=way.attention,
        )

    def _probe(self) -> list[int]:
        """Some tokens that the model knows, always the same."""
        size = len(self._tokenizer)
        return [(n * 7_919 + 13) % size for n in range(min(PROBE_TOKENS, self.window // 2))]

    def _fastest(
        self, torch: Any, transformers: Any, folder: Path, choice: precision.Precision
    ) -> Way:
        """Time the ways that are in question."""
        wanted = self._wanted
        assert self._device is not None

        def run(model: Any) -> Any:
            decoder = Decoder(torch, transformers, model)
            decoder.read(self._probe(), lambda: False)
            for token in self._probe()[:8]:
                decoder.step(token)
            return decoder.whole(self._probe()).float().cpu()

        return fastest(
            Place(torch, self._device, self._verdicts, self._clock),
            folder,
            ways(choice, Asked(wanted.placement.precision, wanted.attention, wanted.contest)),
            lambda way: self._open(transformers, folder, way),
            run,
            choice.why,
        )


class _First:
    """When the first word of an answer came."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at: float | None = None

    def emit(self, text: str) -> None:
        if self.at is None:
            self.at = self._clock()


class _Words:
    """From tokens to what is said: without thoughts, and not beyond a stop."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], emit: Callable[[str], None]) -> None:
        self._letters = Detokenizer(tokenizer)
        self._thoughts = ThoughtFilter()
        self._stops = StopFinder(stops)
        self._emit = emit

    def push(self, token: int) -> bool:
        """One token more; True once the answer is over."""
        self._say(self._stops.push(self._thoughts.push(self._letters.push(token))))
        return self._stops.is_found

    def finish(self) -> None:
        """There are no more tokens."""
        self._say(self._stops.push(self._thoughts.finish()))
        self._say(self._stops.finish())

    def _say(self, text: str) -> None:
        if text:
            self._emit(text)


def _tokenizer(transformers: Any, folder: Path) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise EngineUnavailable(
            "llm_tokenizer_missing",
            f"The model in {folder} has no tokenizer that can be read: {host.first_line(error)}.",
            remedy="Place the model's own tokenizer.json and tokenizer_config.json there.",
        ) from error


def check_cache(decoder: Decoder, tokens: Sequence[int], folder: Path) -> None:
    """See that reading in parts, with a cache that was cut, gives what reading all at once gives.

    Raises:
        EngineUnavailable: it does not: another kind of model, whose state cannot be cut.
    """
    whole = decoder.whole(tokens)[-1:].float().cpu()
    decoder.read([*tokens[:-8], *tokens[:5]], lambda: False)
    read = decoder.read(tokens, lambda: False)
    assert read is not None
    decoder.forget()
    if not likeness(whole, read[0]) >= CACHE_LIKENESS:
        raise EngineUnavailable(
            "llm_cache_unsupported",
            f"The model in {folder} cannot go on from what it has read: its kind keeps no keys and values.",
            remedy="Serve it with vLLM or llama.cpp, and name their address by --llm-url.",
        )
