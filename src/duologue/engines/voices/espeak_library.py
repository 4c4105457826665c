"""libespeak-ng by ctypes: its C interface (`speak_lib.h`), as far as it is needed here.

The library has one voice and one text at a time for the whole process. So one thread of its own speaks all
texts, in the order in which they are asked for, as fast as it can (a thousand times faster than they are
heard), and whoever asked takes the sound at his own pace: a listener who pauses keeps nobody else waiting.
"""

import ctypes
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue

from duologue.core.errors import EngineRefused, EngineUnavailable

BUFFER_MS = 40
"""Sound of one callback, at the least; version 1.52 makes it 60."""

SLOWEST_WPM = 80
FASTEST_WPM = 450
"""Words a minute that espeak-ng makes without tricks, from its manual."""

PATIENCE_S = 0.02
"""How long a stream waits for its turn before it looks whether it is still wanted."""

_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF_8 = 1
_RATE = 1
_WORD = 1
_STOP, _GO_ON = 1, 0

Words = list[tuple[int, int]]
"""Words that begin in a stretch of sound: (sample of the text's sound, character of the text)."""

Sounding = tuple[bytes, Words]
OnSound = Callable[[bytes, Words], bool]
"""Takes the sound of a callback; false if no more is wanted."""


@dataclass(frozen=True, slots=True)
class ListedVoice:
    """A voice file.

    Attributes:
        identifier: what the library wants to be told; for example "gmw/en-US".
        name: for people; for example "English (America)".
        languages: its tags, each with a priority: of two voices for a tag the lower number is meant.
    """

    identifier: str
    name: str
    languages: tuple[tuple[int, str], ...]


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
    )  # more follows, which nobody here reads


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char_p),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class EspeakLibrary:
    """The library in this process. To be had from `open_library`.

    Args:
        path: of the shared library.
        data_path: of the folder "espeak-ng-data".

    Attributes:
        rate_hz: of the sound.
        version: for example "1.52.0".
    """

    def __init__(self, path: str, data_path: str) -> None:
        try:
            self._lib = ctypes.CDLL(path)
        except OSError as error:
            raise _unavailable(f"its library cannot be loaded: {error}") from error
        self._lib.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint),
            *(ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        )
        self._lib.espeak_Info.restype = ctypes.c_char_p
        self._lib.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        options = (BUFFER_MS, data_path.encode(), _DO_NOT_EXIT)
        self.rate_hz: int = self._lib.espeak_Initialize(_SYNCHRONOUS, *options)
        if self.rate_hz <= 0:
            raise _unavailable(f"there is no voice data at {data_path}")
        self.version: str = self._lib.espeak_Info(None).decode()
        self._on_sound: OnSound = lambda *_: False
        self._callback = _Callback(self._called)  # the library keeps only its address
        self._lib.espeak_SetSynthCallback(self._callback)
        self._data_path = Path(data_path)
        self._voice = ""
        self._thread = ThreadPoolExecutor(1, "espeak")

    def voices(self) -> list[ListedVoice]:
        """All voice files, without the variants."""
        listed = self._lib.espeak_ListVoices(None)
        voices: list[ListedVoice] = []
        while listed[len(voices)]:
            voice = listed[len(voices)].contents
            tags = tuple(_tags(voice.languages))
            voices.append(ListedVoice(voice.identifier.decode(), voice.name.decode(), tags))
        return voices

    def variants(self) -> list[str]:
        """Names of the qualities that any voice can be given."""
        return [file.name for file in (self._data_path / "voices" / "!v").iterdir()]

    def speak(
        self, text: str, voice: str, words_per_minute: int, cancelled: Callable[[], bool]
    ) -> Generator[Sounding, None, None]:
        """The sound of a text, as it comes.

        Args:
            text: any, but it ends at a NUL.
            voice: an identifier of `voices()`, and possibly "+" and a variant. No other: the library would
                take it for the path of a file, anywhere on the machine.
            cancelled: asked before each stretch of sound; ends it.

        Raises:
            EngineRefused: there is no such voice.
        """
        sounds: SimpleQueue[Sounding | None] = SimpleQueue()
        left = False  # nobody takes what comes

        def on_sound(pcm: bytes, words: Words) -> bool:
            sounds.put((pcm, words))
            return not left and not cancelled()

        job = self._thread.submit(self._synthesise, text, voice, words_per_minute, on_sound)
        job.add_done_callback(lambda _: sounds.put(None))
        try:
            while not cancelled():
                try:
                    sound = sounds.get(timeout=PATIENCE_S)
                except Empty:
                    continue
                if sound is None:
                    job.result()
                    return
                yield sound
        finally:
            left = True
            job.cancel()

    def _synthesise(
        self,
        text: str,
        voice: str,
        words_per_minute: int,
        on_sound: OnSound,
    ) -> None:
        """In the library's thread."""
        if not on_sound(b"", []):  # cancelled while it waited for its turn
            return
        if voice != self._voice:
            if self._lib.espeak_SetVoiceByName(voice.encode()):
                raise EngineRefused("espeak_voice_refused", f"espeak-ng has no voice '{voice}'.")
            self._voice = voice
        wpm = min(max(words_per_minute, SLOWEST_WPM), FASTEST_WPM)
        self._lib.espeak_SetParameter(_RATE, wpm, 0)
        data = text.encode()
        self._on_sound = on_sound
        self._lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF_8, None, None)

    def _called(self, samples: int | None, count: int, events: "Sequence[_Event]") -> int:
        words = []
        at = 0
        while events[at].type:
            if events[at].type == _WORD:
                words.append((events[at].sample, events[at].text_position - 1))
            at += 1
        pcm = ctypes.string_at(samples, 2 * count) if samples and count > 0 else b""
        return _GO_ON if self._on_sound(pcm, words) else _STOP


def _tags(at: int) -> Iterator[tuple[int, str]]:
    """Language tags of a voice: each a byte of priority and a string; an empty string ends them."""
    while priority := ctypes.string_at(at, 1)[0]:
        tag = ctypes.string_at(at + 1)
        yield priority, tag.decode()
        at += 2 + len(tag)


@cache
def open_library() -> EspeakLibrary:
    """The library of the wheel `espeakng-loader`; one in a process, for it has one state.

    Raises:
        EngineUnavailable: it is not installed, or broken.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise _unavailable("the package espeakng-loader is not installed") from error
    return EspeakLibrary(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


def _unavailable(why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "espeak_missing",
        f"The voice espeak-ng cannot speak: {why}.",
        remedy="Install duologue[server], or the package espeakng-loader.",
    )
