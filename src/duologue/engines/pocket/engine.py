"""Speech by Pocket TTS (Kyutai; MIT): a streaming voice of 100 million parameters for a CPU, in seven languages.

    --tts pocket:pocket                     a model of the models folder
    --tts pocket:pocket?language=german     one of its languages
    --tts pocket:/path/to/english@cpu:2     a folder, on two threads

Sound comes in frames of 80 ms while it is made, so the first is early however long the text is. A GPU gains it
nothing (its authors), so none is used. Its library's model must not be used by two threads: one makes all sound, a
breath of one stream at a time, and stops within a frame when the stream is no longer wanted.

It knows no speed, and does not say when it speaks which word: that is estimated by letters, at the pace of the voice
so far. It reads letters only; figures of other languages than English are put into words by num2words.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineLost, EngineOutOfMemory, EngineUnavailable
from duologue.core.oom import is_out_of_memory
from duologue.core.placement import Placement
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox, StreamCancelled
from duologue.engines.models import store as models
from duologue.engines.pocket import files
from duologue.engines.text.breaths import Breaths
from duologue.engines.text.spoken import spoken
from duologue.engines.voices.narration import Narrator, Take
from duologue.engines.voices.part_sound import gain_for, level_dbfs
from duologue.engines.voices.whole_part import as_pcm
from duologue.engines.voices.word_places import letters_before
from duologue.ports import StreamOptions, TtsOptions

log = logging.getLogger("duologue.engines")

RATE_HZ = 24_000

POLL_S = 0.01
"""How often a stream that waits for sound looks whether it is still wanted; the seam allows 50 ms."""

MAX_STREAMS = 4
"""They take turns, breath by breath."""

LETTER_MS = 65.0
"""English read aloud: about 15 letters a second, as `core.playout` has it; corrected by what the voice does."""

WARM_UP = "The quick brown fox jumps over the lazy dog, and then it looks around."

Samples = NDArray[np.float32]


class Pocket(BlockingEngine):
    """See the module.

    Args:
        argument: see `core.placement`; options: "language" and "config" say which model of a folder, "voice" whose
            voice where a client asks for none, "temperature" how lively (0.3 unless the model says otherwise).
    """

    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self._placement = Placement.parse(argument)
        self._model: Any = None
        self._states: dict[str, Any] = {}
        self._default = ""
        self._gain = 1.0
        self._letter_ms = LETTER_MS
        self._thread = ThreadPoolExecutor(1, "pocket")

    def load(self) -> None:
        """Open the model and its voices.

        Raises:
            EngineUnavailable: pocket-tts or a file of the model is missing, or another device is asked for.
            EngineOutOfMemory: it does not fit.
        """
        if self._placement.device not in ("", "cpu"):
            raise EngineUnavailable(
                "pocket_device_unsupported",
                f"Pocket TTS runs on the CPU, not on {self._placement.device}.",
                remedy=f"Write pocket:{self._placement.model}@cpu.",
            )
        library, configs, torch = _library()
        found = files.read(self._placement)
        config = files.configuration(configs, found)
        try:
            self._model = self._open(library, config)
            self._states = {
                name: self._model.get_state_for_audio_prompt(file)
                for name, file in found.voices.items()
            }
        except Exception as error:
            raise _not_loaded(error, found) from error
        torch.set_num_threads(
            self._placement.number or 1
        )  # more do not make it faster: its authors
        self._default = self._chosen_default()
        self.capabilities = replace(
            self.capabilities, languages=(found.language,), voices=tuple(self._states)
        )

    def warm_up(self) -> None:
        """Speak twice in the default voice, and learn how loud and how quick it is."""
        list(self._sound(WARM_UP, self._default, _Wanted()))
        began = time.perf_counter()
        sound = np.concatenate(list(self._sound(WARM_UP, self._default, _Wanted())))
        ratio = (time.perf_counter() - began) * RATE_HZ / len(sound)
        self._gain = gain_for(level_dbfs(as_pcm(sound), RATE_HZ))
        log.info("~ pocket takes %.2f s for a second of speech", ratio)

    def close(self) -> None:
        """Let the model go."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._model = None
        self._states = {}

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`."""
        assert isinstance(options, TtsOptions)
        voice = options.voice if options.voice in self._states else self._default
        (language,) = self.capabilities.languages

        def speak(text: str, take: Take) -> None:
            letters = letters_before(text)
            words = [(round(n * self._letter_ms * RATE_HZ / 1000), at) for n, at in letters]
            samples = 0
            for sound in self._sound(text, voice, inbox):
                take(as_pcm(sound), words)
                samples += len(sound)
                words = []
            if letters and letters[-1][0] > 0:
                self._learn(samples / RATE_HZ * 1000 / (letters[-1][0] + 6))

        cut = Breaths(lambda text: spoken(text, language))
        Narrator(speak, RATE_HZ, self._gain, 1.0, cut).run(inbox, emit)

    def _learn(self, letter_ms: float) -> None:
        """The pace of a part; one that is out of all bounds was no reading."""
        if LETTER_MS / 3 < letter_ms < LETTER_MS * 3:
            self._letter_ms += (letter_ms - self._letter_ms) / 4

    def _open(self, library: Any, config: str) -> Any:
        temperature = self._placement.option("temperature")
        with tempfile.TemporaryDirectory(prefix="pocket-") as scratch:
            path = Path(scratch) / "config.yaml"
            path.write_text(config, encoding="utf-8")
            return library.TTSModel.load_model(
                config=path,
                temp=float(temperature) if temperature else None,
                quantize=self._placement.precision == "int8",
            )

    def _chosen_default(self) -> str:
        wanted = self._placement.option("voice")
        if wanted and wanted not in self._states:
            raise EngineUnavailable(
                "pocket_voice_unknown",
                f"Pocket TTS has no voice '{wanted}'.",
                remedy=f"Known: {', '.join(self._states)}.",
            )
        ranked = (wanted, *files.FAVOURITES, *self._states)
        return next(name for name in ranked if name in self._states)

    def _sound(self, text: str, voice: str, inbox: "Inbox | _Wanted") -> Iterator[Samples]:
        """Frames of sound as they are made.

        Raises:
            StreamCancelled: nobody wants the rest; the model stops at its next frame.
            EngineLost: it failed.
        """
        frames: SimpleQueue[Samples | None] = SimpleQueue()
        stop = threading.Event()

        def make() -> None:
            made = self._model.generate_audio_stream(self._states[voice], text, stop=stop)
            for frame in made:
                frames.put(frame.float().cpu().numpy())

        job = self._thread.submit(make)
        job.add_done_callback(lambda _: frames.put(None))
        try:
            while True:
                try:
                    frame = frames.get(timeout=POLL_S)
                except Empty:
                    frame = np.zeros(0, np.float32)
                if inbox.cancelled:
                    raise StreamCancelled
                if frame is None:
                    break
                if len(frame):
                    yield frame
        finally:
            stop.set()
            job.cancel()
        if (error := job.exception()) is not None:
            raise _lost(error) from error


class _Wanted:
    """An inbox for what nobody cancels."""

    cancelled = False


def _lost(error: BaseException) -> EngineLost:
    if is_out_of_memory(error):
        return EngineOutOfMemory("pocket_out_of_memory", "Pocket TTS ran out of memory.")
    return EngineLost("pocket_failed", f"Pocket TTS failed: {type(error).__name__}: {error}.")


def _not_loaded(error: Exception, found: files.PocketFiles) -> EngineUnavailable | EngineLost:
    if is_out_of_memory(error):
        return EngineOutOfMemory("pocket_out_of_memory", "Pocket TTS does not fit into memory.")
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return EngineUnavailable(
        "pocket_not_loadable",
        f"The Pocket TTS model in {found.weights.parent} cannot be loaded: {reason}.",
        remedy="Fetch it again with `duologue models pull NAME --again`; weights, tokenizer and voices must be of "
        f"one model, and the folder is named for it ('{found.name}').",
    )


def _library() -> tuple[Any, Any, Any]:
    try:
        import pocket_tts
        import torch
        from pocket_tts.utils import config
    except ImportError as error:
        raise EngineUnavailable(
            "pocket_missing",
            f"Pocket TTS cannot speak: {error.name or 'pocket-tts'} is not installed.",
            remedy="Run `make setup EXTRAS=pocket`, or `pip install 'duologue[pocket]'`.",
        ) from error
    logging.getLogger("pocket_tts").setLevel(logging.ERROR)  # it has a line for every frame
    return pocket_tts, config, torch


SPEC = EngineSpec(
    "pocket",
    Role.TTS,
    Capabilities(
        languages=tuple(files.LANGUAGES.values()),
        rate_hz=RATE_HZ,
        streaming=True,
        word_times=True,
        holds_gil=True,
        max_streams=MAX_STREAMS,
        ram_mib=1_200,
    ),
    Pocket,
    is_own_process=True,
    about="Pocket TTS (Kyutai, MIT): a streaming neural voice for CPUs, seven languages",
    locate=models.in_folder,
)
"""`ram_mib` is an estimate: 100 million parameters in 32 bits, the voices, and torch."""
