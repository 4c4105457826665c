import subprocess
import sys
import threading
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from duologue.core.errors import EngineUnavailable
from duologue.engines.base import Flush
from duologue.engines.text.speakable import speakable
from duologue.engines.threads import StreamThread
from duologue.engines.voices.flite import DEFAULT_VOICE, SPEC, Flite, available, in_ascii
from duologue.engines.voices.flite_library import VOICES, FliteLibrary
from duologue.engines.voices.part_sound import CEILING, LEAD_MS, LEVEL_DBFS
from duologue.ports import Event, Final, Say, TtsOptions
from tests.engines.voices.narrated import HOSTILE, ListInbox, Spoken, level_dbfs, pauses_ms, say

TEXT = "The small dog ran across the road, and jumped over the garden wall. It was fun!"

STEADY = "kal16"
"""The voice that always gives the same samples; the breath of the others is made of the process's `rand`."""

needs_flite = pytest.mark.skipif(
    not available(), reason="flite is not on this machine: apt-get install libflite1"
)
every_voice = pytest.mark.parametrize("voice", VOICES)


@pytest.fixture(scope="module")
def flite() -> Flite:
    engine = Flite()
    engine.load()
    engine.warm_up()
    return engine


# --- the sound ---
@needs_flite
@every_voice
def test_a_sentence_sounds_at_one_level_whoever_speaks(flite: Flite, voice: str) -> None:
    spoken = say(flite, TEXT, options=TtsOptions(voice))
    assert spoken.events[-1] == Final(7, 1)
    assert spoken.rate_hz == SPEC.capabilities.rate_hz == 16_000
    assert 3.5 < spoken.seconds() < 7
    assert level_dbfs(spoken.sound(), 16_000) == pytest.approx(LEVEL_DBFS, abs=1.5)
    assert np.abs(spoken.sound().astype(int)).max() <= round(CEILING * 32_768)


@needs_flite
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
def test_the_silence_that_flite_begins_with_is_cut(flite: Flite, voice: str) -> None:
    spoken = say(flite, "Tomorrow.", options=TtsOptions(voice))
    loud = np.abs(spoken.sound().astype(int)) > 500
    assert np.argmax(loud) < (LEAD_MS + 80) * 16
    assert np.argmax(loud[::-1]) < 150 * 16
    assert spoken.words()[0][0] < LEAD_MS + 30


@needs_flite
def test_two_pieces_are_apart(flite: Flite) -> None:
    spoken = say(flite, "The dog ran. ", "It was fun.", options=TtsOptions("rms"))
    assert max(pauses_ms(spoken.sound(), 16_000)) == pytest.approx(200, abs=60)


@needs_flite
@every_voice
def test_speed_is_speed(flite: Flite, voice: str) -> None:
    natural = say(flite, TEXT, options=TtsOptions(voice)).seconds()
    for speed in (0.25, 0.5, 2.0, 4.0):
        spoken = say(flite, TEXT, options=TtsOptions(voice, speed=speed))
        assert spoken.seconds() * speed == pytest.approx(natural, rel=0.2), speed
    slowest = say(flite, "Yes.", options=TtsOptions(voice, speed=-3)).seconds()
    assert slowest == pytest.approx(
        say(flite, "Yes.", options=TtsOptions(voice, speed=0.25)).seconds(), abs=0.1
    )


# --- words ---
@needs_flite
@every_voice
@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "**Bold** words, a [link](https://example.com/x) and 🥛 milk at 5:30 — naïvely.",
        "I paid $3.50 for 2 of them, e.g. Mr. Smith's; “really”?",
    ],
)
def test_words_are_told_in_order_and_point_at_words(flite: Flite, voice: str, text: str) -> None:
    spoken = say(flite, text, options=TtsOptions(voice))
    words = spoken.words()
    assert all(a < b for (a, _), (b, _) in pairwise(words))
    assert all(a < b for (_, a), (_, b) in pairwise(words))
    assert words[-1][0] < spoken.seconds() * 1000 - 100
    starts = {
        i for i, c in enumerate(text) if not c.isspace() and (not i or not text[i - 1].isalnum())
    }
    assert {at for _, at in words} <= starts
    spoken_words = speakable(text).text.split()
    assert len(words) >= len([w for w in spoken_words if any(c.isalnum() for c in w)])


@needs_flite
def test_word_times_are_where_the_word_is_heard(flite: Flite) -> None:
    text = "Tomorrow. Tomorrow. Tomorrow."
    spoken = say(flite, text, options=TtsOptions("rms"))
    sound = spoken.sound()[: len(spoken.sound()) // 80 * 80].astype(float).reshape(-1, 80)
    loud = np.sqrt(np.mean(sound**2, axis=1)) > 300
    for ms, at in spoken.words()[1:]:
        assert text[at : at + 8] == "Tomorrow"
        begin = round(ms / 5)
        assert not loud[begin - 10 : begin - 2].any()
        assert loud[begin : begin + 25].any()  # a t begins with its closure


# --- voices ---
@needs_flite
def test_an_unknown_voice_is_the_default_and_the_default_can_be_set(flite: Flite) -> None:
    def sound(engine: Flite, voice: str = "") -> bytes:
        return say(engine, "Yes.", options=TtsOptions(voice)).sound().tobytes()

    engine = Flite(STEADY)
    engine.load()
    assert sound(engine) == sound(engine, "alloy") == sound(engine, "en-gb+f3")
    assert sound(engine) == sound(flite, "kal16") == sound(flite, "KAL16")
    times = {voice: tuple(say(flite, TEXT, options=TtsOptions(voice)).words()) for voice in VOICES}
    assert len(set(times.values())) == len(VOICES)
    default = say(flite, TEXT).words()
    assert [at for _, at in default] == [at for _, at in times[DEFAULT_VOICE]]
    assert [ms for ms, _ in default] == pytest.approx(
        [ms for ms, _ in times[DEFAULT_VOICE]], abs=20
    )


def test_an_unknown_default_is_refused_at_start() -> None:
    with pytest.raises(EngineUnavailable, match="no voice 'alloy'"):
        Flite("alloy").load()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("naïve café, Straße", "naive cafe, Strasse"),
        ("“It’s”—so… 5–7", '"It\'s", so... 5-7'),
        ("21°C, €5, £3", "21 degrees C,  euros 5,  pounds 3"),
        ("Say 你好 twice", "Say  twice"),
        ("plain", "plain"),
    ],
)
def test_what_it_reads_is_ascii(text: str, read: str) -> None:
    said = in_ascii(speakable(text))
    assert said.text == read
    assert len(said.origins) == len(read)
    assert list(said.origins) == sorted(said.origins)


# --- whatever comes ---
@needs_flite
@pytest.mark.parametrize("voice", ["rms", "kal16"])
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_any_text_is_borne(flite: Flite, text: str, voice: str) -> None:
    spoken = say(flite, text[:1_000], "And then.", options=TtsOptions(voice, speed=4))
    assert spoken.finals == [Final(7, 2)]
    assert spoken.seconds(1) > 0.1
    if not any(c.isalnum() and c.isascii() for c in text):
        assert spoken.seconds(0) == 0


@needs_flite
@every_voice
def test_a_cancelled_text_ends_with_the_next_stretch_of_sound(flite: Flite, voice: str) -> None:
    class Inbox(ListInbox):
        asked = 0

        @property
        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 20

        @cancelled.setter
        def cancelled(self, value: bool) -> None: ...

    inbox = Inbox([Say(0, TEXT * 3), Say(1, TEXT)])
    events: list[Event] = []
    flite.run(TtsOptions(voice), inbox, events.append)
    assert inbox.asked <= 24
    assert 0 < Spoken(events, 16_000).seconds() < 1
    assert say(flite, TEXT, options=TtsOptions(voice)).seconds() > 3


@needs_flite
@every_voice
def test_what_the_taker_raises_comes_out_and_the_speaker_speaks_on(voice: str) -> None:
    def refuse(pcm: bytes, words: object) -> None:
        raise BrokenPipeError

    with closing(FliteLibrary().open(voice, 1.0)) as speaker:
        with pytest.raises(BrokenPipeError):
            speaker.speak(TEXT, refuse)
        sounds: list[bytes] = []
        speaker.speak("Yes.", lambda pcm, _: sounds.append(pcm))
        assert sum(map(len, sounds)) > 8_000


# --- streams at once ---
def at_once(flite: Flite, jobs: list[TtsOptions], texts: list[str]) -> list[Spoken]:
    """Each job as a stream in a thread of its own, as the server runs it."""
    streams: list[list[Event]] = [[] for _ in jobs]
    ended = [threading.Event() for _ in jobs]
    threads = [
        StreamThread(flite, options, events.append, lambda: None, done.set)
        for options, events, done in zip(jobs, streams, ended, strict=True)
    ]
    for thread in threads:
        for number, text in enumerate(texts):
            thread.put(Say(number, text))
        thread.put(Flush(1))
        thread.close(cancel=False)
    assert all(done.wait(20) for done in ended)
    return [Spoken(events, 16_000) for events in streams]


@needs_flite
def test_streams_at_once_sound_as_one_after_the_other(flite: Flite) -> None:
    texts = [TEXT, "Yes, of course. ", "One, two, three. "]
    jobs = [TtsOptions(STEADY), TtsOptions(STEADY, speed=1.5), TtsOptions("rms")] * 4
    alone = [say(flite, *texts, options=options) for options in jobs]
    for once, together in zip(alone, at_once(flite, jobs, texts), strict=True):
        for number in range(len(texts)):
            assert [at for _, at in together.words(number)] == [at for _, at in once.words(number)]
            times = [ms for ms, _ in once.words(number)]
            assert [ms for ms, _ in together.words(number)] == pytest.approx(times, abs=15)
    steady = [n for n, options in enumerate(jobs) if options.voice == STEADY]
    again = at_once(flite, jobs, texts)
    for n in steady:
        assert again[n].sound().tobytes() == alone[n].sound().tobytes()


# --- where it is not ---
def test_a_missing_library_is_told_at_once_with_the_package_that_has_it() -> None:
    assert not available("libflite-nowhere.so")
    with pytest.raises(EngineUnavailable) as caught:
        Flite(library="libflite-nowhere.so").load()
    assert caught.value.code == "flite_missing"
    assert "libflite1" in caught.value.remedy


def test_another_library_is_not_taken_for_flite() -> None:
    with pytest.raises(EngineUnavailable, match="symbol"):
        FliteLibrary("libm.so.6")


def test_the_module_is_cheap_to_import_and_loads_no_library() -> None:
    script = (
        "import duologue.engines.voices.flite as t\n"
        "print(t.SPEC.is_own_process, 'libflite' in open('/proc/self/maps').read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]
