"""Speech by flite: clear English voices from recorded speakers, where the library is on the machine.

It is preferred to espeak-ng for English where it is there. It would let go of Python's lock, and its
licence is free; but it ends its process (`exit(-1)`) where its own bookkeeping fails, and it writes past a
buffer at a word with three hundred marks behind it (`speakable` keeps such words away). So it is loaded in
a process of its own: a text that it cannot bear may cost an answer, not the server.
"""

from contextlib import closing
from dataclasses import replace
from unicodedata import normalize

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox
from duologue.engines.text.speakable import Speakable, speakable
from duologue.engines.voices.flite_library import LIBRARY, VOICES, FliteLibrary
from duologue.engines.voices.flite_library import available as available
from duologue.engines.voices.narration import Narrator, Take, pace
from duologue.engines.voices.part_sound import gain_for
from duologue.ports import StreamOptions, TtsOptions

DEFAULT_VOICE = "rms"

LEVELS_DBFS = {"slt": -14.7, "rms": -20.5, "awb": -19.0, "kal16": -27.0}
"""`part_sound.level_dbfs` of each voice as it is, over the sentences of `bench.eval_tts`."""

_ASCII = {
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "–": "-",
    "—": ", ",
    "…": "...",
    "°": " degrees ",
    "€": " euros ",
    "£": " pounds ",
    "ß": "ss",
    "æ": "ae",
    "ø": "o",
}


class Flite(BlockingEngine):
    """See the module.

    Args:
        voice: where a client asks for none, or for one that is not here.
        library: name of the shared library.
    """

    def __init__(self, voice: str = "", library: str = LIBRARY) -> None:
        self.capabilities = SPEC.capabilities
        self._default = voice or DEFAULT_VOICE
        self._library_name = library
        self._library: FliteLibrary

    def load(self) -> None:
        """Open the library and its voices.

        Raises:
            EngineUnavailable: it is not on this machine, or without a voice, or the default voice is unknown.
        """
        if self._default not in VOICES:
            raise EngineUnavailable(
                "flite_voice_unknown",
                f"flite has no voice '{self._default}'.",
                remedy=f"Known: {', '.join(VOICES)}.",
            )
        self._library = FliteLibrary(self._library_name)
        if self._default not in self._library.voices:
            self._default = self._library.voices[0]
        self.capabilities = replace(self.capabilities, voices=self._library.voices)

    def warm_up(self) -> None:
        """Speak once with each voice."""
        for voice in self._library.voices:
            with closing(self._library.open(voice, 1.0)) as speaker:
                speaker.speak("Ready.", lambda _pcm, _words: None)

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`."""
        assert isinstance(options, TtsOptions)
        voice = options.voice.casefold()
        voice = voice if voice in self._library.voices else self._default
        speed = pace(options.speed)
        gain = gain_for(LEVELS_DBFS[voice])
        with closing(self._library.open(voice, speed)) as speaker:

            def speak(text: str, take: Take) -> None:
                def on_sound(pcm: bytes, words: list[tuple[int, int]]) -> None:
                    if inbox.cancelled:
                        raise _Enough
                    take(pcm, words)

                try:
                    speaker.speak(text, on_sound)
                except _Enough:
                    return

            Narrator(speak, self.capabilities.rate_hz, gain, speed, _in_ascii_parts).run(
                inbox, emit
            )


class _Enough(Exception):
    """Out of the library's callback: nobody wants the rest."""


def in_ascii(text: Speakable) -> Speakable:
    """What flite can read of a text: letters without their accents, and of other scripts nothing."""
    return text if text.text.isascii() else text.each(_ascii)


def _in_ascii_parts(text: str) -> list[Speakable]:
    return in_ascii(speakable(text)).parts()


def _ascii(char: str, _before: str) -> str:
    if char.isascii():
        return char
    return _ASCII.get(char) or normalize("NFKD", char).encode("ascii", "ignore").decode()


SPEC = EngineSpec(
    "flite",
    Role.TTS,
    Capabilities(
        languages=("en",),
        rate_hz=16_000,
        streaming=True,
        word_times=True,
        max_streams=64,
        ram_mib=60,
    ),
    Flite,
    is_own_process=True,
    about="flite (BSD-like; Debian's libflite1): the clearest embedded English",
)
