"""How a code is drawn from a model's scores. Nothing here waits for a GPU: no value is read back."""

from dataclasses import dataclass
from typing import Any

from duologue.core.errors import SetupError
from duologue.core.placement import Placement

TEMPERATURE = 0.9
"""The published checkpoint's own."""

TOP_K = 50
"""As in Sesame's own generator."""

MAX_FRAMES = 2048

OPTIONS = (
    "temperature",
    "top_k",
    "top_p",
    "max_new_tokens",
    "max_memory",
    "voice",
    "attention",
    "contest",
)
"""Of the engine; the last four are others' business."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How freely the voice speaks.

    Attributes:
        temperature: 0 takes the best code always.
        top_k: only so many of the best codes; 0 for all.
        top_p: only the best codes that together have this probability.
        max_frames: no piece of an answer is longer, in frames of 80 ms.
    """

    temperature: float = TEMPERATURE
    top_k: int = TOP_K
    top_p: float = 1.0
    max_frames: int = MAX_FRAMES

    @classmethod
    def of(cls, placement: Placement) -> "Manner":
        """As the engine's options say: temperature, top_k, top_p, max_new_tokens.

        Raises:
            SetupError: there is no such option, or a value is not of its kind or beyond its bounds.
        """
        for key, _ in placement.options:
            if key not in OPTIONS:
                raise SetupError(
                    "csm_option_unknown",
                    f"'{key}' is no option of CSM.",
                    remedy=f"There are: {', '.join(OPTIONS)}.",
                )
        return cls(
            _number(placement, "temperature", TEMPERATURE, 0.0, 5.0),
            int(_number(placement, "top_k", TOP_K, 0, 100_000)),
            _number(placement, "top_p", 1.0, 1e-3, 1.0),
            int(_number(placement, "max_new_tokens", MAX_FRAMES, 1, 100_000)),
        )


def pick(torch: Any, scores: Any, manner: Manner) -> Any:
    """One code for each row.

    Args:
        scores: [rows, codes], logits in any precision.

    Returns:
        [rows, 1], int64.
    """
    scores = scores.float()
    if not manner.temperature:
        return scores.argmax(-1, keepdim=True)
    codes = scores.shape[-1]
    best, ids = scores.topk(min(manner.top_k or codes, codes))  # sorted, best first
    chances = (best / manner.temperature).softmax(-1)
    if manner.top_p < 1:  # a code stays if those before it do not suffice
        before = chances.cumsum(-1) - chances
        chances = chances.masked_fill(before >= manner.top_p, 0)
    return ids.gather(-1, torch.multinomial(chances, 1))


def _number(placement: Placement, key: str, default: float, least: float, most: float) -> float:
    text = placement.option(key)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SetupError(
            "csm_option_invalid",
            f"{key}={text} cannot be used for CSM.",
            remedy=f"Write a number from {least:g} to {most:g}; without it, {default:g} is used.",
        )
    return value
