"""Speech by Kokoro-82M on ONNX Runtime: a natural voice from 90 to 310 MB, on a CPU or a GPU.

    --tts kokoro:kokoro-v1.0                  a model of the models folder
    --tts kokoro:/path/to/folder@cpu:2        its network on two threads
    --tts kokoro:kokoro-v1.0@cuda:0/fp16      another precision, on the first GPU
    --tts kokoro:kokoro-v1.0?voice=bf_emma    whose voice speaks English where nobody asks for one

Text becomes phonemes by kokoro-onnx (MIT), which asks espeak-ng through phonemizer; both of these are GPL-3, so the
engine is loaded in a process of its own, never in the server. The network is run here, not by kokoro-onnx: on the
device and threads that were asked for, and so that it can be stopped in the middle of a part.

It makes a part's sound at once. So an answer is cut into breaths, of which the first is short. When words are spoken
is known where the network tells the duration of its symbols (exports of kokoro-onnx's own script do); the published
files do not, and there it is estimated by letters.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox
from duologue.engines.kokoro import files
from duologue.engines.kokoro.voices import KokoroVoices
from duologue.engines.models import store as models
from duologue.engines.text.breaths import Breaths
from duologue.engines.text.spoken import spoken
from duologue.engines.voices.inference import (
    Inference,
    open_session,
    streams_for,
    timed_warm_up,
)
from duologue.engines.voices.narration import Narrator, Take, pace
from duologue.engines.voices.whole_part import Levels, as_pcm, hand_on
from duologue.engines.voices.word_places import Places, by_letters, by_symbols
from duologue.ports import StreamOptions, TtsOptions

log = logging.getLogger("duologue.engines")

RATE_HZ = 24_000

MOST_TOKENS = 510
"""The network has places for 512, of which the first and last are padding."""

SLOWEST, FASTEST = 0.5, 2.0
"""Bounds of the speed that kokoro-onnx sets; beyond, words are swallowed."""

MAX_STREAMS = 8
WARM_UP = (
    "It looks around for something else to do, and finds it.",
    "Ready.",
    "The quick brown fox jumps over the lazy dog, and then it looks around for something else to do. "
    "Nobody has told it that the day is nearly over, and that supper is ready.",
)
"""What is said of the first text is what the voice's level is learned from."""

Samples = NDArray[np.float32]


class Kokoro(BlockingEngine):
    """See the module.

    Args:
        argument: see `core.placement`; the option "voice" names the voice of English.
    """

    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self._placement = Placement.parse(argument)
        self._inference: Inference
        self._tokenizer: Any = None
        self._styles: files.Styles = {}
        self._voices: KokoroVoices
        self._levels = Levels(RATE_HZ)
        self._types: dict[str, Any] = {}
        self._duration_at: int | None = None

    def load(self) -> None:
        """Open the network and its voices.

        Raises:
            EngineUnavailable: kokoro-onnx, the network, its voices or the device is missing.
        """
        library = _library()
        network = files.network(self._placement)
        self._styles = files.styles(network)
        default = self._placement.option("voice")
        self._voices = KokoroVoices(self._styles, default)
        if not self._voices.names or (default and not self._voices.knows(default)):
            raise EngineUnavailable(
                "kokoro_voice_unknown",
                f"Kokoro has no voice '{default}' in a language that is read here.",
                remedy=f"Known: {', '.join(self._voices.names) or 'none'}.",
            )
        session = open_session(network, self._placement, "kokoro")
        self._inference = Inference(session, "kokoro")
        self._types = library.input_dtypes(session)
        names = [output.name for output in session.get_outputs()]
        self._duration_at = names.index("duration") if "duration" in names else None
        self._tokenizer = library.Tokenizer(vocab=library.embedded_vocab(session))
        self.capabilities = replace(
            self.capabilities, languages=self._voices.languages, voices=self._voices.names
        )

    def warm_up(self) -> None:
        """Run texts of three lengths, and see how many streams this machine can serve."""

        def say(text: str) -> int:
            sound, _ = self._sound(text, *self._voices.choose("", ""), 1.0, lambda: False)
            self._levels.levelled(self._voices.default, as_pcm(sound))
            return len(sound)

        ratio = timed_warm_up(say, WARM_UP, RATE_HZ)
        streams = streams_for(ratio, MAX_STREAMS)
        self.capabilities = replace(self.capabilities, max_streams=streams)
        log.info("~ kokoro takes %.2f s for a second of speech: %d streams", ratio, streams)

    def close(self) -> None:
        """Let the network go."""
        if self._tokenizer is not None:
            self._inference.close()

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`."""
        assert isinstance(options, TtsOptions)
        voice, accent = self._voices.choose(options.voice, options.language)
        speed = min(max(pace(options.speed), SLOWEST), FASTEST)

        def speak(text: str, take: Take) -> None:
            sound, places = self._sound(text, voice, accent, speed, lambda: inbox.cancelled)
            hand_on(self._levels.levelled(voice, as_pcm(sound)), places, RATE_HZ, take)

        cut = Breaths(lambda text: spoken(text, accent, reads_figures=True))
        Narrator(speak, RATE_HZ, 1.0, speed, cut).run(inbox, emit)

    def _sound(
        self, text: str, voice: str, accent: str, speed: float, cancelled: Callable[[], bool]
    ) -> tuple[Samples, Places]:
        """A part's sound, and where its words begin in it."""
        tokenizer = self._tokenizer
        phonemes = " ".join(tokenizer.phonemize(text, accent).split())
        phonemes = tokenizer.known(phonemes)
        stretches = _stretches(phonemes)
        sounds, durations = [], None
        for stretch in stretches:
            tokens = tokenizer.tokenize(stretch)
            sound, durations = self._infer(tokens, self._styles[voice], speed, cancelled)
            sounds.append(sound)
        if not sounds:
            return np.zeros(0, np.float32), []
        whole = np.concatenate(sounds)
        if len(stretches) == 1 and durations is not None:
            return whole, by_symbols(text, _groups(phonemes), _edges(durations, len(whole)))
        return whole, by_letters(text, whole)

    def _infer(
        self, tokens: list[int], styles: Samples, speed: float, cancelled: Callable[[], bool]
    ) -> tuple[Samples, NDArray[np.int64] | None]:
        """One run of the network; its second output is how many frames each token lasts, if it tells."""
        types = self._types
        name = "input_ids" if "input_ids" in types else "tokens"  # exports differ
        row = styles[min(len(tokens), len(styles)) - 1].reshape(1, -1)
        rate = max(1, round(speed)) if types["speed"].kind in "iu" else speed
        feed = {
            name: np.array([[0, *tokens, 0]], types[name]),
            "style": row.astype(types["style"]),
            "speed": np.array([rate], types["speed"]),
        }
        outputs = self._inference.run(feed, cancelled)
        at = self._duration_at
        durations = None if at is None else np.asarray(outputs[at]).ravel()
        return np.asarray(outputs[0], np.float32).ravel(), durations


def _stretches(phonemes: str) -> list[str]:
    """Phonemes in stretches that the network has places for, cut at spaces."""
    stretches = []
    while phonemes:
        end = len(phonemes)
        if end > MOST_TOKENS:
            end = phonemes.rfind(" ", 1, MOST_TOKENS) + 1 or MOST_TOKENS
        stretches.append(phonemes[:end])
        phonemes = phonemes[end:]
    return stretches


def _groups(phonemes: str) -> list[int]:
    """Where words begin among phonemes."""
    starts = [0, *(at + 1 for at, char in enumerate(phonemes) if char == " "), len(phonemes) + 1]
    return [
        start
        for start, end in pairwise(starts)
        if any(char.isalpha() for char in phonemes[start:end])
    ]


def _edges(durations: NDArray[np.int64], samples: int) -> list[int]:
    """The sample where each phoneme begins, and where the last ends; durations begin and end with padding."""
    frames = np.cumsum(durations)
    edges: list[int] = (
        np.round(frames[:-1] * (samples / max(1, int(frames[-1])))).astype(int).tolist()
    )
    return edges


class _Library:
    """What is used of kokoro-onnx."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self.input_dtypes = session.input_dtypes
        self.embedded_vocab = session.embedded_vocab
        self.Tokenizer = tokenizer.Tokenizer


def _library() -> _Library:
    try:
        from kokoro_onnx import session, tokenizer
    except ImportError as error:
        raise EngineUnavailable(
            "kokoro_missing",
            f"Kokoro cannot speak: {error.name or 'kokoro-onnx'} is not installed.",
            remedy="Run `make setup EXTRAS=kokoro`, or `pip install 'duologue[kokoro]'`.",
        ) from error
    logging.getLogger("phonemizer").setLevel(logging.ERROR)  # it has a line for odd texts
    return _Library(session, tokenizer)


SPEC = EngineSpec(
    "kokoro",
    Role.TTS,
    Capabilities(
        languages=("en", "es", "fr", "hi", "it", "pt"),
        rate_hz=RATE_HZ,
        streaming=True,
        word_times=True,
        max_streams=MAX_STREAMS,
        ram_mib=700,
    ),
    Kokoro,
    is_own_process=True,
    about="Kokoro-82M (Apache-2.0; phonemes by GPL-3 parts, in a process of its own): natural, seven accents",
    locate=models.in_folder,
)
"""`ram_mib` is the peak of a process with random weights of the true size, in 32 bits on a CPU (680 MiB)."""
