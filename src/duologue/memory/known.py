"""Everything that a plan may choose from."""

from collections.abc import Mapping

from duologue.memory import known_ears, known_minds, known_voices
from duologue.memory.candidates import Candidate
from duologue.memory.footprints import Footprint, Measured, measured

CANDIDATES: tuple[Candidate, ...] = (
    *known_ears.whisper(),
    *known_ears.others(),
    *known_voices.voices(),
    *known_minds.minds(),
)


def footprints(found: Mapping[str, Measured]) -> dict[str, Footprint]:
    """What was measured, as `plan` takes it: of each candidate, on the kind of device that it is for."""
    return {
        known.key: measured(known.footprint, found[known.key])
        for known in CANDIDATES
        if known.key in found and found[known.key].uses_card == (known.kind == "cuda")
    }
