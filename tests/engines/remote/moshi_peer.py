"""The other end of Kyutai's wire, for tests: real WebSockets, the documented messages, models that can be followed.

    async with AsrPeer() as peer:           # hears tones: each pitch is a word
        engine = KyutaiStt(peer.url)
    async with TtsPeer() as peer:           # speaks each word as a tone of its own pitch
        engine = KyutaiTts(peer.url)

What a moshi-server does with its messages is followed step by step: one message of each client a step, markers by the
steps of all clients together, words told as the next begins, a text spoken only with two more words in sight. It
shares nothing with the client's code.
"""

import asyncio
import contextlib
import socket
import zlib
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

RATE_HZ = 24_000
FRAME = 1_920
STEPS_PER_S = 12.5

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


def pitch_of(word: str) -> int:
    """One of 60 pitches, 100 Hz apart from 400 Hz on."""
    return 400 + 100 * (zlib.crc32(word.encode()) % 60)


def tone_frame(hz: float, number: int = 0) -> NDArray[np.float64]:
    """A frame of a tone, which goes on from the frame before."""
    t = (np.arange(FRAME) + number * FRAME) / RATE_HZ
    return np.sin(2 * np.pi * hz * t) * 0.5


def pitch_in(frame: NDArray[Any]) -> int:
    """The pitch that a frame has, rounded to 100 Hz; 0 for silence."""
    if np.sqrt(np.mean(np.square(frame))) < 0.02:
        return 0
    spectrum = np.abs(np.fft.rfft(frame * np.hanning(len(frame))))
    return round(float(np.argmax(spectrum)) * RATE_HZ / len(frame) / 100) * 100


class _Peer:
    """A server with some places."""

    PATH = ""

    def __init__(self, *, places: int = 4, keys: tuple[str, ...] = ("public_token",)) -> None:
        self.places = places
        self.connections = 0
        self.open = 0
        self.closed = asyncio.Event()  # a client has gone since it was cleared
        self.may_step = asyncio.Event()
        self.may_step.set()
        self.reads = asyncio.Event()
        self.reads.set()
        self.sockets: list[ServerConnection] = []
        self.queries: list[dict[str, list[str]]] = []
        self._keys = keys
        self._server: Any = None
        self._running: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        listening = socket.socket(proto=socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)  # is soon full
        listening.bind(("127.0.0.1", 0))
        self._server = await serve(
            self._serve,
            sock=listening,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            max_queue=4,
        )
        self._running = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._running is not None
        self._running.cancel()
        self.reads.set()
        self.may_step.set()
        self.drop()
        self._server.close()
        await self._server.wait_closed()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    def drop(self) -> None:
        """Lose all clients, as a crash does."""
        for line in list(self.sockets):
            line.transport.abort()

    def _admit(self, line: ServerConnection, request: Any) -> Any:
        if urlsplit(request.path).path != self.PATH:
            return line.respond(HTTPStatus.NOT_FOUND, "")
        if request.headers.get("kyutai-api-key") not in self._keys:
            return line.respond(HTTPStatus.UNAUTHORIZED, "")
        return None

    async def _serve(self, line: ServerConnection) -> None:
        self.connections += 1
        assert line.request is not None
        self.queries.append(parse_qs(urlsplit(line.request.path).query))
        if self.open >= self.places:
            await line.send(pack({"type": "Error", "message": "no free channels"}))
            return
        self.open += 1
        self.sockets.append(line)
        try:
            await self._converse(line)
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(line)
            self.open -= 1
            self.closed.set()

    async def _converse(self, line: ServerConnection) -> None:
        raise NotImplementedError

    async def _run(self) -> None:
        """The model's loop."""


# --- the recogniser ---
PAD, END_OF_PREVIOUS = "", "<eop>"


@dataclass
class _Listened:
    """One client of the recogniser, as its channel and its item of the batch."""

    inbox: deque[dict[str, Any]] = field(default_factory=deque)
    outbox: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)
    data: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    heard: deque[str] = field(default_factory=deque)  # tokens, one a frame
    pitch: int = 0
    run: int = 0
    step: int = 0
    word: str = ""
    stop_s: float = 0.0
    is_unended: bool = False
    is_gone: bool = False


class AsrPeer(_Peer):
    """Names each tone by its pitch: "w800 w1200"; a tone that goes on is another word every six frames.

    Attributes:
        delay: of the words behind their sound, in frames.
        frames: of all clients, as they came: their pitches.
        messages: so many of sound came.
    """

    PATH = "/api/asr-streaming"

    def __init__(self, *, delay: int = 6, **options: Any) -> None:
        super().__init__(**options)
        self.delay = delay
        self.frames: list[int] = []
        self.messages = 0
        self._clients: list[_Listened] = []
        self._markers: list[tuple[int, _Listened, int]] = []
        self._step = 0
        self._came = asyncio.Event()

    async def _converse(self, line: ServerConnection) -> None:
        client = _Listened(inbox=deque([{"type": "Init"}]))
        self._clients.append(client)
        self._came.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(self._answer(line, client))
                async for message in line:
                    await self.reads.wait()
                    assert isinstance(message, bytes)
                    client.inbox.append(unpack(message))
                    self._came.set()
                answering.cancel()
        except* ConnectionClosed:
            pass
        finally:
            client.is_gone = True
            self._clients.remove(client)

    @staticmethod
    async def _answer(line: ServerConnection, client: _Listened) -> None:
        while True:
            await line.send(pack(await client.outbox.get()))

    async def _run(self) -> None:
        while True:
            await self.may_step.wait()
            stepped = [each for each in self._clients if self._receive(each)]
            if stepped:
                self._step += 1
                for each in stepped:
                    self._listen(each)
                self._echo_markers()
                await asyncio.sleep(0)
            elif not any(each.inbox for each in self._clients):
                self._came.clear()
                await self._came.wait()

    def _receive(self, client: _Listened) -> bool:
        """One message of a client; whether there is a frame to work on."""
        nothing: dict[str, Any] = {"type": "Audio", "pcm": []}
        message = client.inbox.popleft() if client.inbox else nothing
        if message["type"] == "Init":
            client.outbox.put_nowait({"type": "Ready"})
            return False
        if message["type"] == "Marker":
            at = self._step + self.delay + len(client.data) // FRAME
            self._markers.append((at, client, message["id"]))
            return False
        self.messages += bool(message["pcm"])
        client.data = np.concatenate((client.data, np.asarray(message["pcm"], float)))
        return len(client.data) >= FRAME

    def _listen(self, client: _Listened) -> None:
        frame, client.data = client.data[:FRAME], client.data[FRAME:]
        pitch = pitch_in(frame)
        self.frames.append(pitch)
        client.heard.append(self._token(client, pitch))
        client.step += 1
        prs = {"type": "Step", "step_idx": self._step, "prs": [0.1, 0.2, 0.9], "buffered_pcm": 0}
        if client.step > self.delay:
            self._tell(client, client.heard.popleft())
        client.outbox.put_nowait(prs)

    @staticmethod
    def _token(client: _Listened, pitch: int) -> str:
        """A word begins where a pitch does: first the end of the one before, then its token."""
        is_new = bool(pitch) and (pitch != client.pitch or client.run >= 6)
        client.run = 0 if is_new else client.run + 1
        client.pitch = pitch
        if is_new:
            return END_OF_PREVIOUS
        return f"w{pitch}" if pitch and client.run == 1 else PAD

    def _tell(self, client: _Listened, token: str) -> None:
        if token not in (PAD, END_OF_PREVIOUS):
            client.word = token
            return
        if client.word:
            told = {"type": "Word", "text": client.word, "start_time": client.stop_s}
            client.outbox.put_nowait(told)
            client.word, client.is_unended = "", True
        if token == END_OF_PREVIOUS:
            client.stop_s = (client.step - self.delay) / STEPS_PER_S
            if client.is_unended:
                client.outbox.put_nowait({"type": "EndWord", "stop_time": client.stop_s})
                client.is_unended = False

    def _echo_markers(self) -> None:
        due = [marker for marker in self._markers if marker[0] <= self._step]
        self._markers = [marker for marker in self._markers if marker[0] > self._step]
        for _, client, marker_id in sorted(due, key=lambda marker: marker[0]):
            client.outbox.put_nowait({"type": "Marker", "id": marker_id})


# --- the voice ---
@dataclass
class _Spoken:
    """One client of the voice."""

    words: deque[str] = field(default_factory=deque)  # to be spoken
    untold: deque[str] = field(default_factory=deque)
    frames: list[int] = field(default_factory=list)  # the pitch of each step
    left: int = 0  # steps of the present word
    begun: int = 0  # step at which it began
    is_complete: bool = False
    extra: int = 0  # steps after the last word
    came: asyncio.Event = field(default_factory=asyncio.Event)


class TtsPeer(_Peer):
    """Speaks each word for two frames and one more for each four letters.

    Attributes:
        texts: as they came, of all clients.
        delay: of the sound behind the words, in frames.
        says_goodbye: closes the connection in good order.
        breaks_at: loses the client at this frame of its sound.
        sent: frames of sound.
    """

    PATH = "/api/tts_streaming"
    AHEAD = 2
    PADDING = 4

    def __init__(self, *, delay: int = 16, **options: Any) -> None:
        super().__init__(**options)
        self.delay = delay
        self.texts: list[str] = []
        self.says_goodbye = True
        self.breaks_at: int | None = None
        self.sent = 0

    async def _converse(self, line: ServerConnection) -> None:
        await line.send(pack({"type": "Ready"}))
        client = _Spoken()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(line, client))
            with contextlib.suppress(ConnectionClosed):
                await self._speak(line, client)
            if not self.says_goodbye:
                line.transport.abort()
            reading.cancel()

    async def _read(self, line: ServerConnection, client: _Spoken) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = unpack(await line.recv(decode=False))
                if message["type"] == "Eos":
                    client.is_complete = True
                elif message["type"] == "Text":
                    self.texts.append(message["text"])
                    clean = message["text"].replace("’", "'").replace("–", "").replace(":", " ")
                    words = clean.replace("(", "").replace(")", "").split()
                    client.words += words
                    client.untold += words
                client.came.set()
        client.came.set()

    async def _speak(self, line: ServerConnection, client: _Spoken) -> None:
        while True:
            await self.may_step.wait()
            if not self._step(client):
                if client.is_complete and client.extra > self.delay + self.PADDING:
                    await self._tell(line, client)
                    return
                client.came.clear()
                if not self._can_step(client):
                    await client.came.wait()
                    if line.close_code is not None:
                        return
                continue
            if client.left == -1:  # a word has begun
                client.left = 1 + len(client.words[0]) // 4
                if client.begun:
                    await self._tell(line, client)
                client.begun = len(client.frames)
                client.frames[-1] = pitch_of(client.words.popleft())
            if (at := len(client.frames) - 1 - self.delay) >= 0:
                if at == self.breaks_at:
                    line.transport.abort()
                    return
                await line.send(self._audio(client, at))
                self.sent += 1
            await asyncio.sleep(0)

    def _can_step(self, client: _Spoken) -> bool:
        if client.left > 0 or len(client.words) > self.AHEAD:
            return True
        return client.is_complete and (
            bool(client.words) or client.extra <= self.delay + self.PADDING
        )

    def _step(self, client: _Spoken) -> bool:
        """One step of the model; False if it lacks words."""
        if not self._can_step(client):
            return False
        if client.left > 0:
            client.left -= 1
            client.frames.append(client.frames[-1])
        elif client.words:
            client.left = -1
            client.frames.append(0)
        else:
            client.extra += 1
            client.frames.append(0)
        return True

    @staticmethod
    async def _tell(line: ServerConnection, client: _Spoken) -> None:
        if client.untold:
            told = {"type": "Text", "text": client.untold.popleft()}
            start_s, stop_s = client.begun / STEPS_PER_S, len(client.frames) / STEPS_PER_S
            await line.send(pack({**told, "start_s": start_s, "stop_s": stop_s}))

    @staticmethod
    def _audio(client: _Spoken, at: int) -> bytes:
        """A word sounds from the frame on that it is told to begin at, which is one behind its step."""
        pitch = client.frames[at - 1] if at else 0
        sound = tone_frame(pitch, at) if pitch else np.zeros(FRAME)
        return pack({"type": "Audio", "pcm": sound.tolist()})
