"""An answer that is worked out while it is sent, and given up when the client is gone."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from duologue.core.errors import DuologueError, first_of
from duologue.server.audio.refusals import Refusal, refused

log = logging.getLogger("duologue.server")

EVENTS = "text/event-stream"

CLIENT_GONE = 499
"""nginx's name for it."""


class Outlet:
    """The way to the client. The status line goes out with the first bytes, so that until then an error is still one.

    `send` returns once the transport has taken the bytes: a slow client slows the work.
    """

    def __init__(self, send: Send, media_type: str) -> None:
        self._send = send
        self._media_type = media_type
        self.has_begun = False

    async def send(self, data: bytes) -> None:
        """More of the body."""
        if not data:
            return
        if not self.has_begun:
            self.has_begun = True
            headers = [
                (b"content-type", self._media_type.encode()),
                (b"cache-control", b"no-store"),
                (b"x-accel-buffering", b"no"),  # a proxy must not collect it
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def tell(self, event: dict[str, Any]) -> None:
        """A server-sent event, as OpenAI writes them."""
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        await self.send(f"data: {text}\n\n".encode())

    async def end(self) -> None:
        """The body is complete."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


Work = Callable[[Outlet], Awaitable[Response | None]]
"""Answers by what it returns, or by what it sends.

Raises:
    Refusal, DuologueError: it cannot be done.
"""


class Errand(Response):
    """A response that does its work when it is sent, and is cancelled when the client hangs up.

    An error after the first byte ends a stream of events with an error event. A file that cannot be finished is
    cut off (`BrokenOff`), so that nobody takes it for whole.

    Args:
        done: called at the very end, whatever happened.
    """

    def __init__(
        self, work: Work, media_type: str, done: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(media_type=media_type)
        self._work = work
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        outlet = Outlet(send, str(self.media_type))
        is_gone = False
        try:
            answer = await self._attended(outlet, receive)
            if isinstance(answer, Response):
                await answer(scope, receive, send)
            elif outlet.has_begun:
                await outlet.end()
        except* _ClientGone:
            log.info("= a client hung up before its answer was complete")
            is_gone = True
        finally:
            if self._done is not None:
                await self._done()
        if is_gone and not outlet.has_begun:  # nobody reads it, but middleware waits for one
            await Response(status_code=CLIENT_GONE)(scope, receive, send)

    async def _attended(self, outlet: Outlet, receive: Receive) -> Response | None:
        """Do the work, and listen meanwhile whether the client is still there."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_until_gone(receive), name="client-watch")
            try:
                return await self._judged(outlet)
            finally:
                watch.cancel()

    async def _judged(self, outlet: Outlet) -> Response | None:
        problem: Refusal | None = None
        answer: Response | None = None
        try:
            answer = await self._work(outlet)
        except* Refusal as refusals:
            problem = _first_refusal(refusals)
        except* DuologueError as errors:
            problem = refused(first_of(errors))
        if problem is None:
            return answer
        if problem.status >= 500 or outlet.has_begun:
            log.warning("! an audio request failed: %s (%s)", problem.message, problem.code)
        if not outlet.has_begun:
            return problem.response()
        if self.media_type != EVENTS:
            raise BrokenOff(problem.message)
        await outlet.tell(problem.event())
        return None


class BrokenOff(Exception):
    """Out of the application: the server closes the connection without the body's end."""


class _ClientGone(Exception):
    """The client hung up."""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _ClientGone


def _first_refusal(error: BaseException) -> Refusal:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, Refusal)
    return error
