"""The turn that is held before anybody is let in."""

import asyncio
from typing import Any

import pytest

from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.engines.voices import flite
from duologue.ports import TextDelta
from duologue.session import first_turn
from duologue.session.first_turn import FirstTurn
from duologue.session.hearing import Hearing
from duologue.session.meters import Meters
from duologue.session.pacer import Pacer
from duologue.session.world import World
from tests.support.stage import HandClock, LoudnessVad, scripted_world


async def held(**engines: Any) -> tuple[FirstTurn, World]:
    """A first turn in real time, with the pacer at work."""
    loop = asyncio.get_running_loop()

    def clock() -> float:
        return loop.time() * 1000

    vad = LoudnessVad()
    made = scripted_world(HandClock(), vad, **engines)
    world = World(
        pool=made.pool,
        responder=made.responder,
        hearing=Hearing(vad, clock),
        pacer=Pacer(clock),
        meters=Meters(clock),
        clock=clock,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(world.pacer.run())
            turn = await first_turn.take(world)
            ticking.cancel()
    finally:
        world.hearing.close()
    assert not vad.slots
    return turn, world


async def test_a_turn_is_heard_and_answered_and_no_meter_knows_of_it() -> None:
    turn, world = await held()
    assert turn.error is None
    assert turn.heard.endswith(" ms")
    assert turn.took_s > 0
    assert not world.meters.turns
    assert world.meters.counts["sessions"] == 0


@pytest.mark.parametrize(
    ("engines", "code"),
    [
        ({"stt": FakeStt("fail=1")}, "fake_stt_lost"),
        ({"tts": FakeTts("fail=1")}, "fake_tts_lost"),
        ({"llm": FakeLlm("fail=1")}, "fake_llm_refused"),
    ],
)
async def test_whoever_fails_in_it_is_named(engines: dict[str, Any], code: str) -> None:
    turn, _ = await held(**engines)
    assert turn.error is not None
    assert turn.error.code == code


async def test_nobody_waits_for_it_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FakeLlm):
        async def respond(self, prompt: Any) -> Any:
            await asyncio.Event().wait()
            yield TextDelta("never")

    monkeypatch.setattr(first_turn, "PATIENCE_S", 0.3)
    turn, _ = await held(llm=Slow())
    assert turn.error is not None
    assert turn.error.code == "first_turn_timed_out"


@pytest.mark.skipif(not flite.available(), reason="libflite is not installed")
async def test_the_embedded_voice_is_heard_by_the_session() -> None:
    voice = flite.SPEC.make("")
    voice.load()
    turn, _ = await held(tts=voice)
    assert turn.error is None
    voice.close()
