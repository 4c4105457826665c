"""The phrase that the load speaks, and where in it speech ends for a listener who sees what our VAD sees."""

import numpy as np
import soxr

from bench.speech import decode, pick
from duologue.core.audio import WINDOW_SAMPLES
from duologue.core.facts import SpeechStopped
from duologue.core.speech import SpeechPolicy, SpeechSegmenter
from duologue.engines.vad_silero import Silero

TURN_S = 5.0


def one_turn(noise_rms: float) -> tuple[bytes, float]:
    """Five seconds of 24 kHz sound (a phrase, then quiet), and where its speech ends, in ms.

    The end is that of the VAD's last window of speech, judged offline with fresh state: what any server
    with this VAD can at best know. Noise of the given level lies under everything; 0 is a quiet line.
    """
    clip = np.frombuffer(decode(pick("commands", 1.5, 2.6), 24_000), np.int16).astype(np.float64)
    lead = np.zeros(4_800)
    sound = np.concatenate((lead, clip, np.zeros(int(TURN_S * 24_000))))[: int(TURN_S * 24_000)]
    noise = np.random.default_rng(7).standard_normal(len(sound)) * noise_rms
    pcm = np.clip(sound + noise, -32768, 32767).astype("<i2")
    return pcm.tobytes(), speech_end_ms(pcm)


def speech_end_ms(pcm: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> float:
    """Where the last stretch of speech ends."""
    vad = Silero()
    vad.load()
    slot, segmenter = vad.open(), SpeechSegmenter(SpeechPolicy())
    wide = soxr.resample(pcm, 24_000, 16_000).astype(np.int16)
    ended = 0.0
    for at in range(0, len(wide) - WINDOW_SAMPLES, WINDOW_SAMPLES):
        window = wide[at : at + WINDOW_SAMPLES].astype(np.float32)[None] / 32768
        fact = segmenter.feed(vad.judge([slot], window)[0])
        if isinstance(fact, SpeechStopped):
            ended = float(fact.at)
    if not ended:
        raise SystemExit("no speech was found in the phrase")
    return ended
