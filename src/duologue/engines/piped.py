"""A stream of an engine that is elsewhere, in a process or at an endpoint, seen from the event loop."""

import asyncio
from typing import Protocol

from duologue.core.audio import AudioFrame
from duologue.core.errors import EngineError
from duologue.engines import pipe
from duologue.engines.events import EventQueue
from duologue.engines.threads import MAX_WAITING
from duologue.ports import (
    Audio,
    EngineGone,
    Event,
    Final,
    Offer,
    Partial,
    StreamOptions,
    SttOptions,
    TtsOptions,
)

HUNG_S = 10.0
"""A stream that was cancelled ends within 50 ms by the engines' contract, and after seconds on a machine that is far
behind; if it has not by then, its process hangs and is replaced."""


TAKEN_BATCH = 8
"""Events taken before the other end is told: a small part of the `MAX_UNTAKEN` that it may be ahead."""


class Peer(Protocol):
    """The other end: where the engine of some streams runs."""

    def send(self, message: pipe.Message) -> None:
        """Tell it. Never blocks; dropped if it is gone."""

    def check(self, number: int) -> None:
        """The stream was cancelled `HUNG_S` ago: if it is still at work there, the other end hangs."""


class PipedStream:
    """One stream; see `ports.EngineStream`. Whoever hears the other end gives it `handle` and `lost`.

    Attributes:
        is_cancelled: nobody wants the rest of it.
    """

    def __init__(self, peer: Peer, number: int, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._peer = peer
        self._number = number
        self._events = _Credited(self)
        self._waiting = 0
        self._taken = 0
        self._room = asyncio.Event()
        self._ended = asyncio.Event()
        self.is_cancelled = False

    @property
    def waiting(self) -> int:
        """Items that were offered, and that the engine has not been seen to take."""
        return self._waiting

    def offer(self, item: Offer) -> bool:
        """See the port."""
        if self._ended.is_set():
            return True  # `EngineGone` is on its way; whoever keeps the sound offers it elsewhere
        if self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        if isinstance(item, AudioFrame):
            self._peer.send(pipe.Sound(self._number, item.pcm, item.start))
        else:
            self._peer.send(pipe.Text(self._number, item.number, item.text))
        return True

    async def room(self) -> None:
        """See the port."""
        if not (self._ended.is_set() or self.is_cancelled):
            self._room.clear()
            await self._room.wait()

    def flush(self, flush_id: int) -> None:
        """See the port."""
        self._waiting += 1
        self._peer.send(pipe.Finish(self._number, flush_id))

    def events(self) -> EventQueue:
        """See the port."""
        return self._events

    async def aclose(self, *, cancel: bool = False) -> None:
        """See the port. A stream that was cancelled keeps its place until it has ended at the other end."""
        self._peer.send(pipe.Shut(self._number, cancel))
        if cancel:
            self.is_cancelled = True
            self._events.close()
            self._room.set()
            if not self._ended.is_set():
                asyncio.get_running_loop().call_later(HUNG_S, self._peer.check, self._number)
            return
        await self._ended.wait()

    def taken(self) -> None:
        """An event was taken."""
        self._taken += 1
        if self._taken == TAKEN_BATCH:
            self._taken = 0
            self._peer.send(pipe.Taken(self._number, TAKEN_BATCH))

    def handle(self, message: pipe.Message) -> None:
        """The other end says this of the stream."""
        match message:
            case pipe.Took(count=count):
                self._waiting = max(0, self._waiting - count)
                self._room.set()
            case pipe.Guess(text=text):
                self._events.put(Partial(text))
            case pipe.Finished():
                self._events.put(_final(message))
            case pipe.Speech(number=number, pcm=pcm, words=places):
                self._events.put(Audio(number, pcm, places))
            case pipe.Failed():
                self._events.put(EngineGone(pipe.revive(message)))
            case pipe.Ended():
                self._over()
            case _:
                pass

    def lost(self, error: EngineError) -> None:
        """The other end is gone, and the stream with it."""
        self._events.put(EngineGone(error))
        self._over()

    def _over(self) -> None:
        self._events.close()
        self._room.set()
        self._ended.set()


def opening(number: int, key: str, options: StreamOptions, traceparent: str = "") -> pipe.Open:
    """The message that opens a stream."""
    stt = options if isinstance(options, SttOptions) else None
    tts = options if isinstance(options, TtsOptions) else None
    return pipe.Open(number, key, stt, tts, traceparent)


class _Credited(EventQueue):
    """Tells the other end whenever an event was taken."""

    def __init__(self, stream: PipedStream) -> None:
        super().__init__()
        self._stream = stream

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self._stream.taken()
        return event


def _final(told: pipe.Finished) -> Final:
    return Final(told.flush_id, told.upto, told.text, told.words, told.confidence, told.language)
