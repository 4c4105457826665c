"""Runs a causal language model token by token, and keeps what it has read for the next prompt.

The keys and values of the last prompt and answer stay. The next prompt is compared with it, and only what differs is
read: within a conversation that is the last exchange, between two conversations all but the instructions. So one
cache serves everybody, and its memory is that of one window.

Reading a long prompt takes seconds on a CPU, so it is read in chunks that take about `CHUNK_MS` each, and between two
of them somebody may say that nobody wants it any more.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from duologue.engines.local_llm.wanted import Wanted
from duologue.ports import Clock

CHUNK_MS = 40.0
"""Below the 50 ms within which an answer that nobody wants is to end."""

CHUNK_LEAST = 16
CHUNK_MOST = 512
"""Fewer tokens at once cost a CPU as much as these; more need memory for their attention."""

TEMPERATURE = 0.7
TOP_P = 0.9
REPETITION_PENALTY = 1.1
"""Where the model's files say nothing. Llama 3.2's say 0.6 and 0.9; models of a billion parameters and less repeat
themselves without the third."""

Cancelled = Callable[[], bool]


def wall_ms() -> float:
    """See `ports.Clock`."""
    return time.perf_counter() * 1000


class Decoder:
    """One model and the keys and values of what it read last.

    Args:
        model: of Transformers, on its device.
        clock: by which chunks are measured.
    """

    def __init__(
        self, torch: Any, transformers: Any, model: Any, *, clock: Clock = wall_ms
    ) -> None:
        self._torch = torch
        self._new_cache = transformers.DynamicCache
        self._model = model
        self._device = next(model.parameters()).device
        self._clock = clock
        self._cache: Any = None
        self._read: list[int] = []
        self._chunk = CHUNK_LEAST * 2
        forward = inspect.signature(model.forward).parameters
        # without it, the logits of every token of the prompt are computed: a gigabyte at a large vocabulary
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in forward else {}

    def read(self, tokens: Sequence[int], is_cancelled: Cancelled) -> tuple[Any, int] | None:
        """Read a prompt of at least one token.

        Returns:
            The logits of the token after it, [1, vocabulary], and how many tokens had been read before; None if
            it was cancelled.
        """
        kept = min(self._common(tokens), len(tokens) - 1)
        kept = self._crop(kept)
        at, logits = kept, None
        while at < len(tokens):
            if is_cancelled():
                return None
            size = min(self._chunk, len(tokens) - at)
            began = self._clock()
            logits = self._feed(tokens[at : at + size])
            at += size
            self._adapt(size, self._clock() - began)
        return logits, kept

    def step(self, token: int) -> Any:
        """The logits after one token more."""
        return self._feed([token])

    def forget(self) -> None:
        """Let go of what was read."""
        self._cache, self._read = None, []

    def whole(self, tokens: Sequence[int]) -> Any:
        """The logits after each token, [tokens, vocabulary], without any cache."""
        with self._torch.inference_mode():
            ids = self._torch.tensor([list(tokens)], device=self._device)
            return self._model(input_ids=ids, use_cache=False).logits[0]

    def _feed(self, tokens: Sequence[int]) -> Any:
        if self._cache is None:
            self._cache = self._new_cache(config=self._model.config)
        with self._torch.inference_mode():
            ids = self._torch.tensor([list(tokens)], device=self._device)
            told = self._model(
                input_ids=ids, past_key_values=self._cache, use_cache=True, **self._last_only
            )
            logits = told.logits[:, -1].float()
            if self._device.type != "cpu":  # or the clock would see only the launch
                logits = logits.cpu()
        self._read += tokens
        return logits

    def _common(self, tokens: Sequence[int]) -> int:
        pairs = enumerate(zip(self._read, tokens, strict=False))
        return next((n for n, (a, b) in pairs if a != b), min(len(self._read), len(tokens)))

    def _crop(self, kept: int) -> int:
        """Keep so many tokens of what was read; none if the model's cache cannot be cut."""
        if kept == len(self._read):
            return kept
        if not kept:
            self.forget()
            return 0
        try:
            self._cache.crop(kept - len(self._read))
            self._read = self._read[:kept]
        except (ValueError, RuntimeError, NotImplementedError, AttributeError):
            self.forget()  # of a sliding window, what has slid out is lost
        return len(self._read)

    def _adapt(self, size: int, took_ms: float) -> None:
        if size == self._chunk:  # the last of a prompt is shorter, and tells nothing
            wanted = size * CHUNK_MS / max(took_ms, 0.01)
            self._chunk = int(min(CHUNK_MOST, 2 * size, max(CHUNK_LEAST, wanted)))


class Sampler:
    """Chooses the next token: by what was asked for, else as the model's files say, else by the numbers above."""

    def __init__(self, torch: Any, transformers: Any, wanted: Wanted, defaults: Any) -> None:
        self._torch = torch
        self._dice = torch.Generator()
        self._dice.seed()
        temperature = _first(wanted.temperature, _said(defaults, "temperature"), TEMPERATURE)
        top_k = _first(wanted.top_k, _said(defaults, "top_k"))
        top_p = _first(wanted.top_p, _said(defaults, "top_p"), TOP_P)
        penalty = _first(
            wanted.repetition_penalty, _said(defaults, "repetition_penalty"), REPETITION_PENALTY
        )
        self._is_greedy = temperature == 0
        made: list[Any] = []
        if penalty != 1:
            made.append(transformers.RepetitionPenaltyLogitsProcessor(float(penalty)))
        if not self._is_greedy:
            made.append(transformers.TemperatureLogitsWarper(float(temperature)))
            if top_k:
                made.append(transformers.TopKLogitsWarper(int(top_k)))
            if top_p < 1:
                made.append(transformers.TopPLogitsWarper(float(top_p)))
        self._processors = transformers.LogitsProcessorList(made)

    def pick(self, logits: Any, before: Sequence[int]) -> int:
        """The next token.

        Args:
            logits: [1, vocabulary], on the CPU, in float32.
            before: the tokens of the prompt and of the answer so far.
        """
        with self._torch.inference_mode():
            ids = self._torch.tensor([list(before)])
            scores = self._processors(ids, logits)
            if self._is_greedy:
                return int(scores.argmax(-1))
            chances = self._torch.softmax(scores, -1)
            return int(self._torch.multinomial(chances, 1, generator=self._dice))


class Detokenizer:
    """Tokens -> text, as soon as it is certain: a letter may be spelt in several tokens."""

    UNFINISHED = "\ufffd"

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._from = 0
        self._upto = 0

    def push(self, token: int) -> str:
        """One token more; returns the text that it completes."""
        self._tokens.append(token)
        before = self._text(self._tokens[self._from : self._upto])
        after = self._text(self._tokens[self._from :])
        if len(after) <= len(before) or after.endswith(self.UNFINISHED):
            return ""
        self._from, self._upto = self._upto, len(self._tokens)
        return after[len(before) :]

    def _text(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )


def ends(tokenizer: Any, defaults: Any) -> frozenset[int]:
    """The tokens with which an answer ends."""
    return frozenset(_ends(tokenizer, defaults))


_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|endoftext|>", "</s>")
"""Where models' files name only the end of a text, their templates end turns with one of these."""


def _ends(tokenizer: Any, defaults: Any) -> Iterator[int]:
    said = getattr(defaults, "eos_token_id", None)
    yield from said if isinstance(said, list) else [said] if said is not None else []
    if tokenizer.eos_token_id is not None:
        yield tokenizer.eos_token_id
    vocabulary = tokenizer.get_vocab()
    yield from (vocabulary[text] for text in _TURN_ENDS if text in vocabulary)


def _said(defaults: Any, name: str) -> float | None:
    value = getattr(defaults, name, None)
    return None if value is None else float(value)


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), 0)
