"""For a listener that wants to know more than any stock protocol tells: the floor, what was held, which words were
heard, and what became of each turn. A session without one pays a comparison for each fact."""

from collections import deque
from typing import Protocol

from duologue.core.audio import Ms
from duologue.core.conversation import Message
from duologue.core.notices import (
    FloorChanged,
    HeardSoFar,
    Notice,
    OutputBegan,
    OutputHeld,
    OutputResumed,
    PlaybackBegan,
    PlaybackEnded,
    ReplyEnded,
    TurnOver,
)
from duologue.core.playout import SpokenText
from duologue.core.turn import Floor
from duologue.ports import Listener
from duologue.session.ears import Ears
from duologue.session.meters import Turn
from duologue.session.mouth import Mouth
from duologue.session.pacer import Pacer

HEARD_EVERY_MS = 200
"""Captions five times a second: oftener than words are spoken."""

MAX_OPEN_TURNS = 16
"""Turns that are watched for their end; more are open only where a client lets none be answered."""


class Desk(Protocol):
    """What is looked at: a session."""

    listener: Listener
    ears: Ears
    mouth: Mouth
    turn: Turn | None

    def fail(self, error: BaseException) -> None:
        """The session cannot go on."""

    @property
    def floor(self) -> Floor:
        """Who has it."""

    @property
    def now(self) -> Ms:
        """The session's stream clock."""


class _Answer:
    """An answer that has sound, and how much of it was told to be heard."""

    def __init__(self, reply_id: str, item_id: str, spoken: SpokenText) -> None:
        self.reply_id = reply_id
        self.item_id = item_id
        self.spoken = spoken
        self.told = 0  # characters

    def heard(self, heard_ms: float, *, ended: bool) -> HeardSoFar | None:
        """What to tell; None if no word was heard since."""
        upto = self.spoken.chars_until(heard_ms)
        if upto == self.told and not ended:
            return None
        words = self.spoken.words_between(self.told, upto)
        self.told = upto
        text = self.spoken.text[:upto].rstrip()
        return HeardSoFar(self.reply_id, self.item_id, int(heard_ms), text, words, ended)


class Watch:
    """Looks at a session whenever something happened in it, and tells its listener what changed."""

    def __init__(self, session: Desk, pacer: Pacer) -> None:
        self._session = session
        self._pacer = pacer
        self._floor = session.floor
        self._opened: _Answer | None = None
        self._playing: _Answer | None = None
        self._held: _Answer | None = None
        self._due_ms = 0.0
        self._turns: deque[Turn] = deque(maxlen=MAX_OPEN_TURNS)
        self._last_turn: Turn | None = None

    def noticed(self, notice: Notice) -> None:
        """The listener was told this."""
        match notice:
            case OutputBegan(reply_id=reply_id, item=Message() as item, aside=False):
                spoken = item.parts[0].spoken
                if spoken is not None:
                    self._opened = _Answer(reply_id, item.id, spoken)
            case PlaybackBegan():
                self._playing, self._due_ms = self._opened, 0.0
                self._pacer.want(self)
            case PlaybackEnded(heard_ms=heard_ms):
                playing, self._playing, self._held = self._playing, None, None
                if playing is not None and (heard := playing.heard(heard_ms, ended=True)):
                    self._session.listener.tell(heard)
                self._pacer.want(self)
            case ReplyEnded():
                self._pacer.want(self)  # the books of its turn are closed after this
            case _:
                pass

    def fail(self, error: BaseException) -> None:
        """See `pacer.Ticked`."""
        self._session.fail(error)

    def look(self) -> None:
        """A fact was dealt with."""
        session = self._session
        if session.floor is not self._floor:
            self._floor = session.floor
            at_ms = session.ears.client_ms(session.now)
            session.listener.tell(FloorChanged(self._floor.name.lower(), at_ms))
        self._look_at_output()
        if session.turn is not None and session.turn is not self._last_turn:
            self._last_turn = session.turn
            self._turns.append(session.turn)
        for turn in [turn for turn in self._turns if turn.outcome]:
            self._turns.remove(turn)
            session.listener.tell(TurnOver(turn.as_dict()))

    def tick(self, now_ms: float) -> bool:
        """For the pacer: captions while an answer plays."""
        self.look()
        playing = self._playing
        if playing is None:
            return False
        if now_ms >= self._due_ms:
            self._due_ms = now_ms + HEARD_EVERY_MS
            if heard := playing.heard(self._session.mouth.heard_ms(), ended=False):
                self._session.listener.tell(heard)
        return True

    def close(self) -> None:
        """Nobody watches any more."""
        self._playing = None
        self._pacer.forget(self)

    def _look_at_output(self) -> None:
        session, was = self._session, self._held
        is_held, playing = session.mouth.is_held, self._playing
        if is_held and was is None and playing is not None:
            self._held = playing
            where = (playing.reply_id, playing.item_id, int(session.mouth.heard_ms()))
            session.listener.tell(OutputHeld(*where, session.ears.client_ms(session.now)))
        elif not is_held and was is not None:
            self._held = None
            where = (was.reply_id, was.item_id, int(session.mouth.heard_ms()))
            session.listener.tell(OutputResumed(*where))
