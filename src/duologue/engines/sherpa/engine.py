"""Streaming recognition by sherpa-onnx: words while they are spoken, on a CPU, with a model pulled by the user.

    --stt sherpa:zipformer-en               a model of the models folder, or a /folder
    --stt sherpa:zipformer-en@cpu:4/int8    on four threads at most, from the files in 8 bits
    --stt sherpa:zipformer-en?language=en&search=greedy

A transducer goes on by a fixed step (mostly 320 ms), and each step costs the same; so there are true partials, a
final costs two or three steps, and how many may speak at once follows from how long a step takes. When an
utterance ends is not decided here. Hints are hotwords of the beam search, where the model has a vocabulary by
which to spell them.

It lives in a process of its own: the library releases Python's lock, but it ends the process, or breaks it, where
a model is not as it expects.
"""

import logging
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from duologue.core.audio import STREAM, AudioFrame, ms_to_samples
from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineRefused,
    EngineUnavailable,
)
from duologue.core.languages import family
from duologue.core.oom import is_out_of_memory
from duologue.engines.base import (
    BlockingEngine,
    Emit,
    EngineSpec,
    Flush,
    Inbox,
    Item,
    StreamCancelled,
)
from duologue.engines.cores import spare_cores
from duologue.engines.models import store as models
from duologue.engines.models.store import DEFAULT_FOLDER
from duologue.engines.sherpa import files
from duologue.engines.sherpa.transcript import hotwords, words_of
from duologue.engines.sherpa.vocabulary import as_text
from duologue.engines.timeline import Timeline
from duologue.ports import Clock, Final, Partial, StreamOptions, SttOptions, Word

log = logging.getLogger("duologue.engines")

MAX_STREAMS = 64
"""Streams of one process at most, however fast it is."""

USED_SHARE = 0.6
"""Of the threads' time, with all streams speaking: a final is to wait for a step or two of others, no more."""

PATHS = 4
"""Hypotheses of the beam search; the library's own default."""

HOTWORD_SCORE = 1.5
"""What each token of a hinted phrase is given beforehand; the library's own default."""

FRAME_MS = 10

WARM_UP_MS = 3_000
"""As long as a spoken command."""

POLL_S = 0.025
"""How often a stream that waits for a thread looks whether anybody still wants it; the seam allows 50 ms."""

BASE_RAM_MIB = 70
"""Resident memory of the process less the model's files, which are held about once; measured."""


class Sherpa(BlockingEngine):
    """See the module.

    Args:
        argument: see `files.placed`; MODEL is a folder, or a name in the models folder.
        clock: by which the model's steps are timed.
    """

    def __init__(self, argument: str = "", *, clock: Clock | None = None) -> None:
        self.capabilities = SPEC.capabilities
        self._clock = clock or _wall_ms
        self._placement = files.placed(argument)
        self._threads = self._placement.number or spare_cores()
        self._turns = threading.BoundedSemaphore(self._threads)
        self._model: files.Model | None = None
        self._recogniser: Any = None
        self._takes_hints = False

    def load(self) -> None:
        """Check the files, and open them.

        Raises:
            EngineUnavailable: sherpa-onnx, the model or a file of it is missing, or they contradict each other.
            EngineOutOfMemory: there is not enough memory.
        """
        library = _library()
        model = self._model = files.find(self._placement, DEFAULT_FOLDER)
        search = self._placement.option("search", "beam" if model.unit else "greedy")
        self._takes_hints = search == "beam" and bool(model.unit)
        if not model.unit:
            log.info("~ sherpa: no hints, for the model has no bpe.vocab or bpe.model")
        try:
            self._recogniser = self._opened(library, model, search)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise _not_loadable(model, error) from error
        languages = self._placement.option("language", "*").lower().split(",")
        ram_mib = BASE_RAM_MIB + model.megabytes
        self.capabilities = replace(self.capabilities, languages=tuple(languages), ram_mib=ram_mib)

    def _opened(self, library: Any, model: files.Model, search: str) -> Any:
        with as_text(model.vocabulary) as vocabulary:
            return library.OnlineRecognizer.from_transducer(
                tokens=str(model.tokens),
                encoder=str(model.encoder),
                decoder=str(model.decoder),
                joiner=str(model.joiner),
                num_threads=1,
                sample_rate=STREAM.rate_hz,
                model_type=model.kind,
                decoding_method="modified_beam_search" if search == "beam" else "greedy_search",
                max_active_paths=PATHS,
                hotwords_score=HOTWORD_SCORE,
                modeling_unit=model.unit or "cjkchar",
                bpe_vocab=vocabulary,
                enable_endpoint_detection=False,
            )

    def warm_up(self) -> None:
        """Recognise three seconds of noise, and see how many streams this machine can serve."""
        assert self._model is not None
        sound = np.random.default_rng(0).normal(0, 0.05, ms_to_samples(WARM_UP_MS))
        stream = self._recogniser.create_stream()
        stream.accept_waveform(STREAM.rate_hz, sound.astype(np.float32))
        took_ms = []
        while self._recogniser.is_ready(stream):
            began_ms = self._clock()
            self._recogniser.decode_stream(stream)
            took_ms.append(self._clock() - began_ms)
        step_ms = statistics.median(took_ms or [0.0])
        share = max(step_ms, 0.01) / (self._model.step * FRAME_MS)
        streams = max(1, min(MAX_STREAMS, int(self._threads * USED_SHARE / share)))
        self.capabilities = replace(self.capabilities, max_streams=streams)
        level = logging.WARNING if share > USED_SHARE else logging.INFO
        log.log(
            level,
            "~ sherpa takes %.1f ms for %d ms of sound on each of %d threads: %d streams",
            *(step_ms, self._model.step * FRAME_MS, self._threads, streams),
        )

    def close(self) -> None:
        """Let the model go."""
        self._recogniser = None

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`.

        Raises:
            EngineRefused: a translation, or a language that the model is said not to know.
            EngineLost: the library failed, or the engine was closed.
        """
        assert isinstance(options, SttOptions)
        _refuse(options, self.capabilities.languages)
        stream = _Stream(self, options, inbox, emit)
        for item in inbox:
            stream.take(item)

    def open_stream(self, hints: tuple[str, ...]) -> Any:
        """A stream of the library for one utterance."""
        assert self._model is not None
        if self._takes_hints and (line := hotwords(hints, upper=self._model.upper)):
            return self._open().create_stream(line)
        return self._open().create_stream()

    def decode(self, stream: Any, inbox: Inbox) -> bool:
        """Go on by all whole steps that the sound allows, each when a thread is free; True if there was one.

        Raises:
            StreamCancelled: nobody wants the rest.
        """
        recogniser, went_on = self._open(), False
        while recogniser.is_ready(stream):
            with self._turn(inbox):
                recogniser.decode_stream(stream)
            went_on = True
        return went_on

    @contextmanager
    def _turn(self, inbox: Inbox) -> Iterator[None]:
        while not self._turns.acquire(timeout=POLL_S):
            if inbox.cancelled:
                raise StreamCancelled
        try:
            if inbox.cancelled:
                raise StreamCancelled
            yield
        finally:
            self._turns.release()

    def result(self, stream: Any) -> Any:
        """What was recognised so far: `text`, and `tokens` with their `timestamps` and `ys_probs`."""
        return self._open().get_result_all(stream)

    def _open(self) -> Any:
        """The recogniser; whoever has it may finish a step with it after the engine was closed."""
        if (recogniser := self._recogniser) is None:
            raise EngineLost("engine_closed", "The engine was stopped before it had answered.")
        return recogniser

    def text(self, result: Any) -> str:
        """A result's text; lower case where the model writes nothing but capitals."""
        assert self._model is not None
        text = " ".join(result.text.split())
        return text.lower() if self._model.upper else text

    def silence(self) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """So much that the last sound is in a whole step, and one more looks back at it."""
        assert self._model is not None
        frames = self._model.window + self._model.step
        return np.zeros(ms_to_samples(frames * FRAME_MS), np.float32)


class _Stream:
    """One utterance after another."""

    def __init__(self, engine: Sherpa, options: SttOptions, inbox: Inbox, emit: Emit) -> None:
        self._engine = engine
        self._hints = options.hints
        self._inbox = inbox
        self._emit = emit
        self._timeline = Timeline() if options.word_times else None
        self._stream: Any = None
        self._upto = 0
        self._said = ""

    def take(self, item: Item) -> None:
        """The next of the inbox."""
        try:
            if isinstance(item, AudioFrame):
                self._hear(item)
            elif isinstance(item, Flush):
                self._finish(item.id)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise _failed(error) from error

    def _hear(self, frame: AudioFrame) -> None:
        if self._stream is None:
            self._stream = self._engine.open_stream(self._hints)
        self._upto = frame.end
        if self._timeline is not None:
            self._timeline.add(frame)
        sound = np.frombuffer(frame.pcm, "<i2").astype(np.float32) / np.float32(32_768)
        self._stream.accept_waveform(STREAM.rate_hz, sound)
        if self._engine.decode(self._stream, self._inbox):
            text = self._engine.text(self._engine.result(self._stream))
            if text and text != self._said:
                self._said = text
                self._emit(Partial(text))

    def _finish(self, flush_id: int) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            self._emit(Final(flush_id, self._upto, ""))
            return
        stream.accept_waveform(STREAM.rate_hz, self._engine.silence())
        stream.input_finished()
        self._engine.decode(stream, self._inbox)
        result = self._engine.result(stream)
        words: tuple[Word, ...] = ()
        if self._timeline is not None:
            words = tuple(words_of(result, self._timeline, self._engine.text(result)))
            self._timeline.clear()
        self._said = ""
        self._emit(Final(flush_id, self._upto, self._engine.text(result), words))


def _refuse(options: SttOptions, languages: tuple[str, ...]) -> None:
    language = family(options.language)
    if language and "*" not in languages and language not in languages:
        raise EngineRefused(
            "stt_language_not_supported",
            f"This streaming model recognises {', '.join(languages)}, not '{options.language}'.",
            remedy="Choose an engine that knows the language, or leave the language open.",
        )
    if options.task == "translate":
        raise EngineRefused(
            "stt_translation_not_supported",
            "A streaming model writes down what is said and translates nothing.",
            remedy="Choose an engine that translates, such as Whisper.",
        )


def _library() -> Any:
    try:
        import sherpa_onnx
    except ImportError as error:
        raise EngineUnavailable(
            "sherpa_missing",
            f"Streaming recognition cannot run: {error.name or 'sherpa-onnx'} is not installed.",
            remedy="Run `make setup EXTRAS=sherpa`, or `pip install 'duologue[sherpa]'`.",
        ) from error
    return sherpa_onnx


def _wall_ms() -> float:
    return time.perf_counter() * 1000


def _not_loadable(model: files.Model, error: Exception) -> EngineError:
    why = f"The streaming model in {model.tokens.parent} cannot be loaded: {_reason(error)}."
    if is_out_of_memory(error):
        return EngineOutOfMemory("sherpa_out_of_memory", why, remedy="Use a smaller model.")
    return EngineUnavailable(
        "sherpa_not_loadable", why, remedy="Fetch the model again, or use another."
    )


def _failed(error: Exception) -> EngineLost:
    why = f"Streaming recognition failed: {_reason(error)}."
    if is_out_of_memory(error):
        return EngineOutOfMemory("sherpa_out_of_memory", why, remedy="Use a smaller model.")
    return EngineLost("sherpa_failed", why, remedy="If it goes on, use another model.")


def _reason(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0].rstrip(".")
    return text or type(error).__name__


SPEC = EngineSpec(
    "sherpa",
    Role.STT,
    Capabilities(
        rate_hz=16_000, streaming=True, word_times=True, max_streams=MAX_STREAMS, ram_mib=200
    ),
    Sherpa,
    is_own_process=True,
    about="streaming transducers (Zipformer) on sherpa-onnx (Apache-2.0): words while they are spoken",
    locate=models.in_folder,
)
