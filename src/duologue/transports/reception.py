"""Where connections are taken in: admitted, given a dialect, and owned until they are over."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from duologue.core.errors import ClientError
from duologue.session.world import World
from duologue.transports.admission import Visitor
from duologue.transports.extension import Leg, ResumableConnection
from duologue.transports.lobby import Lobby
from duologue.transports.realtime import RealtimeConnection
from duologue.transports.restoring import Past, RestoredConnection
from duologue.transports.websocket import Accept, Handler, Rejection, UpgradeRequest
from duologue.wire.choosing import GA, Choice, Resume, choose
from duologue.wire.dialect import Dialect
from duologue.wire.extension import Extended

log = logging.getLogger("duologue.realtime")

REALTIME_PATHS = ("/v1/realtime",)

MakeDialect = Callable[[str, Choice, Visitor], Dialect]
"""(session id, what the client asked for, who it is) -> its machine."""


Connect = Callable[[Dialect, World, str], RealtimeConnection]
"""(its machine, the world, session id) -> a connection."""

NOT_READY = Rejection(503, "not_ready", "The engines are still being loaded.", 2)
GONE = Rejection(
    410, "session_gone", "There is no session to resume by this token: begin a new one."
)


class Reception:
    """Takes connections in, and owns their conversations.

    Args:
        authorise: who a request comes from, or why it may not come in.
        dialects: by name, how to make each.

    Attributes:
        is_open: engines are loaded and have run; before, and on the way down, connections are refused.
        lobby: sessions that can be resumed.
        past: sessions of the servers before this one, which can be, too.
        doors: other WebSockets than conversations', by the beginnings of their paths.
    """

    def __init__(
        self,
        world: World,
        authorise: Callable[[UpgradeRequest], Visitor | Rejection],
        *,
        dialects: Mapping[str, MakeDialect],
        max_sessions: int,
    ) -> None:
        self.is_open = False
        self.world = world
        self.lobby: Lobby[ResumableConnection] = Lobby()
        self.past = Past()
        self.doors: dict[str, Accept] = {}
        self._authorise = authorise
        self._dialects = dialects
        self._max_sessions = max_sessions
        self._tasks: asyncio.TaskGroup | None = None
        self._conversations = 0

    async def remember(self) -> None:
        """Learn of the sessions of servers before this one. To be awaited once, before it opens."""
        if self.world.archive is not None:
            await self.past.learn(self.world.archive, time.time())

    async def run(self) -> None:
        """Own the conversations until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.Event().wait()
            finally:
                self._tasks = None

    def accept(self, request: UpgradeRequest) -> Handler | Rejection:
        """See `websocket.Accept`."""
        if request.path not in REALTIME_PATHS:
            return self._elsewhere(request)
        choice = choose(request.query, request.headers, request.subprotocols)
        if choice.resume is not None:
            return self._resume(request, choice.resume)
        visitor = self._authorise(request)
        if isinstance(visitor, Rejection):
            return visitor
        connect: Connect = self._resumable if choice.is_extended else RealtimeConnection
        connection = self.admit(visitor, choice, connect)
        if isinstance(connection, Rejection):
            return connection
        connection.subprotocol = choice.subprotocol
        return connection.handler

    def admit(
        self,
        visitor: Visitor,
        choice: Choice,
        connect: Connect = RealtimeConnection,
    ) -> RealtimeConnection | Rejection:
        """A conversation for somebody who was let in; `connect` makes its connection, if it is no plain socket."""
        refusal = self._refusal()
        if refusal is None:
            session_id = f"sess_{secrets.token_hex(10)}"
            make = self._dialects.get(choice.dialect, self._dialects[GA])
            dialect = make(session_id, choice, visitor)
            extension = Extended(dialect) if choice.is_extended else None
            dialect = extension or dialect
            refusal = _bind(dialect, visitor.session)
            if refusal is None:
                connection = connect(dialect, self.world, session_id)
                connection.extension = extension
                connection.about = _about(choice)
                self._own(connection, visitor, session_id)
                return connection
        visitor.leave()
        return refusal

    def _elsewhere(self, request: UpgradeRequest) -> Handler | Rejection:
        for beginning, accept in self.doors.items():
            if request.path.startswith(beginning):
                return accept(request)
        return Rejection(404, "not_found", f"There is no WebSocket at {request.path[:200]}.")

    def _resumable(self, wire: Dialect, world: World, session_id: str) -> ResumableConnection:
        return ResumableConnection(wire, world, session_id, self.lobby)

    def _resume(self, request: UpgradeRequest, resume: Resume) -> Handler | Rejection:
        """A client that comes back to its session, which is counted once."""
        connection = self.lobby.find(resume.token)
        if connection is None:
            return self._restore(request, resume)
        name = connection.visitor.name
        connection.visitor.leave()
        connection.visitor = Visitor(name)
        visitor = self._authorise(request)
        if isinstance(visitor, Rejection):
            return visitor
        if not self.is_open or connection.visitor.name != visitor.name:
            return self._not_to_resume(visitor)
        if resume.received is None or not connection.may_resume_after(resume.received):
            return _impossible(visitor, resume)
        connection.visitor = visitor
        visitor.on_revoked(connection.revoked)
        return Leg(connection, resume.token, resume.received)

    def _restore(self, request: UpgradeRequest, resume: Resume) -> Handler | Rejection:
        """A client whose session was another server's, unless there is none."""
        visitor = self._authorise(request)
        if isinstance(visitor, Rejection):
            return visitor
        left = self.past.find(resume.token, time.time())
        if not self.is_open or left is None or left.owner != visitor.name:
            return self._not_to_resume(visitor)
        if resume.received is None:
            return _impossible(visitor, resume)
        if (refusal := self._refusal()) is not None:
            visitor.leave()
            return refusal
        choice = Choice(GA, model=left.model, intent=left.intent, is_extended=True)
        extension = Extended(self._dialects[GA](left.session_id, choice, visitor))
        came = (resume.token, resume.received)
        connection = RestoredConnection(extension, self.world, left, self.lobby, came)
        connection.extension = extension
        connection.about = _about(choice)
        self.past.take(left)
        task = self._own(connection, visitor, left.session_id)
        task.add_done_callback(lambda _: None if connection.is_read else self.past.put(left))
        return connection.handler

    def _not_to_resume(self, visitor: Visitor) -> Rejection:
        visitor.leave()
        self.world.meters.counts["resumes_refused"] += 1
        return GONE if self.is_open else NOT_READY

    def _refusal(self) -> Rejection | None:
        if not self.is_open or self._tasks is None:
            return NOT_READY
        if self._conversations >= self._max_sessions:
            self.world.meters.counts["sessions_refused"] += 1
            message = f"All {self._max_sessions} sessions of this server are taken."
            return Rejection(503, "session_limit_reached", message, 10)
        return None

    def _own(
        self, connection: RealtimeConnection, visitor: Visitor, session_id: str
    ) -> asyncio.Task[None]:
        assert self._tasks is not None
        self._conversations += 1

        def left(_task: asyncio.Task[None]) -> None:
            self._conversations -= 1
            connection.visitor.leave()

        connection.visitor = visitor
        visitor.on_revoked(connection.revoked)
        task = self._tasks.create_task(self._hold(connection, session_id), name=session_id)
        task.add_done_callback(left)
        return task

    async def _hold(self, connection: RealtimeConnection, session_id: str) -> None:
        try:
            await connection.converse()
        except Exception:
            log.exception("! %s: the connection broke down", session_id)
            self.world.meters.counts["sessions_failed"] += 1


def _about(choice: Choice) -> dict[str, Any]:
    """What kind of session it is, for the store."""
    return {
        "dialect": choice.dialect,
        "model": choice.model,
        "intent": choice.intent,
        "extended": choice.is_extended,
    }


def _impossible(visitor: Visitor, resume: Resume) -> Rejection:
    visitor.leave()
    message = f"{resume.received} messages cannot have been received of this session."
    return Rejection(400, "invalid_resume", message)


def _bind(dialect: Dialect, session: Mapping[str, Any] | None) -> Rejection | None:
    """Begin with the settings that the visitor's key carries."""
    if session is None:
        return None
    try:
        dialect.adopt(dict(session))
    except ClientError as error:
        return Rejection(400, error.code, str(error))
    return None
