"""The speaking side of a session: what is asked to be said, what was said, and how much of it was heard."""

import secrets
from collections.abc import Sequence
from typing import Literal, Protocol

from duologue.core.conversation import Conversation
from duologue.core.errors import MalformedEvent
from duologue.core.records import ItemRecord
from duologue.core.streaming import (
    Lasting,
    SpeechQueued,
    SpeechStopped,
    Spoken,
    StreamNotice,
    StreamOptions,
    StreamProblem,
    TextRequest,
)
from duologue.session.streaming.history import History
from duologue.session.streaming.recorder import Recorder
from duologue.session.streaming.replies import Replies
from duologue.session.streaming.response import PartMade, Response
from duologue.session.streaming.shared import Shared

MAX_TEXT_CHARS = 10_000
"""Of one text: ten minutes of talk."""

Stop = Literal["stopped", "interrupted", "reset", "failed"]


class Host(Protocol):
    """The session."""

    id: str
    options: StreamOptions

    def tell(self, notice: StreamNotice) -> None:
        """Tell all listeners."""

    def store(self, notice: Lasting) -> ItemRecord:
        """Store it, then tell it; the record as it is written."""

    def next_number(self) -> int:
        """For an item."""

    def revise(self, records: Sequence[ItemRecord]) -> None:
        """These are not what they were told to be."""

    @property
    def heard_ms(self) -> int:
        """Sound that the user has sent."""


class OurSide:
    """One session's; see `replies.Desk`.

    Attributes:
        history: the conversation.
        recorder: of both sides' sound.
    """

    def __init__(self, host: Host, shared: Shared) -> None:
        self.id = host.id
        self.history = History()
        self.recorder = Recorder(shared.archive, host.id, shared.wall_s)
        self.replies = Replies(self, shared.speech)
        self._host = host
        self._archive = shared.archive
        self._wall_s = shared.wall_s

    @property
    def options(self) -> StreamOptions:
        """The session's."""
        return self._host.options

    # --- what is asked ---
    def say(self, request: TextRequest) -> SpeechQueued:
        """Have a text said, or answered.

        Raises:
            ClientError: there is nothing to say, or too much.
            AtCapacity: too many wait.
        """
        text = request.text.strip()
        if not text or len(text) > MAX_TEXT_CHARS:
            raise MalformedEvent(
                "text_too_long" if text else "text_empty",
                f"A text to be said has 1 to {MAX_TEXT_CHARS} characters, not {len(text)}.",
                param="text",
            )
        response, before = self.replies.ask(request)
        if request.answers:
            self._write_message(text)
        return SpeechQueued(response.id, request.request_id, before)

    def answer(self) -> None:
        """Have what the user said answered.

        Raises:
            AtCapacity: too many texts wait.
        """
        self.replies.ask(TextRequest("", answers=True))

    def stop(self, reason: Stop, *, answers_only: bool = False) -> None:
        """Say no more."""
        for response in self.replies.stop(answers_only=answers_only):
            self._cut(response, reason)

    def close(self) -> None:
        """The session is over. What was told whole was told: its listener goes on playing it."""
        current = self.replies.current
        is_told = current is not None and current.is_over
        for response in self.replies.stop():
            if not (is_told and response is current):
                self._cut(response, "stopped")
        self.recorder.flush()

    def played(self, response_id: str, played_ms: int) -> None:
        """The client says how far it is."""
        current = self.replies.current
        if current is not None and current.id == response_id:
            current.played(played_ms)

    # --- for the replies ---
    def new_id(self, prefix: str) -> str:
        """A fresh name."""
        return f"{prefix}_{secrets.token_hex(10)}"

    @property
    def conversation(self) -> Conversation:
        """See `replies.Desk`."""
        return self.history.conversation

    def part_made(self, response: Response, part: PartMade) -> None:
        """See `replies.Desk`."""
        if not part.text and not part.audio and response.error is not None:
            return
        request = response.request
        notice = Spoken(
            self._host.next_number(),
            response.id,
            request.request_id,
            part.number,
            part.is_last,
            part.text,
            request.language or self.options.language,
            part.audio,
            part.duration_ms,
        )
        if self.options.records and part.audio:
            self.recorder.ours(part.audio, self._host.heard_ms)
        self.history.we_said(self._host.store(notice))

    def response_over(self, response: Response) -> None:
        """See `replies.Desk`."""
        if response.error is not None:
            request_id = response.request.request_id
            self._host.tell(StreamProblem(response.error, request_id=request_id))
            self._cut(response, "failed")

    def _cut(self, response: Response, reason: Stop) -> None:
        """No more of a response is said: the conversation and the store keep what was heard."""
        heard_ms, heard = response.heard()
        if changed := self.history.heard_only(response.id, heard):
            self._archive.write(*changed)
            self._host.revise(changed)
        self._host.tell(SpeechStopped(response.id, heard_ms, heard, reason))

    def _write_message(self, text: str) -> None:
        """What the user wrote: an item like any other, but told to nobody."""
        item_id, number = self.new_id("item"), self._host.next_number()
        self.history.user_said(item_id, text, written=True)
        at_s = self._wall_s()
        self._archive.write(ItemRecord(self.id, item_id, number, "message", "user", text, at_s))
