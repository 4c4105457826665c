"""Every error that Duologue raises on purpose.

    DuologueError
    ├── ClientError            the peer sent something we cannot act on; the connection lives on
    │   ├── MalformedEvent     not an event of the protocol, or a field of it is wrong
    │   └── StateConflict      a well-formed command that does not fit the present state
    ├── EngineError            a model, or the server behind it, failed
    │   ├── EngineUnavailable  it cannot be started here: a library or a model file is missing
    │   ├── AtCapacity         it runs and is full; come back later
    │   ├── EngineLost         it died, hung or broke off in the middle of its work
    │   │   └── EngineOutOfMemory  memory ran out; a smaller model or a smaller piece of work may fit
    │   └── EngineRefused      it answered with an error of its own
    ├── SetupError             the operator's configuration cannot work as it stands
    └── OurError               a broken promise of our own: please report it

`code` is part of the API and never changes its meaning; `message` is prose and may. `culprit` says
whose move it is, `remedy` what that move would be.
"""

from typing import ClassVar, Literal

Culprit = Literal["client", "engine", "operator", "us"]


class DuologueError(Exception):
    """Base of all; never raised itself.

    Args:
        code: stable, lower-case, words joined by underscores.
        message: one sentence for a person: which stage, what happened.
        remedy: one sentence: what to do about it; may be empty where the message says it already.
    """

    culprit: ClassVar[Culprit] = "us"

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), dict(self.__dict__))


def first_of(error: BaseException) -> DuologueError:
    """The error in a group of nothing but ours, however deep it lies."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, DuologueError)
    return error


def only_ours(group: BaseException) -> DuologueError | None:
    """The first of a group of nothing but ours; None if there is anything else in it.

    Raised after `except BaseExceptionGroup`, it is raised bare; out of `except*`, Python 3.11.2 (Debian 12's) and its
    like would wrap it into a group again.
    """
    if not isinstance(group, BaseExceptionGroup):
        return group if isinstance(group, DuologueError) else None
    found = [only_ours(error) for error in group.exceptions]
    return None if None in found else found[0]


def _revive(kind: type[DuologueError], state: dict[str, object]) -> DuologueError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class ClientError(DuologueError):
    """The peer's move: goes back to it as an error event with this code."""

    culprit = "client"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        remedy: str = "",
        param: str | None = None,
        event_id: str | None = None,
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.param = param
        self.event_id = event_id


class MalformedEvent(ClientError):
    """Not an event of the protocol; for example bad JSON, an unknown type, a missing field."""


class StateConflict(ClientError):
    """A command out of season; for example cancelling when no response is in progress."""


class EngineError(DuologueError):
    """A model or its server failed. `retryable` says whether the same call may succeed later."""

    culprit = "engine"
    retryable: ClassVar[bool] = False


class EngineUnavailable(EngineError):
    """The engine cannot run on this machine as it is; the remedy says what is missing."""


class AtCapacity(EngineError):
    """All streams of the engine are taken."""

    retryable = True


class EngineLost(EngineError):
    """The engine stopped answering in the middle of its work."""

    retryable = True


class EngineOutOfMemory(EngineLost):
    """Memory ran out, at load or at work: the engine is to come back smaller, and the work is asked for again."""


class EngineRefused(EngineError):
    """The engine answered with an error of its own; for example HTTP 401 from an LLM server."""


class SetupError(DuologueError):
    """The configuration contradicts itself or the machine; refused at start, never at the first call."""

    culprit = "operator"


class OurError(DuologueError):
    """A promise of ours was broken. The session ends; the others live on."""
