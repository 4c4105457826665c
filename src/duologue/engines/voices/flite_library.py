"""libflite 2 by ctypes: its C interface (`flite.h`, `cst_audio.h`), as far as it is needed here.

A call of the library keeps its thread busy and leaves Python's lock free. What it remembers of a speaker,
the speed and where the sound goes included, hangs on the voice; so each stream speaks with a copy of its
own, which shares the voice's data, and streams neither wait for one another nor can be mixed up.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator

from duologue.core.errors import EngineRefused, EngineUnavailable

LIBRARY = "libflite.so.1"

VOICES = ("slt", "rms", "awb", "kal16")
"""Those of Debian's package that speak English at 16 kHz."""

MIN_CHUNK_SAMPLES = 256
"""Sound of one callback, at the least; the vocoder makes it 20 ms."""

_STOP, _GO_ON = -1, 0
_START_OF_TOKEN = b"R:Token.daughter1.R:SylStructure.daughter1.daughter1.R:Segment.p.end"

Words = list[tuple[int, int]]
"""Words of a text: (sample of its sound, character of it)."""

OnSound = Callable[[bytes, Words], None]


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.c_void_p),
    )


class _Streaming(ctypes.Structure):
    pass


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(_Wave),
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(_Streaming),
)
_Streaming._fields_ = (
    ("min_buffsize", ctypes.c_int),
    ("asc", _Callback),
    ("utt", ctypes.c_void_p),
    ("item", ctypes.c_void_p),
    ("userdata", ctypes.c_void_p),
)


class _Voice(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("features", ctypes.c_void_p),
        ("ffunctions", ctypes.c_void_p),
        ("utt_init", ctypes.c_void_p),
    )


class _Relation(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("features", ctypes.c_void_p),
        ("utterance", ctypes.c_void_p),
        ("head", ctypes.c_void_p),
    )


_POINTER_TO_VOICE = ctypes.POINTER(_Voice)
_FUNCTIONS = {
    "flite_init": (ctypes.c_int, ()),
    "new_voice": (_POINTER_TO_VOICE, ()),
    "delete_voice": (None, (_POINTER_TO_VOICE,)),
    "feat_copy_into": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p)),
    "feat_set": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)),
    "feat_set_float": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)),
    "get_param_float": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)),
    "get_param_int": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int)),
    "new_audio_streaming_info": (ctypes.POINTER(_Streaming), ()),
    "audio_streaming_info_val": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "flite_synth_text": (ctypes.c_void_p, (ctypes.c_char_p, _POINTER_TO_VOICE)),
    "delete_utterance": (None, (ctypes.c_void_p,)),
    "utt_relation": (ctypes.POINTER(_Relation), (ctypes.c_void_p, ctypes.c_char_p)),
    "item_next": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "flite_ffeature_float": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_char_p)),
    "flite_ffeature_string": (ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_char_p)),
}


class FliteLibrary:
    """The library in this process.

    Args:
        library: name of the shared library.

    Raises:
        EngineUnavailable: it, or all of its voices, are missing; or it is older than version 2.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self.lib = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)  # its voices look for it there
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(self.lib, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise _unavailable(str(error)) from error
        self.lib.flite_init()
        self._voices = {name: voice for name in VOICES if (voice := self._register(name))}
        if not self._voices:
            raise _unavailable("it is here without a voice")
        self._copying = (
            threading.Lock()
        )  # copies count references, without a lock, on what they share

    @property
    def voices(self) -> tuple[str, ...]:
        """Names of the voices that are here."""
        return tuple(self._voices)

    def open(self, voice: str, speed: float) -> "FliteSpeaker":
        """A speaker of one's own; to be closed."""
        with self._copying:
            return FliteSpeaker(self, self._voices[voice], speed)

    def release(self, copy: "ctypes._Pointer[_Voice]") -> None:
        """For a speaker that is done."""
        with self._copying:
            self.lib.delete_voice(copy)

    def _register(self, name: str) -> "ctypes._Pointer[_Voice] | None":
        try:
            library = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
            register = library[f"register_cmu_us_{name}"]
        except (OSError, AttributeError):
            return None
        register.restype, register.argtypes = _POINTER_TO_VOICE, (ctypes.c_char_p,)
        voice: ctypes._Pointer[_Voice] = register(None)
        return voice


class FliteSpeaker:
    """A copy of a voice, for one stream. Speaks one text at a time.

    Args:
        voice: to copy.
        speed: 1.0 is the voice's own.
    """

    def __init__(
        self, library: FliteLibrary, voice: "ctypes._Pointer[_Voice]", speed: float
    ) -> None:
        self._library = library
        lib = self._lib = library.lib
        self._voice = lib.new_voice()
        mine, its = self._voice.contents, voice.contents
        mine.name, mine.utt_init = its.name, its.utt_init
        lib.feat_copy_into(its.features, mine.features)
        lib.feat_copy_into(its.ffunctions, mine.ffunctions)
        stretch = lib.get_param_float(its.features, b"duration_stretch", 1.0)
        lib.feat_set_float(mine.features, b"duration_stretch", stretch / speed)
        self._callback = _Callback(self._called)  # the library keeps only its address
        streaming = lib.new_audio_streaming_info()
        streaming.contents.min_buffsize = MIN_CHUNK_SAMPLES
        streaming.contents.asc = self._callback
        value = lib.audio_streaming_info_val(ctypes.cast(streaming, ctypes.c_void_p))
        lib.feat_set(mine.features, b"streaming_info", value)  # which owns it from now on
        self._text = ""
        self._began = False
        self._on_sound: OnSound | None = None
        self._error: BaseException | None = None

    def speak(self, text: str, on_sound: OnSound) -> None:
        """Speak a text; returns when it is spoken.

        Args:
            text: ASCII, without NUL, and without a word of more than 300 characters.
            on_sound: called with each stretch of sound, the first time with the words of the text; what it
                raises ends the speech and is raised here.
        """
        self._text, self._on_sound = text, on_sound
        self._began, self._error = False, None
        utterance = self._lib.flite_synth_text(text.encode("ascii"), self._voice)
        if utterance:
            self._lib.delete_utterance(utterance)
        elif self._error is None:
            raise EngineRefused("flite_refused", "flite could not speak a text.")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Give the copy back."""
        self._library.release(self._voice)

    def _called(self, wave, start, count, _last, streaming) -> int:  # type: ignore[no-untyped-def]
        assert self._on_sound is not None
        try:
            sound = wave.contents
            words: Words = []
            if not self._began:
                self._began = True
                words = list(self._words(streaming.contents.utt, sound.sample_rate))
            pcm = ctypes.string_at(sound.samples + 2 * start, 2 * count) if count > 0 else b""
            self._on_sound(pcm, words)
        except BaseException as error:  # noqa: BLE001 - through C code no exception passes; `speak` raises it
            self._error = error
            return _STOP
        return _GO_ON

    def _words(self, utterance: int, rate_hz: int) -> Iterator[tuple[int, int]]:
        """Where each word begins, by the end of the phone before it."""
        lib = self._lib
        token = lib.utt_relation(utterance, b"Token").contents.head
        char = last = 0
        while token:
            name = lib.flite_ffeature_string(token, b"name").decode("ascii", "replace")
            at = self._text.find(name, char)
            if at >= 0:
                char = at + len(name)
                sample = int(lib.flite_ffeature_float(token, _START_OF_TOKEN) * rate_hz)
                if (
                    sample > last
                ):  # a mark on its own is a token that is never spoken, and has no time
                    last = sample
                    yield sample, at
            token = lib.item_next(token)


def available(library: str = LIBRARY) -> bool:
    """Whether flite can be loaded here; costs one look at the file system."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _unavailable(why: str) -> EngineUnavailable:
    return EngineUnavailable(
        "flite_missing",
        f"The voice flite cannot speak: {why}.",
        remedy="Install flite 2: the package libflite1 of Debian and Ubuntu.",
    )
