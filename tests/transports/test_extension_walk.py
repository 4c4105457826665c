"""Whatever the line and the user do: what arrives is legal, in order, whole, and told once."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from duologue.wire.extension_frames import DISCONTINUITY, FIRST, LAST
from tests.transports.device import TALK, Device, House, house

acts = st.lists(
    st.one_of(
        st.tuples(st.just("speak"), st.sampled_from([100, 200, 800])),
        st.tuples(st.just("quiet"), st.sampled_from([100, 700, 2000])),
        st.tuples(st.just("skip"), st.sampled_from([60, 400, 3000])),
        st.tuples(st.just("drop"), st.sampled_from([0, 40, 1000, 5000])),
        st.tuples(st.just("dead"), st.sampled_from([40, 1000, 5000])),
        st.tuples(st.sampled_from(["hold", "go on", "cancel", "ack"]), st.just(0)),
    ),
    max_size=9,
)


async def act(h: House, device: Device, kind: str, ms: int) -> None:
    match kind:
        case "speak":
            await device.speak(ms)
        case "quiet":
            await device.quiet(ms)
        case "skip":
            await device.skip(ms)
            await device.after_skip()
        case "drop":
            await device.drop()
            await h.pass_time(ms)
            assert await device.resume() is None
        case "dead":
            device.wire.is_dead = True
            await h.pass_time(ms)
            assert await device.resume() is None
        case "cancel":
            await device.ask("response.cancel")
        case "ack":
            await device.ask("duologue.ack", sequence=device.heard.count)
        case _:
            await device.ask(f"duologue.output.{'hold' if kind == 'hold' else 'resume'}")


def check(device: Device) -> None:
    """Each item's frames from its first to its last, and no sequence missing or twice."""
    frames = device.heard.frames
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    at = None
    for frame in frames:
        assert not frame.flags & DISCONTINUITY
        if frame.flags & FIRST:
            assert at is None, "an item began within another"
            at = 0
        assert frame.position == at
        at = None if frame.flags & LAST else frame.position + len(frame.sound) // 2
    assert at is None, "an item did not end"
    assert device.heard.count == device.connection._replay.sent
    ids = [event["event_id"] for event in device.heard.events]
    assert len(set(ids)) == len(ids)


@settings(max_examples=60)
@given(acts)
def test_no_break_costs_or_repeats_anything(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        async with house(**TALK) as h:
            device = await h.device()
            await device.turn()
            for kind, ms in steps:
                await act(h, device, kind, ms)
            await device.ask("duologue.output.resume")
            await device.quiet(8000)
            check(device)
            assert device.session.floor.name == "OPEN"
            assert device.heard.floors()[-1] == "open"
            assert not [e for e in device.heard.of("error") if "duologue" in str(e)]
            await device.close()

    asyncio.run(run())
