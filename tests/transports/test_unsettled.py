"""Which frames are needed again: until their transcript is stored, and those of the last moments."""

from types import SimpleNamespace
from typing import Any

from duologue.core.notices import (
    Cleared,
    Committed,
    IdleTimedOut,
    SpeechBegan,
    SpeechEnded,
    TranscriptBroke,
    TranscriptDone,
)
from duologue.core.turn import Floor
from duologue.transports.unsettled import MARGIN_MS, MAX_UTTERANCES, Unsettled


class Line:
    """Frames of 20 ms."""

    def __init__(self, detect: bool = True) -> None:
        self.ms = 0
        self.session: Any = SimpleNamespace(
            floor=Floor.OPEN,
            now=0,
            ears=SimpleNamespace(speaking=False, client_ms=int),
            options=SimpleNamespace(turn=SimpleNamespace(detect=detect)),
        )
        self.unsettled = Unsettled()

    def come(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.unsettled.took(self.ms // 20, 20.0)
            self.ms += 20
        self.session.now = self.ms

    def tell(self, *notices: Any) -> int:
        for notice in notices:
            self.unsettled.noticed(notice, self.session)
        return self.unsettled.sequence

    def look(self) -> int:
        return self.unsettled.look(self.session)

    def speak(self, item_id: str, ms: int = 1000) -> None:
        self.tell(SpeechBegan(item_id, self.ms))
        self.session.floor, self.session.ears.speaking = Floor.USER, True
        self.come(ms)

    def end(self, item_id: str) -> None:
        self.session.floor, self.session.ears.speaking = Floor.THINKING, False
        self.tell(SpeechEnded(item_id, self.ms), Committed(item_id, None))


def test_silence_is_settled_but_for_its_last_moments() -> None:
    line = Line()
    line.come(5000)
    assert line.look() == (5000 - MARGIN_MS) // 20
    line.session.floor = Floor.OVERLAP
    line.come(1000)
    assert line.look() == (5000 - MARGIN_MS) // 20
    line.session.floor = Floor.AGENT
    assert line.look() == (6000 - MARGIN_MS) // 20


def test_an_utterance_is_needed_until_its_transcript_is_stored() -> None:
    line = Line()
    line.come(3000)
    line.speak("u1")
    line.end("u1")
    line.come(5000)
    assert line.look() == 3000 // 20
    assert line.tell(TranscriptDone("u1", "x", 1000)) == (9000 - MARGIN_MS) // 20


def test_of_several_the_first_that_is_open_counts() -> None:
    line = Line()
    for item_id in ("u1", "u2", "u3"):
        line.speak(item_id)
        line.end(item_id)
    assert line.tell(TranscriptDone("u2", "x", 1000)) == 0
    assert line.tell(TranscriptBroke("u1", "stt_gone", "")) == 2000 // 20
    assert line.tell(TranscriptDone("u3", "x", 1000)) == 2900 // 20, (
        "the last frame that it may lie in"
    )


def test_speech_that_became_no_item_is_settled_with_the_silence() -> None:
    line = Line()
    line.speak("u1")
    line.session.floor, line.session.ears.speaking = Floor.OPEN, False
    line.come(5000)
    assert line.look() == (6000 - MARGIN_MS) // 20


def test_push_to_talk_is_settled_by_its_commits_and_clears() -> None:
    line = Line(detect=False)
    line.come(4000)
    assert line.look() == 0
    line.tell(Committed("u1", None))
    line.come(1000)
    assert line.tell(TranscriptDone("u1", "x", 4000)) == 4000 // 20
    assert line.tell(Cleared()) == 4900 // 20
    line.come(1000)
    line.tell(IdleTimedOut("u2", 5000, 6000), Committed("u2", None))
    assert line.tell(TranscriptDone("u2", "", 0)) == 5900 // 20


def test_left_out_silence_counts() -> None:
    line = Line()
    line.unsettled.filled(3000.0)
    line.unsettled.took(0, 20.0)
    line.session.now = 3020 + MARGIN_MS
    line.unsettled.took(1, 20.0)
    assert line.look() == 0


def test_what_is_remembered_has_a_bound() -> None:
    line = Line()
    for number in range(MAX_UTTERANCES + 10):
        line.tell(SpeechBegan(f"u{number}", 0))
    assert len(line.unsettled._utterances) == MAX_UTTERANCES
