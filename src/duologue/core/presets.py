"""Named manners: how somebody listens, thinks and speaks who is patient, balanced or snappy.

The three states are set apart on purpose, so that a session can be patient with pauses and yet quick to give way:
listening is `endpointing`, thinking is `speculate`, speaking is `barge_in_ms`, `barge_in_words` and `verdict_ms`.
"""

from collections.abc import Mapping

from duologue.core.endpointing import Endpointing
from duologue.core.policy import TurnPolicy

PRESETS: Mapping[str, TurnPolicy] = {
    # Listens through pauses for thought, begins no answer early, and is hard to interrupt.
    "patient": TurnPolicy(
        silence_ms=1_200,
        endpointing=Endpointing(prompt_ms=400, patient_ms=1_400, even=1.8),
        speculate=False,
        barge_in_ms=1_000,
        barge_in_words=3,
        verdict_ms=400,
    ),
    "balanced": TurnPolicy(silence_ms=700, endpointing=Endpointing(), draft_ms=160),
    # Answers a likely end at once, and gives way sooner.
    "snappy": TurnPolicy(
        silence_ms=400,
        endpointing=Endpointing(prompt_ms=220, patient_ms=800, even=0.9),
        draft_ms=160,
        barge_in_ms=600,
        verdict_ms=250,
    ),
}
"""By name; `semantic_vad` reaches them by eagerness: low, medium (and auto), high."""
