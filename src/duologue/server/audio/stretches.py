"""Where a long recording may be cut: speech probability per window -> stretches of speech. Pure.

A recogniser looks at a bounded time (Whisper at 30 s, pocketsphinx's second look at 20), and a caption wants to
know when it was said. So sound is cut at pauses; where somebody speaks on and on, at the least likely speech. What
is no speech is not shown to a recogniser at all: it would find words in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import SAMPLE_BYTES, WINDOW_SAMPLES, ms_to_samples, samples_to_ms
from duologue.core.speech import HYSTERESIS, SpeechPolicy, SpeechSegmenter

WINDOW_BYTES = WINDOW_SAMPLES * SAMPLE_BYTES

POLICY = SpeechPolicy(threshold=0.4)
"""A little below that of conversations: in a file nobody is interrupted by a cough that was taken for speech."""

PAUSE_BELOW = POLICY.threshold - HYSTERESIS
"""Windows less likely than this are the pauses of a stretch."""

PAD_WINDOWS = 9
"""Sound kept before and after speech, 288 ms: first and last consonants are quiet."""

PAUSE_WINDOWS = 16
"""Half a second of silence ends a stretch that is long enough, ..."""

LONG_PAUSE_WINDOWS = 63
"""... two seconds end any."""

LIMIT_WINDOWS = 620
"""Longest stretch, 19.8 s: pocketsphinx weighs alternatives up to 20 s, and Whisper's window is 30."""

CUT_FROM_WINDOWS = 310
"""Earliest cut of a stretch without pauses."""

SMOOTH_WINDOWS = 5
"""A cut is made in the middle of the least likely speech of such length: 160 ms, a gap between words."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sound with speech in it.

    Attributes:
        start: of the sound on the file's clock, in samples.
        speech_ms: where in the file the speech begins and ends.
        no_speech: how likely it is none after all: the mean over all windows but the pauses.
    """

    pcm: bytes
    start: int
    speech_ms: tuple[int, int]
    no_speech: float


class Splitter:
    """One recording. Holds at most one stretch and a pause.

    Args:
        least_ms: shorter stretches are not ended by a pause, unless it is a long one. For recognisers whose work
            costs the same however short the sound is.
    """

    def __init__(self, least_ms: int = 0) -> None:
        self._least_windows = ms_to_samples(least_ms) // WINDOW_SAMPLES
        self._segmenter = SpeechSegmenter(POLICY)
        self._windows: list[bytes] = []
        self._odds: list[float] = []
        self._first = 0  # number of the first window held
        self._speech: tuple[int, int] | None = (
            None  # first and last window of speech in the stretch begun
        )

    def push(self, odds: Sequence[float], pcm: bytes) -> Iterator[Stretch]:
        """More windows, and their probabilities; gives the stretches that end with them. To be iterated to the end.

        Only the last window of all may be shorter than the others.
        """
        for number, probability in enumerate(odds):
            window = pcm[number * WINDOW_BYTES : (number + 1) * WINDOW_BYTES]
            if (stretch := self._next(window, probability)) is not None:
                yield stretch

    def finish(self) -> Stretch | None:
        """The recording is over."""
        return self._end() if self._speech is not None else None

    def _next(self, window: bytes, probability: float) -> Stretch | None:
        self._windows.append(window)
        self._odds.append(probability)
        here = self._first + len(self._windows) - 1
        self._segmenter.feed(probability)
        if self._segmenter.speaking:
            if self._speech is None:
                self._speech = (max(self._first, here - POLICY.start_windows + 1), here)
            else:
                self._speech = (self._speech[0], here)
        if self._speech is None:
            self._forget(here - PAD_WINDOWS - POLICY.start_windows)
            return None
        return self._end() if self._is_over(here) else self._cut_if_long()

    def _is_over(self, here: int) -> bool:
        assert self._speech is not None
        first, last = self._speech
        pause = here - last
        is_long = last - first >= self._least_windows
        return pause >= (PAUSE_WINDOWS if is_long else LONG_PAUSE_WINDOWS)

    def _cut_if_long(self) -> Stretch | None:
        if len(self._windows) < LIMIT_WINDOWS:
            return None
        cut = self._first + quietest(self._odds, self._windows)
        assert self._speech is not None
        first, last = self._speech
        self._speech = (first, min(last, cut - 1))
        stretch = self._stretch(upto=cut)
        self._forget(cut)
        self._speech = (cut, last) if last >= cut else None
        return stretch

    def _end(self) -> Stretch:
        assert self._speech is not None
        upto = min(self._first + len(self._windows), self._speech[1] + 1 + PAD_WINDOWS)
        stretch = self._stretch(upto)
        self._forget(max(upto, self._first + len(self._windows) - PAD_WINDOWS))
        self._speech = None
        return stretch

    def _stretch(self, upto: int) -> Stretch:
        assert self._speech is not None
        first, last = self._speech
        begin = max(self._first, first - PAD_WINDOWS)
        at = slice(begin - self._first, upto - self._first)
        pcm = b"".join(self._windows[at])
        start = begin * WINDOW_SAMPLES
        end = start + len(pcm) // SAMPLE_BYTES
        odds = self._odds[first - self._first : last - self._first + 1]
        speech = [odd for odd in odds if odd >= PAUSE_BELOW] or odds
        return Stretch(
            pcm,
            start,
            (
                samples_to_ms(first * WINDOW_SAMPLES),
                samples_to_ms(min(end, (last + 1) * WINDOW_SAMPLES)),
            ),
            1.0 - sum(speech) / len(speech),
        )

    def _forget(self, before: int) -> None:
        """Windows that no stretch needs any more."""
        count = before - self._first
        if count > 0:
            del self._windows[:count]
            del self._odds[:count]
            self._first = before


def quietest(odds: Sequence[float], windows: Sequence[bytes]) -> int:
    """Where to cut: at the least likely speech after `CUT_FROM_WINDOWS`; of several such, at the quietest."""
    kernel = np.ones(SMOOTH_WINDOWS) / SMOOTH_WINDOWS
    smooth = np.convolve(np.asarray(odds[CUT_FROM_WINDOWS:]), kernel, "valid").round(1)
    power = np.convolve([_power(window) for window in windows[CUT_FROM_WINDOWS:]], kernel, "valid")
    best = np.lexsort((power, smooth))[0]
    return CUT_FROM_WINDOWS + int(best) + SMOOTH_WINDOWS // 2


def _power(window: bytes) -> float:
    sound: NDArray[np.float32] = np.frombuffer(window, "<i2").astype(np.float32)
    return float(np.dot(sound, sound)) / max(1, len(sound))
