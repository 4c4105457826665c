"""Who comes in, what they may do, and which dialect they are met in."""

import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from duologue.server.auth import Admission, Denied, Guard, Kind
from duologue.server.client_secrets import ClientSecrets
from duologue.server.keys import KeyBook
from duologue.server.limits import Limits
from duologue.settings import Settings
from duologue.transports.admission import Visitor
from duologue.transports.reception import MakeDialect
from duologue.transports.websocket import Rejection, UpgradeRequest
from duologue.wire.beta import BetaWire
from duologue.wire.choosing import BETA, GA, UNMUTE, Choice
from duologue.wire.configuring import Defaults
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from duologue.wire.unmute import UnmuteOrGa
from duologue.wire.validation import check


def wall_ms() -> float:
    """The process's clock; see `ports.Clock`."""
    return time.monotonic() * 1000


def guard(settings: Settings) -> Guard:
    """Who may come in."""
    return Guard(
        KeyBook(settings.keys_file, settings.keys),
        settings.origins,
        limits=Limits(settings.max_sessions_per_key, settings.requests_per_minute),
        secrets=ClientSecrets(time.time),
        clock_ms=wall_ms,
    )


def effective_session(settings: Settings, session: dict[str, Any]) -> dict[str, Any]:
    """What `session.created` would show of a session with these settings."""
    intent = "transcription" if session.get("type") == "transcription" else ""
    choice = Choice(model=session.get("model") or "", intent=intent)
    document = _document(settings, f"sess_{secrets.token_hex(10)}", choice)
    check({"type": "session.update", "session": {"type": "realtime", **session}})
    document.update(session)
    return document.json


def authorise(guard: Guard, request: UpgradeRequest, kind: Kind = "session") -> Visitor | Rejection:
    """Let a WebSocket in, or say why not."""
    admission = guard.admit(request.headers, request.peer, kind)
    if isinstance(admission, Denied):
        return Rejection(
            admission.status, admission.code, admission.message, admission.retry_after_s
        )
    return visitor(admission)


def visitor(admission: Admission) -> Visitor:
    """Who was let in, as the transports know them."""
    return Visitor(
        name=admission.name,
        session=admission.session,
        leave=admission.leave,
        on_revoked=admission.on_revoked,
        rate_limits=admission.rate_limits,
    )


def _document(settings: Settings, session_id: str, choice: Choice) -> SessionDocument:
    return SessionDocument(
        session_id,
        choice.model or settings.model,
        settings.instructions,
        transcribes=choice.intent == "transcription",
        defaults=Defaults(
            turns=settings.turns,
            max_turn_ms=settings.max_turn_ms,
            filler=settings.filler,
            hang_up=settings.hang_up,
            greeting=settings.greeting,
            echo=settings.echo,
        ),
    )


def _realtime(
    settings: Settings, session_id: str, choice: Choice, visitor: Visitor
) -> RealtimeWire:
    return RealtimeWire(_document(settings, session_id, choice), visitor.rate_limits)


def _beta(settings: Settings, session_id: str, choice: Choice, visitor: Visitor) -> BetaWire:
    return BetaWire(_document(settings, session_id, choice), visitor.rate_limits)


def _unmute(settings: Settings, session_id: str, choice: Choice, visitor: Visitor) -> UnmuteOrGa:
    return UnmuteOrGa(_realtime(settings, session_id, choice, visitor))


def dialects(settings: Settings) -> Mapping[str, MakeDialect]:
    """How the machine of each dialect is made."""
    return {
        GA: partial(_realtime, settings),
        BETA: partial(_beta, settings),
        UNMUTE: partial(_unmute, settings),
    }
