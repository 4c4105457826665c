"""Noise in the user's sound, taken out before anybody listens: WebRTC's suppressor, as `noise_reduction` asks.

At the mouth it is suppression alone; across the room it is stronger, and quiet speech is made louder.
Nobody gets it unasked. On its way to the voice-activity model alone it does not help, either: with a kitchen, three
other rooms, white noise and babble at 20, 10 and 5 dB, windows wrongly called speech went from 0.3-2.1 to 0.2-4.0 %
(babble: 85 to 88 %), and speech missed from 1.3-6.1 to 2.0-4.8 %; in the kitchen it began to hear voices.
Costs 1.0 ms of CPU a session-second near and 3.7 far (most of it the gain control), and nothing when it is off.
"""

from duologue.core.audio import SAMPLE_BYTES
from duologue.core.options import Noise

_FRAME_BYTES = 160 * SAMPLE_BYTES
"""The suppressor takes 10 ms of 16 kHz at a time."""

_SETTINGS = {"near": (0, 2), "far": (3, 3)}
"""(level that speech is brought to, in dB below full scale, 0 for as it is; suppression, 0 to 4)."""


class NoiseReducer:
    """One stream's suppressor. Sound comes out in whole frames; the rest waits for what follows."""

    def __init__(self, kind: Noise) -> None:
        from webrtc_noise_gain import AudioProcessor

        self._processor = AudioProcessor(*_SETTINGS[kind])
        self._rest = b""

    def clean(self, pcm: bytes) -> bytes:
        """The next stretch of 16 kHz sound, cleaned."""
        data = self._rest + pcm
        whole = len(data) - len(data) % _FRAME_BYTES
        self._rest = data[whole:]
        frames = (data[at : at + _FRAME_BYTES] for at in range(0, whole, _FRAME_BYTES))
        return b"".join(self._processor.Process10ms(frame).audio for frame in frames)


def reducer(kind: Noise) -> NoiseReducer | None:
    """The suppressor for a setting; None for sound as it is."""
    return None if kind == "as it is" else NoiseReducer(kind)
