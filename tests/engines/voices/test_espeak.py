import asyncio
import subprocess
import sys
import threading
from itertools import pairwise

import numpy as np
import pytest

from duologue.core.capabilities import Role
from duologue.core.errors import EngineRefused, EngineUnavailable
from duologue.engines.base import Flush
from duologue.engines.pool_subprocess import SubprocessPool
from duologue.engines.threads import StreamThread
from duologue.engines.voices.espeak import SPEC, Espeak
from duologue.engines.voices.espeak_library import EspeakLibrary, open_library
from duologue.engines.voices.part_sound import CEILING, CHUNK_MS, LEVEL_DBFS
from duologue.ports import Audio, Event, Final, Say, TtsOptions
from tests.engines.voices.narrated import HOSTILE, ListInbox, Spoken, level_dbfs, pauses_ms, say

TEXT = "The small dog ran across the road, and jumped over the garden wall. It was fun!"

STEADY = "en-us+Diogo"
"""A variant without flutter: the same text always gives the same samples. In the others the pitch wavers on
from one text into the next, so lengths differ by a few samples each time."""


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    engine = Espeak()
    engine.load()
    engine.warm_up()
    return engine


# --- the sound ---
def test_a_sentence_sounds_and_its_end_is_told(espeak: Espeak) -> None:
    spoken = say(espeak, TEXT)
    assert spoken.events[-1] == Final(7, 1)
    assert spoken.rate_hz == SPEC.capabilities.rate_hz == 22_050
    assert 3.5 < spoken.seconds() < 7
    assert level_dbfs(spoken.sound(), 22_050) == pytest.approx(LEVEL_DBFS, abs=1.5)
    assert np.abs(spoken.sound().astype(int)).max() <= round(CEILING * 32_768)


@pytest.mark.parametrize("voice", ["en-gb", "de", "ru", "en-us+klatt", "en-us+f5", "en-us+Diogo"])
def test_all_voices_are_about_as_loud(espeak: Espeak, voice: str) -> None:
    sound = say(espeak, TEXT, options=TtsOptions(voice)).sound()
    assert level_dbfs(sound, 22_050) == pytest.approx(LEVEL_DBFS, abs=2.5)


def test_the_first_sound_is_short_and_begins_at_once(espeak: Espeak) -> None:
    first = say(espeak, TEXT).audio[0]
    assert len(first.pcm) / 2 / 22_050 <= CHUNK_MS / 1000
    sound = np.abs(np.frombuffer(first.pcm, "<i2").astype(int))
    assert np.argmax(sound > 500) < 0.04 * 22_050


def test_sentences_in_two_pieces_are_apart_like_in_one(espeak: Espeak) -> None:
    apart = say(espeak, "The dog ran. ", "It was fun.")
    assert pauses_ms(apart.sound(), 22_050)[0] == pytest.approx(200, abs=40)
    clause = say(espeak, "Well of course, ", "it was fun.")
    assert max(pauses_ms(clause.sound(), 22_050)) == pytest.approx(110, abs=40)
    unbroken = say(espeak, "The dog ran ", "into it.")
    assert not pauses_ms(unbroken.sound(), 22_050)


def test_speed_is_speed(espeak: Espeak) -> None:
    natural = say(espeak, TEXT).seconds()
    for speed in (0.5, 0.8, 1.25, 2.0):
        spoken = say(espeak, TEXT, options=TtsOptions(speed=speed))
        assert spoken.seconds() * speed == pytest.approx(natural, rel=0.2), speed
    slowest = say(espeak, TEXT, options=TtsOptions(speed=0.01)).seconds()
    assert slowest == pytest.approx(
        say(espeak, TEXT, options=TtsOptions(speed=0.25)).seconds(), rel=0.01
    )
    fastest = say(espeak, TEXT, options=TtsOptions(speed=99)).seconds()
    assert natural / 5 < fastest < natural / 2


# --- words ---
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", TEXT),
        ("en", "**Bold** words, a [link](https://example.com/x) and 🥛 milk at 5:30, naïvely."),
        ("de", "Der kleine Hund läuft über die Straße und springt über die Gartenmauer."),
        ("fr", "Où êtes-vous allée hier soir après le dîner chez François ?"),
        ("ru", "Маленькая собака перебежала через дорогу и прыгнула через забор."),
        ("hi", "छोटा कुत्ता सड़क के पार भागा और दीवार पर कूद गया।"),
        ("el", "Ο μικρός σκύλος έτρεξε στον δρόμο και πήδηξε πάνω από τον τοίχο."),
    ],
)
def test_words_are_told_in_order_and_point_at_words(
    espeak: Espeak, language: str, text: str
) -> None:
    spoken = say(espeak, text, options=TtsOptions(language=language))
    words = spoken.words()
    assert all(a < b for (a, _), (b, _) in pairwise(words))
    assert all(a < b for (_, a), (_, b) in pairwise(words))
    assert 0 <= words[0][0] < 30
    assert words[-1][0] < spoken.seconds() * 1000 - 100
    assert all(not text[at - 1].isalnum() and text[at].isalnum() for _, at in words if at)
    assert len(words) >= 0.7 * len(text.split())  # "of the" is one word to it


def test_word_times_are_where_the_word_is_heard(espeak: Espeak) -> None:
    text = "Tomorrow. Tomorrow. Tomorrow."
    spoken = say(espeak, text)
    size = 110
    sound = spoken.sound()[: len(spoken.sound()) // size * size].astype(float).reshape(-1, size)
    loud = np.sqrt(np.mean(sound**2, axis=1)) > 300
    for ms, at in spoken.words()[1:]:
        assert text[at : at + 8] == "Tomorrow"
        begin = round(ms * 22.05 / size)
        assert not loud[begin - 10 : begin - 2].any()  # 50 ms before it there is a pause
        assert loud[begin : begin + 10].any()


# --- voices and languages ---
def test_the_spec_names_the_languages_that_are_spoken() -> None:
    library = open_library()
    spoken = set()
    for voice in library.voices():
        sounds = library.speak("A 1 2 3 hola.", voice.identifier, 160, lambda: False)
        if sum(len(pcm) for pcm, _ in sounds) > library.rate_hz:
            spoken |= {tag.split("-")[0] for _, tag in voice.languages}
    assert set(SPEC.capabilities.languages) == spoken
    assert len(spoken) > 100


def test_languages_and_voices_differ_and_unknown_ones_are_the_default(espeak: Espeak) -> None:
    def times(voice: str = "", language: str = "") -> list[float]:
        return [ms for ms, _ in say(espeak, TEXT, options=TtsOptions(voice, language)).words()]

    default = times()
    for same in (times("", "en"), times("alloy"), times("marin", "en"), times("../../etc/passwd")):
        assert same == pytest.approx(default, abs=25)  # flutter
    assert times("", "de") == pytest.approx(times("German"), abs=25)
    for other in (times("", "de"), times("fr"), times("en-gb")):
        assert len(other) != len(default) or max(np.abs(np.subtract(other, default))) > 80


def test_an_operators_voice_is_the_default() -> None:
    engine = Espeak("en-gb+f3")
    engine.load()
    mine = say(engine, TEXT).words()
    theirs = say(engine, TEXT, options=TtsOptions(voice="en-gb+f3")).words()
    assert [at for _, at in mine] == [at for _, at in theirs]
    assert [ms for ms, _ in mine] == pytest.approx([ms for ms, _ in theirs], abs=25)


@pytest.mark.parametrize("voice", ["alloy", "en-gb+nobody", "+f3", "../../etc/passwd"])
def test_an_unknown_default_is_refused_at_start(voice: str) -> None:
    with pytest.raises(EngineUnavailable, match="has no voice") as caught:
        Espeak(voice).load()
    assert caught.value.code == "espeak_voice_unknown"


def test_every_language_speaks_and_others_are_spoken_as_english(espeak: Espeak) -> None:
    for language in (*SPEC.capabilities.languages, "fo", "xex", "tlh"):
        spoken = say(espeak, "A 1 2 3 hola.", options=TtsOptions(language=language))
        assert spoken.seconds() > 0.5, language


# --- whatever comes ---
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_any_text_is_borne(espeak: Espeak, text: str) -> None:
    spoken = say(espeak, text[:2_000], "And then.")
    assert spoken.finals == [Final(7, 2)]
    assert spoken.seconds(1) > 0.3
    if not any(c.isalnum() for c in text):
        assert spoken.seconds(0) == 0


def test_a_cancelled_text_ends_with_the_next_stretch_of_sound() -> None:
    asked: list[str] = []

    def cancelled() -> bool:
        asked.append(threading.current_thread().name.partition("_")[0])
        return len(asked) > 10

    sounds = list(open_library().speak(TEXT * 3, "gmw/en-US", 160, cancelled))
    assert 1 <= len(sounds) <= 10
    # Whichever thread sees it first, the library's asks once more at most: it was told to stop.
    assert 1 <= asked.count("espeak") <= 11
    assert asked[11:].count("espeak") <= 1
    whole = list(open_library().speak(TEXT, "gmw/en-US", 160, lambda: False))
    assert len(whole) > 50


def test_a_cancelled_stream_falls_silent(espeak: Espeak) -> None:
    inbox = ListInbox([Say(n, TEXT) for n in range(20)])
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        inbox.cancelled = len(events) >= 3

    espeak.run(TtsOptions(), inbox, emit)
    assert len(events) <= 5


def test_a_voice_that_is_not_there_is_refused_by_the_library() -> None:
    with pytest.raises(EngineRefused, match="no voice 'nobody'"):
        list(open_library().speak("Hello.", "nobody", 160, lambda: False))
    assert list(open_library().speak("Hello.", "gmw/en-US", 160, lambda: False))


# --- streams at once ---
class Listening:
    """A stream in a thread of its own, as the server runs it; takes nothing until it is let."""

    def __init__(self, engine: Espeak, voice: str, texts: list[str], *, let: bool) -> None:
        self.events: list[Event] = []
        self.done = threading.Event()
        self.let = threading.Event()
        if let:
            self.let.set()
        self._thread = StreamThread(
            engine, TtsOptions(voice=voice), self._emit, lambda: None, self.done.set
        )
        for number, text in enumerate(texts):
            self._thread.put(Say(number, text))
        self._thread.put(Flush(1))

    def _emit(self, event: Event) -> None:
        self.let.wait(20)
        self.events.append(event)
        self._thread.taken()
        if isinstance(event, Final):
            self._thread.close(cancel=False)

    def spoken(self) -> Spoken:
        assert self.done.wait(20)
        return Spoken(self.events, 22_050)


def test_two_streams_at_once_sound_as_one_after_the_other(espeak: Espeak) -> None:
    jobs = [
        (STEADY, [TEXT, "Yes, of course. ", "Here it is."]),
        ("de+Diogo", ["Guten Tag. ", "Der kleine Hund läuft.", "Ja."]),
        ("en-gb+Diogo", ["One, two, three. "] * 6),
    ]
    alone = [
        Listening(espeak, voice, texts, let=True).spoken().sound().tobytes()
        for voice, texts in jobs
    ]
    for _ in range(3):
        streams = [Listening(espeak, voice, texts, let=True) for voice, texts in jobs]
        together = [stream.spoken().sound().tobytes() for stream in streams]
        assert together == alone
    assert len(set(alone)) == 3


def test_a_listener_who_takes_nothing_keeps_nobody_waiting(espeak: Espeak) -> None:
    stuck = Listening(espeak, "", [TEXT * 3] * 3, let=False)
    other = Listening(espeak, "", [TEXT], let=True)
    assert other.spoken().seconds() > 3
    assert not stuck.done.is_set()
    stuck.let.set()
    assert stuck.spoken().seconds() > 30


async def test_it_speaks_in_a_process_of_its_own() -> None:
    assert SPEC.is_own_process
    async with SubprocessPool(SPEC) as pool, asyncio.timeout(30):
        await pool.start()
        stream = await pool.open(Role.TTS, "session", TtsOptions())
        assert stream.offer(Say(0, TEXT))
        stream.flush(1)
        events: list[Event] = []
        async for event in stream.events():
            events.append(event)
            if isinstance(event, Final):
                break
        await stream.aclose()
    spoken = Spoken(events, stream.rate_hz)
    assert spoken.seconds() > 3.5
    assert [TEXT[at:].split()[0] for _, at in spoken.words()][:3] == ["The", "small", "dog"]
    assert all(isinstance(event, Audio | Final) for event in events)


# --- where it is not ---
def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(EngineUnavailable, match="cannot be loaded") as caught:
        EspeakLibrary("libespeak-nowhere.so", "/nowhere")
    assert caught.value.code == "espeak_missing"
    assert "espeakng-loader" in caught.value.remedy


def test_missing_data_does_not_end_the_process() -> None:
    script = (
        "import espeakng_loader as w\n"
        "from duologue.engines.voices.espeak_library import EspeakLibrary\n"
        "from duologue.core.errors import EngineUnavailable\n"
        "try: EspeakLibrary(w.get_library_path(), '/nowhere')\n"
        "except EngineUnavailable as error: print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "no voice data at /nowhere" in done.stdout


def test_the_module_is_cheap_to_import_and_loads_no_library() -> None:
    script = (
        "import duologue.engines.voices.espeak, sys\n"
        "print('espeakng_loader' in sys.modules, 'libespeak' in open('/proc/self/maps').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


# --- Chinese ---
HELLO = "你好，今天天气很好。我们去公园走走吧！"
"""Sixteen syllables."""


def test_chinese_is_spoken_at_its_own_pace(espeak: Espeak) -> None:
    spoken = say(espeak, HELLO, options=TtsOptions(language="zh"))
    assert (
        2.5 < spoken.seconds() < 8
    )  # read by its English voice, it says "Chinese letter" 16 times
    assert level_dbfs(spoken.sound(), 22_050) == pytest.approx(LEVEL_DBFS, abs=3)
    loud = np.abs(spoken.sound().astype(int)) > 500
    assert loud.mean() > 0.2  # silence has nothing of it
    english = say(espeak, HELLO, options=TtsOptions(language="en"))
    assert english.seconds() > 1.5 * spoken.seconds()


@pytest.mark.parametrize("tag", ["zh", "zh-CN", "zh-Hans-CN", "cmn"])
def test_chinese_is_found_by_any_of_its_tags(espeak: Espeak, tag: str) -> None:
    assert espeak._voices.choose("", tag) == "sit/cmn"
    assert tag.partition("-")[0] in SPEC.capabilities.languages


def test_two_texts_sound_different_and_a_longer_one_lasts_longer(espeak: Espeak) -> None:
    short, long = (say(espeak, t, options=TtsOptions(language="zh")) for t in ("你好。", HELLO))
    assert 0.3 < short.seconds() < 0.4 * long.seconds()
