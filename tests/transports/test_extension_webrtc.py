"""The extension channel on a data channel: its events, and neither frames nor resuming."""

import asyncio
import json

import pytest

from duologue.core.errors import MalformedEvent
from duologue.transports.admission import Visitor
from duologue.transports.webrtc import Call
from duologue.wire.choosing import Choice
from duologue.wire.extension import is_wanted
from tests.support.clips import clip, silence
from tests.support.judge import Referee
from tests.transports.caller import caller
from tests.transports.test_webrtc import switchboard

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]


class Lenient(Referee):
    """Judges everything but the events of this channel."""

    def see(self, data: bytes | str) -> dict[str, object]:
        event: dict[str, object] = json.loads(data)
        return event if str(event["type"]).startswith("duologue.") else super().see(data)


async def test_a_call_that_asks_for_it_is_told_the_floor_and_the_words() -> None:
    async with switchboard("tts_s=3,llm_tokens=12") as board, caller() as held:
        held.referee = Lenient()
        session = {"type": "realtime", "duologue": "v1"}
        choice = Choice(is_extended=is_wanted(session))
        call = await board.begin(Visitor(), choice, await held.offer(), session)
        assert isinstance(call, Call), call
        await held.accept(call.answer.result())
        welcome = await held.until("duologue.welcome")
        assert (welcome["frames"], welcome["resume_token"], welcome["lead_ms"]) == (
            False,
            None,
            None,
        )
        await held.say(clip("commands-cards_003.flac", 48_000) + silence(300, 48_000))
        await held.until("output_audio_buffer.started")
        await asyncio.sleep(1)
        held.send("duologue.output.hold")
        held.send("duologue.dance")
        assert (await held.until("error"))["error"]["param"] == "type"
        held.send("duologue.output.resume")
        await held.until("duologue.turn")
        assert [e["floor"] for e in held.of("duologue.floor")][-2:] == ["agent", "open"]
        said = held.of("response.output_audio_transcript.done")[0]["transcript"]
        assert held.of("duologue.heard")[-1]["text"] == said


async def test_a_call_that_does_not_ask_is_told_nothing() -> None:
    async with switchboard("tts_s=0.5") as board, caller() as held:
        call = await board.begin(Visitor(), Choice(), await held.offer())
        assert isinstance(call, Call), call
        await held.accept(call.answer.result())
        await held.say(clip("commands-cards_003.flac", 48_000) + silence(300, 48_000))
        await held.until("output_audio_buffer.stopped")
        assert not [kind for kind in held.types() if kind.startswith("duologue.")]


def test_another_version_is_refused() -> None:
    with pytest.raises(MalformedEvent):
        is_wanted({"duologue": "v7"})
