"""The user's half of a session: carries out the orders that concern what the user says."""

from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from duologue.core.audio import AudioFrame, samples_to_ms
from duologue.core.conversation import Conversation, Message, Part
from duologue.core.facts import (
    AnnounceIdle,
    AnnounceSpeech,
    CommitUtterance,
    CompleteTranscript,
    Discard,
    FinishDraft,
    Listen,
    UtteranceId,
)
from duologue.core.notices import (
    Committed,
    IdleTimedOut,
    ItemAdded,
    SpeechBegan,
    SpeechEnded,
    TranscriptBroke,
    TranscriptDone,
    TranscriptGrew,
)
from duologue.ports import Listener
from duologue.session.ears import Ears
from duologue.session.judging import Judging
from duologue.session.meters import Meters, Turn
from duologue.session.recognition import Recognition

UserOrder = (
    Listen
    | FinishDraft
    | Discard
    | AnnounceSpeech
    | AnnounceIdle
    | CommitUtterance
    | CompleteTranscript
)


class Desk(Protocol):
    """What this half needs of its session."""

    id: str
    listener: Listener
    conversation: Conversation
    meters: Meters
    ears: Ears
    recognition: Recognition
    judging: Judging
    turn: Turn | None

    @property
    def padding_ms(self) -> int:
        """Sound before the detected start of speech that belongs to it."""

    def new_id(self, prefix: str) -> str:
        """A fresh name."""


class UserSide:
    """Utterances become items; the recogniser is fed and asked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._items: dict[UtteranceId, str] = {}
        self._since: dict[UtteranceId, int] = {}  # client ms where it began
        self._lasted: dict[UtteranceId, int] = {}

    def carry_out(self, order: UserOrder) -> None:
        """Do what the turn machine orders."""
        match order:
            case Listen(utterance=utterance, since=since):
                self._since.setdefault(utterance, self._desk.ears.client_ms(since))
                self._desk.ears.listen(since, partial(self._hear, utterance))
            case FinishDraft(utterance=utterance, draft=draft):
                self._desk.ears.hold()
                self._desk.recognition.finish(utterance, draft)
                self._desk.judging.ask(utterance, draft)
            case Discard(utterance=utterance):
                self._desk.ears.hold()
                self._desk.ears.forget_level()
                self._desk.recognition.end(utterance)
                self._desk.judging.forget()
                self._forget(utterance)
            case AnnounceSpeech(utterance=utterance, since=since):
                began = max(0, self._desk.ears.client_ms(since) - self._desk.padding_ms)
                self._desk.listener.tell(SpeechBegan(self._item(utterance), began))
            case AnnounceIdle(utterance=utterance, since=since):
                start_ms = self._desk.ears.client_ms(since)
                end_ms = self._desk.ears.client_ms(self._desk.ears.now)
                self._desk.listener.tell(IdleTimedOut(self._item(utterance), start_ms, end_ms))
            case CommitUtterance():
                self._commit(order)
            case CompleteTranscript():
                self._complete(order)

    def _hear(self, utterance: UtteranceId, frame: AudioFrame) -> None:
        self._desk.recognition.write(utterance, frame)
        self._desk.judging.write(utterance, frame)

    def _commit(self, order: CommitUtterance) -> None:
        desk, item_id = self._desk, self._item(order.utterance)
        upto = samples_to_ms(order.upto)
        self._begin_turn(order, item_id)
        desk.ears.commit(order.upto)
        desk.judging.forget()
        ended = desk.ears.client_ms(upto)
        self._lasted[order.utterance] = max(0, ended - self._since.get(order.utterance, ended))
        if order.spoken:
            desk.listener.tell(SpeechEnded(item_id, ended))
        item = Message(item_id, "user", (Part("input_audio", None),))
        previous = desk.conversation.add(item)
        desk.listener.tell(Committed(item_id, previous))
        desk.listener.tell(ItemAdded(item, previous))

    def _begin_turn(self, order: CommitUtterance, item_id: str) -> None:
        desk = self._desk
        ended_ms = desk.ears.wall_ms(
            desk.ears.last_speech if order.spoken else samples_to_ms(order.upto)
        )
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        turn = Turn(desk.id, item_id, at, ended_ms)
        turn.speech_ms = max(
            0, desk.ears.client_ms(desk.ears.last_speech) - self._since.get(order.utterance, 0)
        )
        turn.reasons.append(f"turn ended: {order.why}")
        desk.turn = desk.meters.begin(turn)
        desk.meters.mark(turn, "end_of_turn")

    def _complete(self, order: CompleteTranscript) -> None:
        desk = self._desk
        item_id = self._items.get(order.utterance, "")
        lasted_ms = self._lasted.get(order.utterance, 0)
        desk.conversation.transcribe(item_id, order.text)
        failure = desk.recognition.failure(order.utterance)
        words = desk.recognition.words(order.utterance)
        desk.recognition.end(order.utterance)
        self._forget(order.utterance)
        if desk.turn is not None and desk.turn.item_id == item_id:
            desk.meters.mark(desk.turn, "final_transcript")
            if order.failed is not None:
                desk.turn.lost = order.failed
                desk.turn.reasons.append(f"not transcribed: {order.failed}")
        if order.failed is not None:
            desk.meters.counts["transcripts_failed"] += 1
            message = f"This could not be transcribed. {failure or ''}".rstrip()
            desk.listener.tell(TranscriptBroke(item_id, order.failed, message))
            return
        if order.text:
            desk.listener.tell(TranscriptGrew(item_id, order.text))
        logprobs = tuple((word.text, word.logprob) for word in words if word.logprob is not None)
        desk.listener.tell(TranscriptDone(item_id, order.text, lasted_ms, logprobs))

    def _item(self, utterance: UtteranceId) -> str:
        if utterance not in self._items:
            self._items[utterance] = self._desk.new_id("item")
        return self._items[utterance]

    def _forget(self, utterance: UtteranceId) -> None:
        for book in (self._items, self._since, self._lasted):
            book.pop(utterance, None)
