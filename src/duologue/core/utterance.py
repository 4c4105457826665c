"""What is known of one stretch of the user's speech while it is not yet history."""

from dataclasses import dataclass, field

from duologue.core.audio import Ms
from duologue.core.cadence import Cadence
from duologue.core.facts import DraftId, UtteranceId
from duologue.core.segments import joined

PAUSE_MS = 200
"""Shorter gaps are the closures of consonants, and no pauses."""


@dataclass(slots=True)
class Utterance:
    """One utterance, from its first sound until all of it is transcribed.

    Attributes:
        since: where it began; `speech_since` where speech was first detected in it.
        resumed: where its latest stretch of speech began.
        ended: where the speech in it last ended; None while it goes on, or where nobody detects speech.
        spoken: speech was detected in it; false for push-to-talk.
        announced: the client was told that speech started.
        due: it was ended by a rule that owes it an answer.
        open: the recogniser holds sound that no draft covers yet.
        drafts: what the recogniser made of it, draft by draft; None while one is outstanding.
        confidence: the recogniser's own, in its latest transcript; None if it has none.
        failed: code of the error that cost one of the drafts.
        pauses: those after which the speaker went on; `longest_ms` is the longest of them.
        cadence: how the voice fell where it ended last; None if not known.
        asked: the latest draft.
        judged: the acoustic model has spoken about the present pause; `probability` is what it said.
    """

    id: UtteranceId
    since: Ms
    spoken: bool
    resumed: Ms
    speech_since: Ms
    ended: Ms | None = None
    announced: bool = False
    due: bool = False
    open: bool = True
    drafts: dict[DraftId, str | None] = field(default_factory=dict)
    confidence: float | None = None
    failed: str | None = None
    pauses: int = 0
    longest_ms: int = 0
    cadence: Cadence | None = None
    asked: DraftId | None = None
    judged: bool = False
    probability: float | None = None

    @property
    def talking(self) -> bool:
        """Speech goes on in it."""
        return self.spoken and self.ended is None

    @property
    def pausing(self) -> bool:
        """Its speech has ended, for now."""
        return self.ended is not None

    def pause(self, at: Ms, cadence: Cadence | None) -> None:
        """Its speech ends, for now."""
        self.ended, self.cadence = at, cadence
        self.judged, self.probability = False, None

    def carry_on(self, at: Ms) -> None:
        """It goes on after a pause."""
        if self.ended is not None and at - self.ended >= PAUSE_MS:
            self.pauses += 1
            self.longest_ms = max(self.longest_ms, at - self.ended)
        self.ended, self.resumed, self.open = None, at, True

    @property
    def understood(self) -> bool:
        """The recogniser owes nothing."""
        return not self.open and None not in self.drafts.values()

    @property
    def wordless(self) -> bool:
        """All of it is known, and there is no word in it."""
        return self.understood and not self.text

    @property
    def text(self) -> str:
        """The transcript so far, drafts joined in order."""
        return joined([text for text in self.drafts.values() if text])
