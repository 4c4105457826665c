"""What is known of one stretch of the user's speech while it is not yet history."""

from dataclasses import dataclass, field

from duologue.core.audio import Ms
from duologue.core.facts import DraftId, UtteranceId


@dataclass(slots=True)
class Utterance:
    """One utterance, from its first sound until all of it is transcribed.

    Attributes:
        since: where it began.
        resumed: where its latest stretch of speech began.
        ended: where the speech in it last ended; None while it goes on, or where nobody detects speech.
        spoken: speech was detected in it; false for push-to-talk.
        announced: the client was told that speech started.
        due: it was ended by a rule that owes it an answer.
        open: the recogniser holds sound that no draft covers yet.
        drafts: what the recogniser made of it, draft by draft; None while one is outstanding.
        failed: code of the error that cost one of the drafts.
    """

    id: UtteranceId
    since: Ms
    spoken: bool
    resumed: Ms
    ended: Ms | None = None
    announced: bool = False
    due: bool = False
    open: bool = True
    drafts: dict[DraftId, str | None] = field(default_factory=dict)
    failed: str | None = None

    @property
    def talking(self) -> bool:
        """Speech goes on in it."""
        return self.spoken and self.ended is None

    @property
    def pausing(self) -> bool:
        """Its speech has ended, for now."""
        return self.ended is not None

    @property
    def understood(self) -> bool:
        """The recogniser owes nothing."""
        return not self.open and None not in self.drafts.values()

    @property
    def text(self) -> str:
        """The transcript so far, drafts joined in order."""
        return " ".join(text for text in self.drafts.values() if text)
