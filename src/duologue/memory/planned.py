"""What a plan gives an engine that runs: from its name in the settings back to its place in the sums."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath

from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import Footprint, kv_mib
from duologue.memory.known import CANDIDATES

TOKENS = 4_096
"""Of a language model whose name does not say."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Memory on a card, MiB: all of it, and the context and the KV cache within it."""

    gpu_mib: int
    context_mib: int
    kv_mib: int


def on_card(
    name: str,
    sessions: int = 1,
    *,
    candidates: Iterable[Candidate] = CANDIDATES,
    measured: Mapping[str, Footprint] | None = None,
) -> Planned | None:
    """What the engine of this name takes of its card; None where it has none, or is none that can be planned.

    Args:
        name: as the settings have it; a language model's own options say its tokens and sessions.
        measured: by `Candidate.key`, what was calibrated; see `known.footprints`.
    """
    engine, _, argument = name.strip().partition(":")
    try:
        place = Placement.parse(argument)
    except SetupError:
        return None
    if place.device != "cuda":
        return None
    model = PurePath(place.model).name
    found = [c for c in candidates if (c.engine, c.model, c.kind) == (engine, model, "cuda")]
    named = [c for c in found if c.says_precision and c.precision == place.precision]
    known = next(iter(named or [c for c in found if not c.is_rung_only]), None)
    if known is None:
        return None
    if measured and known.key in measured:
        known = replace(known, footprint=measured[known.key])
    return _sum(known, place, sessions)


def _sum(known: Candidate, place: Placement, sessions: int) -> Planned:
    at_once = _number(place, ("max_num_seqs", "parallel"), sessions)
    tokens = _number(place, ("max_model_len",), 0)
    if not tokens:  # llama.cpp's is for all together
        tokens = _number(place, ("ctx_size",), TOKENS * at_once) // at_once
    context = known.footprint.context.value
    cache = kv_mib(known.footprint.kv_bytes.value, at_once, known.context(tokens))
    return Planned(known.model_mib(at_once, tokens) + context, context, cache)


def _number(place: Placement, keys: Iterable[str], default: int) -> int:
    texts = [place.option(key) for key in keys]
    return next((int(text) for text in texts if text.isdecimal() and int(text)), default)
