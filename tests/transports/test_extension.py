"""The extension channel, whole connections in scripted time: what a device sees, and that it loses nothing."""

import base64
from itertools import pairwise
from typing import Any

import pytest

from duologue.core.audio import WIRE
from duologue.core.conversation import Message
from duologue.engines.fakes import FakeTts
from duologue.session.mouth import LEAD_MS
from duologue.session.watching import HEARD_EVERY_MS
from duologue.transports.lobby import RESUME_MS
from duologue.transports.websocket import Rejection
from duologue.wire.extension_frames import FIRST, LAST, Frame
from tests.support.scripted import LOUD, TimingStt
from tests.transports.device import FRAME, TALK, WHOLE, Device, Heard, House, house


async def answered(h: House, device: Device, ms: int) -> None:
    """A turn, and so much of its answer."""
    await device.turn()
    assert device.heard.of("response.created")
    await h.pass_time(ms)
    assert device.heard.frames


# --- what is told ---
async def test_the_welcome_comes_second_and_says_what_is_spoken() -> None:
    async with house() as h:
        device = await h.device()
        created, welcome = device.heard.order
        assert isinstance(created, dict)
        assert isinstance(welcome, dict)
        assert (created["type"], welcome["type"]) == ("session.created", "duologue.welcome")
        assert welcome["frames"] is True
        assert (welcome["version"], welcome["lead_ms"]) == (1, LEAD_MS)
        assert len(welcome["resume_token"]) >= 32
        assert welcome["resume_ms"] == RESUME_MS
        await device.close()


async def test_floors_are_those_of_the_machine() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        seen = ["open"]

        async def follow(ms: int, act: Any) -> None:
            for _ in range(ms // 20):
                await act(20)
                floor = device.session.floor.name.lower()
                if floor != seen[-1]:
                    seen.append(floor)

        await follow(800, device.speak)
        await follow(1500, device.quiet)
        await follow(200, device.speak)  # a cough
        await follow(800, device.quiet)
        await follow(1200, device.speak)  # a barge-in
        await follow(7500, device.quiet)
        told = ["open", *device.heard.floors()]
        assert {"user", "pause", "agent", "overlap", "open"} <= set(told)
        # some last less than a frame of the script, so the script may miss them; the machine's order holds
        rest = iter(told)
        assert all(floor in rest for floor in seen)
        assert told[-1] == seen[-1] == "open"
        assert all(a != b for a, b in pairwise(told))
        await device.close()


async def test_a_cough_holds_the_answer_and_it_goes_on_from_the_same_sample() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        await device.speak(200)
        (held,) = device.heard.of("duologue.output.held")
        assert device.session.mouth.heard_ms() == pytest.approx(held["played_ms"], abs=1)
        await device.quiet(700)
        (resumed,) = device.heard.of("duologue.output.resumed")
        order = device.heard.order
        between = order[order.index(held) : order.index(resumed)]
        assert len(between) > 1
        assert not [told for told in between if isinstance(told, Frame)]
        assert resumed["item_id"] == held["item_id"]
        assert resumed["played_ms"] == held["played_ms"]
        await h.pass_time(7000)
        assert device.assert_gapless() == WHOLE
        assert not device.heard.of("input_audio_buffer.speech_started")[1:]
        assert device.session.mouth.underruns == 0
        await device.close()


async def test_a_barge_in_is_held_and_never_resumed() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1500)
        await device.speak(1000)
        (held,) = device.heard.of("duologue.output.held")
        assert not device.heard.of("duologue.output.resumed")
        (done,) = device.heard.of("response.done")
        assert done["response"]["status"] == "cancelled"
        assert device.heard.frames[-1].flags == LAST
        heard = device.heard.of("duologue.heard")[-1]
        assert heard["ended"] is True
        assert heard["played_ms"] == held["played_ms"]
        kept = done["response"]["output"][0]["content"][0]["transcript"]
        assert heard["text"] == kept
        await device.close()


async def test_heard_words_grow_word_by_word_and_not_oftener_than_five_times_a_second() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.turn()
        whole: list[str] = []
        came: list[float] = []
        for _ in range(400):
            await h.pass_time(20)
            if len(device.heard.of("duologue.heard")) > len(came):
                came.append(h.clock.now)
        told = device.heard.of("duologue.heard")
        for event in told:
            whole += [word["text"] for word in event["words"]]
            assert event["text"] == " ".join(whole)
            assert all(word["start_ms"] <= word["end_ms"] for word in event["words"])
            assert all(word["start_ms"] <= event["played_ms"] for word in event["words"])
        said = device.heard.of("response.output_audio_transcript.done")[0]["transcript"]
        assert told[-1]["text"] == said
        assert [event["ended"] for event in told] == [False] * (len(told) - 1) + [True]
        assert len(told) > 10
        between = [b - a for a, b in pairwise(came[:-1])]
        assert min(between) >= HEARD_EVERY_MS
        await device.close()


async def test_a_turn_is_told_when_it_is_over_with_its_reasons() -> None:
    async with house(stt=TimingStt(), tts=FakeTts("tts_s=1")) as h:
        device = await h.device()
        await device.turn()
        assert not device.heard.of("duologue.turn")
        await h.pass_time(2000)
        (told,) = device.heard.of("duologue.turn")
        turn = told["turn"]
        assert turn["outcome"] == "answered"
        assert turn["reasons"][0] == "turn ended: silence of 500 ms"
        assert turn["heard_ms"] == turn["said_ms"] == 1000
        await device.ask(
            "session.update", session={"type": "realtime", "output_modalities": ["text"]}
        )
        await device.turn()
        await h.pass_time(40)
        assert len(device.heard.of("duologue.turn")) == 2
        await device.close()


async def test_input_is_acknowledged_about_once_a_second() -> None:
    async with house(stt=TimingStt()) as h:
        device = await h.device()
        await device.quiet(3500)
        acks = [event["sequence"] for event in device.heard.of("duologue.ack")]
        assert acks == [50, 100, 150]
        await device.close()


async def test_an_answer_out_of_band_goes_as_it_always_did() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.ask("response.create", response={"conversation": "none"})
        await h.pass_time(100)
        assert not device.heard.frames
        assert device.heard.of("response.output_audio.delta")
        await device.close()


@pytest.mark.parametrize(
    ("fmt", "size"),
    [({"type": "audio/pcmu"}, 160), ({"type": "audio/pcma"}, 160), ({"type": "audio/opus"}, None)],
)
async def test_frames_carry_any_format_and_count_its_samples(
    fmt: dict[str, str], size: int | None
) -> None:
    async with house(stt=TimingStt(), tts=FakeTts("tts_s=1")) as h:
        device = await h.device()
        await device.ask(
            "session.update", session={"type": "realtime", "audio": {"output": {"format": fmt}}}
        )
        await device.turn()
        await h.pass_time(1500)
        sounding = [frame for frame in device.heard.frames if frame.sound]
        step = size or FRAME
        assert [frame.position for frame in sounding] == [step * n for n in range(50)]
        assert sounding[0].flags == FIRST
        assert device.heard.frames[-1].position == 50 * step
        assert [f.sequence for f in device.heard.frames] == list(range(51))
        if size:
            assert {len(frame.sound) for frame in sounding} == {size}
        await device.close()


# --- what the client says of its playback ---
async def test_played_is_the_truth_for_words_truncation_and_the_floor() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 3000)
        item_id = device.heard.of("response.content_part.added")[0]["item_id"]
        before = device.heard.of("duologue.heard")[-1]["text"]
        await device.ask("duologue.played", item_id=item_id, played_ms=500)
        assert device.session.mouth.heard_ms() == 500
        await h.pass_time(240)
        after = device.heard.of("duologue.heard")[-1]["text"]
        assert before.startswith(after)
        assert len(after) < len(before)
        await device.speak(1000)
        kept = device.heard.of("response.done")[0]["response"]["output"][0]["content"][0]
        assert len(kept["transcript"]) < len(before)
        item = device.session.conversation.retrieve(item_id)
        assert isinstance(item, Message)
        assert item.text == kept["transcript"]
        await device.close()


async def test_a_client_that_plays_later_than_we_think_is_sent_its_sound_and_keeps_the_floor() -> (
    None
):
    async with house(**TALK) as h:
        device = await h.device()
        await device.turn()
        item_id = device.heard.of("response.content_part.added")[0]["item_id"]
        for behind_ms in (1000, 0, 0, 0, 0):
            await h.pass_time(1000)
            played_ms = device.session.mouth.heard_ms() - behind_ms
            await device.ask("duologue.played", item_id=item_id, played_ms=played_ms)
        assert device.assert_gapless() > 5.1 * WIRE.rate_hz
        await h.pass_time(1200)
        assert device.heard.of("response.done")
        assert device.session.floor.name == "AGENT"  # the last second is still to be heard
        await h.pass_time(1200)
        assert device.session.floor.name == "OPEN"
        await device.close()


async def test_played_is_clamped_and_late_news_is_dropped() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        item_id = device.heard.of("response.content_part.added")[0]["item_id"]
        await device.ask("duologue.played", item_id=item_id, played_ms=1e9)
        assert device.session.mouth.heard_ms() <= device.session.mouth.sent_ms
        await h.pass_time(8000)
        await device.ask("duologue.played", item_id=item_id, played_ms=3)
        assert not device.heard.of("error")
        await device.turn()
        await h.pass_time(1000)
        heard_ms = device.session.mouth.heard_ms()
        await device.ask("duologue.played", item_id=item_id, played_ms=3)
        assert device.session.mouth.heard_ms() == heard_ms
        await device.ask("duologue.played", item_id="item_nobody", played_ms=3, event_id="e1")
        (error,) = device.heard.of("error")
        assert error["error"]["event_id"] == "e1"
        await device.close()


async def test_a_client_that_holds_is_sent_nothing_and_loses_nothing() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        await device.ask("duologue.output.hold")
        frames, heard = len(device.heard.frames), device.session.mouth.heard_ms()
        await h.pass_time(5000)
        assert len(device.heard.frames) == frames
        assert device.session.mouth.heard_ms() == heard
        assert device.session.floor.name == "AGENT"
        await device.ask("duologue.output.resume")
        await h.pass_time(6500)
        assert device.assert_gapless() == WHOLE
        assert device.session.mouth.underruns == 0
        assert device.session.floor.name == "OPEN"
        await device.close()


async def test_a_clients_hold_ends_with_the_answer_and_is_not_lifted_by_a_false_alarm() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 500)
        await device.ask("duologue.output.hold")
        frames = len(device.heard.frames)
        await device.speak(200)
        await device.quiet(800)
        assert device.heard.of("duologue.output.resumed")
        assert len(device.heard.frames) == frames
        await device.speak(1000)
        assert device.heard.of("response.done")[0]["response"]["status"] == "cancelled"
        await device.quiet(1000)
        assert device.heard.frames[-1].position > 0
        assert len(device.heard.frames) > frames + 1
        await device.ask("response.cancel")
        await device.ask("duologue.output.hold")  # nothing is being said: it means nothing
        await device.turn()
        count = len(device.heard.frames)
        await h.pass_time(500)
        assert len(device.heard.frames) > count
        await device.close()


# --- what is wrong ---
async def test_events_that_are_none_are_errors() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.ask("duologue.dance", event_id="e1")
        await device.ask("duologue.played", item_id="x", event_id="e2")
        await device.ask("duologue.played", item_id="x", played_ms="soon", event_id="e3")
        await device.ask("duologue.ack", sequence=99, event_id="e4")
        found = [(e["error"]["event_id"], e["error"]["param"]) for e in device.heard.of("error")]
        assert found == [
            ("e1", "type"),
            ("e2", "played_ms"),
            ("e3", "played_ms"),
            ("e4", "sequence"),
        ]
        device.handler.on_binary(b"short")
        assert device.heard.of("error")[-1]["error"]["code"] == "invalid_frame"
        await device.close()


async def test_what_comes_too_early_waits_and_what_breaks_ends_the_session() -> None:
    async with house(**TALK) as h:
        handler = h.knock(["duologue.v1"])
        assert not isinstance(handler, Rejection)
        device = Device(h, Heard(), handler)
        handler.on_open(device.wire)
        await device.frame(bytes(FRAME * 2))  # the session begins only now
        await device.quiet(980)
        assert device.heard.of("duologue.ack")[0]["sequence"] == 50
        device.session.hear = None  # type: ignore[assignment, method-assign]
        await device.frame(bytes(FRAME * 2))
        assert device.heard.of("error")[0]["error"]["code"] == "internal_error"
        assert device.wire.closed[0][0] == 1011
        device.handler.on_close()


# --- everybody else ---
async def test_who_did_not_ask_for_it_sees_none_of_it_and_may_say_none_of_it() -> None:
    async with house(**TALK) as h:
        plain = h.knock(["realtime"])
        assert not isinstance(plain, Rejection)
        assert plain.subprotocol == "realtime"
        device = Device(h, Heard(), plain)
        await device.open()
        await device.ask("duologue.output.hold")
        assert device.heard.of("error")[0]["error"]["param"] == "type"
        for _ in range(40):
            await device.ask("input_audio_buffer.append", audio=_loud())
            await h.pass_time(20)
        await h.pass_time(3000)
        assert device.heard.of("response.output_audio.delta")
        assert not [e for e in device.heard.events if e["type"].startswith("duologue.")]
        assert not device.heard.frames
        plain.on_close()
        await h.settle()
        assert h.world.meters.live == 0


def _loud() -> str:
    return base64.b64encode(LOUD[:480].astype("<i2").tobytes()).decode()
