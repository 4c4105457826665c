"""What a client asks of a session: the imperative side of every dialect, once it has been understood.

Sound is no command: it comes as plain calls (`Session.hear`). Each command carries an `ask`, under which
a refusal is reported, so that the dialect can say which event of the client's it was.
"""

from dataclasses import dataclass

from duologue.core.conversation import Item
from duologue.core.facts import AskId
from duologue.core.options import ReplyOptions, SessionOptions


@dataclass(frozen=True, slots=True)
class Command:
    """Something asked for."""

    ask: AskId


@dataclass(frozen=True, slots=True)
class SetOptions(Command):
    """Behave so from here on."""

    options: SessionOptions


@dataclass(frozen=True, slots=True)
class Commit(Command):
    """What was said since the last commit is an utterance."""


@dataclass(frozen=True, slots=True)
class Clear(Command):
    """Forget what was said since the last commit."""


@dataclass(frozen=True, slots=True)
class CreateItem(Command):
    """Put an item into the conversation, after another (None: at the end)."""

    item: Item
    after: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteItem(Command):
    """Take an item out."""

    item_id: str


@dataclass(frozen=True, slots=True)
class RetrieveItem(Command):
    """Show an item as it stands."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TruncateItem(Command):
    """Of this answer only so much was heard."""

    item_id: str
    content_index: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class CreateReply(Command):
    """Answer now, with these options."""

    options: ReplyOptions


@dataclass(frozen=True, slots=True)
class CancelReply(Command):
    """Stop the answer: that one, or whichever runs."""

    reply_id: str | None = None


@dataclass(frozen=True, slots=True)
class ClearOutput(Command):
    """Play no more of what is being said, sent or not."""


@dataclass(frozen=True, slots=True)
class Played(Command):
    """So much of this answer's sound was played to the listener by now."""

    item_id: str
    played_ms: int


@dataclass(frozen=True, slots=True)
class PausePlayback(Command):
    """The client has stopped playing the present answer; whose turn it is, this does not say."""


@dataclass(frozen=True, slots=True)
class GoOnPlaying(Command):
    """The client plays again."""


AnyCommand = (
    SetOptions
    | Commit
    | Clear
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CreateReply
    | CancelReply
    | ClearOutput
    | Played
    | PausePlayback
    | GoOnPlaying
)
