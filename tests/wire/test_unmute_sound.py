"""Opus in Ogg within unmute's dialect: heard, refused, and sent as one stream."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import MalformedEvent
from duologue.wire.ogg import OggOpusWriter
from duologue.wire.opus import OpusEncoder
from duologue.wire.unmute_sound import Inlet, Outlet
from tests.support.clips import clip
from tests.support.ogg_files import ogg_opus, pages_of, pcm_of
from tests.support.sounds import level_db, tone
from tests.support.unmute_client import Microphone
from tests.wire.unmuted import (
    append,
    refused,
    spoken_by,
    types,
    wire,
)


# --- sound in ---
def test_speech_comes_in() -> None:
    pcm = clip("commands-cards_002.flac")
    w = wire()
    ogg = ogg_opus(pcm)
    out = b"".join(w.sound(append(page)) or b"" for page in pages_of(ogg))
    mine, theirs = (np.frombuffer(x, np.int16) for x in (out, pcm_of(ogg)))
    assert abs(len(mine) - len(theirs)) < 24 * 20
    assert float(np.corrcoef(mine[: len(theirs)], theirs[: len(mine)])[0, 1]) > 0.99


def test_a_tone_comes_in_at_its_level() -> None:
    pcm = tone(10_000, 2_000)
    microphone, w = Microphone(), wire()
    pieces = [pcm[at : at + 3_840] for at in range(0, len(pcm), 3_840)]
    out = b"".join(w.sound(append(p)) or b"" for p in map(microphone.push, pieces) if p)
    assert len(out) > 0.8 * len(pcm)
    assert abs(level_db(out, 10_000) - level_db(pcm, 10_000)) < 1


def test_a_broken_stream_is_refused_once_and_the_next_is_heard() -> None:
    w = wire()
    pages = pages_of(ogg_opus(tone(440, 1_000)))
    assert [refused(w, append(p)) for p in pages[:6]][-1] == "sound"
    broken = bytearray(pages[6])
    broken[60] ^= 1
    assert refused(w, append(bytes(broken))) == "MalformedEvent"
    assert {refused(w, append(p)) for p in [*pages[7:], b"rubbish", bytes(broken)]} == {"none"}
    again = [refused(w, append(p)) for p in pages_of(ogg_opus(tone(440, 200)))]
    assert again[-2] == "sound"


def test_leftovers_of_a_former_connection_are_passed_over() -> None:
    w = wire()
    old = pages_of(ogg_opus(tone(440, 200)))[3:]
    assert {refused(w, append(p)) for p in old} == {"none"}


def test_sound_that_is_no_ogg_is_refused_once() -> None:
    w = wire()
    assert refused(w, append(tone(440, 20))) == "MalformedEvent"
    assert refused(w, append(tone(440, 20))) == "none"


def test_a_wrong_packet_costs_only_itself() -> None:
    from duologue.wire.ogg import OggOpusReader, OggOpusWriter
    from duologue.wire.opus import OpusEncoder

    encoder = OpusEncoder(24_000)
    packets = [p for p in OggOpusReader().feed(ogg_opus(tone(440, 400))) if isinstance(p, bytes)]
    writer = OggOpusWriter(encoder.head)
    whole = [writer.write(p, 960) for p in packets]
    ears = Inlet()
    sounds = []
    for number, page in enumerate(whole):
        sounds.append(ears.decode(page))
        if number == 5:
            bad = writer.write(b"\xff\xff\xff", 960)
            good = writer.write(packets[0], 960)
            with pytest.raises(Exception, match="no Opus packet"):
                ears.decode(good + bad)
    assert all(sounds[1:])
    assert len(sounds[6]) > 1.9 * len(sounds[5])  # with what stood before the wrong one


def test_pre_skip_is_left_out() -> None:
    data = ogg_opus(tone(440, 1_000))
    mine, theirs = (np.frombuffer(x, np.int16) for x in (Inlet().decode(data), pcm_of(data)))
    assert float(np.corrcoef(mine[200:20_000], theirs[200:20_000])[0, 1]) > 0.999


@given(
    st.lists(
        st.binary(max_size=200) | st.sampled_from(pages_of(ogg_opus(tone(440, 60)))), max_size=12
    )
)
def test_any_sound_is_heard_or_refused(chunks: list[bytes]) -> None:
    w = wire()
    results = [refused(w, append(chunk)) for chunk in chunks if chunk]
    assert set(results) <= {"sound", "none", "MalformedEvent"}


# --- sound out ---
def test_a_tone_goes_out_at_its_level() -> None:
    pcm = tone(10_000, 2_000)
    events = spoken_by(wire(), pcm)
    assert types(events) == ["response.audio.delta"] * 100
    ogg = b"".join(base64.b64decode(event["delta"]) for event in events)
    out = pcm_of(ogg)
    assert abs(len(out) - len(pcm)) < 48 * 10
    assert abs(level_db(out, 10_000) - level_db(pcm, 10_000)) < 1


def test_sound_is_one_stream_and_what_an_encoder_holds_is_not_the_next_answer_s() -> None:
    mouth = Outlet()
    assert mouth.flush() == b""
    loud = tone(1_000, 100)
    first = mouth.encode(loud) + mouth.flush()
    assert mouth.flush() == b""
    silent = mouth.encode(bytes(9_600))
    assert silent.find(b"OpusHead") == -1
    pcm = pcm_of(first + silent)
    later = pcm[len(loud) + 960 :]
    assert np.abs(np.frombuffer(later, np.int16)).max() < 200


def test_a_small_message_cannot_unpack_into_minutes() -> None:
    encoder = OpusEncoder(24_000)
    quiet = encoder.encode(bytes(960))
    writer = OggOpusWriter(encoder.head)
    pages = [writer.write(quiet, 960) for _ in range(1_600)]  # 32 seconds
    inlet = Inlet()
    with pytest.raises(MalformedEvent) as caught:
        inlet.decode(b"".join(pages))
    assert caught.value.code == "audio_too_long"
    again = OggOpusWriter(encoder.head)
    assert inlet.decode(again.write(quiet, 960) + again.write(quiet, 960))  # a new stream is heard
