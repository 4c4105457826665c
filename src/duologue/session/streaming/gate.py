"""What comes in, judged: where an utterance ends, and which sound is nothing but silence.

The end of an utterance is found by pauses alone: nobody waits here for an answer within half a second, so there is
no turn to take. Where silence is withheld, what goes on is speech with a little around it.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from duologue.core.audio import SAMPLE_BYTES, WINDOW_SAMPLES
from duologue.core.speech import SpeechPolicy, SpeechSegmenter
from duologue.session.hearing import Hearing

WINDOW_BYTES = WINDOW_SAMPLES * SAMPLE_BYTES

POLICY = SpeechPolicy(threshold=0.4)
"""As for files (`server.audio.stretches`): nobody is interrupted by a cough that is taken for speech."""

PAD_WINDOWS = 10
"""Sound kept before speech, 320 ms: the first consonant is quiet."""

PAUSE_WINDOWS = 25
"""Silence that ends an utterance, 800 ms; while silence is withheld, as much of it still goes on."""


class Sink(Protocol):
    """Who takes what goes on. Places are samples on the session's clock."""

    def sound(self, pcm: bytes, start: int, probability: float) -> None:
        """Sound, and how likely somebody speaks in it. Follows what came before, or what was left out."""

    def left_out(self, samples: int) -> None:
        """So much silence was not passed on."""

    def pause(self) -> None:
        """The utterance, if there was one, is over."""


class Gate:
    """One session's input. See `hearing.Heard`.

    Args:
        start: where the session's clock stands.

    Attributes:
        withholds: silence is not passed on.
        slot: the session's state in the voice-activity model.
    """

    def __init__(self, hearing: Hearing, sink: Sink, *, withholds: bool, start: int = 0) -> None:
        self.withholds = withholds
        self.slot = hearing.admit()
        self._hearing = hearing
        self._sink = sink
        self._segmenter = SpeechSegmenter(POLICY)
        self._waiting: deque[bytes | Callable[[], None]] = deque()
        self._waiting_bytes = 0
        self._rest = b""
        self._judged = b""  # the window that is out
        self._position = start
        self._pad: deque[bytes] = deque()
        self._left_out = 0
        self._silence = 0  # windows since the last speech
        self._is_open = False  # an utterance is going on
        self._is_closed = False

    @property
    def held_bytes(self) -> int:
        """Sound that waits for its judgement, or for speech to follow it."""
        return self._waiting_bytes + len(self._rest) + len(self._pad) * WINDOW_BYTES

    @property
    def is_waiting(self) -> bool:
        """Something is not judged yet."""
        return bool(self._waiting)

    @property
    def position(self) -> int:
        """Up to where all is passed on, or left out."""
        return self._position

    def push(self, pcm: bytes) -> None:
        """More sound, 16 kHz, whole samples."""
        if self._is_closed:
            return
        data = self._rest + pcm
        whole = len(data) - len(data) % WINDOW_BYTES
        for at in range(0, whole, WINDOW_BYTES):
            self._waiting.append(data[at : at + WINDOW_BYTES])
        self._waiting_bytes += whole
        self._rest = data[whole:]
        if whole:
            self._hearing.notice(self)

    def when_passed(self, act: Callable[[], None]) -> None:
        """Do this when all that has come so far is dealt with."""
        if self._rest:
            rest, self._rest = self._rest, b""
            act = _both(lambda: self._pass_unjudged(rest), act)
        if self._waiting:
            self._waiting.append(act)
        else:
            act()

    def end_utterance(self) -> None:
        """The client says that the utterance is over. To be called by `when_passed`."""
        self._give_pad_up()
        self._end()
        self._segmenter.forget()

    def skip(self, samples: int) -> None:
        """So much sound is missing, and the next does not follow the last. To be called by `when_passed`."""
        self.end_utterance()
        self._leave_out(samples)

    def close(self) -> None:
        """Nothing more comes."""
        if self._is_closed:
            return
        self._is_closed = True
        self._waiting.clear()
        self._hearing.dismiss(self)

    # --- for Hearing ---
    def next_window(self) -> bytes | None:
        """The next window to judge."""
        while self._waiting and not isinstance(self._waiting[0], bytes):
            act = self._waiting.popleft()
            assert not isinstance(act, bytes)
            act()
        if not self._waiting:
            return None
        window = self._waiting.popleft()
        assert isinstance(window, bytes)
        self._waiting_bytes -= WINDOW_BYTES
        self._judged = window
        return window

    def may_skip(self) -> bool:
        """Nobody speaks."""
        return not self._segmenter.speaking and self._segmenter.settled

    def judged(self, probability: float, power: float) -> None:
        """The verdict on the window last given out."""
        window, self._judged = self._judged, b""
        self._segmenter.feed(probability)
        if self._segmenter.speaking:
            self._silence = 0
            self._is_open = True
        else:
            self._silence += 1
        if self.withholds and not self._is_open:
            self._hold_back(window)
        else:
            self._pass_pad_on()
            self._pass_on(window, probability)
        if self._is_open and self._silence >= PAUSE_WINDOWS:
            self._end()

    # --- on the way out ---
    def _hold_back(self, window: bytes) -> None:
        self._pad.append(window)
        if len(self._pad) > PAD_WINDOWS:
            self._pad.popleft()
            self._leave_out(WINDOW_SAMPLES)

    def _pass_pad_on(self) -> None:
        while self._pad:
            self._pass_on(self._pad.popleft(), 0.0)

    def _give_pad_up(self) -> None:
        self._leave_out(len(self._pad) * WINDOW_SAMPLES)
        self._pad.clear()

    def _pass_on(self, pcm: bytes, probability: float) -> None:
        if self._left_out:
            self._sink.left_out(self._left_out)
            self._left_out = 0
        self._sink.sound(pcm, self._position, probability)
        self._position += len(pcm) // SAMPLE_BYTES

    def _pass_unjudged(self, rest: bytes) -> None:
        """Less than a window, before the utterance ends or the sound breaks off."""
        if self._is_open or not self.withholds:
            self._pass_on(rest, 1.0)
        else:
            self._give_pad_up()
            self._leave_out(len(rest) // SAMPLE_BYTES)

    def _leave_out(self, samples: int) -> None:
        self._left_out += samples
        self._position += samples

    def _end(self) -> None:
        self._is_open = False
        self._silence = 0
        self._sink.pause()


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def act() -> None:
        first()
        second()

    return act
