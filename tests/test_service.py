"""The session API from Python."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from duologue.core.errors import DuologueError, OurError
from duologue.core.streaming import Pong, Spoken, StreamEnded, Transcribed
from duologue.service import Events, StreamingService
from tests.support.clips import clip


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


async def first(events: Events, kind: type[Any]) -> Any:
    async with asyncio.timeout(30):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"there was no {kind}")


async def test_speech_becomes_text_and_text_speech_on_the_embedded_engines() -> None:
    sound = clip("commands-numbers.flac", 16_000)
    async with StreamingService(database_url="memory") as service:
        session = await service.create_session(language="en")
        async with session.listen() as events:
            for at in range(0, len(sound), 32_000):
                last = at + 32_000 >= len(sound)
                await session.send(sound[at : at + 32_000], is_final=last, format="pcm16")
            heard = await first(events, Transcribed)
            assert heard.text
            await session.say("Good morning.")
            spoken = await first(events, Spoken)
            assert spoken.audio.startswith(b"RIFF")
            assert 300 < spoken.duration_ms < 3_000
        assert [item.text for item in await session.transcript()] == [heard.text, "Good morning."]
        assert session.stats().conversation_entries == 2
        await session.close()


async def test_a_session_goes_on_in_the_next_service() -> None:
    async with StreamingService(engines="fake") as service:
        session = await service.create_session()
        async with session.listen() as events:
            await session.send(bytes(32_000), is_final=True, format="pcm16")
            await session.write("Hello")
            told = await first(events, Spoken)
    async with StreamingService(engines="fake") as service:
        again = await service.resume_session(session.id, session.resume_token)
        async with again.listen(after=0) as events:
            assert (await first(events, Spoken)).text == told.text


async def test_what_cannot_be_is_said_at_once() -> None:
    service = StreamingService(engines="fake")
    with pytest.raises(OurError, match="async with"):
        _ = service.desk
    with pytest.raises(DuologueError) as caught:
        async with StreamingService(model_size="tiny", num_workers=1, offline=True):
            pass
    assert "whisper" in str(caught.value)
    with pytest.raises(DuologueError, match="num_workers"):
        StreamingService(num_workers=0)


async def test_events_that_nobody_reads_leave_and_the_end_ends_them() -> None:
    events = Events()
    for _ in range(5_000):
        events.put(Pong())
    assert events.lost == 5_000 - 4_096
    events.put(StreamEnded("deleted"))
    assert len([event async for event in events]) == 4_095
