"""Files of strangers: good ones of many kinds, and all that may be wrong with one."""

import io
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from duologue.server.audio import decode
from duologue.server.audio.decode import Decoder
from duologue.server.audio.encode import encoder
from duologue.server.audio.refusals import Refusal
from tests.server.audio.stage import encoded
from tests.support.clips import DATA, clip

DIGITS = DATA / "commands-vosk_digits.flac"
SECONDS = 8.308


def all_of(data: bytes) -> bytes:
    decoder = Decoder(io.BytesIO(data))
    out = bytearray()
    while pcm := decoder.read(1_000):
        out += pcm
    assert decoder.duration_ms == len(out) // 32
    decoder.close()
    return bytes(out)


def refused(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as found:
        all_of(data)
    assert found.value.status == 400
    assert found.value.param == "file"
    return found.value


def wav(rate_hz: int, data: bytes) -> bytes:
    """A header that may say anything."""
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    size = struct.pack("<I", 36 + len(data))
    return b"RIFF" + size + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", len(data)) + data


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [
        ("wav", "pcm_s16le", 44_100),
        ("wav", "pcm_mulaw", 8_000),
        ("flac", "flac", 16_000),
        ("mp3", "libmp3lame", 24_000),
        ("ogg", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("mp4", "aac", 48_000),
        ("adts", "aac", 24_000),
    ],
)
def test_any_container_and_codec_is_the_same_sound(
    container: str, codec: str, rate_hz: int
) -> None:
    sound = np.frombuffer(
        all_of(encoded(clip(DIGITS.name, rate_hz), rate_hz, container, codec)), "<i2"
    )
    assert len(sound) / 16_000 == pytest.approx(SECONDS, abs=0.1)
    envelope = [np.abs(part).mean() for part in np.array_split(sound.astype(float), 40)]
    expected = np.frombuffer(clip(DIGITS.name, 16_000), "<i2").astype(float)
    wanted = [np.abs(part).mean() for part in np.array_split(expected, 40)]
    assert np.corrcoef(envelope, wanted)[0, 1] > 0.95


def test_blocks_are_about_as_long_as_asked_for() -> None:
    decoder = Decoder(io.BytesIO(DIGITS.read_bytes()))
    sizes = []
    while pcm := decoder.read(2_000):
        sizes.append(len(pcm) / 32)
    assert all(2_000 <= size < 2_300 for size in sizes[:-1])
    assert sum(sizes) == pytest.approx(SECONDS * 1000, abs=1)
    assert decoder.read(2_000) == b""


@pytest.mark.parametrize(
    "data",
    [
        b"hello " * 100,
        random.Random(1).randbytes(100_000),
        DIGITS.read_bytes()[:20],
        encoded(clip(DIGITS.name, 48_000), 48_000, "mp4", "aac")[:20_000],
        b"\x89PNG\r\n\x1a\n" + bytes(200),
    ],
    ids=["text", "noise", "stump", "mp4 without an index", "picture"],
)
def test_what_is_no_sound_is_said_to_be_none(data: bytes) -> None:
    error = refused(data)
    assert error.code in ("audio_not_readable", "audio_missing")
    assert "<" not in error.message


def test_a_file_without_samples_and_one_too_short() -> None:
    assert refused(wav(16_000, b"")).code == "audio_empty"
    short = refused(wav(16_000, bytes(2 * 1_599)))
    assert (short.code, "99 ms" in short.message) == ("audio_too_short", True)
    assert len(all_of(wav(16_000, bytes(3_200)))) == 3_200


def test_a_file_that_breaks_off_is_as_long_as_it_is() -> None:
    data = DIGITS.read_bytes()
    assert 1 < len(all_of(data[: len(data) // 3])) / 32_000 < 5


def test_a_broken_part_is_left_out() -> None:
    whole = encoded(clip(DIGITS.name, 24_000), 24_000, "mp3", "libmp3lame")
    scratched = bytearray(whole)
    scratched[20_000:20_300] = os.urandom(300)
    assert len(all_of(bytes(scratched))) / 32_000 == pytest.approx(SECONDS, abs=0.4)


def test_more_broken_parts_than_good_ones_are_no_file() -> None:
    decoder = Decoder(io.BytesIO(DIGITS.read_bytes()))
    decoder._bad = 10_000
    decoder.read(60_000)
    with pytest.raises(Refusal) as found:
        decoder.read(1)
    assert found.value.code == "audio_corrupt"


def test_a_rate_at_which_nobody_records_is_refused() -> None:
    assert refused(wav(1, bytes(4_000))).code == "audio_rate_not_supported"


def test_sound_that_is_too_long_is_refused_as_soon_as_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "MAX_AUDIO_S", 5)
    with pytest.raises(Refusal) as found:
        Decoder(io.BytesIO(DIGITS.read_bytes()))
    assert found.value.code == "audio_too_long"
    file = encoder("flac")  # as it is streamed, it does not say how long it is
    silent = file.push(clip(DIGITS.name, 24_000), 24_000) + file.finish()
    decoder = Decoder(io.BytesIO(silent))
    assert decoder.read(4_000)
    with pytest.raises(Refusal) as found:
        decoder.read(4_000)
    assert found.value.code == "audio_too_long"


@pytest.mark.parametrize("fmt", ["wav", "flac", "mp3", "opus", "aac"])
def test_what_is_spoken_here_can_be_read_here(fmt: str) -> None:
    """Streamed files do not say how long they are, or say what cannot be."""
    file = encoder(fmt)
    data = file.push(clip(DIGITS.name, 24_000), 24_000) + file.finish()
    assert len(all_of(data)) / 32_000 == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("form", ["hls", "concat", "sdp"])
def test_a_file_that_names_other_files_opens_none(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.flac"
    secret.write_bytes(DIGITS.read_bytes())
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }
    refused(texts[form].encode())
    if (
        form == "concat"
    ):  # whose own caution is not relied upon: without it, and without ours, it is read
        monkeypatch.setattr(decode, "OPTIONS", {**decode.OPTIONS, "safe": "0"})
        refused(texts[form].encode())
        monkeypatch.setattr(decode, "OPTIONS", {"safe": "0"})
        assert len(all_of(texts[form].encode())) > 200_000
