"""Speech probability per window -> speech started, speech stopped.

A hysteresis with two thresholds: a run of windows above `threshold` starts speech, a run below
`threshold - HYSTERESIS` stops it. Both facts are stamped with where the change *was*, not where it
was noticed; so that this is no lie, `certain` never runs past a change that is still in the balance.
"""

from dataclasses import dataclass

from duologue.core.audio import WINDOW_SAMPLES, Ms, samples_to_ms
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
        stop_windows: how many windows below make an end; 3 = 96 ms bridges the gaps inside words.
    """

    threshold: float = 0.5
    start_windows: int = 2
    stop_windows: int = 3


class SpeechSegmenter:
    """The segmenter of one stream. Its time is the sound itself, in samples."""

    __slots__ = ("_position", "_run", "_turned_at", "policy", "speaking")

    def __init__(self, policy: SpeechPolicy) -> None:
        self.policy = policy
        self.speaking = False
        self._position = 0  # samples judged so far
        self._run = 0  # windows in a row that speak against the present state
        self._turned_at = 0  # samples: where that run began

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
        self, probability: float, samples: int = WINDOW_SAMPLES
    ) -> SpeechStarted | SpeechStopped | None:
        """Judge the next window."""
        began, self._position = self._position, self._position + samples
        if not self._against(probability):
            self._run = 0
            return None
        if not self._run:
            self._turned_at = began
        self._run += 1
        needed = self.policy.stop_windows if self.speaking else self.policy.start_windows
        return self._turn() if self._run >= needed else None

    def pass_silence(self, samples: int) -> SpeechStopped | None:
        """Time passed in which no sound came, or none that anybody judges: deemed silence."""
        began, self._position = self._position, self._position + samples
        turned_at = self._turned_at if self._run else began
        self._run = 0
        if not self.speaking:
            return None
        self.speaking = False
        return SpeechStopped(samples_to_ms(turned_at))

    def forget(self) -> None:
        """Start afresh from here, as if nobody had spoken."""
        self.speaking = False
        self._run = 0

    def _against(self, probability: float) -> bool:
        if self.speaking:
            return probability < max(0.01, self.policy.threshold - HYSTERESIS)
        return probability >= self.policy.threshold

    def _turn(self) -> SpeechStarted | SpeechStopped:
        self.speaking = not self.speaking
        self._run = 0
        at = samples_to_ms(self._turned_at)
        return SpeechStarted(at) if self.speaking else SpeechStopped(at)
