"""Speech by espeak-ng: a hundred languages from a few megabytes, a formant synthesiser that sounds like one.

Its first sound is there in well under a millisecond, and it says which word it is speaking, so what a
listener has heard is known exactly. It is GPL-3: it is loaded in a process of its own, never in the server.
"""

from contextlib import closing

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineUnavailable
from duologue.engines.base import BlockingEngine, Emit, EngineSpec, Inbox
from duologue.engines.voices.espeak_library import EspeakLibrary, open_library
from duologue.engines.voices.espeak_voices import LANGUAGES, EspeakVoices
from duologue.engines.voices.narration import Narrator, Take, pace
from duologue.engines.voices.part_sound import gain_for, level_dbfs
from duologue.ports import StreamOptions, TtsOptions

NATURAL_WPM = 160
"""The rate at speed 1.0. Its own scale counts pauses: 160 makes 204 words a minute of short answers, as the
voices of flite do (187 to 218). The library's default of 175 is hurried, and slower was not clearer
(`bench.eval_tts`, words wrong at 135, 150 and 165: 33, 24 and 20 %)."""

SAMPLE = "1 2 3 4 5 6 7 8 9"
"""Spoken once in each voice that is used, to learn how loud it is: the plain ones differ by 3 dB, those with
a variant by 18. It can be read in every language, and takes about 4 ms."""


class Espeak(BlockingEngine):
    """See the module.

    Args:
        voice: for English where a client asks for none, by any of its names ("en-gb+f3"); empty for the clearest.
    """

    def __init__(self, voice: str = "") -> None:
        self.capabilities = SPEC.capabilities
        self._voice = voice
        self._library: EspeakLibrary
        self._voices: EspeakVoices
        self._gains: dict[str, float] = {}

    def load(self) -> None:
        """Open the library and list its voices.

        Raises:
            EngineUnavailable: it is not installed, or the default voice is unknown.
        """
        self._library = open_library()
        listed, variants = self._library.voices(), self._library.variants()
        self._voices = EspeakVoices(listed, variants)
        if self._voice and not self._voices.knows(self._voice):
            raise EngineUnavailable(
                "espeak_voice_unknown",
                f"espeak-ng has no voice '{self._voice}'.",
                remedy="Use a language, and a variant if you like: 'en-gb', 'en-us+f3'.",
            )
        if self._voice:
            english = self._voices.choose(self._voice, "")
            self._voices = EspeakVoices(listed, variants, english)

    def warm_up(self) -> None:
        """Speak once, in the voice of English."""
        self._gain(self._voices.choose("", ""))

    def run(self, options: StreamOptions, inbox: Inbox, emit: Emit) -> None:
        """See `BlockingEngine.run`."""
        assert isinstance(options, TtsOptions)
        voice = self._voices.choose(options.voice, options.language)
        wpm = round(NATURAL_WPM * pace(options.speed))

        def speak(text: str, take: Take) -> None:
            with closing(self._library.speak(text, voice, wpm, lambda: inbox.cancelled)) as sounds:
                for pcm, words in sounds:
                    take(pcm, words)

        narrator = Narrator(speak, self._library.rate_hz, self._gain(voice), options.speed)
        narrator.run(inbox, emit)

    def _gain(self, voice: str) -> float:
        """What brings a voice to the level of all; found once."""
        if voice not in self._gains:
            library = self._library
            sounds = library.speak(SAMPLE, voice, NATURAL_WPM, lambda: False)
            level = level_dbfs(b"".join(pcm for pcm, _ in sounds), library.rate_hz)
            self._gains[voice] = gain_for(level)
        return self._gains[voice]


SPEC = EngineSpec(
    "espeak",
    Role.TTS,
    Capabilities(
        languages=LANGUAGES,
        rate_hz=22_050,
        streaming=True,
        word_times=True,
        voices=LANGUAGES,
        max_streams=64,
        ram_mib=40,
    ),
    Espeak,
    is_own_process=True,
    about="espeak-ng (GPL-3, in a process of its own): clear, robotic, a hundred languages",
)
