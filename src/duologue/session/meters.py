"""What is measured: each turn's waterfall with the reason of every decision, and counters over all sessions.

Nothing that anybody said is kept here: only when, how long, and why.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from duologue.ports import Clock

KEPT_TURNS = 1_000

STAGES = (
    "end_of_turn",  # the pause was long enough
    "final_transcript",
    "reply_started",
    "first_token",
    "first_sound",  # out of the synthesiser
    "first_sent",  # to the listener
)
"""Marks of a turn, in the order in which they usually fall; milliseconds after the end of speech."""


@dataclass(slots=True)
class Turn:
    """One turn of the user's, and what became of it.

    Attributes:
        speech_ended_ms: wall clock; all marks count from here.
        speech_ms: how long the user spoke.
        marks: stage -> milliseconds after the end of speech.
        lost: code of the error for which it could not be transcribed.
        reasons: what was decided, and why, in order.
        outcome: "answered", "interrupted", "cancelled", "failed", "no words", "not transcribed", "unanswered";
            empty while it lasts.
        said_ms: sound of the answer that was sent, and heard_ms of it heard.
    """

    session_id: str
    item_id: str
    at: str
    speech_ended_ms: float
    speech_ms: int = 0
    marks: dict[str, float] = field(default_factory=dict)
    lost: str = ""
    reasons: list[str] = field(default_factory=list)
    outcome: str = ""
    said_ms: int = 0
    heard_ms: int = 0

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            "session_id": self.session_id,
            "item_id": self.item_id,
            "at": self.at,
            "speech_ms": self.speech_ms,
            "waterfall_ms": {name: round(self.marks[name], 1) for name in self.marks},
            "reasons": list(self.reasons),
            "outcome": self.outcome,
            "said_ms": self.said_ms,
            "heard_ms": self.heard_ms,
        }


class Meters:
    """One for the process.

    Attributes:
        turns: the latest, oldest first.
        counts: events by name; "sessions", "interruptions", "false_alarms", "errors_engine" and so on. Answers begun
            early are "rehearsals"; each is "rehearsals_adopted" or "rehearsals_dropped" in the end, but at a hang-up.
        live: sessions that are open.
        told: by session, who else is told of its turns as they end.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.turns: deque[Turn] = deque(maxlen=KEPT_TURNS)
        self.counts: Counter[str] = Counter()
        self.live = 0
        self.on_turn: Callable[[Turn], None] | None = None
        self.told: dict[str, Callable[[Turn], None]] = {}

    def begin(self, turn: Turn) -> Turn:
        """A turn of the user's ended."""
        self.turns.append(turn)
        return turn

    def mark(self, turn: Turn | None, stage: str) -> None:
        """A stage of it is reached, for the first time."""
        if turn is not None and stage not in turn.marks:
            turn.marks[stage] = self.clock() - turn.speech_ended_ms

    def end(self, turn: Turn | None, outcome: str) -> None:
        """It is over."""
        if turn is not None and not turn.outcome:
            turn.outcome = outcome
            if self.on_turn is not None:
                self.on_turn(turn)
            if (told := self.told.get(turn.session_id)) is not None:
                told(turn)
