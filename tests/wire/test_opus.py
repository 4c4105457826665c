"""Raw Opus packets: what goes in comes out, and what is wrong costs nothing but itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import MalformedEvent
from duologue.wire.opus import MAX_PACKET_BYTES, RATES_HZ, OpusDecoder, OpusEncoder
from tests.support.clips import clip
from tests.support.sounds import level_db, tone


def packets(encoder: OpusEncoder, pcm: bytes) -> list[bytes]:
    size = encoder.frame_bytes
    return [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm), size)]


def there_and_back(pcm: bytes, rate_hz: int) -> bytes:
    decoder = OpusDecoder(rate_hz)
    return b"".join(decoder.decode(packet) for packet in packets(OpusEncoder(rate_hz), pcm))


@pytest.mark.parametrize("rate_hz", [24_000, 48_000])
@pytest.mark.parametrize("hz", [300, 1_000, 4_000, 10_000])
def test_a_tone_keeps_its_level(rate_hz: int, hz: int) -> None:
    pcm = tone(hz, 2_000, rate_hz)
    lost = level_db(pcm, hz, rate_hz) - level_db(there_and_back(pcm, rate_hz), hz, rate_hz)
    assert abs(lost) < 1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_every_frame_comes_out(rate_hz: int) -> None:
    pcm = tone(440, 1_000, rate_hz)
    out = there_and_back(pcm, rate_hz)
    assert 0 <= len(pcm) - len(out) <= 2 * 16  # samples that a resampler holds back
    assert abs(level_db(pcm, 440, rate_hz) - level_db(out, 440, rate_hz)) < 1


def test_speech_is_an_eighth_of_its_base64() -> None:
    pcm = clip("lj-LJ001-0008.flac")
    size = sum(map(len, packets(OpusEncoder(24_000), pcm)))
    assert size * 8 < len(pcm) * 4 / 3
    sound = np.frombuffer(there_and_back(pcm, 24_000), np.int16)
    assert np.abs(sound).mean() > 0.8 * np.abs(np.frombuffer(pcm, np.int16)).mean()


def test_the_sound_comes_out_as_late_as_the_encoder_says() -> None:
    encoder = OpusEncoder(48_000)
    pcm = clip("lj-LJ001-0008.flac", 48_000)[: encoder.frame_bytes * 50]
    decoder = OpusDecoder(48_000)
    out = b"".join(decoder.decode(packet) for packet in packets(encoder, pcm))
    before = np.frombuffer(pcm, np.int16)[:40_000].astype(np.float64)
    after = np.frombuffer(out, np.int16).astype(np.float64)
    match = [float(before @ after[lag : lag + 40_000]) for lag in range(600)]
    assert abs(int(np.argmax(match)) - encoder.pre_skip) <= 2


def test_a_short_frame_is_filled_up_and_a_long_one_refused() -> None:
    encoder = OpusEncoder(24_000)
    assert OpusDecoder(24_000).decode(encoder.encode(b"\1\0")) != b""
    with pytest.raises(ValueError, match="960"):
        encoder.encode(bytes(962))


@pytest.mark.parametrize("duration_ms", [2.5, 5, 10, 20, 40, 60, 80, 100, 120])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_packets_of_every_duration_decode_to_mono(duration_ms: float, layout: str) -> None:
    import av

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.format, encoder.layout = 48_000, "s16", layout
    encoder.options = {"frame_duration": str(duration_ms)}
    encoder.open()
    frame = av.AudioFrame(format="s16", layout=layout, samples=encoder.frame_size)
    frame.sample_rate = 48_000
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    (packet,) = encoder.encode(frame)
    assert len(OpusDecoder(48_000).decode(bytes(packet))) == duration_ms * 96


@pytest.mark.parametrize("packet", [b"", bytes(MAX_PACKET_BYTES + 1), b"\xff\xff\xff"])
def test_what_is_no_packet_is_refused_and_costs_nothing_else(packet: bytes) -> None:
    decoder = OpusDecoder(24_000)
    encoded = packets(OpusEncoder(24_000), tone(440, 1_000, 24_000))
    before = b"".join(decoder.decode(p) for p in encoded[:25])
    with pytest.raises(MalformedEvent) as refused:
        decoder.decode(packet)
    assert refused.value.param == "audio"
    after = b"".join(decoder.decode(p) for p in encoded[25:])
    assert abs(level_db(before, 440, 24_000) - level_db(after, 440, 24_000)) < 0.5


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_nothing_but_our_own_error_comes_of_any_bytes(chunks: list[bytes]) -> None:
    decoder = OpusDecoder(16_000)
    for chunk in chunks:
        try:
            pcm = decoder.decode(chunk)
        except MalformedEvent:
            continue
        assert len(pcm) <= 121 * 32
        assert len(pcm) % 2 == 0


def test_rates_that_opus_does_not_have_are_refused() -> None:
    for make in (OpusDecoder, OpusEncoder):
        with pytest.raises(ValueError, match="rate_hz"):
            make(44_100)
