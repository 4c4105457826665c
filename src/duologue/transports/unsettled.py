"""Which of a client's frames would be needed again, were this process to end now.

An utterance is safe once its transcript is stored. Until then its sound is needed; and so is that of the last
moments, in which somebody may just begin to speak.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass

from duologue.core.notices import (
    Cleared,
    Committed,
    IdleTimedOut,
    Notice,
    SpeechBegan,
    SpeechEnded,
    TranscriptBroke,
    TranscriptDone,
)
from duologue.core.turn import Floor
from duologue.session.session import Session

STEP_MS = 100.0
"""How finely it is remembered which frame came when: a session's longest turn is 600 s."""

MAX_STEPS = 8_192

MARGIN_MS = 1_500
"""Of silence: what comes before speech belongs to it (300 ms, or as the client wants), and over an answer it is told
late that somebody speaks."""

MAX_UTTERANCES = 64
"""Without a transcript at a time."""

_NOBODY_SPEAKS = (Floor.OPEN, Floor.THINKING, Floor.AGENT)


@dataclass(slots=True)
class _Utterance:
    """Where it lies on the client's sound; `end_ms` is None until it is an item."""

    start_ms: float
    end_ms: float | None = None


class Unsettled:
    """See the module. Positions are milliseconds of the client's own sound.

    Attributes:
        sequence: frames before this one are of no more need.
    """

    def __init__(self, sequence: int = 0) -> None:
        self.sequence = sequence
        self._came_ms = 0.0
        self._settled_ms = self._safe_ms = (
            0.0  # all of it; but for utterances that wait for their transcript
        )
        self._steps: deque[tuple[float, int]] = deque(maxlen=MAX_STEPS)  # where a frame begins
        self._utterances: OrderedDict[str, _Utterance] = OrderedDict()

    def took(self, sequence: int, sound_ms: float) -> None:
        """A frame came."""
        if not self._steps or self._came_ms - self._steps[-1][0] >= STEP_MS:
            self._steps.append((self._came_ms, sequence))
        self._came_ms += sound_ms

    def filled(self, silence_ms: float) -> None:
        """Silence that the client left out."""
        self._came_ms += silence_ms

    def noticed(self, notice: Notice, session: Session) -> None:
        """The listener is told this, about what the user says."""
        match notice:
            case SpeechBegan(item_id=item_id, audio_ms=audio_ms):
                self._at(item_id).start_ms = audio_ms
            case SpeechEnded(item_id=item_id, audio_ms=audio_ms):
                self._at(item_id).end_ms = audio_ms
            case IdleTimedOut(item_id=item_id, end_ms=end_ms):
                self._at(item_id).end_ms = end_ms
            case Committed(item_id=item_id):
                utterance = self._at(item_id)
                if utterance.end_ms is None:
                    utterance.end_ms = _now_ms(session)
            case TranscriptDone(item_id=item_id) | TranscriptBroke(item_id=item_id):
                self._over(item_id)
            case Cleared():
                self._forget_uncommitted()
                self._settle(_now_ms(session))
            case _:
                pass

    def look(self, session: Session) -> int:
        """While nobody speaks, time settles what was heard; returns `sequence`."""
        if session.floor in _NOBODY_SPEAKS and not session.ears.speaking:
            self._forget_uncommitted()
            if session.options.turn.detect:
                self._settle(_now_ms(session) - MARGIN_MS)
        return self.sequence

    def _at(self, item_id: str) -> _Utterance:
        if item_id not in self._utterances:
            self._utterances[item_id] = _Utterance(self._settled_ms)
            if len(self._utterances) > MAX_UTTERANCES:
                self._utterances.popitem(last=False)
        return self._utterances[item_id]

    def _over(self, item_id: str) -> None:
        utterance = self._utterances.pop(item_id, None)
        if utterance is not None and utterance.end_ms is not None:
            self._settle(utterance.end_ms)

    def _forget_uncommitted(self) -> None:
        for item_id, utterance in list(self._utterances.items()):
            if utterance.end_ms is None:
                del self._utterances[item_id]

    def _settle(self, upto_ms: float) -> None:
        """Up to there, but for utterances that are not transcribed."""
        self._safe_ms = max(self._safe_ms, upto_ms)
        starts = [utterance.start_ms for utterance in self._utterances.values()]
        self._settled_ms = max(self._settled_ms, min(self._safe_ms, *starts, self._came_ms))
        while self._steps and self._steps[0][0] <= self._settled_ms:
            self.sequence = self._steps.popleft()[1]


def _now_ms(session: Session) -> int:
    return session.ears.client_ms(session.now)
