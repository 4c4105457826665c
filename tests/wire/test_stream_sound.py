"""A session's chunks become samples: raw ones at any rate, whole files, and files that come in pieces."""

import io
import json
import random
import struct
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.core.errors import ClientError
from duologue.core.streaming import AudioChunk, SoundFormat
from duologue.core.wav import wav
from duologue.wire import mp4_pieces, sound_magic, sound_packets, stream_sound, webm
from duologue.wire.sound_packets import NotDecodable
from duologue.wire.stream_sound import StreamSound
from tests.support.clips import DATA
from tests.support.ogg_files import ogg_opus, pcm_of
from tests.support.sounds import level_db, tone

TONE = tone(440, 3_000, 48_000)

RECORDED = json.loads((DATA / "mediarecorder.json").read_text())
WEBM = [bytes.fromhex(piece) for piece in RECORDED["audio/webm;codecs=opus"]]
MP4 = [bytes.fromhex(piece) for piece in RECORDED["audio/mp4;codecs=opus"]]

LIVE: Any = {"live": "1", "cluster_time_limit": "200"}
FRAGMENTS: Any = {"movflags": "empty_moov+default_base_moof", "frag_duration": "300000"}


def encoded(
    form: str, codec: str, *, rate_hz: int = 48_000, layout: str = "mono", **options: str
) -> bytes:
    """Three seconds of a tone, as FFmpeg's muxers write it."""
    out = io.BytesIO()
    with av.open(out, "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        pcm = tone(440, 3_000, rate_hz)
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.sample_rate = rate_hz
        frame.planes[0].update(pcm)
        stream.codec_context.options = {"strict": "experimental"}  # for vorbis
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.codec_context.format.name,
            layout,
            rate_hz,
            stream.codec_context.frame_size or 960,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            for packet in stream.encode(part):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return out.getvalue()


def heard(sound: StreamSound, *pieces: bytes, kind: SoundFormat = "") -> bytes:
    """What a session's decoder makes of some chunks, to the end of the utterance."""
    pcm = [sound.decode(AudioChunk(piece, format=kind)) for piece in pieces]
    return b"".join((*pcm, sound.finish()))


def cut(data: bytes, count: int, seed: int, first: int = 64) -> list[bytes]:
    """Cut anywhere, but not in the first bytes."""
    places = sorted(random.Random(seed).sample(range(first, len(data)), count))
    return [data[a:b] for a, b in pairwise([0, *places, len(data)])]


def refused(sound: StreamSound, piece: bytes, **chunk: Any) -> str:
    with pytest.raises(ClientError) as caught:
        sound.decode(AudioChunk(piece, **chunk))
    return caught.value.code


def is_tone(pcm: bytes, amplitude: float = 9_000) -> bool:
    """It is the tone, as loud as it was, and nothing else; encoders add silence at both ends."""
    samples = np.frombuffer(pcm, np.int16).astype(float)[1_600:-1_600]
    time = np.arange(len(samples)) / 16_000
    at = 2 * np.mean(samples * np.exp(-2j * np.pi * 440 * time))
    rest = samples - np.real(at * np.exp(2j * np.pi * 440 * time))
    return bool(
        abs(abs(at) / amplitude - 1) < 0.05 and np.sqrt(np.mean(rest**2)) < 0.05 * amplitude
    )


def alike(one: bytes, other: bytes) -> bool:
    """The same but for what a resampler's dither and a decoder's noise make of it."""
    a, b = np.frombuffer(one, np.int16).astype(int), np.frombuffer(other, np.int16).astype(int)
    return len(a) == len(b) and int(np.abs(a - b).max()) <= 16


# --- raw samples ---
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 24_000, 44_100, 48_000])
def test_raw_samples_of_any_rate_are_resampled_across_chunks(rate_hz: int) -> None:
    pcm = tone(440, 2_000, rate_hz)
    whole = heard(StreamSound(rate_hz), pcm)
    assert is_tone(whole)
    assert abs(len(whole) - 64_000) < 64
    pieces = [pcm[at : at + 642] for at in range(0, len(pcm), 642)]
    assert alike(heard(StreamSound(rate_hz), *pieces), whole)
    if rate_hz == 16_000:
        assert whole == pcm


def test_a_chunk_may_have_a_rate_of_its_own() -> None:
    sound = StreamSound(16_000)
    first = sound.decode(AudioChunk(tone(440, 1_000, 48_000), rate_hz=48_000))
    second = sound.decode(AudioChunk(tone(440, 1_000, 16_000)))
    assert len(first) < 32_000  # a part is held back, and comes with the next
    assert abs(len(first) + len(second) - 64_000) < 64


def test_raw_samples_that_cannot_be() -> None:
    sound = StreamSound()
    assert refused(sound, b"abc") == "audio_odd_bytes"
    assert refused(sound, b"abcd", rate_hz=7_999) == "audio_rate_not_supported"
    assert sound.decode(AudioChunk(b"abcd")) == b"abcd"
    assert sound.decode(AudioChunk(b"")) == b""
    assert sound.finish() == b""


def test_raw_samples_are_cheap_and_nothing_else_is() -> None:
    sound = StreamSound()
    assert sound.is_cheap(AudioChunk(bytes(640)))
    assert sound.is_cheap(AudioChunk(b""))
    assert not sound.is_cheap(AudioChunk(bytes(stream_sound.CHEAP_BYTES + 2)))
    assert not sound.is_cheap(AudioChunk(WEBM[0]))
    sound.decode(AudioChunk(WEBM[0]))
    assert not sound.is_cheap(AudioChunk(WEBM[1]))
    assert sound.is_cheap(AudioChunk(WEBM[1], format="pcm16"))


def test_what_is_said_to_be_raw_is_not_looked_at() -> None:
    assert StreamSound().decode(AudioChunk(WEBM[0], format="pcm16")) == WEBM[0]


# --- pieces of one file ---
STREAMS: dict[str, Callable[[], bytes]] = {
    "webm/opus": lambda: encoded("webm", "libopus", **LIVE),
    "webm/opus stereo": lambda: encoded("webm", "libopus", layout="stereo", **LIVE),
    "webm/vorbis stereo": lambda: encoded("webm", "vorbis", layout="stereo", **LIVE),
    "mkv/aac": lambda: encoded("matroska", "aac", **LIVE),
    "mkv/pcm": lambda: encoded("matroska", "pcm_s16le", **LIVE),
    "ogg/opus": lambda: ogg_opus(TONE, 48_000, page_ms=100),
    "mp4/aac": lambda: encoded("mp4", "aac", **FRAGMENTS),
    "mp4/opus": lambda: encoded("mp4", "libopus", **FRAGMENTS),
    "mp3": lambda: encoded("mp3", "libmp3lame"),
    "mp3 without notes": lambda: encoded("mp3", "libmp3lame", write_xing="0", id3v2_version="0"),
    "aac": lambda: encoded("adts", "aac"),
    "wav": lambda: wav(TONE, 48_000),
    "wav without end": lambda: encoded("wav", "pcm_s16le").replace(
        struct.pack("<I", len(TONE)), b"\xff" * 4
    ),
    "wav stereo float": lambda: encoded("wav", "pcm_f32le", layout="stereo"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_file_cut_anywhere_is_heard_as_if_it_were_whole(name: str) -> None:
    data = STREAMS[name]()
    whole = heard(StreamSound(), data)
    assert is_tone(whole, 9_000 * (0.5**0.5 if "stereo" in name else 1))
    assert 2_990 <= len(whole) // 32 <= 3_060
    for seed in range(3):
        sound = StreamSound()
        first = (
            3_000 if name.startswith(("mp3", "aac")) else 64
        )  # two frames, to be told from samples
        assert alike(heard(sound, *cut(data, 40, seed, first)), whole)
        assert sound.broken == 0


@pytest.mark.parametrize(("pieces", "ms"), [(WEBM, 3_179), (MP4, 1_599)])
def test_what_a_browser_recorded(pieces: list[bytes], ms: int) -> None:
    sound = StreamSound()
    each = [sound.decode(AudioChunk(piece)) for piece in pieces]
    pcm = b"".join(each)
    assert abs(len(pcm) // 32 - ms) <= 60
    assert level_db(pcm, 440, 16_000) > 67
    assert sound.finish() == b""
    data = b"".join(pieces)
    assert heard(StreamSound(), *cut(data, 50, 1)) == pcm
    assert all(each[1:])  # every piece gives its sound at once


@given(st.integers(0, 2**31), st.integers(1, 300))
@settings(max_examples=10, deadline=None)
def test_webm_may_be_cut_between_any_two_bytes(seed: int, count: int) -> None:
    whole = list(webm.WebmReader().feed(b"".join(WEBM)))
    reader = webm.WebmReader()
    assert [part for p in cut(b"".join(WEBM), count, seed, 1) for part in reader.feed(p)] == whole
    assert len(whole) == 54
    assert reader.kept_bytes < 200


def test_a_file_goes_on_after_the_end_of_an_utterance() -> None:
    sound = StreamSound()
    first = heard(sound, *WEBM[:3])
    second = heard(sound, *WEBM[3:])
    assert first + second == heard(StreamSound(), *WEBM)


@pytest.mark.parametrize("name", ["webm/opus", "ogg/opus", "mp4/aac", "mp3", "wav"])
def test_after_lost_pieces_the_rest_is_heard(name: str) -> None:
    data = STREAMS[name]()
    pieces = cut(data, 10, 3)
    sound, pcm = StreamSound(), b""
    whole = len(heard(StreamSound(), data))
    for number, piece in enumerate(pieces):
        if number == 4:
            sound.gap()
        else:
            try:
                pcm += sound.decode(AudioChunk(piece))
            except ClientError:
                assert number == 5
    pcm += sound.finish()
    lost = len(pieces[4]) / len(data)
    assert (1 - lost) * whole - 0.8 * 32_000 < len(pcm) < whole


def test_a_lost_piece_of_a_browsers_costs_a_block_beside_itself() -> None:
    """A piece ends and begins within a block, and a whole recording is in few clusters: blocks are found, too."""
    sound = StreamSound()
    before = sound.decode(AudioChunk(WEBM[0])) + sound.decode(AudioChunk(WEBM[1]))
    sound.gap()
    after = [sound.decode(AudioChunk(piece)) for piece in WEBM[3:]]
    assert sound.broken == 0
    assert len(before) // 32 == 1_019
    assert [len(pcm) // 32 for pcm in after] == [480, 540, 540]


def test_webm_goes_on_with_the_next_block_or_cluster() -> None:
    """In pieces of a few bytes: what is looked at for a block may not be there as a whole."""
    data = b"".join(WEBM)
    parts = list(webm.WebmReader().feed(data))
    for at in range(1_500, 1_900, 13):
        reader = webm.WebmReader()
        found = list(reader.feed(data[:at]))
        reader.gap()
        rest = data[at + 300 :]
        found += [p for i in range(0, len(rest), 7) for p in reader.feed(rest[i : i + 7])]
        assert len(parts) - 4 <= len(found) < len(parts)
        assert all(part in parts for part in found)


@pytest.mark.parametrize("name", ["mp3 without notes", "aac"])
def test_a_piece_that_begins_with_a_frame_is_no_new_file(name: str) -> None:
    data = STREAMS[name]()
    length = sound_magic._mp3_length if "mp3" in name else sound_magic._adts_length
    places = [0]
    while places[-1] < len(data) and (size := length(data, places[-1])):
        places.append(places[-1] + size)
    pieces = [data[a:b] for a, b in pairwise([*places[::4], len(data)])]
    assert all(sound_magic.kind_of(piece) for piece in pieces[:-1])
    assert alike(heard(StreamSound(), *pieces), heard(StreamSound(), data))


# --- whole files ---
WHOLE: dict[str, Callable[[], bytes]] = {
    "flac": lambda: encoded("flac", "flac"),
    "ogg/vorbis": lambda: encoded("ogg", "vorbis", layout="stereo"),
    "m4a": lambda: encoded("mp4", "aac"),
    "webm": lambda: encoded("webm", "libopus"),
    "aiff": lambda: encoded("aiff", "pcm_s16be"),
    "mulaw": lambda: encoded("wav", "pcm_mulaw", rate_hz=8_000),
    "wav": lambda: wav(TONE, 48_000),
    "ogg/opus": lambda: ogg_opus(TONE, 48_000),
    "mp3": lambda: encoded("mp3", "libmp3lame"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_each_chunk_may_be_a_file(name: str) -> None:
    data = WHOLE[name]()
    sound = StreamSound()
    once = heard(StreamSound(), data)
    assert 2_990 <= len(once) // 32 <= 3_080
    assert is_tone(once, 9_000 * (0.5**0.5 if "vorbis" in name else 1))
    assert alike(heard(sound, data) + heard(sound, data), once * 2)
    both = sound.decode(AudioChunk(data)) + sound.decode(AudioChunk(data)) + sound.finish()
    assert abs(len(both) - 2 * len(once)) < 64


def test_it_is_what_ffmpeg_hears() -> None:
    data = encoded("webm", "libopus", **LIVE)
    ours = np.frombuffer(heard(StreamSound(), data), np.int16).astype(float)
    theirs = np.frombuffer(pcm_of(data, 16_000), np.int16).astype(float)
    size = min(len(ours), len(theirs))
    assert np.abs(ours[:size] - theirs[:size]).max() < 200


# --- what is broken ---
def test_what_is_no_sound_is_refused_and_the_next_chunk_is_heard() -> None:
    sound = StreamSound()
    video = encoded("matroska", "libopus").replace(b"A_OPUS", b"A_NONE")
    for junk in (
        webm.MAGIC + bytes(200),
        b"RIFF" + bytes(100),
        b"fLaC" + bytes(60),
        b"OggS" + bytes(60),
        b"ID3\x04\0\0\0\0\0\0" + b"no sound" * 9_000,
        b"\0\0\0\x18ftypisom" + bytes(100),
        video,
    ):
        code = refused(sound, junk, format="container")
        assert code == "audio_not_readable", junk[:8]
        assert heard(sound, *WEBM) == heard(StreamSound(), *WEBM)
    assert sound.broken == 7


def test_pieces_without_their_beginning_are_never_taken_for_raw_samples() -> None:
    sound = StreamSound()
    assert refused(sound, b"fLaC" + bytes(60)) == "audio_not_readable"
    assert refused(sound, bytes(640)) == "audio_not_readable"
    assert sound.decode(AudioChunk(bytes(640), format="pcm16")) == bytes(640)
    assert sound.decode(AudioChunk(bytes(640))) == bytes(640)
    resumed = StreamSound(kind="container")
    assert refused(resumed, WEBM[3]) == "audio_not_readable"
    assert resumed.kind == "container"


def test_a_broken_stretch_costs_itself_only() -> None:
    data = bytearray(b"".join(WEBM))
    data[3_000:3_100] = bytes(100)
    sound = StreamSound()
    pcm = heard(sound, *cut(bytes(data), 5, 7))
    assert sound.broken >= 1
    assert 2_700 <= len(pcm) // 32 < 3_179


def test_compressed_silence_is_not_blown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_sound, "MAX_SOUND_S", 1)
    for data in (encoded("webm", "libopus", **LIVE), encoded("flac", "flac")):
        sound = StreamSound()
        assert refused(sound, data) == "audio_too_long"
        assert heard(sound, WEBM[0])


def test_a_file_that_names_other_files_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.flac"
    secret.write_bytes(encoded("flac", "flac"))
    listing = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    assert refused(StreamSound(), playlist.encode(), format="container") == "audio_not_readable"
    assert refused(StreamSound(), listing, format="container") == "audio_not_readable"
    # FFmpeg's own caution is not relied upon: without it, and without ours, it is read
    monkeypatch.setattr(sound_packets, "OPTIONS", {**sound_packets.OPTIONS, "safe": "0"})
    assert refused(StreamSound(), listing, format="container") == "audio_not_readable"
    monkeypatch.setattr(sound_packets, "OPTIONS", {"safe": "0"})
    assert len(heard(StreamSound(), listing, kind="container")) > 90_000


MAGICS = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"OggS",
    b"fLaC",
    b"ID3\4",
    b"\xff\xfb\x90\x00",
    b"\0\0\0\x18ftyp",
)
SEEDS = [
    b"".join(WEBM)[:3_000],
    b"".join(MP4)[:3_000],
    wav(TONE[:2_000], 48_000),
    ogg_opus(TONE[:9_600]),
]


@given(
    st.lists(
        st.tuples(st.sampled_from(MAGICS), st.binary(max_size=200)).map(b"".join)
        | st.binary(max_size=80)
        | st.tuples(st.sampled_from(SEEDS), st.integers(0, 2_999), st.binary(max_size=9)).map(
            lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]
        ),
        max_size=4,
    ),
    st.sampled_from(["", "container"]),
)
@settings(max_examples=60, deadline=None)
def test_no_bytes_do_more_than_be_refused(pieces: list[bytes], kind: SoundFormat) -> None:
    sound = StreamSound()
    for piece in pieces:
        try:
            pcm = sound.decode(AudioChunk(piece, format=kind))
        except ClientError as error:
            assert error.code.startswith("audio_")  # noqa: PT017
        else:
            assert len(pcm) % 2 == 0
    sound.gap()
    assert len(sound.finish()) % 2 == 0


def test_readers_keep_no_more_than_an_element() -> None:
    large = webm.MAGIC + b"\x80" + b"\xa3\x01" + (1 << 24).to_bytes(7, "big")
    with pytest.raises(NotDecodable, match="too large"):
        list(webm.WebmReader().feed(large + bytes(50)))
    with pytest.raises(NotDecodable, match="too large"):
        list(mp4_pieces.Mp4Reader().feed(b"\x7f\0\0\0mdat" + bytes(20)))
    reader = webm.WebmReader()
    list(reader.feed(webm.MAGIC + b"\x80" + b"\xec\x4f\xff" + bytes(4_000)))  # a void
    assert reader.kept_bytes == 0


def test_it_has_no_threads_and_ends_at_once() -> None:
    sounds = [StreamSound() for _ in range(50)]
    before = threading.active_count()
    pcm = {heard(sound, *WEBM) for sound in sounds}
    assert threading.active_count() == before
    assert len(pcm) == 1
    for sound in sounds:
        sound.close()
        assert sound.finish() == b""


def test_speech_is_not_taken_for_a_file() -> None:
    noise = np.random.default_rng(1)
    for _ in range(2_000):
        assert sound_magic.kind_of(noise.bytes(640)) == ""
    for sync in (b"\xff\xfb\x90\x00", b"\xff\xf1\x50\x80\x20\x1f\xfc"):
        assert sound_magic.kind_of(sync + noise.bytes(2_000)) == ""


def test_what_begins() -> None:
    kinds = {name.partition(" ")[0]: sound_magic.kind_of(make()) for name, make in STREAMS.items()}
    assert kinds["webm/opus"] == kinds["mkv/aac"] == "webm"
    assert (kinds["ogg/opus"], kinds["mp4/aac"], kinds["mp3"]) == ("opus", "mp4", "mp3")
    assert (kinds["aac"], kinds["wav"]) == ("aac", "wav")
    assert sound_magic.kind_of(WHOLE["m4a"]()) == "m4a"
    assert sound_magic.kind_of(WHOLE["ogg/vorbis"]()) == "ogg"
