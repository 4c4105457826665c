"""A client's frames: silence that is left out, frames that are lost, and positions that cannot be."""

from duologue.core.audio import WIRE
from duologue.wire.extension_frames import Frame
from tests.transports.device import FRAME, TALK, house


async def test_skipped_silence_ends_a_turn_and_does_not_count_twice() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.speak(800)
        await device.quiet(40)
        await device.skip(400)
        await device.after_skip()
        await device.speak(600)
        assert not device.heard.of("input_audio_buffer.committed"), "400 ms ended the turn"
        await device.quiet(40)
        await device.skip(700)
        await device.after_skip()
        assert device.heard.of("input_audio_buffer.committed")
        await device.close()


async def test_skipped_silence_passes_at_once_where_no_time_has_passed() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.speak(800)
        device.position += 700 * WIRE.rate_hz // 1000
        await device.after_skip()
        await h.settle()
        assert device.heard.of("input_audio_buffer.committed")
        await device.close()


async def test_each_gap_is_measured_from_the_last_frame() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.speak(800)
        await device.skip(400)  # which the clock on the wall counts
        await device.after_skip()
        await device.speak(400)
        device.position += 700 * WIRE.rate_hz // 1000  # which it does not
        await device.after_skip()
        await h.settle()
        assert device.heard.of("input_audio_buffer.committed")
        await device.close()


async def test_lost_and_late_frames_are_counted() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.quiet(100)
        late = Frame(0, device.sequence - 2, device.position - 2 * FRAME, bytes(FRAME * 2))
        device.handler.on_binary(late.pack())
        device.sequence += 3
        device.position += 3 * FRAME
        await device.quiet(100)
        assert not device.heard.of("error")
        await device.close()
        assert h.world.meters.counts["input_frames_lost"] == 3
        assert h.world.meters.counts["input_frames_late"] == 1


async def test_a_frame_in_the_wrong_place_is_an_error_and_the_next_is_not() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.quiet(40)
        device.position *= 2  # counts bytes
        await device.quiet(20)
        (error,) = device.heard.of("error")
        assert error["error"]["code"] == "position_mismatch"
        await device.quiet(20)
        assert len(device.heard.of("error")) == 1
        await device.close()
