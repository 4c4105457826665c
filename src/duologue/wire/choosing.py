"""Which dialect a client speaks, by how it asks for the connection.

    subprotocol "duologue.v1"                                                 the protocol as it is today, extended
    OpenAI-Beta: realtime=v1, or the subprotocol "openai-beta.realtime-v1"    the beta of the protocol
    subprotocol "realtime" with neither a key nor a model                     unmute
    anything else                                                             the protocol as it is today (GA)

unmute's clients send no key, no model and no header of their own; every GA client has a key or names a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GA, BETA, UNMUTE = "ga", "beta", "unmute"

REALTIME_PROTOCOL = "realtime"
BETA_PROTOCOL = "openai-beta.realtime-v1"
EXTENSION_PROTOCOL = "duologue.v1"
MAX_DIGITS = 15
"""Of a number of messages; more than any session will ever send."""

_KEY_PROTOCOL = "openai-insecure-api-key."
_RESUME_PROTOCOL = "duologue-resume."


@dataclass(frozen=True, slots=True)
class Resume:
    """What a client says that wants to go on with its session.

    Attributes:
        received: how many of the server's messages it has; None if that was no number.
    """

    token: str
    received: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a client asked for.

    Attributes:
        dialect: GA, BETA or UNMUTE.
        subprotocol: the one to answer with; browsers break off if none of theirs comes back.
        model: the one it names; empty if it names none.
        intent: "transcription" for a session without answers.
        is_extended: it speaks the extension channel (docs/extension.md).
        resume: the session that it wants to go on with.
    """

    dialect: str = GA
    subprotocol: str | None = None
    model: str = ""
    intent: str = ""
    is_extended: bool = False
    resume: Resume | None = None


def choose(
    query: Mapping[str, str], headers: Mapping[str, str], subprotocols: Sequence[str]
) -> Choice:
    """Read an upgrade request; header names are in lower case."""
    is_extended = EXTENSION_PROTOCOL in subprotocols
    chosen = REALTIME_PROTOCOL if REALTIME_PROTOCOL in subprotocols else None
    return Choice(
        GA if is_extended else _dialect(query, headers, subprotocols),
        EXTENSION_PROTOCOL if is_extended else chosen,
        query.get("model", ""),
        query.get("intent", ""),
        is_extended,
        _resume(subprotocols) if is_extended else None,
    )


def _resume(subprotocols: Sequence[str]) -> Resume | None:
    """ "duologue-resume.TOKEN.RECEIVED", if it was offered."""
    for name in subprotocols:
        if name.startswith(_RESUME_PROTOCOL):
            token, _, received = name.removeprefix(_RESUME_PROTOCOL).rpartition(".")
            is_number = received.isascii() and received.isdigit() and len(received) <= MAX_DIGITS
            return Resume(token, int(received) if is_number else None)
    return None


def _dialect(
    query: Mapping[str, str], headers: Mapping[str, str], subprotocols: Sequence[str]
) -> str:
    if BETA_PROTOCOL in subprotocols or "realtime=v1" in headers.get("openai-beta", ""):
        return BETA
    has_key = "authorization" in headers or any(p.startswith(_KEY_PROTOCOL) for p in subprotocols)
    if REALTIME_PROTOCOL in subprotocols and not has_key and not query:
        return UNMUTE
    return GA
