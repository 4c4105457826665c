"""The items of one session as they are written: numbered, each with where it stands and what was heard of it."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from duologue.core.conversation import MAX_ITEMS, Item, Message
from duologue.core.item_json import kind_of, text_of, to_json
from duologue.core.playout import SpokenText
from duologue.core.records import ItemRecord


@dataclass(frozen=True, slots=True)
class Place:
    """Where a notice stands among the messages to the client, which are counted from 1.

    Attributes:
        added: the message that says that an item is there.
        last: the last of the notice's messages.
    """

    added: int = 0
    last: int = 0


@dataclass(slots=True)
class Entry:
    """What is remembered of an item beside itself.

    Attributes:
        item: as it was written last.
        previous: the item that it was put behind; None for the beginning.
        place: of the messages that told of it: when it came, and when it changed last.
        reply_id: the answer whose it is, which has it at `index`; empty if it is none's.
        failed: the code for which it could not be transcribed.
    """

    number: int
    at_s: float
    item: Item
    previous: str | None
    place: Place
    start_ms: int = 0
    end_ms: int = 0
    reply_id: str = ""
    index: int = 0
    failed: str = ""


@dataclass(slots=True)
class KeptReply:
    """What is remembered of an answer, to tell a client that did not hear of its end.

    Attributes:
        began: the message that told that it began.
        done: the message that told how it ended; 0 while it goes on.
    """

    began: int
    done: int = 0
    status: str = "in_progress"
    reason: str | None = None


@dataclass(slots=True)
class Voice:
    """An answer that is spoken: what was heard of it so far.

    Attributes:
        is_playing: something of it can have been heard.
    """

    reply_id: str
    spoken: SpokenText
    text: str = ""
    heard_ms: int = 0
    is_playing: bool = False

    def listen(self, heard_ms: float) -> None:
        """So much of it was heard."""
        self.heard_ms, self.text = int(heard_ms), self.spoken.heard_until(heard_ms)


class KeptItems:
    """The items of a session, by their ids.

    Attributes:
        voices: the answers among them that are not heard to their end, by the item's id.
    """

    def __init__(self, session_id: str) -> None:
        self.voices: dict[str, Voice] = {}
        self._session_id = session_id
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._number = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, item_id: str) -> Entry | None:
        """The entry, if there is one."""
        return self._entries.get(item_id)

    def adopt(self, entries: Iterable[Entry]) -> None:
        """These were written before. The numbers go on after them."""
        for entry in entries:
            self._entries[entry.item.id] = entry
            self._number = max(self._number, entry.number)

    def add(
        self, item: Item, previous: str | None, place: Place, at_s: float, times: tuple[int, int]
    ) -> Entry:
        """A new one, from `times[0]` to `times[1]` on the session's clock."""
        self._number += 1
        entry = self._entries[item.id] = Entry(self._number, at_s, item, previous, place, *times)
        if len(self._entries) > MAX_ITEMS:
            self._entries.popitem(last=False)
        return entry

    def speak(self, entry: Entry, reply_id: str, index: int) -> None:
        """It is an answer's; if it is spoken, what is heard of it counts from here on."""
        entry.reply_id, entry.index = reply_id, index
        item = entry.item
        if isinstance(item, Message) and (spoken := item.parts[0].spoken) is not None:
            self.voices[item.id] = Voice(reply_id, spoken)

    def drop(self, item_id: str) -> None:
        """It was deleted."""
        self._entries.pop(item_id, None)
        self.voices.pop(item_id, None)

    def heard(self, item_id: str) -> tuple[str, int] | None:
        """Words and milliseconds that were heard of it; None if it is not being spoken."""
        voice = self.voices.get(item_id)
        return None if voice is None else (voice.text, voice.heard_ms)

    def record(self, entry: Entry, item: Item) -> ItemRecord:
        """It, as it is now, to be written."""
        entry.item = item
        heard = self.heard(item.id)
        body: dict[str, Any] = {
            "item": to_json(item if heard is None else _without_sound(item)),
            "previous": entry.previous,
            "added": entry.place.added,
            "told": entry.place.last,
            "reply": entry.reply_id,
            "index": entry.index,
            "failed": entry.failed,
        }
        if heard is not None:
            body["heard_ms"] = heard[1]
        return ItemRecord(
            session_id=self._session_id,
            id=item.id,
            number=entry.number,
            kind=kind_of(item),
            role=item.role if isinstance(item, Message) else "",
            text=text_of(item) if heard is None else heard[0],
            at_s=entry.at_s,
            status=item.status,
            start_ms=entry.start_ms,
            end_ms=entry.end_ms,
            body=body,
        )


def broken_off(item: Item, heard: tuple[str, int] | None) -> Item:
    """An item as it stays when its answer does not go on.

    Args:
        heard: the words and milliseconds that were heard of it, if it is not heard to its end.
    """
    if heard is not None and isinstance(item, Message):
        text, heard_ms = heard
        spoken = SpokenText()
        spoken.add_sound(spoken.add_piece(text), float(heard_ms))
        spoken.finish()
        part = replace(item.parts[0], text=text, spoken=spoken, sent_ms=float(heard_ms))
        return replace(item, parts=(part, *item.parts[1:]), status="incomplete")
    return replace(item, status="incomplete") if item.status == "in_progress" else item


def _without_sound(item: Item) -> Item:
    """Of an answer that is being spoken, words and times follow once it is over."""
    if not isinstance(item, Message):
        return item
    return replace(item, parts=tuple(replace(part, spoken=None) for part in item.parts))
