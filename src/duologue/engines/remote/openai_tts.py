"""Speech by any server with OpenAI's `/v1/audio/speech`: Kokoro-FastAPI, LocalAI, vLLM, OpenAI itself.

    --tts "openai-tts:http://box:8880/v1|kokoro?voice=af_heart"
    --tts "openai-tts:|gpt-4o-mini-tts?voice=coral"      OpenAI's own server; see `keys` for the key

Each piece of an answer is one request, and its sound is given on as it comes. The next piece is asked for while the
present one comes, so that there is no gap between two; never more than one ahead, for an answer may be cut off.
"""

import asyncio
import re
from collections import deque
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError
from duologue.engines.base import EngineSpec, Flush, NativeEngine
from duologue.engines.loading import run_apart
from duologue.engines.remote.errors import AudioServer, bad_answer
from duologue.engines.remote.http import Answer, Http, Patience, Refused
from duologue.engines.remote.keys import HOSTED_URL
from duologue.engines.remote.place import MAX_STREAMS, parse
from duologue.engines.remote.stream import RemoteStream, finished
from duologue.engines.remote.wav import NotSound, SoundReader
from duologue.ports import Audio, Final, Say, StreamOptions, TtsOptions

RATE_HZ = 24_000
"""Of the interface's "pcm": 24 kHz, signed 16-bit little-endian, mono (OpenAI, text-to-speech guide)."""

AHEAD = 2
"""Requests of a stream at a time: the piece that is given on, and the next."""

MAX_HELD_BYTES = 1024 * 1024
"""Sound of a request that was read and not given on, some 20 s; then the server has to wait."""

EVENT_BYTES = 16 * 1024
"""Sound of one event at most, a third of a second."""

MAX_UNTAKEN = 64
"""Events that nobody has taken; with `EVENT_BYTES` 1 MiB."""

MAX_CHARS = 4_000
"""Of one request; OpenAI takes 4 096."""

SLOWEST, FASTEST = 0.25, 4.0
"""Bounds of the speed in this interface."""

DEFAULT_MODEL = "tts-1"
DEFAULT_VOICE = "alloy"
"""OpenAI's names, which other servers take for their own defaults."""

_MODELS = r"tts|kokoro|speech|voice|piper|orpheus|csm|chatterbox"

_OTHER_KINDS = re.compile(
    r"audio/(?:mpeg|mp3|ogg|opus|webm|aac|mp4|flac|x-flac)|text/|application/(?:json|ogg)"
)
"""Content types that are neither raw samples nor WAV, which servers name in many ways."""

_OPTIONS = ("voice", "format", "rate_hz", "instructions")


class OpenAITts(NativeEngine):
    """See the module.

    Args:
        argument: URL|MODEL[?voice=…&format=pcm|wav&rate_hz=24000&instructions=…&streams=N]. `voice` is for streams
            that name none; `rate_hz` is that of a server's raw samples, where it is another than the interface says.
    """

    def __init__(self, argument: str = "", *, patience: Patience | None = None) -> None:
        self._place = parse(argument, Role.TTS, _OPTIONS, default_url=HOSTED_URL)
        self._rate_hz = int(self._place.number("rate_hz", RATE_HZ))
        self.capabilities = replace(
            SPEC.capabilities, max_streams=self._place.streams, rate_hz=self._rate_hz
        )
        self.http = Http(self._place, patience or Patience(), self._place.streams * AHEAD)

    def load(self) -> None:
        """Ask the server for its models. Blocks; may be called in any thread.

        Raises:
            EngineError: nobody answers there, or the key is not accepted.
        """
        self.http.load(_MODELS, DEFAULT_MODEL)

    def warm_up(self) -> None:
        """Have it say one word, so that the model is loaded there and its sound is known to be right. Blocks.

        Raises:
            EngineError: it could not.
        """
        run_apart(self._say_one_word())

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        """A stream for one answer."""
        assert isinstance(options, TtsOptions)
        return _Stream(self.http, self._rate_hz, options)

    async def _say_one_word(self) -> None:
        async with self.http.apart() as http:
            await finished(_Stream(http, self._rate_hz, TtsOptions()), Say(0, "Hello."))


class _Stream(RemoteStream):
    """One answer."""

    def __init__(self, http: Http, rate_hz: int, options: TtsOptions) -> None:
        super().__init__("openai-tts", rate_hz, MAX_UNTAKEN)
        self._http = http
        self._options = options

    async def _work(self) -> None:
        begun: asyncio.Queue[_Fetch | Flush | None] = asyncio.Queue(AHEAD)
        free = asyncio.Semaphore(AHEAD)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ask(begun, free, tasks), name="speech-asking")
            pieces = 0
            while (item := await begun.get()) is not None:
                if isinstance(item, Flush):
                    await self._emit(Final(item.id, pieces))
                    continue
                pieces += item.is_first
                await self._give(item)
                free.release()
            await asking

    async def _ask(
        self,
        begun: "asyncio.Queue[_Fetch | Flush | None]",
        free: asyncio.Semaphore,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """Begin requests in order, as many as may be at a time."""
        while (item := await self._take()) is not None:
            if isinstance(item, Flush):
                await begun.put(item)
                continue
            for number, text in enumerate(parts(item.text) or [""]):
                await free.acquire()
                fetch = _Fetch(item.number, is_first=number == 0)
                if text:
                    tasks.create_task(fetch.run(self._http, self._body(text), self.rate_hz))
                else:
                    fetch.end()
                await begun.put(fetch)
        await begun.put(None)

    async def _give(self, fetch: "_Fetch") -> None:
        while (pcm := await fetch.take()) is not None:
            for at in range(0, len(pcm), EVENT_BYTES):
                await self._emit(Audio(fetch.number, pcm[at : at + EVENT_BYTES]))

    def _body(self, text: str) -> dict[str, Any]:
        options = self._http.place.options
        body: dict[str, Any] = {
            "model": self._http.place.model,
            "input": text,
            "voice": self._options.voice or options.get("voice") or DEFAULT_VOICE,
            "response_format": options.get("format") or "pcm",
        }
        if self._options.speed != 1.0:
            body["speed"] = min(max(self._options.speed, SLOWEST), FASTEST)
        if "instructions" in options:
            body["instructions"] = options["instructions"]
        return body


class _Fetch:
    """The sound of one request, on its way. An error in it is told after the sound that came before.

    Attributes:
        number: of the piece that it belongs to.
        is_first: it begins the piece.
    """

    def __init__(self, number: int, *, is_first: bool) -> None:
        self.number = number
        self.is_first = is_first
        self._sound: deque[bytes] = deque()
        self._held = 0
        self._is_over = False
        self._error: EngineError | None = None
        self._moved = asyncio.Event()

    async def run(self, http: Http, body: dict[str, Any], rate_hz: int) -> None:
        """Ask for it, and read as far ahead as is allowed."""
        try:
            async with http.post("/audio/speech", json=body) as answer:
                await self._read(answer, http.server, SoundReader(rate_hz))
        except Refused as refused:
            self._error = http.refusal(refused)
        except EngineError as error:
            self._error = error
        finally:
            self.end()

    def end(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._moved.set()

    async def take(self) -> bytes | None:
        """The next of the sound; None at its end.

        Raises:
            EngineError: the request failed.
        """
        while not self._sound:
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
            self._moved.clear()
            await self._moved.wait()
        pcm = self._sound.popleft()
        self._held -= len(pcm)
        self._moved.set()
        return pcm

    async def _read(self, answer: Answer, server: AudioServer, reader: SoundReader) -> None:
        if _OTHER_KINDS.match(answer.kind):
            raise _not_sound(server, f"it sent {answer.kind}")
        try:
            async with aclosing(answer.pieces()) as pieces:
                async for data in pieces:
                    self._put(reader.push(data))
                    while self._held >= MAX_HELD_BYTES:
                        self._moved.clear()
                        await self._moved.wait()
            self._put(reader.finish())
        except NotSound as error:
            raise _not_sound(server, f"it sent {error}") from None

    def _put(self, pcm: bytes) -> None:
        if pcm:
            self._sound.append(pcm)
            self._held += len(pcm)
            self._moved.set()


def parts(text: str) -> list[str]:
    """A piece's text as requests take it; none if there is nothing in it that can be spoken."""
    left, found = " ".join(text.split()), []
    while left:
        cut = len(left) if len(left) <= MAX_CHARS else left.rfind(" ", 1, MAX_CHARS)
        cut = cut if cut > 0 else MAX_CHARS
        found.append(left[:cut])
        left = left[cut:].strip()
    return [part for part in found if any(char.isalnum() for char in part)]


def _not_sound(server: AudioServer, what: str) -> EngineError:
    return bad_answer(
        server,
        f"{what} instead of mono 16-bit samples",
        remedy="It must know the response format 'pcm', or 'wav' (write ?format=wav behind the model's name).",
    )


SPEC = EngineSpec(
    "openai-tts",
    Role.TTS,
    Capabilities(rate_hz=RATE_HZ, max_streams=MAX_STREAMS),
    OpenAITts,
    about="a voice behind an OpenAI-compatible URL",
)
