"""The vocabulary of a conversation: facts that come in (past tense), orders that go out (imperative).

All are frozen values, so a session is a list of facts and can be replayed. `at` is a position on the
stream clock (`core.audio.Ms`), stamped by whoever reports the fact; the machine never lets it run
backwards. Identities are small integers that the machine hands out, never reused within a session.
"""

from dataclasses import dataclass
from typing import NewType

from duologue.core.audio import Ms
from duologue.core.cadence import Cadence
from duologue.core.policy import TurnPolicy

UtteranceId = NewType("UtteranceId", int)
"""One stretch of the user's speech, from its first sound to its commit."""

ReplyId = NewType("ReplyId", int)
"""One answer of ours, from its order to its last heard sample."""

DraftId = NewType("DraftId", int)
"""One request to the recogniser to finish what it has; several may make up one utterance."""

AskId = NewType("AskId", int)
"""A client's command that may be refused or carries options; the session keeps what belongs to it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened."""

    at: Ms


# --- from the ears ---
@dataclass(frozen=True, slots=True)
class SpeechStarted(Fact):
    """Speech began at `at`."""


@dataclass(frozen=True, slots=True)
class SpeechStopped(Fact):
    """Speech ended at `at`.

    Attributes:
        cadence: how the voice fell there; None if that is not known.
        is_murmur: it was a short hum behind closed lips, and no word.
    """

    cadence: Cadence | None = None
    is_murmur: bool = False


@dataclass(frozen=True, slots=True)
class InputBegan(Fact):
    """The first sample since the last commit or clear came in, and nobody detects speech (push-to-talk)."""


@dataclass(frozen=True, slots=True)
class Tick(Fact):
    """Nothing happened, but time has passed: everything up to `at` is settled."""


# --- from the recogniser ---
@dataclass(frozen=True, slots=True)
class TextHeard(Fact):
    """A partial transcript of the utterance since its last draft; may be revised."""

    utterance: UtteranceId
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptReady(Fact):
    """The final transcript of one draft; empty if nothing was said. `confidence` (0 to 1) is the recogniser's own."""

    utterance: UtteranceId
    draft: DraftId
    text: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class TranscriptFailed(Fact):
    """No engine could transcribe the draft; `code` is that of the error."""

    utterance: UtteranceId
    draft: DraftId
    code: str


# --- from the acoustic model ---
@dataclass(frozen=True, slots=True)
class TurnJudged(Fact):
    """By the sound of it, the speaker has finished with this probability; None if nobody could say.

    It is about the pause in which the draft was asked for.
    """

    utterance: UtteranceId
    draft: DraftId
    probability: float | None


# --- from the reply ---
@dataclass(frozen=True, slots=True)
class ReplyAudible(Fact):
    """The first sound of the reply went out."""

    reply: ReplyId


@dataclass(frozen=True, slots=True)
class ReplySent(Fact):
    """All of the reply went out, or it ended with nothing to hear. Where sound went out, `ReplyHeard` follows."""

    reply: ReplyId


@dataclass(frozen=True, slots=True)
class ReplyHeard(Fact):
    """The listener has heard the last sample of the reply."""

    reply: ReplyId


# --- from the client ---
@dataclass(frozen=True, slots=True)
class CommitAsked(Fact):
    """The client ends the utterance here; `upto` is a position in samples. Makes no reply by itself."""

    upto: int
    ask: AskId


@dataclass(frozen=True, slots=True)
class ClearAsked(Fact):
    """The client takes back what it has said since the last commit."""

    ask: AskId


@dataclass(frozen=True, slots=True)
class ReplyAsked(Fact):
    """The client wants an answer now."""

    ask: AskId


@dataclass(frozen=True, slots=True)
class CancelAsked(Fact):
    """The client wants the running answer stopped: that one, or whichever runs."""

    ask: AskId
    reply: ReplyId | None = None


@dataclass(frozen=True, slots=True)
class PlaybackStopped(Fact):
    """The client says that it plays no more of the reply."""

    reply: ReplyId


@dataclass(frozen=True, slots=True)
class PolicyChanged(Fact):
    """The client changed how turns are taken."""

    policy: TurnPolicy


# --- from ourselves ---
@dataclass(frozen=True, slots=True)
class SayAsked(Fact):
    """Something of our own is due to be said: a timer, an announcement. Waits until nobody speaks."""

    ask: AskId


AnyFact = (
    SpeechStarted
    | SpeechStopped
    | InputBegan
    | Tick
    | TextHeard
    | TranscriptReady
    | TranscriptFailed
    | TurnJudged
    | ReplyAudible
    | ReplySent
    | ReplyHeard
    | CommitAsked
    | ClearAsked
    | ReplyAsked
    | CancelAsked
    | PlaybackStopped
    | PolicyChanged
    | SayAsked
)


# --- orders ---
@dataclass(frozen=True, slots=True)
class Listen:
    """Feed the recogniser from `since` on (less the pre-roll); again after a pause for the same utterance."""

    utterance: UtteranceId
    since: Ms


@dataclass(frozen=True, slots=True)
class FinishDraft:
    """Hold the sound back and have the recogniser finish what it has; answered by a transcript."""

    utterance: UtteranceId
    draft: DraftId


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the utterance: it was a cough, an echo, or taken back."""

    utterance: UtteranceId


@dataclass(frozen=True, slots=True)
class AnnounceSpeech:
    """Tell the client that speech started; it will stop its playback upon this."""

    utterance: UtteranceId
    since: Ms


@dataclass(frozen=True, slots=True)
class CommitUtterance:
    """The utterance is over; `upto` in samples, `why` for the waterfall. `spoken` if speech was detected in it."""

    utterance: UtteranceId
    upto: int
    why: str
    spoken: bool


@dataclass(frozen=True, slots=True)
class CompleteTranscript:
    """All drafts of a committed utterance are in; `failed` holds the error's code where one is missing."""

    utterance: UtteranceId
    text: str
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Begin the answer that would follow if the turn ended now with this text; nobody is to notice."""

    utterance: UtteranceId
    text: str


@dataclass(frozen=True, slots=True)
class DropRehearsal:
    """The turn goes on: what was begun early answers nothing any more."""


@dataclass(frozen=True, slots=True)
class StartReply:
    """Begin an answer; `ask` is the client's command behind it, or ours, if any."""

    reply: ReplyId
    ask: AskId | None = None


@dataclass(frozen=True, slots=True)
class StopReply:
    """End the answer at once; what was not heard was not said. `why` is the protocol's reason."""

    reply: ReplyId
    why: str


@dataclass(frozen=True, slots=True)
class HoldOutput:
    """Send no more sound of the reply for now."""

    reply: ReplyId


@dataclass(frozen=True, slots=True)
class ResumeOutput:
    """Go on from the held sample."""

    reply: ReplyId


@dataclass(frozen=True, slots=True)
class AnnounceIdle:
    """Tell the client that nobody has spoken since then; the silence is committed as this utterance."""

    utterance: UtteranceId
    since: Ms


@dataclass(frozen=True, slots=True)
class LetGo:
    """The turn ends without an answer; `why` for the waterfall."""

    why: str


@dataclass(frozen=True, slots=True)
class Accept:
    """The command was carried out."""

    ask: AskId


@dataclass(frozen=True, slots=True)
class Refuse:
    """The command does not fit the present state; `code` is that of the error event."""

    ask: AskId
    code: str


Order = (
    Listen
    | FinishDraft
    | Discard
    | AnnounceSpeech
    | CommitUtterance
    | CompleteTranscript
    | Rehearse
    | DropRehearsal
    | StartReply
    | StopReply
    | HoldOutput
    | ResumeOutput
    | AnnounceIdle
    | LetGo
    | Accept
    | Refuse
)
