"""One answer being spoken: frame by frame, and each piece in the hearing of those before it.

Transformers' own `generate` runs a whole piece, decodes it at its end, and starts each of the 31 steps of the depth
decoder through all its checks. Here the same modules are stepped by hand: the sound of a few frames is had as soon
as they are there, whoever no longer wants it says so between two steps, and the keys and values of what was
said stay for the next piece, so the context that keeps the voice the same costs nothing again. Both give the same
codes where the best one is always taken (tests).

**Context.** All pieces of an answer, until the backbone's positions are used up; then it begins anew with the
voice's clip, if there is one, and the last piece. A position takes 32 KiB of keys and values in 16 bits (16 layers,
8 heads of 64), so a stream at most 64 MiB.
"""

from collections.abc import Callable
from typing import Any

from duologue.core.errors import EngineLost
from duologue.engines.csm.codec import MimiStream, Samples
from duologue.engines.csm.model import END_CODE, Loaded
from duologue.engines.csm.sampling import Manner, pick

FRAMES_AT_LEAST = 50
FRAMES_PER_CHAR = 3
"""Bound for a piece: 4 s, and 240 ms a character, four times slower than speech. A model that has lost its way
would go on until its context is full."""

LAST_PIECE_FRAMES = 250
"""A longer last piece is not taken into a new context: 20 s of a voice say nothing that 10 do not."""

Wanted = Callable[[], bool]
"""Whether anybody still waits for what is being made."""


class Speech:
    """What was said in one answer. All of its methods belong to the thread that runs the model.

    Args:
        speaker: the number by which the model knows whose turn it is.
        prompt: what goes before the answer: a clip of the voice, as the backbone takes it; None for nothing.
    """

    def __init__(self, loaded: Loaded, manner: Manner, speaker: str, prompt: Any = None) -> None:
        self._loaded = loaded
        self._torch = loaded.torch
        self._model = loaded.model
        self._manner = manner
        self._speaker = speaker
        self._prompt = prompt
        self._keys: Any = None
        self._pending: Any = None  # what the backbone has yet to hear
        self._text: Any = None
        self._said: list[Any] = []  # codes of the piece
        self._left = 0  # frames that the piece may still have
        self._mimi: MimiStream

    @property
    def positions(self) -> int:
        """Of the context, taken so far."""
        heard = 0 if self._keys is None else int(self._keys.get_seq_length())
        return heard + (0 if self._pending is None else int(self._pending.shape[1]))

    def begin(self, text: str) -> None:
        """The next piece.

        Raises:
            EngineLost: it does not fit into the model's context.
        """
        with self._torch.inference_mode():
            self._begin(text)

    def chunk(self, frames: int, wanted: Wanted) -> Samples | None:
        """The sound of the next frames, fewer at the end; None once the piece is over, or nobody wants it."""
        made: list[Any] = []
        with self._torch.inference_mode():
            while len(made) < frames and self._left > 0 and wanted():
                codes = self._frame(wanted)
                if codes is None:
                    break
                made.append(codes)
            if not made or not wanted():
                return None
            return self._mimi.decode(self._torch.stack(made, -1))

    def _begin(self, text: str) -> None:
        loaded = self._loaded
        before, self._text = self._text, loaded.of_text(text, self._speaker)
        most = FRAMES_AT_LEAST + FRAMES_PER_CHAR * len(text)
        needed = int(self._text.shape[1]) + most // 4 + 1
        if self.positions + needed > loaded.positions or self._pending is None:
            self._restart(before, needed)
        self._pending = self._joined(self._pending, self._text)
        room = loaded.positions - self.positions - 1  # for the frame that ends it
        self._left = min(most, self._manner.max_frames, room)
        self._said = []
        self._mimi = MimiStream(self._torch, self._model.codec_model)
        if self._left < 1:
            raise EngineLost(
                "csm_text_too_long",
                f"CSM cannot speak a piece of {len(text)} characters in {loaded.positions} positions.",
                remedy="Let answers come in shorter sentences, or use a shorter clip of the voice.",
            )

    def _frame(self, wanted: Wanted) -> Any:
        """The next frame's codes, [1, codebooks]; None if it is the end."""
        state = self._heard()
        if not wanted():
            return None
        codes = self._codes(state, wanted)
        if codes is None:
            return None
        self._left -= 1
        if codes[0, :-1].eq(END_CODE).all():  # waits for the GPU, once a frame
            self._pending, self._left = self._loaded.end(), 0
            return None
        self._said.append(codes)
        self._pending = self._loaded.of_codes(codes[:, None])
        if not self._left:
            self._pending = self._joined(self._pending, self._loaded.end())
        return codes

    def _heard(self) -> Any:
        """The backbone's state after all that it has been told: [1, width]."""
        out = self._model.backbone_model(
            inputs_embeds=self._pending, past_key_values=self._keys, use_cache=True
        )
        self._keys, self._pending = out.past_key_values, None
        return out.last_hidden_state[:, -1]

    def _codes(self, state: Any, wanted: Wanted) -> Any:
        """A frame's codes, one after the other, each in knowledge of those before.

        The depth decoder is given embeddings, not codes: of codes it asks whether they are the first, and waits for
        the GPU at each.
        """
        depth = self._model.depth_decoder
        heads, embed = depth.codebooks_head.weight, depth.model.embed_tokens
        vocabulary = int(depth.config.vocab_size)
        codes = [self._pick(self._model.lm_head(state))]
        given = self._torch.stack((state, embed(codes[0])[:, 0]), 1)
        keys = None
        for number in range(self._loaded.codebooks - 1):
            if not wanted():
                return None
            out = depth.model(inputs_embeds=given, past_key_values=keys, use_cache=True)
            keys = out.past_key_values
            codes.append(self._pick(out.last_hidden_state[:, -1] @ heads[number]))
            given = embed(codes[-1] + (number + 1) * vocabulary)
        return self._torch.cat(codes, -1)

    def _pick(self, scores: Any) -> Any:
        return pick(self._torch, scores[:, : self._loaded.codes], self._manner)

    def _restart(self, before: Any, needed: int) -> None:
        """Forget all but the voice's clip and the last piece."""
        last = None
        if before is not None and 0 < len(self._said) <= LAST_PIECE_FRAMES:
            frames = self._loaded.of_codes(self._torch.stack(self._said, 1))
            last = self._joined(self._joined(before, frames), self._loaded.end())
        self._keys = None
        both = self._joined(self._prompt, last)
        fits = both is not None and int(both.shape[1]) + needed <= self._loaded.positions
        self._pending = both if fits else self._prompt

    def _joined(self, one: Any, other: Any) -> Any:
        if one is None or other is None:
            return other if one is None else one
        return self._torch.cat((one, other), 1)
