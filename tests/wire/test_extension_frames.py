"""The header of a frame, and the order of a client's frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.audio import AudioFormat
from duologue.core.errors import ClientError
from duologue.wire.dialect import Binary
from duologue.wire.extension_frames import (
    DISCONTINUITY,
    FIRST,
    LAST,
    Frame,
    InputOrder,
    samples_in,
    unpack,
    with_gap,
)
from duologue.wire.opus import OpusEncoder

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
frames = st.builds(
    Frame, st.integers(0, 255), st.integers(0, U32), st.integers(0, U64), st.binary(max_size=64)
)


def test_the_layout_is_the_documented_one() -> None:
    packed = Frame(FIRST | DISCONTINUITY, 0x01020304, 0x1122334455667788, b"\xab\xcd").pack()
    assert packed.hex(" ") == "01 05 00 00 01 02 03 04 11 22 33 44 55 66 77 88 ab cd"
    assert type(packed) is Binary


@given(frames)
def test_a_frame_comes_back_as_it_went(frame: Frame) -> None:
    assert unpack(frame.pack()) == frame
    marked = unpack(with_gap(frame.pack()))
    assert marked == Frame(frame.flags | DISCONTINUITY, frame.sequence, frame.position, frame.sound)


def test_sequences_wrap() -> None:
    assert unpack(Frame(0, 1 << 32, 0, b"").pack()).sequence == 0


@given(st.lists(st.one_of(st.binary(max_size=40), frames.map(Frame.pack)), max_size=8))
def test_no_bytes_do_more_than_be_refused(messages: list[bytes]) -> None:
    order = InputOrder()
    for data in messages:
        try:
            frame = unpack(data)
            gap = order.take(frame, len(frame.sound) // 2)
        except ClientError:
            continue
        assert gap is None or gap >= 0
        assert 0 <= order.received <= U32


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200)), min_size=1, max_size=30))
def test_sound_and_silence_add_up_to_the_clients_clock(steps: list[tuple[int, int]]) -> None:
    """However frames are lost and silence is left out: given sound + told gaps = the client's position."""
    order, sequence, position, given_out, lost = InputOrder(), 7, 1000, 1000, 0
    for number, (missing, skipped) in enumerate(steps):
        if number:
            lost += missing
            sequence += missing
            position += 10 * missing + skipped
        flags = DISCONTINUITY if skipped else 0
        gap = order.take(Frame(flags, sequence, position, bytes(20)), 10)
        assert gap is not None
        given_out += gap + 10
        sequence, position = sequence + 1, position + 10
        assert given_out == position
    assert order.lost == lost
    assert order.received == sequence


def test_what_came_before_is_late() -> None:
    order = InputOrder()
    order.take(Frame(0, U32, 0, b""), 10)
    assert order.received == 0
    assert order.take(Frame(0, 0, 10, b""), 10) == 0
    assert order.take(Frame(0, 0, 10, b""), 10) is None
    assert order.take(Frame(0, U32 - 5, 0, b""), 10) is None
    assert (order.lost, order.late) == (0, 2)
    assert order.take(Frame(0, 1, 20, b""), 10) == 0


def test_a_stream_may_begin_anew_if_it_says_so() -> None:
    order = InputOrder()
    order.take(Frame(0, 0, 500, b""), 10)
    assert order.take(Frame(FIRST, 1, 0, b""), 10) == 0
    assert order.take(Frame(DISCONTINUITY, 2, 5, b""), 10) == 0  # back, and said so
    with pytest.raises(ClientError) as caught:
        order.take(Frame(LAST, 3, 16, b""), 10)
    assert caught.value.code == "position_mismatch"
    assert order.take(Frame(0, 4, 26, b""), 10) == 0


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "0 bytes"), (bytes(15), "15 bytes"), (b"\x02" + bytes(20), "kind 2")]
)
def test_what_is_no_frame_is_said(data: bytes, says: str) -> None:
    with pytest.raises(ClientError, match=says):
        unpack(data)


def test_sound_is_counted_in_samples_of_its_format() -> None:
    assert samples_in(bytes(960), AudioFormat(24_000)) == 480
    assert samples_in(bytes(160), AudioFormat(8_000, "pcmu")) == 160
    opus = AudioFormat(24_000, "opus")
    assert samples_in(b"", opus) == 0
    packet = OpusEncoder(24_000).encode(bytes(960))
    assert samples_in(packet, opus) == 480
    assert samples_in(bytes([0b01111_000]), opus) == 480  # hybrid, 20 ms
    assert samples_in(bytes([0b00011_001]), opus) == 2 * 1440  # silk, twice 60 ms
    assert samples_in(bytes([0b10000_011, 6]), opus) == 6 * 60  # celt, six times 2.5 ms
    assert samples_in(bytes([0b10000_011]), opus) == 0
