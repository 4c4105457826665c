"""A greeting, a goodbye and a change of manners, as clients get them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duologue.engines.fakes import FakeTts
from duologue.ports import CallDelta, Delta, Prompt, TextDelta
from duologue.transports.realtime import RealtimeConnection
from duologue.wire.beta import BetaWire
from duologue.wire.configuring import Defaults
from duologue.wire.realtime import RealtimeWire
from duologue.wire.session_document import SessionDocument
from tests.support.golden import Tape
from tests.support.stage import FRAME_MS, HandClock, LoudnessVad, scripted_world
from tests.transports.device import house


class Polite:
    """Says goodbye and hangs up."""

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        yield TextDelta("Goodbye.")
        yield CallDelta("c1", "hang_up", "{}")


TALK: dict[str, Any] = {"llm": Polite(), "tts": FakeTts("tts_s=1")}


async def test_a_device_is_told_goodbye_before_the_line_is_closed() -> None:
    async with house(**TALK) as here:
        device = await here.device()
        await device.ask("duologue.configure", hang_up=True, turns="balanced")
        assert device.heard.of("duologue.configured")[0]["hang_up"] is True
        await device.turn()
        await device.quiet(3_000)
        (goodbye,) = device.heard.of("duologue.goodbye")
        assert goodbye["reason"] == "hang_up"
        assert device.wire.closed == [(1000, "hang_up")]
        heard = device.heard.of("duologue.heard")[-1]
        assert (heard["text"], heard["ended"]) == ("Goodbye.", True)
        assert await device.resume() is not None  # it is over


async def test_a_greeting_is_said_once_also_over_two_lines() -> None:
    async with house(tts=FakeTts("tts_s=1")) as here:
        device = await here.device()
        await device.ask("duologue.configure", greeting="Hello.")
        await device.quiet(500)
        assert device.heard.floors() == ["thinking", "agent"]
        await device.drop()
        assert await device.resume() is None
        await device.ask("session.update", session={"type": "realtime"})
        await device.quiet(5_000)
        done = device.heard.of("response.done")
        said = [event["response"]["output"][0]["content"][0]["transcript"] for event in done]
        assert said == ["Hello."]
        await device.close()


def kinds_of(line: Tape) -> list[str]:
    return [event["type"] for event in line.events]


@pytest.mark.parametrize("dialect", [RealtimeWire, BetaWire])
async def test_a_stock_client_sees_a_proper_close_and_no_function(dialect: Any) -> None:
    clock, vad, line = HandClock(), LoudnessVad(), Tape()
    world = scripted_world(clock, vad, **TALK)
    defaults = Defaults(hang_up=True, greeting="Hello.")
    wire = dialect(SessionDocument("s", "m", "i", defaults=defaults))
    connection = RealtimeConnection(wire, world, "s")
    connection.on_open(line)

    async def pass_time(ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            clock.now += FRAME_MS
            for _ in range(20):
                await asyncio.sleep(0)
            world.pacer.tick(clock.now)

    async with asyncio.TaskGroup() as tasks:
        talk = tasks.create_task(connection.converse())
        await asyncio.sleep(0)
        connection.on_bytes(b'{"type": "session.update", "session": {"type": "realtime"}}')
        assert kinds_of(line) == ["session.created", "session.updated"]
        await pass_time(5_000)
        assert kinds_of(line).count("response.done") == 1  # the greeting
        connection.on_bytes(b'{"type": "response.create"}')
        await pass_time(3_000)
        assert line.closed == [(1000, "hang_up")]
        connection.on_close()
        await talk
    world.hearing.close()
    kinds = kinds_of(line)
    assert kinds.count("response.done") == 2
    assert not [kind for kind in kinds if "function" in kind or "mcp" in kind or "duologue" in kind]
    assert "hang_up" not in json.dumps(line.events)
