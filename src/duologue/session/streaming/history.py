"""What was said in a session, as the language model is shown it, and as the store has it."""

import json
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from duologue.core.conversation import MAX_ITEMS as KEPT_ITEMS
from duologue.core.conversation import Conversation, Item, Message, Part, Role
from duologue.core.records import ItemRecord
from duologue.core.streaming import Spoken, Transcribed
from duologue.session.streaming.shelf import notice_of

MAX_ITEMS = 400
"""Of the store's that are read when a session is brought back: more than a language model is shown."""


AT_HAND = 64
"""Messages that are kept as they are: what can still change is among them."""

PACK = 32
"""Older ones are kept in packs of so many, a tenth of the size: an hour has a thousand, most of it overhead."""


class History:
    """One session's conversation: a message for each part of the transcript, and one for each response."""

    def __init__(self) -> None:
        self._packs: deque[bytes] = deque(maxlen=(KEPT_ITEMS - AT_HAND) // PACK)
        self._conversation = Conversation()  # the newest
        self._parts: dict[str, list[ItemRecord]] = {}  # of the last responses, as stored
        self.entries = 0

    @property
    def conversation(self) -> Conversation:
        """All of it, as it is now: not to be changed."""
        whole = Conversation()
        for item in self.items:
            whole.add(item)
        return whole

    @property
    def items(self) -> tuple[Item, ...]:
        """What was said, in order."""
        older = (message for pack in self._packs for message in _unpacked(pack))
        return (*older, *self._conversation)

    def user_said(self, item_id: str, text: str, *, written: bool = False) -> None:
        """The user said this."""
        self._add(item_id, "user", text, "input_text" if written else "input_audio")

    def we_said(self, record: ItemRecord) -> None:
        """A part of a response was told."""
        response_id = str(record.body["response_id"])
        parts = self._parts.setdefault(response_id, [])
        parts.append(record)
        while len(self._parts) > 2:  # the one being made, and the one still to be heard
            del self._parts[next(iter(self._parts))]
        text = "".join(part.text for part in parts)
        if len(parts) == 1:
            self._add(response_id, "assistant", text, "output_audio")
        else:
            self._put(response_id, text)

    def heard_only(self, response_id: str, heard: str) -> list[ItemRecord]:
        """So much of a response was heard: its records as they are to be stored now."""
        left, changed = len(heard), []
        for part in self._parts.get(response_id, []):
            text = part.text[:left]
            left = max(0, left - len(part.text))
            if text != part.text:
                changed.append(replace(part, text=text, status="incomplete"))
        if changed:
            self._put(response_id, heard)
            message = self._conversation.get(response_id)
            if isinstance(message, Message):
                self._conversation.put(replace(message, status="incomplete"))
        return changed

    def restore(self, records: Sequence[ItemRecord]) -> None:
        """As it was stored."""
        for record in records:
            notice = notice_of(record)
            if isinstance(notice, Transcribed):
                self.user_said(record.id, record.text)
            elif isinstance(notice, Spoken):
                self.we_said(record)
            elif record.kind == "message":
                self.user_said(record.id, record.text, written=True)
        self._parts.clear()

    def broken_off(self, records: Sequence[ItemRecord]) -> list[ItemRecord]:
        """Of what was stored, the parts of a response that never came to its end, as they are to be stored now."""
        told = [record for record in records if record.kind == "speech"]
        if not told or told[-1].body["is_last"] or told[-1].status == "incomplete":
            return []
        response_id = told[-1].body["response_id"]
        parts = [
            replace(r, status="incomplete") for r in told if r.body["response_id"] == response_id
        ]
        message = self._conversation.get(response_id)
        if isinstance(message, Message):
            self._conversation.put(replace(message, status="incomplete"))
        return parts

    def forget(self) -> None:
        """Begin a new conversation."""
        self._conversation = Conversation()
        self._packs.clear()
        self._parts.clear()

    def _add(self, item_id: str, role: Role, text: str, kind: str) -> None:
        if self._conversation.get(item_id) is None:
            part = Part(kind, text)  # type: ignore[arg-type]
            self._conversation.add(Message(item_id, role, (part,)))
            self.entries += 1
            if len(self._conversation) > AT_HAND:
                self._pack()

    def _pack(self) -> None:
        """The oldest of those at hand take less room from now on."""
        oldest = [item for item in islice(self._conversation, PACK) if isinstance(item, Message)]
        self._packs.append(_packed(oldest))
        for message in oldest:
            self._conversation.delete(message.id)

    def _put(self, item_id: str, text: str) -> None:
        message = self._conversation.get(item_id)
        if isinstance(message, Message):
            part = replace(message.parts[0], text=text)
            self._conversation.put(replace(message, parts=(part,)))


def _packed(messages: Sequence[Message]) -> bytes:
    rows = [[m.id, m.role, m.status, m.parts[0].kind, m.text] for m in messages]
    return zlib.compress(json.dumps(rows, ensure_ascii=False).encode(errors="surrogatepass"))


def _unpacked(pack: bytes) -> Iterator[Message]:
    for item_id, role, status, kind, text in json.loads(
        zlib.decompress(pack).decode(errors="surrogatepass")
    ):
        yield Message(item_id, role, (Part(kind, text),), status)
