"""What a session says to a client that asks for what cannot be, or when it fails itself."""

from collections.abc import Callable

from duologue.core.capabilities import Role
from duologue.core.errors import ClientError, OurError, StateConflict
from duologue.core.facts import AskId
from duologue.core.notices import Problem
from duologue.core.options import SessionOptions
from duologue.ports import Listener

MIN_COMMIT_MS = 100
"""The protocol's: a commit of less sound is an error."""

REFUSALS = {
    "response_cancel_not_active": "Cancellation failed: no active response found.",
    "conversation_already_has_active_response": (
        "Conversation already has an active response in progress. "
        "Wait until the response is finished before creating a new one."
    ),
    "too_many_announcements": "Too many announcements are waiting to be said.",
}


def buffer_full() -> StateConflict:
    """More sound than can be kept."""
    return StateConflict(
        "input_audio_buffer_full",
        "More audio is waiting than this server keeps.",
        remedy="Send it no faster than it is worked off, or in several sessions.",
        param="audio",
    )


def too_little_sound(lasts_ms: int) -> StateConflict:
    """A commit of almost nothing."""
    return StateConflict(
        "input_audio_buffer_commit_empty",
        f"Error committing input audio buffer: buffer too small. Expected at least "
        f"{MIN_COMMIT_MS}ms of audio, but buffer only has {lasts_ms}ms of audio.",
    )


def no_responses() -> StateConflict:
    """A transcription session was asked to answer."""
    return StateConflict(
        "response_not_supported",
        "A transcription session makes no responses.",
        remedy="Open a session of type 'realtime' to have answers.",
    )


def rate_mismatch(declared_hz: int, rate_hz: int) -> ClientError:
    """Sound comes at a pace that is not that of its format."""
    return ClientError(
        "audio_rate_mismatch",
        f"Audio declared as {declared_hz} Hz arrives as slowly as {rate_hz} Hz audio would: "
        "it will not be understood.",
        remedy=f"Declare audio.input.format.rate {rate_hz}, or resample to {declared_hz} Hz.",
        param="session.audio.input.format",
    )


def tell_lacking(
    listener: Listener,
    lacking: Callable[[Role, str], ClientError | None],
    ask: AskId,
    options: SessionOptions,
) -> None:
    """Say of a session's language that nothing here understands or speaks it, if that is so.

    The session has it all the same: what was said in it is told to have failed, item by item, and an engine that
    knows it may yet come up.
    """
    roles = [Role.STT, Role.TTS] if options.answers and options.reply.spoken else [Role.STT]
    for role in roles:
        if (error := lacking(role, options.language)) is not None:
            listener.tell(Problem(error, ask))


def bug(error: BaseException) -> OurError:
    """Ours, and nobody foresaw it."""
    return OurError(
        "internal_error",
        f"The session ended because of a bug in Duologue ({type(error).__name__}).",
        remedy="Please report it with the server's log.",
    )
