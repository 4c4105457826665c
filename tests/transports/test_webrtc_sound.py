"""The two tracks of a call, without a network: what is lost, what comes out of order, what goes out when."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from duologue.transports import webrtc_sound
from duologue.transports.webrtc_offer import prepared
from duologue.transports.webrtc_sound import InOrder, Loudspeaker, Microphone
from duologue.wire.opus import OpusDecoder, OpusEncoder

FRAME_BYTES = 960


@dataclass
class Rtp:
    """As aiortc parses one."""

    sequence_number: int
    timestamp: int
    payload: bytes
    ssrc: int = 1


def tone(hz: float, ms: int, rate_hz: int) -> bytes:
    t = np.arange(rate_hz * ms // 1000) / rate_hz
    return (np.sin(2 * math.pi * hz * t) * 9_000).astype("<i2").tobytes()


def packets(ms: int, start: int = 65_530) -> list[Rtp]:
    """A tone as it comes over the line; the count goes over its end."""
    encoder = OpusEncoder(48_000)
    sound, size = tone(1_000, ms, 48_000), 1_920
    return [
        Rtp((start + n) & 0xFFFF, n * 960, encoder.encode(sound[n * size : (n + 1) * size]))
        for n in range(len(sound) // size)
    ]


def heard(line: list[Rtp]) -> bytes:
    pcm = bytearray()
    microphone = Microphone(pcm.extend)
    for packet in line:
        assert microphone.add(packet) == (False, None)
    return bytes(pcm)


def test_packets_come_out_in_their_order() -> None:
    line = packets(400)
    assert len(line) == 20
    shuffled = [line[n] for n in (0, 2, 1, 3, 6, 5, 4, *range(7, 20))]
    assert heard(shuffled) == heard(line)
    twice = [packet for packet in line for _ in range(2)]
    assert heard(twice) == heard(line)


def test_each_packet_is_heard_at_once() -> None:
    pcm = bytearray()
    microphone = Microphone(pcm.extend)
    for number, packet in enumerate(packets(200), 1):
        microphone.add(packet)
        assert len(pcm) == number * 1_920


def test_a_lost_packet_is_silence_and_costs_no_time() -> None:
    line = packets(400)
    whole, holed = heard(line), heard(line[:8] + line[9:])
    assert len(holed) == len(whole)
    assert not any(holed[8 * 1_920 : 9 * 1_920])
    assert any(holed[7 * 1_920 : 8 * 1_920])


def test_what_cannot_be_decoded_is_a_lost_packet() -> None:
    line = packets(400)
    line[5].payload = b""
    assert len(heard(line)) == len(heard(packets(400)))


def test_a_long_gap_is_left_to_the_session() -> None:
    line = packets(1_000)
    for packet in line[10:]:
        packet.timestamp += 48_000  # nothing was sent for a second; no count is missing
    assert len(heard(line)) == len(heard(packets(1_000)))


def test_a_count_that_starts_anew_is_followed() -> None:
    order = InOrder()
    numbers = [5, 6, 7, 30_000, 30_001, 6]
    out = [t for n in numbers for t, _ in order.add(n, n, b"x")]
    assert out == [5, 6, 7, 30_000, 30_001, 6]
    both = packets(200) + packets(200, start=9)
    for packet in both[10:]:
        packet.ssrc, packet.timestamp = 2, packet.timestamp + 7_000_000
    assert len(heard(both)) == 2 * len(heard(packets(200)))


def test_never_more_waits_than_may() -> None:
    order = InOrder()
    out = [t for n in [0, *range(2, 200, 2)] for t, _ in order.add(n, n, b"x")]
    assert len(order._held) <= webrtc_sound.MAX_HELD
    assert out == sorted(out)
    assert len(out) + len(order._held) == 100


# --- out ---
async def sent(track: Loudspeaker, count: int) -> list[tuple[int, bytes]]:
    taken = [await asyncio.wait_for(track.recv(), 2) for _ in range(count)]
    return [(packet.pts, bytes(packet)) for packet in taken]


def decoded(line: list[tuple[int, bytes]]) -> bytes:
    decoder = OpusDecoder(48_000)
    return b"".join(decoder.decode(payload) for _, payload in line)


async def test_a_frame_goes_out_at_once_and_a_tone_of_10_khz_at_its_level() -> None:
    track = Loudspeaker()
    await sent(track, webrtc_sound.REST_FRAMES)  # the track shows that it works
    sound = tone(10_000, 1_000, 24_000)
    for at in range(0, len(sound), FRAME_BYTES):
        track.play(sound[at : at + FRAME_BYTES])
    assert track.queued == 50
    line = await sent(track, 50)
    steps = {b - a for (a, _), (b, _) in pairwise(line)}
    assert steps == {960}
    out = np.frombuffer(decoded(line)[9_600:], np.int16).astype(float)
    assert abs(20 * math.log10(np.sqrt((out**2).mean()) * math.sqrt(2) / 9_000)) < 0.5
    track.stop()


class Hand:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        handle = asyncio.TimerHandle(self.now + delay, callback, (), loop)
        self._due.append((self.now + delay, handle))
        return handle

    def pass_ms(self, ms: int) -> None:
        end = self.now + ms / 1000
        while due := [(at, h) for at, h in self._due if at <= end and not h.cancelled()]:
            at, handle = min(due, key=lambda each: each[0])
            self._due.remove((at, handle))
            self.now = max(self.now, at)
            handle._run()
        self.now = end


async def test_after_an_answer_the_line_is_silent_and_time_goes_on() -> None:
    hand = Hand()
    track = Loudspeaker(hand)
    rest = webrtc_sound.REST_FRAMES
    assert [pts for pts, _ in await sent(track, rest)] == [n * 960 for n in range(rest)]
    hand.pass_ms(200)
    for _ in range(10):
        track.play(tone(500, 20, 24_000))
        hand.pass_ms(20)
    track.play(tone(500, 10, 24_000))  # the last frame of an answer may be short
    assert track.queued == 11
    hand.pass_ms(webrtc_sound.REST_MS - 1)
    assert track.queued == 11
    hand.pass_ms(2)
    assert track.queued == 11 + rest
    hand.pass_ms(2 * webrtc_sound.KEEP_ALIVE_MS + 2)
    line = await sent(track, 11 + rest + 2)
    times = [pts for pts, _ in line]
    assert times[:11] == [9_600 + n * 960 for n in range(11)]
    assert (
        times[-1] - times[-2] == webrtc_sound.KEEP_ALIVE_MS * 48
    )  # by the clock, not by the count
    assert [payload for _, payload in line[-2:]] == [b"\xd8"] * 2
    end = np.frombuffer(decoded(line)[-3 * 1_920 :], np.int16)
    assert np.abs(end).max() < 30
    track.play(tone(500, 20, 24_000))
    assert (await sent(track, 1))[0][0] == pytest.approx(times[-1] + 960, abs=1)
    track.stop()
    hand.pass_ms(2_000)
    assert track.queued == 0


async def test_a_stalled_answer_goes_on_where_the_clock_is() -> None:
    hand = Hand()
    track = Loudspeaker(hand)
    await sent(track, webrtc_sound.REST_FRAMES)
    hand.pass_ms(300)
    for late_ms in (0, 20, 35, 20):  # an unpunctual tick: the frames still join
        hand.pass_ms(late_ms)
        track.play(bytes(FRAME_BYTES))
    hand.now += 0.5  # the process itself stood still
    track.play(bytes(FRAME_BYTES))
    times = [pts for pts, _ in await sent(track, 5)]
    assert [b - a for a, b in pairwise(times)][:3] == [960] * 3
    assert times[4] == pytest.approx(0.875 * 48_000, abs=1)
    track.stop()


async def test_nobody_takes_anything_and_the_queue_stays_bounded() -> None:
    track = Loudspeaker()
    for _ in range(1_000):
        track.play(bytes(FRAME_BYTES))
    assert track.queued == webrtc_sound.MAX_QUEUED
    track.stop()


# --- offers ---
def test_an_offer_is_prepared_without_hidden_addresses() -> None:
    offer = (
        "v=0\r\nm=audio 9\r\na=candidate:1 1 udp 2 x-1.local 37 typ host\r\n"
        "a=candidate:1 1 udp 2 192.0.2.1 37 typ host\r\na=end-of-candidates\r\na=mid:0\r\n"
        "m=application 9\r\na=sendrecv\r\n"
    )
    assert prepared(offer) == (
        "v=0\r\nm=audio 9\r\na=candidate:1 1 udp 2 192.0.2.1 37 typ host\r\na=mid:0\r\n"
        "a=sendrecv\r\nm=application 9\r\na=sendrecv\r\n"
    )
