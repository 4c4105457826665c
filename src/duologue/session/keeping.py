"""Writes down what becomes of a session, so that it can be read, and gone on with, when this process is no more.

The keeper is told what the listener is told, before it is told it, and answers with what has to be committed until
then. An item counts as it was *heard*: of an answer that is being spoken, the words up to the last that was told.
"""

import time
from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from duologue.core.audio import Ms
from duologue.core.conversation import Conversation, Item
from duologue.core.notices import (
    HeardSoFar,
    IdleTimedOut,
    ItemAdded,
    ItemDeleted,
    ItemTruncated,
    ListingBegan,
    ListingEnded,
    Notice,
    OutputBegan,
    OutputEnded,
    PlaybackBegan,
    PlaybackEnded,
    ReplyBegan,
    ReplyEnded,
    ReplyState,
    ServerCallEnded,
    SpeechBegan,
    SpeechEnded,
    TranscriptBroke,
    TranscriptDone,
    TurnOver,
)
from duologue.core.records import Change, ItemGone, ItemRecord, SessionRecord, TurnRecord
from duologue.ports import Archive
from duologue.session.ears import Ears
from duologue.session.kept_items import Entry, KeptItems, KeptReply, Place, broken_off
from duologue.session.meters import Meters, Turn
from duologue.session.mouth import Mouth

RESUMABLE_S = 600.0
"""A session whose server was killed can be gone on with for so long after it was last active: a service is started
again within seconds, a machine within minutes."""

REFRESH_S = 30.0
"""A session in which nothing happens is written as active this often."""

MAX_TIMES = 64
"""Utterances whose place is remembered before they become items."""

MAX_REPLIES = 8
"""Answers of which it is remembered how they ended: a client misses seconds, not minutes."""

Written = Future[None]


class Desk(Protocol):
    """The session that is kept."""

    id: str
    conversation: Conversation
    ears: Ears
    mouth: Mouth
    meters: Meters

    @property
    def now(self) -> Ms:
        """Its stream clock."""


class Owner(Protocol):
    """The connection of the session, and what it knows of it."""

    @property
    def key_name(self) -> str:
        """The name of the visitor's key."""

    @property
    def is_watched(self) -> bool:
        """The listener is told which words were heard."""

    def settings(self) -> Mapping[str, Any]:
        """What the session is made from: JSON."""

    def token_hashes(self) -> tuple[str, ...]:
        """By what it can be found again; none if it cannot be gone on with."""

    def state(self) -> Mapping[str, Any]:
        """Where the connection stands, to go on: JSON."""


class Keeper:
    """See the module. One a session.

    Args:
        time_s: seconds since 1970.
        created_s: when it began; now, unless it is gone on with.
        base_ms: what had passed on the session's clock by then.
    """

    def __init__(
        self,
        archive: Archive,
        session: Desk,
        connection: Owner,
        time_s: Callable[[], float] = time.time,
        *,
        created_s: float | None = None,
        base_ms: int = 0,
    ) -> None:
        self._archive = archive
        self._session = session
        self._connection = connection
        self._time_s = time_s
        self._created_s = time_s() if created_s is None else created_s
        self._base_ms = base_ms
        self._written_s = 0.0
        self._items = KeptItems(session.id)
        self._times: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._replies: OrderedDict[str, KeptReply] = OrderedDict()
        self._last_turn: Written | None = None
        session.meters.told[session.id] = self._turn_over

    # --- the session itself ---
    def write_session(self, *changes: Change) -> Written:
        """Write how it stands, and these with it."""
        return self._archive.write(self._session_record(), *changes)

    def refresh(self) -> None:
        """Time passes: nobody is to take it for dead."""
        if self._time_s() - self._written_s >= REFRESH_S:
            self.write_session()

    def close(self, *, for_good: bool) -> Written:
        """It is over in this process; `for_good`: for everybody, and what was not heard was not said.

        To be called when the session is closed.
        """
        self._session.meters.told.pop(self._session.id, None)
        voices, changes = self._items.voices, list[Change]()
        for entry in self._items:
            voice = voices.get(entry.item.id)
            if voice is not None and voice.is_playing and (for_good or not self._is_watched):
                voice.listen(self._session.mouth.heard_ms())
            item = broken_off(entry.item, self._items.heard(entry.item.id))
            if for_good and item is not entry.item:
                voices.pop(item.id, None)
                changes.append(self._items.record(entry, item))
        record = self._session_record()
        if for_good:
            record = replace(record, ended_s=record.active_s, token_hashes=())
        return self._archive.write(record, *changes)

    # --- gone on with ---
    def adopt(self, entries: Iterable[Entry], replies: Mapping[str, KeptReply]) -> None:
        """These were written before."""
        self._items.adopt(entries)
        self._replies.update(replies)

    def again(self, item_id: str, place: Place) -> ItemRecord | None:
        """An item that is told again, in these messages; None if it is not there any more."""
        entry, item = self._items.get(item_id), self._session.conversation.get(item_id)
        if entry is None or item is None:
            return None
        entry.place = place
        return self._items.record(entry, item)

    # --- what happens in it ---
    def noticed(self, notice: Notice, place: Place) -> Written | None:
        """The listener is about to be told this: what must be committed before; None if that is nothing."""
        match notice:
            case SpeechBegan() | SpeechEnded() | IdleTimedOut():
                self._remember_times(notice)
                return None
            case ItemAdded(item=item, previous_id=previous):
                return self._archive.write(self._new(item, previous, place))
            case ListingBegan(item=listing, previous_id=previous):
                return self._archive.write(self._new(listing, previous, place))
            case ListingEnded(item=server_item) | ServerCallEnded(item=server_item):
                return self._write_again(server_item.id, place)
            case ItemDeleted(item_id=item_id):
                self._items.drop(item_id)
                return self._archive.write(ItemGone(self._session.id, item_id))
            case ItemTruncated(item_id=item_id, audio_ms=audio_ms):
                if (voice := self._items.voices.get(item_id)) is not None:
                    voice.listen(audio_ms)
                return self._write_again(item_id, place)
            case TranscriptDone() | TranscriptBroke():
                return self._transcribed(notice, place)
            case TurnOver():
                return self._last_turn
            case _:
                return self._noticed_reply(notice, place)

    def _noticed_reply(self, notice: Notice, place: Place) -> Written | None:
        match notice:
            case ReplyBegan(reply=reply) if not reply.options.out_of_band:
                self._replies[reply.id] = KeptReply(place.last)
                if len(self._replies) > MAX_REPLIES:
                    self._replies.popitem(last=False)
                return self.write_session()
            case OutputBegan(item=item, previous_id=previous, aside=False):
                record = self._new(item, previous, place, notice)
                return self._archive.write(record)
            case OutputEnded(item=item, aside=False):
                voice = self._items.voices.get(item.id)
                if voice is not None and not voice.is_playing:
                    del self._items.voices[item.id]
                elif voice is not None and not self._is_watched:
                    voice.listen(self._session.mouth.heard_ms())
                return self._write_again(item.id, place)
            case ReplyEnded(reply=reply) if not reply.options.out_of_band:
                return self._reply_ended(reply, place)
            case PlaybackBegan() | PlaybackEnded() | HeardSoFar():
                return self._noticed_playback(notice, place)
            case _:
                return None

    def _noticed_playback(
        self, notice: PlaybackBegan | PlaybackEnded | HeardSoFar, place: Place
    ) -> Written | None:
        voices = self._items.voices
        match notice:
            case PlaybackBegan(reply_id=reply_id):
                self._playback_began(reply_id)
            case PlaybackEnded(item_id=item_id):
                if (entry := self._items.get(item_id)) is not None:
                    entry.end_ms = self._now_ms()
                if not self._is_watched:
                    voices.pop(item_id, None)
                    return self._write_again(item_id)
                # else it is told next what was heard in the end
            case HeardSoFar(item_id=item_id, ended=ended):
                if (voice := voices.get(item_id)) is not None:
                    voice.text, voice.heard_ms = notice.text, notice.heard_ms
                if ended:
                    voices.pop(item_id, None)
                return self._write_again(item_id, place)
        return None

    def _playback_began(self, reply_id: str) -> None:
        for item_id, voice in self._items.voices.items():
            entry = self._items.get(item_id)
            if voice.reply_id == reply_id and entry is not None:
                voice.is_playing = True
                entry.start_ms = entry.end_ms = self._now_ms()

    def _reply_ended(self, reply: ReplyState, place: Place) -> Written:
        """Its message may have been cut after its end was told."""
        if (kept := self._replies.get(reply.id)) is not None:
            kept.done, kept.status, kept.reason = place.last, reply.status, reply.reason
        changed = list[Change]()
        for item in reply.output:
            entry, now = self._items.get(item.id), self._session.conversation.get(item.id)
            if entry is not None and now is not None and now is not entry.item:
                changed.append(self._items.record(entry, now))
        return self.write_session(*changed)

    def _transcribed(self, notice: TranscriptDone | TranscriptBroke, place: Place) -> Written:
        """With the session, which says what sound is of no more need."""
        entry = self._items.get(notice.item_id)
        if entry is not None and isinstance(notice, TranscriptBroke):
            entry.failed = notice.code
        record = self._changed(notice.item_id, place)
        return self.write_session() if record is None else self.write_session(record)

    # --- records ---
    def _new(
        self, item: Item, previous: str | None, place: Place, began: OutputBegan | None = None
    ) -> ItemRecord:
        now_ms = self._now_ms()
        times = self._times.pop(item.id, (now_ms, now_ms))
        entry = self._items.add(item, previous, place, self._time_s(), times)
        if began is not None:
            self._items.speak(entry, began.reply_id, began.index)
        return self._items.record(entry, item)

    def _changed(self, item_id: str, place: Place | None = None) -> ItemRecord | None:
        """An item that changed; one that has left the conversation stays as it was written."""
        entry, item = self._items.get(item_id), self._session.conversation.get(item_id)
        if entry is None or item is None:
            return None
        if place is not None:
            entry.place = replace(entry.place, last=place.last)
        return self._items.record(entry, item)

    def _write_again(self, item_id: str, place: Place | None = None) -> Written | None:
        record = self._changed(item_id, place)
        return None if record is None else self._archive.write(record)

    def _session_record(self) -> SessionRecord:
        now_s = self._written_s = self._time_s()
        hashes = self._connection.token_hashes()
        replies = {reply_id: asdict(reply) for reply_id, reply in self._replies.items()}
        stands = {"replies": replies, "clock_ms": self._now_ms()}
        return SessionRecord(
            id=self._session.id,
            kind="realtime",
            owner=self._connection.key_name,
            created_s=self._created_s,
            active_s=now_s,
            expires_s=now_s + (RESUMABLE_S if hashes else 0.0),
            token_hashes=hashes,
            settings=self._connection.settings(),
            state={**self._connection.state(), **stands},
        )

    def _turn_over(self, turn: Turn) -> None:
        record = TurnRecord(self._session.id, turn.item_id, self._time_s(), turn.as_dict())
        self._last_turn = self._archive.write(record)

    # --- when ---
    def _remember_times(self, notice: SpeechBegan | SpeechEnded | IdleTimedOut) -> None:
        """Where an utterance lies, before it is an item."""
        item_id, now_ms = notice.item_id, self._now_ms()
        start_ms, end_ms = self._times.get(item_id, (now_ms, now_ms))
        match notice:
            case SpeechBegan(audio_ms=audio_ms):
                start_ms = self._base_ms + audio_ms
            case SpeechEnded(audio_ms=audio_ms):
                end_ms = self._base_ms + audio_ms
            case IdleTimedOut():
                start_ms, end_ms = self._base_ms + notice.start_ms, self._base_ms + notice.end_ms
        self._times[item_id] = (start_ms, end_ms)
        if len(self._times) > MAX_TIMES:
            self._times.popitem(last=False)

    def _now_ms(self) -> int:
        return self._base_ms + self._session.ears.client_ms(self._session.now)

    @property
    def _is_watched(self) -> bool:
        return self._connection.is_watched
