"""What all sessions of a process share. `app` makes one; tests make small ones."""

from collections.abc import Callable
from dataclasses import dataclass

from duologue.core.capabilities import Role
from duologue.core.errors import ClientError
from duologue.core.policy import TurnPolicy
from duologue.ports import Archive, Clock, EnginePool, Responder, ToolServers, TurnEnd
from duologue.session.hearing import Hearing
from duologue.session.journal import Journal
from duologue.session.meters import Meters
from duologue.session.mouth import LEAD_MS
from duologue.session.pacer import Pacer

CONTEXT_TOKENS = 28_224
"""What OpenAI's own realtime models are shown (32k less their longest answer)."""


@dataclass(slots=True)
class World:
    """The surroundings of a session.

    Attributes:
        lacking: what to tell a client that wants a language which no engine of a role knows; None if one does.
        journal: opens a journal for a session, where one is wanted.
        context_tokens: about how much of a conversation the language model is shown.
        lead_ms: how far ahead of the listener sound is sent.
        turn_end: hears whether a speaker has finished; None where there is no such model.
        tool_servers: the way to servers whose tools we run; None where there is none.
        archive: where conversations are kept; None where they are not.
    """

    pool: EnginePool
    responder: Responder
    hearing: Hearing
    pacer: Pacer
    meters: Meters
    clock: Clock
    journal: Callable[[str, TurnPolicy], Journal] | None = None
    lacking: Callable[[Role, str], ClientError | None] = lambda _role, _language: None
    lead_ms: float = LEAD_MS
    context_tokens: int = CONTEXT_TOKENS
    tool_servers: ToolServers | None = None
    turn_end: TurnEnd | None = None
    archive: Archive | None = None
