"""What was said in a session, as the language model is shown it, and as the store has it."""

from collections.abc import Sequence
from dataclasses import replace

from duologue.core.conversation import Conversation, Item, Message, Part, Role
from duologue.core.records import ItemRecord
from duologue.core.streaming import Spoken, Transcribed
from duologue.session.streaming.shelf import notice_of

MAX_ITEMS = 400
"""Of the store's that are read when a session is brought back: more than a language model is shown."""


class History:
    """One session's conversation: a message for each part of the transcript, and one for each response."""

    def __init__(self) -> None:
        self._conversation = Conversation()
        self._parts: dict[str, list[ItemRecord]] = {}  # of the last responses, as stored
        self.entries = 0

    @property
    def conversation(self) -> Conversation:
        """All of it."""
        return self._conversation

    @property
    def items(self) -> tuple[Item, ...]:
        """What was said, in order."""
        return tuple(self._conversation)

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

    def forget(self) -> None:
        """Begin a new conversation."""
        self._conversation = Conversation()
        self._parts.clear()

    def _add(self, item_id: str, role: Role, text: str, kind: str) -> None:
        if self._conversation.get(item_id) is None:
            part = Part(kind, text)  # type: ignore[arg-type]
            self._conversation.add(Message(item_id, role, (part,)))
            self.entries += 1

    def _put(self, item_id: str, text: str) -> None:
        message = self._conversation.get(item_id)
        if isinstance(message, Message):
            part = replace(message.parts[0], text=text)
            self._conversation.put(replace(message, parts=(part,)))
