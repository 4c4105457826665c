"""Whose voice it is: a speaker that the model knows by number, or one that a clip lets it hear.

    0 … 9                 a number; the base model has no fixed voices, and draws one for each answer
    FOLDER/NAME/…         a folder beside the model's own, with one .wav and one .txt of what is said in it

A clip goes before each answer as if the speaker had just said it. Ten seconds are 125 positions of the
model's 2048, and a moment at each answer's beginning; so it is short.
"""

import re
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duologue.core.errors import EngineUnavailable
from duologue.engines.csm.codec import Samples
from duologue.engines.csm.model import RATE_HZ

NUMBERS = tuple("0123456789")

LONGEST_S = 30.0
SHORTEST_S = 0.5

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Clip:
    """Somebody speaking, and what they say."""

    text: str
    sound: Samples


def listed(folder: Path) -> tuple[str, ...]:
    """The names of the clips in a folder of voices."""
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(
            place.name
            for place in folder.iterdir()
            if _NAME.fullmatch(place.name) and place.is_dir() and None not in _files(place)
        )
    )


def is_there(name: str, folder: Path) -> bool:
    """There is a clip of this name."""
    place = folder / name
    return bool(_NAME.fullmatch(name)) and place.is_dir() and None not in _files(place)


def read(name: str, folder: Path) -> Clip:
    """A clip, at the model's rate.

    Raises:
        EngineUnavailable: it is not there, is damaged, too long or too short.
    """
    if not is_there(name, folder):
        raise _unusable(name, f"{folder / name} does not hold one .wav and one .txt")
    sound, text = _files(folder / name)
    assert sound is not None
    assert text is not None
    try:
        words = " ".join(text.read_text(encoding="utf-8").split())
        samples = _samples(sound)
    except (OSError, ValueError, EOFError, wave.Error) as error:
        raise _unusable(name, str(error)) from error
    seconds = len(samples) / RATE_HZ
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise _unusable(
            name, f"it lasts {seconds:.1f} s, and {SHORTEST_S:g} to {LONGEST_S:g} are of use"
        )
    if not words:
        raise _unusable(name, "its text is empty")
    return Clip(words, samples)


def _files(place: Path) -> tuple[Path | None, Path | None]:
    """The sound and the text, where there is one of each."""
    sounds, texts = sorted(place.glob("*.wav")), sorted(place.glob("*.txt"))
    return (
        sounds[0] if len(sounds) == 1 else None,
        texts[0] if len(texts) == 1 else None,
    )


def _samples(path: Path) -> Samples:
    import soxr

    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path.name} has {8 * file.getsampwidth()} bits a sample, not 16")
        if file.getnframes() > (LONGEST_S + 60) * file.getframerate():
            raise ValueError(f"{path.name} is far too long")
        rate_hz, channels = file.getframerate(), file.getnchannels()
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    mono = raw.reshape(-1, channels).astype(np.float32).mean(axis=1) / np.float32(32_768)
    sound: Samples = soxr.resample(mono, rate_hz, RATE_HZ) if rate_hz != RATE_HZ else mono
    return np.ascontiguousarray(sound, np.float32)


def _unusable(name: str, why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "csm_voice_unusable",
        f"The clip of the voice '{name}' cannot be used: {why}.",
        remedy="Place a 16-bit .wav of 5 to 15 s of clear speech, and a .txt of its words, in that folder.",
    )
