"""Opus in Ogg, page by page: any cut, any damage, and FFmpeg on the other side."""

import contextlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.core.errors import MalformedEvent
from duologue.wire import ogg_pages
from duologue.wire.ogg import Head, OggOpusReader, OggOpusWriter
from duologue.wire.ogg_pages import (
    BEGINS,
    CONTINUED,
    ENDS,
    MAX_PAGE_BYTES,
    Page,
    PageReader,
    checksum,
)
from duologue.wire.opus import MAX_PACKET_BYTES, OpusDecoder, OpusEncoder
from tests.support.clips import clip
from tests.support.ogg_files import ogg_opus, pages_of, pcm_of
from tests.support.sounds import level_db, tone

HEAD = OpusEncoder(24_000).head
TAGS = b"OpusTags" + bytes(8)


def written(packets: list[bytes]) -> bytes:
    writer = OggOpusWriter(HEAD)
    return b"".join(writer.write(packet, 960) for packet in packets)


def read(data: bytes, size: int = 1 << 20) -> list[Head | bytes]:
    reader = OggOpusReader()
    return [part for at in range(0, len(data), size) for part in reader.feed(data[at : at + size])]


def page(flags: int, number: int, *pieces: bytes, serial: int = 7, goes_on: bool = False) -> bytes:
    """A page of whole packets; with `goes_on` the last is not."""
    lacing = bytearray()
    for piece in pieces:
        lacing += bytes([255] * (len(piece) // 255) + [len(piece) % 255])
    if goes_on:
        assert len(pieces[-1]) % 255 == 0
        lacing.pop()
    return Page(flags, 0, serial, number, bytes(lacing), b"".join(pieces)).encoded()


BEGINNING = page(BEGINS, 0, HEAD) + page(0, 1, TAGS)

packet_lists = st.lists(st.binary(min_size=1, max_size=700), max_size=12)


# --- round trips ---
@given(packet_lists, st.integers(1, 400))
def test_packets_come_back_from_pieces_of_any_size(packets: list[bytes], size: int) -> None:
    data = written(packets)
    assert read(data, size) == ([Head(1, 312), *packets] if packets else [])


@pytest.mark.parametrize("size", [254, 255, 256, 510, 65_025 - 255, MAX_PACKET_BYTES])
def test_lacing_at_its_edges(size: int) -> None:
    packets = [b"a" * min(size, MAX_PACKET_BYTES), b"b"]
    assert read(written(packets))[1:] == packets


def test_a_packet_that_no_page_holds_is_not_written() -> None:
    with pytest.raises(ValueError, match="61440"):
        OggOpusWriter(HEAD).write(bytes(MAX_PACKET_BYTES + 1), 960)


def test_headers_are_the_first_two_pages_and_the_clock_counts_at_48_khz() -> None:
    pages = PageReader().feed(written([b"x", b"y", b"z"]))
    assert [p.number for p in pages] == [0, 1, 2, 3, 4]
    assert [p.flags for p in pages] == [BEGINS, 0, 0, 0, 0]
    assert [p.granule for p in pages] == [0, 0, 960, 1920, 2880]
    assert pages[0].body == HEAD
    assert pages[0].body[9] == 1
    assert pages[1].body.startswith(b"OpusTags")
    assert len({p.serial for p in pages}) == 1


def test_the_checksum_is_ogg_s() -> None:
    def slowly(data: bytes) -> int:
        crc = 0
        for byte in data:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
        return crc

    for data in (b"", b"\0", b"OggS", bytes(range(256)) * 3):
        assert checksum(data) == slowly(data)


# --- FFmpeg on the other side ---
@pytest.mark.parametrize("frame_ms", [5, 20, 60])
@pytest.mark.parametrize("page_ms", [20, 500])
def test_what_ffmpeg_writes_is_read(frame_ms: int, page_ms: int) -> None:
    pcm = clip("commands-cards_002.flac")
    data = ogg_opus(pcm, frame_ms=frame_ms, page_ms=page_ms)
    head, *packets = read(data, 100)
    assert isinstance(head, Head)
    decoder = OpusDecoder(24_000)
    ours = b"".join(decoder.decode(p) for p in packets if isinstance(p, bytes))
    ours = ours[head.pre_skip // 2 * 2 :]
    theirs = np.frombuffer(pcm_of(data), np.int16).astype(np.float64)
    mine = np.frombuffer(ours, np.int16).astype(np.float64)[: len(theirs)]
    theirs = theirs[: len(mine)]
    assert len(mine) > len(pcm) // 2 * 0.98
    assert float(np.corrcoef(mine, theirs)[0, 1]) > 0.99


def test_what_we_write_is_read_by_ffmpeg() -> None:
    pcm = tone(10_000, 2_000)
    encoder = OpusEncoder(24_000)
    size = encoder.frame_bytes
    packets = [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm), size)]
    out = pcm_of(written(packets))
    assert abs(len(out) - len(pcm)) < 48 * 10  # less the first samples, which its head says to skip
    assert abs(level_db(out, 10_000) - level_db(pcm, 10_000)) < 1


# --- streams as they come ---
def test_packets_over_several_pages() -> None:
    long = bytes(range(255)) * 3
    data = (
        BEGINNING
        + page(0, 2, b"short", long, goes_on=True)
        + page(CONTINUED, 3, long, goes_on=True)
        + page(CONTINUED, 4, b"end", b"next")
    )
    for size in (1, 27, 28, 10_000):
        assert read(data, size)[1:] == [b"short", long + long + b"end", b"next"]


def test_a_lost_page_costs_its_packets_only() -> None:
    long = bytes(255)
    pages = [
        page(0, 2, b"one", long, goes_on=True),
        page(CONTINUED, 3, long, goes_on=True),
        page(CONTINUED, 4, b"end", b"two"),
        page(0, 5, b"three"),
    ]
    assert read(BEGINNING + pages[0] + pages[2] + pages[3])[1:] == [b"one", b"two", b"three"]
    assert read(BEGINNING + pages[0] + pages[3])[1:] == [b"one", b"three"]
    assert read(BEGINNING + pages[1] + pages[2] + pages[3])[1:] == [b"two", b"three"]


def test_what_comes_before_a_stream_is_passed_over() -> None:
    last_ones = page(0, 80, b"old") + page(ENDS, 81, b"older") + b"Ogg" + b"OggOggS"
    assert read(last_ones + BEGINNING + page(0, 2, b"new"), 13)[1:] == [b"new"]


def test_a_stream_may_begin_anew_at_any_time() -> None:
    data = BEGINNING + page(0, 2, b"a" * 255, goes_on=True)
    again = (
        page(BEGINS, 0, HEAD, serial=9) + page(0, 1, TAGS, serial=9) + page(0, 2, b"b", serial=9)
    )
    assert read(data + again) == [Head(1, 312), Head(1, 312), b"b"]


def test_after_the_last_page_nothing_counts_until_the_next_stream() -> None:
    reader = OggOpusReader()
    assert reader.feed(BEGINNING + page(ENDS, 2, b"a"))[1:] == [b"a"]
    assert reader.feed(page(0, 3, b"late") + b"rubbish") == []
    assert reader.feed(BEGINNING + page(0, 2, b"b"))[1:] == [b"b"]


def test_a_stream_beside_ours_is_passed_over() -> None:
    data = BEGINNING + page(0, 2, b"a") + page(0, 9, b"theirs", serial=8) + page(0, 3, b"b")
    assert read(data)[1:] == [b"a", b"b"]


def test_long_tags_are_passed_over_and_a_long_packet_is_refused() -> None:
    tags = [b"OpusTags" + bytes(255 * 200 - 8)] + [bytes(255 * 200)] * 3
    pages = [page(0, 1, tags[0], goes_on=True)]
    pages += [page(CONTINUED, n, tags[1], goes_on=True) for n in (2, 3)]
    reader = OggOpusReader()
    reader.feed(page(BEGINS, 0, HEAD) + b"".join(pages))
    assert reader.feed(page(CONTINUED, 4, b"end", b"sound")) == [b"sound"]
    reader.feed(page(0, 5, tags[1], goes_on=True) + page(CONTINUED, 6, tags[1], goes_on=True))
    with pytest.raises(MalformedEvent, match="61440"):
        reader.feed(page(CONTINUED, 7, b"end"))


def test_packets_without_a_byte_are_none() -> None:
    assert read(BEGINNING + page(0, 2, b"", b"a", b""))[1:] == [b"a"]


@pytest.mark.parametrize(
    "head",
    [
        b"\x01vorbis" + bytes(30),
        HEAD[:18],
        HEAD[:8] + b"\x10" + HEAD[9:],
        HEAD[:9] + b"\x03" + HEAD[10:],
        HEAD[:18] + b"\x01" + bytes(3),
    ],
)
def test_a_stream_of_something_else_is_refused(head: bytes) -> None:
    reader = OggOpusReader()
    with pytest.raises(MalformedEvent, match="The stream in it"):
        reader.feed(page(BEGINS, 0, head))
    assert reader.feed(page(0, 1, b"more of it")) == []
    assert reader.feed(BEGINNING + page(0, 2, b"a"))[1:] == [b"a"]


def test_a_head_for_two_channels_is_read() -> None:
    assert read(page(BEGINS, 0, HEAD[:9] + b"\x02" + HEAD[10:])) == [Head(2, 312)]


# --- damage ---
@pytest.mark.parametrize("broken", [b"rubbish", b"OggT", b"OggS\x01", b"\0"])
def test_something_else_where_a_page_should_begin(broken: bytes) -> None:
    reader = OggOpusReader()
    reader.feed(BEGINNING)
    with pytest.raises(MalformedEvent) as refused:
        reader.feed(broken)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "audio")
    assert reader.feed(page(0, 2, b"lost")) == []
    assert reader.feed(BEGINNING + page(0, 2, b"a"))[1:] == [b"a"]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_never_gives_a_wrong_packet(at: int, flip: int) -> None:
    packets = [bytes([n]) * (50 + n) for n in range(10)]
    data = bytearray(written(packets))
    data[at % len(data)] ^= flip
    reader = OggOpusReader()
    found: list[Head | bytes] = []
    for piece in pages_of(bytes(written(packets))):  # by the lengths of the whole ones
        with contextlib.suppress(MalformedEvent):
            found += reader.feed(bytes(data[: len(piece)]))
        del data[: len(piece)]
    assert all(part in packets for part in found if isinstance(part, bytes))
    order = [packets.index(part) for part in found if isinstance(part, bytes)]
    assert all(a < b for a, b in pairwise(order))


def test_a_beginning_that_was_swallowed_by_a_broken_page_is_found() -> None:
    reader = OggOpusReader()
    reader.feed(BEGINNING)
    cut = page(0, 2, bytes(200))[:150]
    with pytest.raises(MalformedEvent, match="checksum"):
        reader.feed(cut + BEGINNING + page(0, 2, b"new"))
    assert reader.feed(page(0, 3, b"newer")) == [Head(1, 312), b"new", b"newer"]


hostile = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.just(b"OggS"),
        st.just(BEGINNING),
        st.builds(
            page,
            st.integers(0, 7),
            st.integers(0, 5),
            st.sampled_from([HEAD, TAGS, b"", b"x" * 255, b"sound"]),
            serial=st.integers(6, 8),
        ),
        st.builds(lambda cut: BEGINNING[:cut], st.integers(0, len(BEGINNING))),
    ),
    max_size=30,
)


@given(hostile, st.integers(1, 200))
def test_nothing_but_our_own_error_comes_of_any_bytes(chunks: list[bytes], size: int) -> None:
    data = b"".join(chunks)
    reader = OggOpusReader()
    for at in range(0, len(data), size):
        try:
            parts = reader.feed(data[at : at + size])
        except MalformedEvent:
            continue
        assert all(isinstance(part, Head) or 0 < len(part) <= MAX_PACKET_BYTES for part in parts)


def test_what_is_kept_is_bounded() -> None:
    reader = OggOpusReader()
    endless = Page(CONTINUED, 0, 7, 3, bytes([255] * 255), bytes(65_025))
    reader.feed(BEGINNING + page(0, 2, bytes(255), goes_on=True))
    for number in range(3, 60):
        reader.feed(replace(endless, number=number).encoded())
        assert reader.kept_bytes <= MAX_PAGE_BYTES + MAX_PACKET_BYTES
    with pytest.raises(MalformedEvent):
        reader.feed(bytes(1_000_000))
    assert reader.kept_bytes <= MAX_PAGE_BYTES
    hunting = OggOpusReader()
    for _ in range(100):
        hunting.feed(bytes(10_000))
        hunting.feed(b"OggS")
        assert hunting.kept_bytes <= MAX_PAGE_BYTES


@pytest.mark.parametrize("laces", [1, 255])
def test_bytes_made_to_be_searched_for_long_are_not(
    monkeypatch: pytest.MonkeyPatch, laces: int
) -> None:
    """Every few bytes what may be a first page, each with a wrong checksum: looked at once, and shortly."""
    looked_at = 0

    def counted(data: bytes) -> int:
        nonlocal looked_at
        looked_at += len(data)
        return checksum(data)

    monkeypatch.setattr(ogg_pages, "checksum", counted)
    bait = (b"OggS\0\2" + bytes(20) + bytes([laces, 254])) * 10_000
    assert OggOpusReader().feed(bait) == []
    assert looked_at < 12 * len(bait)
    sound = b"a" * 300
    assert read(bait + BEGINNING + page(0, 2, sound))[-1:] == [sound]
