"""Our own voice in the user's microphone: is what is heard the user, or what we said?

Nothing is known of a listener beforehand: not whether they wear headphones, nor how loud their room gives back what
we say, nor how long that takes. So sound is the user's until it is found in what was played (`echo_delay`). From
then on a model of the way (`echo_filter`) predicts the echo, window for window; what it does not predict is somebody
who is there. Where nothing is ever found, nothing is ever changed.

Thresholds come from simulations with recorded speech of several kinds, and two recorded rooms.
"""

from collections import deque
from collections.abc import Callable

import numpy as np

from duologue.core.audio import WINDOW_SAMPLES, ms_to_samples
from duologue.core.echo_delay import Match, find_delay
from duologue.core.echo_filter import PARTS, EchoFilter, Sound

EARLIEST_DELAY = -ms_to_samples(64)
"""The reckoning may be a little late."""

LATEST_DELAY = ms_to_samples(640)
"""Two bad networks, and a loudspeaker over Bluetooth."""

TAIL = LATEST_DELAY + ms_to_samples(200)
"""So long after its last sample nothing that was played can be heard any more."""

_COMPARED = 8 * WINDOW_SAMPLES
"""Microphone sound that is looked for in what was played: 256 ms. An answer's first sounds fill a third of it."""

HISTORY = LATEST_DELAY + _COMPARED + (PARTS + 2) * WINDOW_SAMPLES
"""Samples back from the window being judged that are asked for."""

_LEAD_IN = 128
"""The model begins 8 ms before the delay that was found: the loudest path is not always the first."""

_SAME_DELAY = 3 * _LEAD_IN
"""A delay so far behind the model's beginning is no other delay."""

_CERTAIN = Match(0, 1.8, 0.20)
_REPEATED = Match(0, 1.4, 0.12)
"""What makes a match a find: at once, or when the one before said the same. Unrelated voices were seen to reach a
clarity of 2.2 or a share of 0.16, but not at the same delay again."""

_REMOTE = Match(0, 1.4, 0.07)
_REMOTE_SHARE = 0.09
"""Below either, a match is no sign of an echo at all; half of all unrelated voices have a share below 0.07."""

_HOLD_WINDOWS = 5
"""So long, 160 ms a stretch of our voice, what may be an echo is not believed of a listener yet unknown."""

_LOUDER = 1.5
"""Of a listener yet unknown no echo is believed that is so much stronger, in power, than what was played."""

_WEAKER = 0.06
"""What is 12 dB weaker than what was played, in an unknown listener's first second, may be an echo however little it
is like it: its first sounds are too short to compare."""

_ACCEPTED_WINDOWS = 2
"""Who was believed to speak is not doubted a moment later."""

_SILENT_FRAMES = 10
"""After 200 ms of loud frames of which nothing can have come back any more, a listener is taken to have no echo."""

_PROVEN = 0.4
"""Share of the echo's power that a model leaves when it is believed."""

_AGREEING_WINDOWS = 2
"""Windows that a known model must predict before it is trusted where the delay may be another one."""

_DOUBT = 2.0
"""Recorded echo left after the model stays below its own doubt in 98 of 100 windows."""

_TAIL_SHARE, _TAIL_KEEP = 0.1, 0.95
"""What a room may keep of the loudest echo after the modelled part of its path, and how that falls from window to
window: a T60 of 4 s, for recorders' noise is part of it."""

_COUPLED, _COUPLED_KEEP = 6.0, 0.7
"""An echo is never so much stronger, in power, than usual for what was played; and how the latter's memory falls."""

_FAR = 16.0
"""So far above the limit, in power, nothing is an echo."""

_ALIKE = 0.6
"""Share of the usual likeness to what was played below which something else is in the window, too."""

_MOST_SLACK = 8.0
"""Loudspeakers that distort leave more than a linear model knows of: up to 9 dB is learnt."""

_FALSE_LOCK_WINDOWS = 30
"""After so many windows of speech that it does not predict, an unproven find was none."""

_FLOOR = WINDOW_SAMPLES * 2e-9
"""Power of the quietest sound that matters, -87 dBFS."""

_AUDIBLE = 1e3 * _FLOOR


class EchoControl:
    """Judges one microphone, window by window.

    Args:
        played: what was played between two places of the stream; zeros where nothing was.

    Attributes:
        is_in_doubt: the last window may be an echo or somebody: this listener is yet unknown.
    """

    def __init__(self, played: Callable[[int, int], Sound]) -> None:
        self._played = played
        self._heard = np.zeros(_COMPARED, np.float32)
        self._end = 0  # of the last window
        self._match = Match(2 * LATEST_DELAY, 1.0, 0.0)
        self._aloud: deque[int] = deque(maxlen=256)
        self._silent = self._held = self._accepted = self._suspected = 0
        self.is_in_doubt = False
        self._loud_since: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._delay: int | None = None
        self._model = EchoFilter()
        self._agreed = self._unexplained = 0
        self._mic = self._left = self._limit = 0.0
        self._usual_mic = self._usual_left = 0.0
        self._loudest = self._loudest_played = 0.0
        self._coupling = self._usual_share = 0.0
        self._slack = 1.0

    @property
    def has_found(self) -> bool:
        """This listener's microphone gives back what was played."""
        return self._delay is not None

    @property
    def is_proven(self) -> bool:
        """The model takes most of the echo away."""
        return self._usual_left < _PROVEN * self._usual_mic

    def begin_stretch(self) -> None:
        """What is played from here on may come back after another delay."""
        self._agreed = self._held = self._accepted = self._suspected = 0
        self._loud_since = None

    def played_aloud(self, upto: int) -> None:
        """A frame that ends there is loud enough to be heard back."""
        self._aloud.append(upto)
        if self._loud_since is None:
            self._loud_since = upto

    def clean(self, start: int, pcm: bytes) -> bytes:
        """The next window, less its echo where the model is good at it; otherwise as it is."""
        window: Sound = np.frombuffer(pcm, np.int16) * np.float32(1 / 32768)
        if start != self._end:
            self._heard[:] = 0.0
        self._heard = np.concatenate((self._heard[WINDOW_SAMPLES:], window))
        self._end = start + WINDOW_SAMPLES
        if self._delay is None:
            return pcm
        rest = self._predict(self._delay, start, window)
        if not (self.is_proven and self._is_trusted) or self._left >= self._mic:
            return pcm
        return (rest * 32768).round().clip(-32768, 32767).astype(np.int16).tobytes()

    def explains(self, probability: float, floor: float) -> bool:
        """Is the last window nothing but echo?

        Args:
            probability: of speech in it.
            floor: below this it is not even asked.
        """
        self.is_in_doubt = False
        if probability < floor:
            self._count_silent()
            return False
        self._aloud.clear()
        if self._is_predicted:
            return True
        if self._delay is None and self._is_too_loud():
            self._accepted += 1
            return False
        before, self._match = self._match, self._search()
        match, delay = self._match, self._delay
        if _is_find(match, before):
            if delay is None or not 0 <= match.delay - delay <= _SAME_DELAY:
                return self._adopt(match.delay)
            self._agreed = _AGREEING_WINDOWS
        if delay is None:
            return self._hesitates(match)
        if not self._is_trusted:
            return self._mic < 4 * self._coupling * self._strongest_played()
        return self._is_alike(delay) or self._suspects(match)

    # --- what speaks for an echo ---
    @property
    def _is_trusted(self) -> bool:
        return self._agreed >= _AGREEING_WINDOWS

    @property
    def _is_predicted(self) -> bool:
        return self._delay is not None and min(self._left, self._mic) < self._limit

    def _count_silent(self) -> None:
        """How much of what was played has certainly not come back?"""
        while self._aloud and self._aloud[0] < self._end - LATEST_DELAY:
            self._aloud.popleft()
            self._silent += 1

    def _hesitates(self, match: Match) -> bool:
        """Nothing is known yet, and this looks a little like an echo."""
        is_remote = match.clarity < _REMOTE.clarity or match.share < _REMOTE.share
        is_remote &= match.share < _REMOTE_SHARE and not self._is_weak()
        if is_remote or self._is_known():
            self._accepted += 1
            return False
        self._held += 1
        self.is_in_doubt = True
        return True

    def _suspects(self, match: Match) -> bool:
        """It is like what was played, only not where it was expected: a player that ran dry starts later anew."""
        if match.share < _REMOTE_SHARE or self._suspected >= _HOLD_WINDOWS:
            return False
        self._suspected += 1
        self.is_in_doubt = True
        return True

    def _is_too_loud(self) -> bool:
        heard = _energy(self._heard[-WINDOW_SAMPLES:])
        return heard > _LOUDER * self._strongest_played()

    def _is_weak(self) -> bool:
        heard = _energy(self._heard[-WINDOW_SAMPLES:])
        return heard < _WEAKER * self._strongest_played()

    def _is_known(self) -> bool:
        """Is it settled that this listener has no echo, or that this is the user?"""
        if self._silent >= _SILENT_FRAMES or self._held >= _HOLD_WINDOWS:
            return True
        if self._loud_since is None or self._end < self._loud_since + EARLIEST_DELAY:
            return True  # nothing was loud enough yet
        return self._accepted >= _ACCEPTED_WINDOWS

    def _adopt(self, delay: int) -> bool:
        """It comes back after another delay than thought."""
        self._suspected = 0
        self._delay = delay - _LEAD_IN
        self._catch_up(self._delay)
        share = self._share(self._delay)
        self._usual_share = self._usual_share or max(_CERTAIN.share, share)
        return self._is_predicted or share > _ALIKE * self._usual_share

    def _is_alike(self, delay: int) -> bool:
        """The model did not see it coming, and yet it is mostly what was played."""
        if min(self._left, self._mic) > _FAR * self._limit:
            self._unexplained += not self.is_proven
            if self._unexplained > _FALSE_LOCK_WINDOWS:
                self._forget()
            return False
        if self._share(delay) <= _ALIKE * self._usual_share:
            return False
        self._slack = min(1.15 * self._slack, _MOST_SLACK)
        return True

    def _search(self) -> Match:
        first = self._end - _COMPARED - LATEST_DELAY
        played = self._played(first, self._end - EARLIEST_DELAY)
        return find_delay(self._heard, played, EARLIEST_DELAY)

    def _share(self, delay: int) -> float:
        """How much the last 128 ms are like what was played, at a known delay."""
        heard = self._heard[-_COMPARED // 2 :]
        end = self._end - delay
        return find_delay(heard, self._played(end - len(heard) - _SAME_DELAY, end), 0).share

    def _strongest_played(self) -> float:
        """Power of the strongest window that may be heard just now, whatever the delay."""
        size = LATEST_DELAY - EARLIEST_DELAY
        first = self._end - WINDOW_SAMPLES - LATEST_DELAY
        windows = self._played(first, first + size).reshape(-1, WINDOW_SAMPLES)
        return float(np.einsum("ij,ij->i", windows, windows).max())

    # --- the model ---
    def _catch_up(self, delay: int) -> None:
        """Go over the last windows with a new delay."""
        self._agreed = _AGREEING_WINDOWS
        first = self._end - _COMPARED
        begin = first - delay
        self._model.align(self._played(begin - (PARTS + 1) * WINDOW_SAMPLES, begin))
        for at in range(0, _COMPARED, WINDOW_SAMPLES):
            self._predict(delay, first + at, self._heard[at : at + WINDOW_SAMPLES])

    def _predict(self, delay: int, start: int, window: Sound) -> Sound:
        """What is left of a window without its echo."""
        begin = start - delay
        played = self._played(begin - WINDOW_SAMPLES, begin + WINDOW_SAMPLES)
        echo = self._model.step(window, played, learn=self._is_trusted)
        rest: Sound = window - echo
        self._mic, self._left = _energy(window), _energy(rest)
        self._set_limit(_energy(echo), _energy(played) / 2)
        return rest

    def _set_limit(self, echo: float, played: float) -> None:
        """How much may be left of a window that holds nothing but echo?"""
        self._loudest = max(echo, _TAIL_KEEP * self._loudest)
        self._loudest_played = max(played, _COUPLED_KEEP * self._loudest_played)
        limit = _DOUBT * self._model.doubt
        if self._coupling:
            limit = min(limit, _COUPLED * self._coupling * self._loudest_played)
        limit += _TAIL_SHARE * self._loudest
        self._limit = self._slack * limit + _FLOOR
        if not self._is_trusted:
            self._compare()
        elif played > _AUDIBLE:
            self._observe(echo, self._mic / played)

    def _compare(self) -> None:
        """Does the model still hold, with the delay that it had?"""
        if self._mic > 3 * _AUDIBLE:
            self._agreed = self._agreed + 1 if self._left < _PROVEN * self._mic else 0

    def _observe(self, echo: float, coupling: float) -> None:
        """Learn what is usual for this listener, while our voice is to be heard."""
        if not self._coupling:
            self._coupling = coupling
        self._coupling *= 1.05 if coupling > self._coupling else 0.9  # about the lower third
        if echo < 10 * _FLOOR or (self.is_proven and self._left >= self._limit):
            return
        self._usual_left = 0.9 * self._usual_left + 0.1 * self._left
        self._usual_mic = 0.9 * self._usual_mic + 0.1 * self._mic
        if self._left < self._limit / 8:
            self._slack = max(1.0, 0.99 * self._slack)


def _is_find(match: Match, before: Match) -> bool:
    if match.clarity >= _CERTAIN.clarity and match.share >= _CERTAIN.share:
        return True
    is_repeated = abs(match.delay - before.delay) < _LEAD_IN // 2
    return is_repeated and match.clarity >= _REPEATED.clarity and match.share >= _REPEATED.share


def _energy(sound: Sound) -> float:
    return float(np.dot(sound, sound))
