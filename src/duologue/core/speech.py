"""Speech probability per window -> speech started, speech stopped.

A hysteresis with two thresholds: a run of windows above `threshold` starts speech, a run below
`threshold - HYSTERESIS` stops it. Both facts are stamped with where the change *was*, not where it
was noticed; so that this is no lie, `certain` never runs past a change that is still in the balance.
"""

from dataclasses import dataclass

from duologue.core.audio import WINDOW_SAMPLES, Ms, samples_to_ms
from duologue.core.cadence import Loudness
from duologue.core.facts import SpeechStarted, SpeechStopped

HYSTERESIS = 0.15
"""Silero's own recommendation: leave speech 0.15 below where it is entered."""

HUSHED_RMS = 16.0
"""Windows below this level (of 32768; -66 dBFS) are called silence without asking the model.

The quietest recorded speech at hand (a LibriSpeech reader, normalised far down) stays 20 dB above it;
an open microphone in a quiet room reads 20 to 60. It saves the model only where there is nothing.
"""


@dataclass(frozen=True, slots=True)
class SpeechPolicy:
    """When sound counts as speech.

    Attributes:
        threshold: probability above which a window is speech, 0 to 1.
        start_windows: how many such windows in a row make a beginning; 2 = 64 ms keeps clicks out.
        sure: over our own voice a single window of this probability is a beginning: the output is held on
            suspicion, and goes on if it was nothing.
        stop_windows: how many windows below make an end; 3 = 96 ms bridges the gaps inside words.
    """

    threshold: float = 0.5
    start_windows: int = 2
    sure: float = 0.9
    stop_windows: int = 3


class SpeechSegmenter:
    """The segmenter of one stream. Its time is the sound itself, in samples."""

    __slots__ = ("_loudness", "_position", "_run", "_turned_at", "policy", "speaking")

    def __init__(self, policy: SpeechPolicy) -> None:
        self.policy = policy
        self.speaking = False
        self._position = 0  # samples judged so far
        self._run = 0  # windows in a row that speak against the present state
        self._turned_at = 0  # samples: where that run began
        self._loudness = Loudness()

    @property
    def position(self) -> int:
        """Samples judged so far."""
        return self._position

    @property
    def settled(self) -> bool:
        """No change is in the balance."""
        return not self._run

    @property
    def certain(self) -> Ms:
        """Up to where it is settled whether there was speech."""
        return samples_to_ms(self._turned_at if self._run else self._position)

    def feed(
        self,
        probability: float,
        samples: int = WINDOW_SAMPLES,
        power: float = 0.0,
        *,
        over_us: bool = False,
    ) -> SpeechStarted | SpeechStopped | None:
        """Judge the next window.

        Args:
            power: its sum of squares in any unit that stays the same; 0 if not known.
            over_us: the listener hears us in it.
        """
        began, self._position = self._position, self._position + samples
        self._loudness.heed(power)
        if not self._against(probability):
            self._run = 0
            return None
        if not self._run:
            self._turned_at = began
        self._run += 1
        return self._turn() if self._run >= self._needed(probability, over_us) else None

    def pass_silence(self, samples: int) -> SpeechStopped | None:
        """Time passed in which no sound came, or none that anybody judges: deemed silence."""
        began, self._position = self._position, self._position + samples
        turned_at, run = (self._turned_at, self._run) if self._run else (began, 0)
        self._run = 0
        if not self.speaking:
            return None
        self.speaking = False
        return SpeechStopped(samples_to_ms(turned_at), self._loudness.speech_ended(run))

    def forget(self) -> None:
        """Start afresh from here, as if nobody had spoken."""
        self.speaking = False
        self._run = 0

    def turn_is_over(self) -> None:
        """How the voice falls in what follows is measured by its own loudest part."""
        self._loudness.turn_is_over()

    def _against(self, probability: float) -> bool:
        if self.speaking:
            return probability < max(0.01, self.policy.threshold - HYSTERESIS)
        return probability >= self.policy.threshold

    def _needed(self, probability: float, over_us: bool) -> int:  # noqa: FBT001
        if self.speaking:
            return self.policy.stop_windows
        is_sure = over_us and probability >= max(self.policy.sure, self.policy.threshold)
        return 1 if is_sure else self.policy.start_windows

    def _turn(self) -> SpeechStarted | SpeechStopped:
        self.speaking = not self.speaking
        at, run = samples_to_ms(self._turned_at), self._run
        self._run = 0
        if self.speaking:
            self._loudness.speech_began(run)
            return SpeechStarted(at)
        return SpeechStopped(at, self._loudness.speech_ended(run))
