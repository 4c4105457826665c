"""Speech by Sesame's CSM-1B, on PyTorch: the most natural of the voices here, and the one that needs a GPU.

    --tts csm:csm-1b                            a model of the models folder, on the best device that works
    --tts csm:csm-1b@cuda:1/bf16                on the second GPU, in bfloat16
    --tts csm:/path/to/model?temperature=0.7    more even; also top_k, top_p, max_new_tokens, max_memory, voice,
                                                attention, contest

One model serves all streams: each asks for the next few frames of its answer, in turn. So its sound begins after two
frames of 80 ms, whatever the sentence's length, and somebody else's answer holds it up by two frames.

English only. It knows no speed but its own, and does not say when a word is said; that is guessed.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineError, EngineLost
from duologue.core.placement import Placement
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox
from duologue.engines.csm import voices
from duologue.engines.csm.codec import Samples
from duologue.engines.csm.model import FRAME_MS, RATE_HZ, Loaded, load
from duologue.engines.csm.sampling import Manner
from duologue.engines.csm.speech import Speech, Wanted
from duologue.engines.csm.trial import tried
from duologue.engines.csm.words import Pace, Words
from duologue.engines.models import store as models
from duologue.engines.text.speakable import Speakable
from duologue.engines.text.spoken import spoken
from duologue.engines.torchkit import host, oom
from duologue.engines.torchkit.fastest import VERDICTS
from duologue.engines.voices import model_files
from duologue.engines.voices.narration import Narrator, Take
from duologue.engines.voices.part_sound import gain_for, level_dbfs
from duologue.engines.whisper.shared_model import SharedModel, wall_ms
from duologue.ports import Clock, StreamOptions, TtsOptions

log = logging.getLogger("duologue.engines")

CHUNK_FRAMES = 2
"""Frames that are decoded at once. One would bring the first sound a frame earlier, and have the codec called twice
as often; more would leave the listener without sound where the model is hardly faster than speech."""

POLL_S = 0.01
"""How often a stream that waits for the model looks whether anybody still wants it; the seam allows 50 ms."""

MAX_STREAMS = 8
MIN_STREAMS = 2
"""An answer may begin while the one before it is being given up."""

WARM_UP_TEXT = "Good morning, this is how I sound."
WARM_UP_FRAMES = 12
WARM_UP_RUNS = 5
"""At most; it is over once the third or a later run takes at most `STEADY` times the best."""

STEADY = 1.3
SLOW_WARM_UP_S = 10.0
"""A machine that takes longer for a run is too slow for conversation, and another run would not change that."""

MAX_CLIPS = 16
"""Voices whose clips are kept encoded."""

Result = TypeVar("Result")


class Csm(BlockingEngine):
    """See the module.

    Args:
        argument: see `core.placement`.
        verdicts: a folder; see `torchkit.contest.remembered`.
        clock: by which the model's calls are timed.
    """

    def __init__(
        self, argument: str = "", *, verdicts: Path = VERDICTS, clock: Clock = wall_ms
    ) -> None:
        self.capabilities = SPEC.capabilities
        self._placement = Placement.parse(argument)
        self._manner = Manner.of(self._placement)
        self._verdicts = verdicts
        self._clock = clock
        self._loaded: Loaded | None = None
        self._shared: SharedModel[Callable[[], Any], Any] | None = None
        self._folder = Path()
        self._pace = Pace()
        self._prompts: dict[
            str, tuple[Any, float]
        ] = {}  # of each clip: as the model takes it, its gain
        self._speech_factor = 0.0

    @property
    def speech_factor(self) -> float:
        """How long a second of speech takes, in seconds, as the warm-up found; 0 before it."""
        return self._speech_factor

    def load(self) -> None:
        """Open the model on the first device that works, in the fastest way there, and read the default voice's clip.

        Raises:
            EngineUnavailable: a library, the model, a file of it or the voice is missing, or no device works.
            EngineOutOfMemory: the model does not fit.
        """
        folder = model_files.place_of(self._placement, SPEC.name)
        self._folder = folder.parent
        self._loaded = load(self._placement, folder, tried, self._verdicts, self._clock)
        self._shared = SharedModel(_called, clock=self._clock)
        names = (*voices.NUMBERS, *voices.listed(self._folder))
        self.capabilities = replace(self.capabilities, voices=names)
        if default := self._placement.option("voice"):
            self._prompt_of(default, lambda: False)

    def warm_up(self) -> None:
        """Speak until it takes no less time, and see how it compares with the speech itself."""
        took_ms: list[float] = []
        while len(took_ms) < WARM_UP_RUNS:
            began_ms = self._clock()
            frames = self._spoken_once()
            took_ms.append((self._clock() - began_ms) / max(1, frames))
            is_slow = took_ms[-1] * frames > SLOW_WARM_UP_S * 1000
            if is_slow or (len(took_ms) > 2 and took_ms[-1] <= STEADY * min(took_ms)):
                break
        self._speech_factor = min(took_ms) / FRAME_MS
        streams = MAX_STREAMS
        if self._speech_factor > 0:
            streams = max(MIN_STREAMS, min(MAX_STREAMS, int(1 / self._speech_factor)))
        self.capabilities = replace(self.capabilities, max_streams=streams)
        self._tell(streams)

    def close(self) -> None:
        """Stop the model's thread and let the model go."""
        if self._shared is not None:
            self._shared.close()
        loaded, self._loaded, self._shared = self._loaded, None, None
        self._prompts.clear()
        if loaded is not None:
            torch, device = loaded.torch, loaded.device
            del loaded
            oom.release(torch, device)

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`.

        Raises:
            EngineLost: the model failed; `EngineOutOfMemory` where it was for want of memory.
        """
        assert isinstance(options, TtsOptions)
        assert self._loaded is not None
        assert self._shared is not None

        def cancelled() -> bool:
            return inbox.cancelled

        name = self._known(options.voice)
        prompt, gain = self._prompt_of(name, cancelled)
        speech = Speech(self._loaded, self._manner, _number(name), prompt)

        def speak(text: str, take: Take) -> None:
            self._speak(speech, text, take, cancelled)

        try:
            Narrator(speak, RATE_HZ, gain, options.speed, _cut).run(inbox, emit)
        finally:
            self._shared.withdraw(speech)

    def _speak(self, speech: Speech, text: str, take: Take, cancelled: Wanted) -> None:
        """One stretch of an answer."""
        words = Words(text, self._pace)

        def wanted() -> bool:
            return not cancelled()

        self._done(speech, lambda: speech.begin(text), cancelled)
        while True:
            sound = self._done(speech, lambda: speech.chunk(CHUNK_FRAMES, wanted), cancelled)
            if sound is None:
                break
            take(_pcm(sound), words.during(len(sound)))
        take(b"", words.end())

    def _done(self, owner: object, work: Callable[[], Result], cancelled: Wanted) -> Result:
        """Have something done in the model's thread.

        Raises:
            StreamCancelled: nobody wants it any more.
            EngineLost: it failed.
        """
        assert self._shared is not None
        job = self._shared.ask(owner, work, is_final=True)
        result: Result = job.outcome(cancelled, POLL_S)
        return result

    # --- voices ---
    def _known(self, asked: str) -> str:
        """The voice that is asked for, or the default one."""
        default = self._placement.option("voice") or voices.NUMBERS[0]
        if not asked or asked.isdecimal() or voices.is_there(asked, self._folder):
            return asked or default
        log.info("~ csm has no voice '%s'", asked)
        return default

    def _prompt_of(self, name: str, cancelled: Wanted) -> tuple[Any, float]:
        """What goes before an answer in this voice, and what brings the voice to the level of all."""
        if name.isdecimal():
            return None, 1.0
        if name not in self._prompts:
            clip = voices.read(name, self._folder)
            gain = gain_for(level_dbfs(_pcm(clip.sound), RATE_HZ))
            while len(self._prompts) >= MAX_CLIPS:
                with suppress(KeyError, StopIteration):  # another stream may have been quicker
                    del self._prompts[next(iter(self._prompts))]
            prompt = self._done(name, lambda: self._heard(clip), cancelled)
            self._prompts[name] = prompt, gain
        return self._prompts[name]

    def _heard(self, clip: voices.Clip) -> Any:
        """A clip as the backbone takes it; in the model's thread."""
        loaded = self._loaded
        assert loaded is not None
        with loaded.torch.inference_mode():
            parts = (
                loaded.of_text(clip.text, voices.NUMBERS[0]),
                loaded.of_codes(loaded.encoded(clip.sound)),
                loaded.end(),
            )
            return loaded.torch.cat(parts, 1)

    # --- warming up ---
    def _spoken_once(self) -> int:
        """Speak as much as `WARM_UP_FRAMES`; returns how many frames there were."""
        assert self._loaded is not None
        prompt, _ = self._prompt_of(self._known(""), lambda: False)
        manner = replace(self._manner, max_frames=WARM_UP_FRAMES)
        speech = Speech(self._loaded, manner, voices.NUMBERS[0], prompt)
        self._done(speech, lambda: speech.begin(WARM_UP_TEXT), lambda: False)
        samples = 0
        while True:
            sound = self._done(
                speech, lambda: speech.chunk(CHUNK_FRAMES, lambda: True), lambda: False
            )
            if sound is None:
                return round(samples / RATE_HZ * 1000 / FRAME_MS)
            samples += len(sound)

    def _tell(self, streams: int) -> None:
        assert self._loaded is not None
        factor, device = self._speech_factor, self._loaded.device
        if factor <= 1:
            log.info(
                "~ csm takes %.2f s for a second of speech on %s: %d streams",
                factor,
                device.device,
                streams,
            )
            return
        help_ = "Use kokoro, or a GPU" if device.kind == "cpu" else "Use kokoro, or a faster GPU"
        log.warning(
            "! csm is %.1f times slower than speech on %s (%s), so its answers will halt. %s.",
            factor,
            device.device,
            device.name,
            help_,
        )


def _called(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """One call of the model, which does one thing at a time; in the model's thread."""
    try:
        with oom.told("CSM was speaking"):
            return [work() for work in works]
    except EngineError:
        raise
    except (RuntimeError, ValueError, IndexError) as error:
        raise EngineLost(
            "csm_failed",
            f"Speech by CSM failed: {host.first_line(error)}.",
            remedy="If it goes on, choose another device (csm:NAME@cpu) or another voice.",
        ) from error


def _cut(text: str) -> list[Speakable]:
    return spoken(text, "en").parts()


def _number(voice: str) -> str:
    """By which the model knows the speaker; a clip's is the first."""
    return voice if voice.isdecimal() else voices.NUMBERS[0]


def _pcm(sound: Samples) -> bytes:
    samples: NDArray[np.int16] = np.rint(np.clip(sound, -1, 1) * np.float32(32_767)).astype("<i2")
    return samples.tobytes()


SPEC = EngineSpec(
    "csm",
    Role.TTS,
    Capabilities(
        languages=("en",),
        rate_hz=RATE_HZ,
        streaming=True,
        holds_gil=True,
        voices=voices.NUMBERS,
        max_streams=MAX_STREAMS,
        ram_mib=7_000,
    ),
    Csm,
    is_own_process=True,
    about="Sesame CSM-1B (Apache-2.0) on PyTorch: natural, hears what it has said; needs a GPU",
    locate=models.in_folder,
)
"""`ram_mib` is computed, of the true model in float32 on the CPU (1.63 billion weights, and the work)."""
