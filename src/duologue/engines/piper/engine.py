"""Speech by Piper (VITS on ONNX Runtime): quick on a CPU, in forty languages, 20 to 110 MB a voice.

    --tts piper:en_US-lessac-medium           a model of the models folder
    --tts piper:/path/to/voice.onnx@cpu:2     a file, with its .json beside it, on two threads
    --tts piper:voices?voice=de_DE-thorsten-medium

piper-tts is GPL-3 and brings espeak-ng: it is loaded in a process of its own, never in the server. It turns text
into symbols and makes a sentence's sound; the network behind it is opened here, on the threads that were asked for,
and can be stopped in the middle of a sentence.

When words are spoken is known if the voice's network tells how long its symbols last (a second output, which
`piper.patch_voice_with_alignment` adds to a file; it is done here in memory where the package `onnx` is installed).
Otherwise it is estimated by letters.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox
from duologue.engines.models import store as models
from duologue.engines.piper import files
from duologue.engines.text.breaths import Breaths
from duologue.engines.text.speakable import Speakable
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

MAX_STREAMS = 16
WARM_UP = (
    "It looks around for something else to do, and finds it.",
    "1, 2.",
    "The quick brown fox jumps over the lazy dog, and then it looks around for something else to do, for nobody "
    "has told it that the day is nearly over.",
)
"""What is said of the first text is what the voice's level is learned from."""


class Piper(BlockingEngine):
    """See the module.

    Args:
        argument: see `core.placement`; the option "voice" chooses among several voices of a folder.
    """

    def __init__(self, argument: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self._placement = Placement.parse(argument)
        self._inference: Inference
        self._voice: Any = None
        self._library: Any = None
        self._levels: Levels
        self._language = ""

    def load(self) -> None:
        """Open the voice.

        Raises:
            EngineUnavailable: piper-tts, the voice or one of its files is missing.
        """
        self._library = library = _library()
        found = files.read(self._placement)
        config = library.PiperConfig.from_dict(found.config)
        content = _with_durations(found.network)
        session = open_session(found.network, self._placement, "piper", content)
        self._inference = Inference(session, "piper")
        self._voice = library.PiperVoice(session=session, config=config)
        self._levels = Levels(config.sample_rate)
        self._language = found.language
        self.capabilities = replace(
            self.capabilities,
            languages=(found.language,),
            rate_hz=config.sample_rate,
            voices=tuple(config.speaker_id_map) or (found.network.stem,),
        )

    def warm_up(self) -> None:
        """Run texts of three lengths, and see how many streams this machine can serve."""

        def say(text: str) -> int:
            pcm, _ = self._sound(text, None, 1.0, lambda: False)
            self._levels.levelled("", pcm)
            return len(pcm) // 2

        ratio = timed_warm_up(say, WARM_UP, self.capabilities.rate_hz)
        streams = streams_for(ratio, MAX_STREAMS)
        self.capabilities = replace(self.capabilities, max_streams=streams)
        log.info("~ piper takes %.2f s for a second of speech: %d streams", ratio, streams)

    def close(self) -> None:
        """Let the voice go."""
        if self._voice is not None:
            self._inference.close()
        self._voice = None

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`."""
        assert isinstance(options, TtsOptions)
        speaker = self._speaker(options.voice)
        speed, rate_hz = pace(options.speed), self.capabilities.rate_hz
        name = options.voice if speaker is not None else ""

        def speak(text: str, take: Take) -> None:
            pcm, places = self._sound(text, speaker, speed, lambda: inbox.cancelled)
            hand_on(self._levels.levelled(name, pcm), places, rate_hz, take)

        Narrator(speak, rate_hz, 1.0, speed, Breaths(self._said)).run(inbox, emit)

    def _said(self, text: str) -> Speakable:
        """What is to be said; piper-tts takes what is in double brackets for phonemes."""
        said = spoken(text, self._language, reads_figures=True)
        return said.each(lambda char, _: {"[": "(", "]": ")"}.get(char, char))

    def _speaker(self, voice: str) -> int | None:
        """Of a voice with several; None for its default."""
        known: dict[str, int] = dict(self._voice.config.speaker_id_map)
        if voice in known:
            return known[voice]
        count = self._voice.config.num_speakers
        return int(voice) if voice.isdecimal() and int(voice) < count and count > 1 else None

    def _sound(
        self, text: str, speaker: int | None, speed: float, cancelled: Callable[[], bool]
    ) -> tuple[bytes, Places]:
        """A part's sound, and where its words begin in it."""
        voice = replace(self._voice, session=_Stoppable(self._inference, cancelled))
        scale = voice.config.length_scale / speed
        manner = self._library.SynthesisConfig(
            speaker_id=speaker,
            length_scale=scale,
            normalize_audio=False,  # it would make each sentence as loud as its loudest sample lets it
        )
        chunks = list(voice.synthesize(text, manner, include_alignments=True))
        if not chunks:
            return b"", []
        whole = np.concatenate([chunk.audio_float_array for chunk in chunks])
        symbols = [aligned for chunk in chunks for aligned in chunk.phoneme_alignments or ()]
        if symbols and all(chunk.phoneme_alignments for chunk in chunks):
            return as_pcm(whole), _by_alignment(text, symbols)
        return as_pcm(whole), by_letters(text, whole)


class _Stoppable:
    """The voice's session for one part of one stream: piper-tts calls `run` of it, and nothing else."""

    def __init__(self, inference: Inference, cancelled: Callable[[], bool]) -> None:
        self._inference = inference
        self._cancelled = cancelled

    def run(self, _outputs: object, feed: dict[str, Any]) -> list[Any]:
        return self._inference.run(feed, self._cancelled)


def _with_durations(network: Path) -> bytes | None:
    """The network with its symbols' durations as a second output; None if the file must do as it is."""
    try:
        import onnx
        from piper.patch_voice_with_alignment import add_alignment_output
    except ImportError:
        return None
    try:
        model = onnx.load(str(network))
        add_alignment_output(model)
    except Exception:  # noqa: BLE001 - its symbols cannot be told apart, or it is no network: opening it says so
        return None
    content: bytes = model.SerializeToString()
    return content


def _by_alignment(text: str, symbols: list[Any]) -> Places:
    edges = np.concatenate(([0], np.cumsum([aligned.num_samples for aligned in symbols])))
    groups, is_within = [], False
    for at, aligned in enumerate(symbols):
        is_letter = any(char.isalpha() for char in aligned.phoneme)
        if is_letter and not is_within:
            groups.append(at)
        is_within = (is_within or is_letter) and aligned.phoneme not in (" ", "^", "$")
    return by_symbols(text, groups, edges.tolist())


def _library() -> Any:
    try:
        import piper
        import piper.config
    except ImportError as error:
        raise EngineUnavailable(
            "piper_missing",
            f"Piper cannot speak: {error.name or 'piper-tts'} is not installed.",
            remedy="Run `make setup EXTRAS=piper`, or `pip install 'duologue[piper]'`.",
        ) from error
    logging.getLogger("piper").setLevel(logging.ERROR)  # it has a line for each symbol it lacks
    return _Library(piper)


class _Library:
    """What is used of piper-tts."""

    def __init__(self, piper: Any) -> None:
        self.PiperVoice = piper.PiperVoice
        self.SynthesisConfig = piper.SynthesisConfig
        self.PiperConfig = piper.config.PiperConfig


SPEC = EngineSpec(
    "piper",
    Role.TTS,
    Capabilities(
        languages=("*",),
        rate_hz=22_050,
        streaming=True,
        word_times=True,
        max_streams=MAX_STREAMS,
        ram_mib=250,
    ),
    Piper,
    is_own_process=True,
    about="Piper (GPL-3, in a process of its own): quick neural voices in forty languages",
    locate=models.in_folder,
)
"""`ram_mib` is an estimate for a voice of medium size (63 MB)."""
