"""A listener's room in samples: a loudspeaker that plays what the mouth sends, and a microphone beside it."""

import numpy as np
from numpy.typing import NDArray

from duologue.core.audio import AudioFormat
from duologue.core.facts import Fact, SpeechStarted
from duologue.core.options import Echo as Mode
from duologue.core.options import SessionOptions
from duologue.engines.vad_silero import Silero
from duologue.ports import VoiceActivity
from duologue.session.ears import Ears
from duologue.session.echo import Echo
from duologue.session.hearing import Hearing
from duologue.session.mouth import Mouth
from duologue.session.pacer import Pacer
from tests.support.clips import clip
from tests.support.stage import HandClock

Samples = NDArray[np.float64]

FRAME = 320


def speech(name: str) -> Samples:
    """A clip at 16 kHz."""
    return np.frombuffer(clip(name, 16_000), "<i2").astype(np.float64)


def living_room(seed: int = 1) -> Samples:
    """A made impulse response: the direct sound, and 300 ms of reflections, 8 dB below it, that die away."""
    rng = np.random.default_rng(seed)
    at = np.arange(4_800)
    late = rng.standard_normal(4_800) * 10 ** (-3 * at / 4_800)
    late[:80] = 0
    late *= 10 ** (-8 / 20) / np.sqrt((late**2).sum())
    late[40] += 1.0
    path: Samples = late / np.sqrt((late**2).sum())
    return path


class Room:
    """One session's ears and mouth, and the sound between them.

    Args:
        echo_db: of what is heard of the loudspeaker, against what was sent; None for headphones.
        delay_ms: from the server's reckoning to the echo's arrival: networks and buffers.
    """

    def __init__(
        self,
        echo_db: float | None,
        delay_ms: int = 120,
        *,
        path: Samples | None = None,
        mode: Mode = "auto",
        vad: VoiceActivity | None = None,
        seed: int = 0,
    ) -> None:
        self.clock = HandClock()
        self.facts: list[Fact] = []
        self.frames: list[bytes] = []
        options = SessionOptions(input_format=AudioFormat(16_000), echo=mode)
        self.echo = Echo()
        if vad is None:
            vad = Silero()
            vad.load()
        self.hearing = Hearing(vad, self.clock)
        self.ears = Ears(self.hearing, options, self.clock, self.facts.append, self.echo)
        self.pacer = Pacer(self.clock)
        self.mouth = Mouth(self.pacer, self.clock, self._fail, echo=self.echo)
        self.echo_db, self.delay_ms = echo_db, delay_ms
        self.path = np.ones(1) if path is None else path
        self._air = np.zeros(0)  # what the loudspeaker gives, from now on
        self._buffer = np.zeros(0)  # what it still has to play
        self._noise = np.random.default_rng(seed)
        self.heard: list[NDArray[np.int16]] = []
        self.judged: list[bytes] = []

    @property
    def starts(self) -> list[int]:
        """Where somebody was heard to begin, in ms."""
        return [f.at for f in self.facts if isinstance(f, SpeechStarted)]

    @property
    def now_ms(self) -> int:
        """The stream's time."""
        return len(self.heard) * 20

    # --- the mouth's line ---
    def send(self, pcm: bytes) -> None:
        self.frames.append(pcm)
        self._buffer = np.concatenate((self._buffer, np.frombuffer(pcm, "<i2").astype(np.float64)))

    def audible(self) -> None: ...

    def all_sent(self) -> None: ...

    def all_heard(self) -> None: ...

    def _fail(self, error: BaseException) -> None:
        raise error

    def say(self, what: Samples) -> None:
        """An answer begins, at the stream's own rate."""
        self.mouth.begin(self, AudioFormat(16_000))
        self.mouth.push(what.astype("<i2").tobytes())
        self.mouth.finish()

    def live(self, ms: int, near: Samples | None = None) -> None:
        """So much time passes, while somebody in the room says `near`."""
        near = np.zeros(0) if near is None else near
        for at in range(0, ms // 20 * FRAME, FRAME):
            said = near[at : at + FRAME]
            self._step(np.pad(said, (0, FRAME - len(said))))

    def _step(self, near: Samples) -> None:
        self.clock.now += 20
        mic = near + self._noise.standard_normal(FRAME) * 4 + self._play()
        pcm = mic.round().clip(-32768, 32767).astype("<i2")
        self.heard.append(pcm)
        self.ears._raw.append(pcm.tobytes())
        self.ears._raw_bytes += 2 * FRAME
        self.hearing._waiting[self.ears] = None
        while not self.hearing.judge_waiting():
            pass
        self.pacer.tick(self.clock.now)

    def _play(self) -> Samples:
        """What the loudspeaker adds to this frame of the microphone."""
        played, self._buffer = self._buffer[:FRAME], self._buffer[FRAME:]
        played = np.pad(played, (0, FRAME - len(played)))
        gain = 0.0 if self.echo_db is None else 10 ** (self.echo_db / 20)
        late = self.delay_ms * 16
        need = late + FRAME + len(self.path)
        self._air = np.pad(self._air, (0, max(0, need - len(self._air))))
        self._air[late : late + FRAME + len(self.path) - 1] += np.convolve(played, self.path) * gain
        out, self._air = self._air[:FRAME], self._air[FRAME:]
        return out
