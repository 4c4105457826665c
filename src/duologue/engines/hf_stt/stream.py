"""One utterance for a recogniser that is given whole stretches of sound: what it is asked, and when.

As with `engines.whisper`: a final at each flush, a partial about once a second as far as the model has time for it,
and sound that outgrows the model's window cut at a pause. A call that nobody wants any more is told so, and ends
at its next token: so a final hardly waits for the partial before it.
"""

import threading
from dataclasses import dataclass, field

from duologue.core.audio import AudioFrame, ms_to_samples
from duologue.core.errors import EngineError
from duologue.core.segments import joined
from duologue.engines.base import Emit, Flush, Inbox, Item
from duologue.engines.whisper.shared_model import Job, SharedModel
from duologue.engines.whisper.speech_window import Samples, SpeechWindow, is_audible
from duologue.ports import Final, Partial

PARTIAL_EVERY_MS = 1_000
"""New sound between two partials of a stream; a word or three."""

POLL_S = 0.02
"""How often a stream that waits for the model looks whether anybody still wants it; the seam allows 50 ms."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a stream's sound is to be transcribed.

    Attributes:
        language: ISO-639-1, of those that the model knows; empty if it is to be detected.
        hints: phrases that are likely.
        translates: to English.
    """

    language: str = ""
    hints: tuple[str, ...] = ()
    translates: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One call of the model.

    Attributes:
        dropped: set once nobody wants its result.
    """

    sound: Samples
    manner: Manner = Manner()
    dropped: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a call.

    Attributes:
        language: that was detected; empty if it was known before, or cannot be told.
    """

    text: str
    language: str = ""


class Stream:
    """See the module."""

    def __init__(
        self, shared: SharedModel[Work, Heard], manner: Manner, inbox: Inbox, emit: Emit
    ) -> None:
        self._shared = shared
        self._manner = manner
        self._inbox = inbox
        self._emit = emit
        self._window = SpeechWindow()
        self._upto = 0
        self._settled: list[tuple[Job[Work, Heard], Work]] = []  # since the last flush
        self._partial: tuple[Job[Work, Heard], Work] | None = None
        self._partial_at = ms_to_samples(PARTIAL_EVERY_MS)
        self._said = ""

    def take(self, item: Item) -> None:
        """The next of the inbox."""
        if isinstance(item, AudioFrame):
            self._hear(item)
        elif isinstance(item, Flush):
            self._finish(item.id)

    def leave(self) -> None:
        """Nobody wants the rest."""
        self._drop_partial()
        for _, work in self._settled:
            work.dropped.set()
        self._shared.withdraw(self)

    def _hear(self, frame: AudioFrame) -> None:
        self._upto = frame.end
        if (piece := self._window.add(frame.pcm)) is not None:
            self._settle(piece)
        self._tell_partial()
        if self._partial is None and self._window.samples >= self._partial_at:
            self._partial_at = self._window.samples + ms_to_samples(PARTIAL_EVERY_MS)
            sound = self._window.peek()
            if is_audible(sound):
                self._partial = self._asked(sound, is_final=False)

    def _settle(self, piece: Samples) -> None:
        """Have a piece transcribed for good; what is said of it before is no longer wanted."""
        self._drop_partial()
        self._partial_at = ms_to_samples(PARTIAL_EVERY_MS)
        if is_audible(piece):
            self._settled.append(self._asked(piece, is_final=True))

    def _asked(self, sound: Samples, *, is_final: bool) -> tuple[Job[Work, Heard], Work]:
        work = Work(sound, self._manner)
        return self._shared.ask(self, work, is_final=is_final), work

    def _drop_partial(self) -> None:
        if self._partial is not None:
            self._partial[1].dropped.set()
        self._partial = None

    def _tell_partial(self) -> None:
        if self._partial is None or not self._partial[0].is_over:
            return
        job, self._partial = self._partial[0], None
        try:
            settled = [done.answer().text for done, _ in self._settled]
            text = joined([*settled, job.answer().text])
        except EngineError:
            return  # the final will say so, if it fails as well
        if text != self._said:
            self._said = text
            self._emit(Partial(text))

    def _finish(self, flush_id: int) -> None:
        self._settle(self._window.take())
        heard = [self._outcome(job) for job, _ in self._settled]
        self._settled.clear()
        self._said = ""
        text = joined([each.text for each in heard])
        longest = max(heard, key=lambda each: len(each.text), default=Heard(""))
        self._emit(Final(flush_id, self._upto, text, language=longest.language))

    def _outcome(self, job: Job[Work, Heard]) -> Heard:
        return job.outcome(lambda: self._inbox.cancelled, POLL_S)
