import pytest

from duologue.core.audio import STREAM, WIRE, AudioFormat, AudioFrame, ms_to_samples, samples_to_ms


def test_bytes_and_milliseconds() -> None:
    assert WIRE.ms(960) == 20
    assert WIRE.bytes_for(20) == 960
    assert STREAM.bytes_for(1) == 32
    assert AudioFormat(22_050).bytes_for(1) % 2 == 0


def test_samples_and_milliseconds() -> None:
    assert samples_to_ms(512) == 32
    assert ms_to_samples(32) == 512
    assert samples_to_ms(15) == 0


def test_a_frame_knows_where_it_ends() -> None:
    assert AudioFrame(bytes(640), 16_000).end == 16_320


@pytest.mark.parametrize("rate_hz", [0, 7_999, 48_001])
def test_rates_that_are_no_speech_are_refused(rate_hz: int) -> None:
    with pytest.raises(ValueError, match="rate_hz"):
        AudioFormat(rate_hz)
