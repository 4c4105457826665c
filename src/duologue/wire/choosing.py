"""Which dialect a client speaks, by how it asks for the connection.

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
_KEY_PROTOCOL = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True)
class Choice:
    """What a client asked for.

    Attributes:
        dialect: GA, BETA or UNMUTE.
        subprotocol: the one to answer with; browsers break off if none of theirs comes back.
        model: the one it names; empty if it names none.
        intent: "transcription" for a session without answers.
        extensions: subprotocols of our own that it offered.
    """

    dialect: str = GA
    subprotocol: str | None = None
    model: str = ""
    intent: str = ""


def choose(
    query: Mapping[str, str], headers: Mapping[str, str], subprotocols: Sequence[str]
) -> Choice:
    """Read an upgrade request; header names are in lower case."""
    chosen = REALTIME_PROTOCOL if REALTIME_PROTOCOL in subprotocols else None
    return Choice(
        _dialect(query, headers, subprotocols),
        chosen,
        query.get("model", ""),
        query.get("intent", ""),
    )


def _dialect(
    query: Mapping[str, str], headers: Mapping[str, str], subprotocols: Sequence[str]
) -> str:
    if BETA_PROTOCOL in subprotocols or "realtime=v1" in headers.get("openai-beta", ""):
        return BETA
    has_key = "authorization" in headers or any(p.startswith(_KEY_PROTOCOL) for p in subprotocols)
    if REALTIME_PROTOCOL in subprotocols and not has_key and not query:
        return UNMUTE
    return GA
