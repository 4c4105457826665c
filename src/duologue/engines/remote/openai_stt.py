"""Recognition by any server with OpenAI's `/v1/audio/transcriptions`: whisper.cpp, vLLM, LocalAI, OpenAI itself.

    --stt "openai-stt:http://box:8000/v1|whisper-large-v3-turbo"
    --stt "openai-stt:|gpt-4o-mini-transcribe"           OpenAI's own server; see `keys` for the key

An utterance is collected, and sent as a WAV file at its flush. Where the server streams its answer, what has come of
it is a partial. What a server does not take is left out once it has said so, and remembered.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from duologue.core.audio import SAMPLE_BYTES, STREAM, AudioFrame, ms_to_samples
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineRefused
from duologue.core.languages import code_of, family
from duologue.core.segments import joined
from duologue.core.wav import wav
from duologue.engines.base import EngineSpec, NativeEngine
from duologue.engines.loading import run_apart
from duologue.engines.remote.errors import bad_answer, failed
from duologue.engines.remote.http import Answer, Http, Patience, Refused
from duologue.engines.remote.keys import HOSTED_URL
from duologue.engines.remote.place import MAX_STREAMS, parse
from duologue.engines.remote.stream import RemoteStream, finished
from duologue.engines.timeline import Timeline
from duologue.engines.whisper.speech_window import is_audible, quietest
from duologue.ports import Final, Offer, Partial, StreamOptions, SttOptions, Word

MAX_PIECE_MS = 120_000
"""Sound since the last flush that is kept. More is sent in pieces, cut where it is quietest."""

MAX_WAITING_BYTES = 2 * 32 * MAX_PIECE_MS
"""Sound that waits for the server; beyond, the stream is full. Four minutes of 32 bytes a millisecond, 8 MB."""

MAX_UNTAKEN = 256
"""Partials and finals that nobody has taken."""

HINT_CHARS = 600
"""Hints are cut after this, at a phrase: about 150 tokens of English; Whisper takes 224 of a prompt."""

WARM_UP_MS = 1_000

DEFAULT_MODEL = "whisper-1"
"""OpenAI's name for Whisper, which many servers take for their own model."""

_MODELS = r"whisper|transcri|stt|asr|parakeet|voxtral|canary|moonshine"

_OPTIONS = ("language", "stream", "translate")


class _Dialect:
    """What this server was found not to take. Each is learned once."""

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.has_words = True

    def learn(self, refused: Refused, form: Mapping[str, Any]) -> bool:
        """Whether a refusal may be about something that can be left out."""
        if refused.status not in (400, 415, 422, 501):
            return False
        words = refused.body.decode("utf-8", "replace").lower()
        if "stream" in form and "stream" in words:
            self.streams = False
            return True
        if "timestamp_granularities[]" in form and re.search(
            r"verbose_json|response_format|granularit|timestamp", words
        ):
            self.has_words = False
            return True
        return False


@dataclass(slots=True)
class _Piece:
    """A stretch of sound for one request.

    Attributes:
        flush_id: whose answer it completes; None for a piece of an utterance that goes on.
        upto: where it ends on the session's stream, in samples.
        ms_at: from its sample to the session's stream.
    """

    pcm: bytes
    upto: int
    flush_id: int | None
    ms_at: Callable[[int], int]


@dataclass(slots=True)
class _Heard:
    """The answer to a request; `language` is what the server found out, if it says so."""

    text: str
    words: Sequence[Word] = ()
    language: str = ""


class OpenAIStt(NativeEngine):
    """See the module.

    Args:
        argument: URL|MODEL[?language=…&stream=false&translate=true&streams=N]. `translate` says that the server
            has `/v1/audio/translations`, too; `language` is for streams that name none.
    """

    def __init__(self, argument: str = "", *, patience: Patience | None = None) -> None:
        self._place = parse(argument, Role.STT, _OPTIONS, default_url=HOSTED_URL)
        self.capabilities = replace(
            SPEC.capabilities,
            max_streams=self._place.streams,
            translates=self._place.flag("translate", default=False),
        )
        self.dialect = _Dialect(streams=self._place.flag("stream", default=True))
        self.http = Http(self._place, patience or Patience(), self._place.streams)

    def load(self) -> None:
        """Ask the server for its models. Blocks; may be called in any thread.

        Raises:
            EngineError: nobody answers there, or the key is not accepted.
        """
        self.http.load(_MODELS, DEFAULT_MODEL)

    def warm_up(self) -> None:
        """Have a second of noise transcribed, with and without words: the model is loaded there, and what the
        server takes is known. Blocks.

        Raises:
            EngineError: it could not.
        """
        run_apart(self._hear_noise())

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def open(self, key: str, options: StreamOptions) -> "_Stream":
        """A stream for one utterance."""
        assert isinstance(options, SttOptions)
        return _Stream(self, self.http, options)

    def form(self, options: SttOptions) -> dict[str, Any]:
        """The fields of a request, without the sound."""
        form: dict[str, Any] = {"model": self.http.place.model, "temperature": "0"}
        form["response_format"] = "json"
        if prompt := prompt_of(options.hints):
            form["prompt"] = prompt
        if options.task == "translate":
            return form
        language = options.language or self._place.options.get("language", "")
        if language:
            form["language"] = family(language)
        if options.word_times and self.dialect.has_words:
            form["response_format"] = "verbose_json"
            form["timestamp_granularities[]"] = ["word"]
        elif self.dialect.streams:
            form["stream"] = "true"
        elif self.dialect.has_words and not language:  # it says which it was
            form["response_format"] = "verbose_json"
            form["timestamp_granularities[]"] = ["segment"]
        return form

    async def _hear_noise(self) -> None:
        noise = np.random.default_rng(0).normal(0, 1_000, ms_to_samples(WARM_UP_MS))
        frame = AudioFrame(noise.astype("<i2").tobytes(), 0)
        async with self.http.apart() as http:
            for word_times in (False, True):
                await finished(_Stream(self, http, SttOptions(word_times=word_times)), frame)


class _Stream(RemoteStream):
    """One utterance."""

    def __init__(self, engine: OpenAIStt, http: Http, options: SttOptions) -> None:
        super().__init__("openai-stt", STREAM.rate_hz, MAX_UNTAKEN)
        self._engine = engine
        self._http = http
        self._options = options
        self._sound = bytearray()
        self._upto = 0
        self._timeline = Timeline()

    def offer(self, item: Offer) -> bool:
        assert isinstance(item, AudioFrame)
        if self._is_over:
            return True
        if self._is_full:
            return False
        self._sound += item.pcm
        self._upto = item.end
        self._timeline.add(item)
        if len(self._sound) >= ms_to_samples(MAX_PIECE_MS) * SAMPLE_BYTES:
            self._cut()
        return True

    @property
    def _is_full(self) -> bool:
        return super()._is_full or sum(len(p.pcm) for p in self._items) >= MAX_WAITING_BYTES

    def flush(self, flush_id: int) -> None:
        if not self._is_over:
            timeline, self._timeline = self._timeline, Timeline()
            self._put(_Piece(bytes(self._sound), self._upto, flush_id, timeline.ms))
            self._sound.clear()

    def _cut(self) -> None:
        """Send what is whole of an utterance without an end."""
        cut = quietest(_samples(self._sound))
        timeline, pcm = self._timeline, bytes(self._sound)
        upto = self._upto - (len(pcm) // SAMPLE_BYTES - cut)
        self._put(_Piece(pcm[: cut * SAMPLE_BYTES], upto, None, timeline.ms))
        rest = AudioFrame(pcm[cut * SAMPLE_BYTES :], upto)
        self._sound, self._timeline = bytearray(rest.pcm), Timeline()
        self._timeline.add(rest)

    async def _work(self) -> None:
        if self._options.task == "translate" and not self._engine.capabilities.translates:
            raise EngineRefused(
                "stt_translation_not_supported",
                f"{self._http.server.name} is not known to translate.",
                remedy="If it has /v1/audio/translations, write ?translate=true behind the model's name.",
            )
        texts: list[str] = []
        words: list[Word] = []
        language = ""
        while (piece := await self._take()) is not None:
            if is_audible(_samples(piece.pcm)):
                heard = await self._transcribe(piece, texts)
                texts.append(heard.text)
                words += heard.words
                language = language or heard.language
            if piece.flush_id is not None:
                final = Final(piece.flush_id, piece.upto, _joined(texts), tuple(words))
                await self._emit(replace(final, language=language if final.text else ""))
                texts, words, language = [], [], ""

    async def _transcribe(self, piece: _Piece, before: list[str]) -> _Heard:
        """The text of a piece, and its words where they are wanted and known; tells partials meanwhile."""
        sound = {"file": ("speech.wav", wav(piece.pcm, STREAM.rate_hz), "audio/wav")}
        task = "translations" if self._options.task == "translate" else "transcriptions"
        while True:
            form = self._engine.form(self._options)
            try:
                async with self._http.post(f"/audio/{task}", data=form, files=sound) as answer:
                    return await self._read(answer, piece, before)
            except Refused as refused:
                if not self._engine.dialect.learn(refused, form):
                    raise self._http.refusal(refused) from None

    async def _read(self, answer: Answer, piece: _Piece, before: list[str]) -> _Heard:
        if answer.kind == "text/event-stream":
            return _Heard(await self._read_events(answer, before))
        if answer.kind == "text/plain":
            return _Heard((await answer.whole()).decode("utf-8", "replace").strip())
        said = await answer.document()
        if not isinstance(said, dict) or not isinstance(said.get("text"), str):
            raise bad_answer(self._http.server, "its answer has no text")
        found = said.get("words") if self._options.word_times else None
        entries = found if isinstance(found, list) else []
        words = [word for entry in entries if (word := _word(entry, piece.ms_at)) is not None]
        found_language = "" if self._options.language else _language(said.get("language"))
        return _Heard(said["text"].strip(), words, found_language)

    async def _read_events(self, answer: Answer, before: list[str]) -> str:
        text, is_done = "", False
        async with aclosing(answer.events()) as events:
            async for event in events:
                if not isinstance(event, dict):
                    continue
                if event.get("error"):
                    raise failed(self._http.server, json.dumps(event["error"]))
                if event.get("type") == "transcript.text.done":
                    text, is_done = str(event.get("text", text)), True
                    continue
                delta = _delta(event)
                if delta and not is_done:
                    text += delta
                    await self._emit(Partial(_joined([*before, text])))
        return text.strip()


def prompt_of(hints: tuple[str, ...]) -> str:
    """Hints as the prompt of a request: phrases behind commas."""
    line = ""
    for hint in hints:
        phrase = " ".join(hint.split())
        longer = f"{line}, {phrase}" if line and phrase else line or phrase
        if len(longer) > HINT_CHARS:
            break
        line = longer
    return line


def _delta(event: Mapping[str, Any]) -> str:
    """What an event adds: as OpenAI says it, as vLLM does (like a chat), or as a segment's text."""
    choices = event.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        event = choices[0].get("delta") or {}
        delta = event.get("content")
    elif "type" in event:
        delta = event.get("delta") if event["type"] == "transcript.text.delta" else None
    else:
        delta = event.get("text")
    return delta if isinstance(delta, str) else ""


def _word(entry: object, ms_at: Callable[[int], int]) -> Word | None:
    """A word as `verbose_json` tells it: its times are seconds from the first sample."""
    if not isinstance(entry, dict):
        return None
    text, start, end = entry.get("word"), entry.get("start"), entry.get("end")
    if not (isinstance(text, str) and text.strip()):
        return None
    if not (isinstance(start, int | float) and isinstance(end, int | float)):
        return None
    first, last = (round(seconds * STREAM.rate_hz) for seconds in (start, max(start, end)))
    return Word(text.strip(), ms_at(first), ms_at(last))


def _language(told: object) -> str:
    """The language of an answer, which OpenAI calls by its name and others by its code."""
    return family(code_of(told) or "") if isinstance(told, str) else ""


def _samples(pcm: bytes | bytearray) -> Any:
    return np.frombuffer(bytes(pcm), "<i2").astype(np.float32) / np.float32(32_768)


def _joined(texts: list[str]) -> str:
    return joined([text.strip() for text in texts])


SPEC = EngineSpec(
    "openai-stt",
    Role.STT,
    Capabilities(streaming=False, word_times=True, max_streams=MAX_STREAMS),
    OpenAIStt,
    about="a recogniser behind an OpenAI-compatible URL",
)
