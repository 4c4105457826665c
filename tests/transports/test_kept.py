"""Sessions are written down; clients of the extension are told what is stored, and come back after a kill."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from duologue.core.records import SessionRecord
from duologue.engines.fakes import FakeLlm, FakeStt, FakeTts
from duologue.transports.extension import Leg
from duologue.transports.gate import _Barrier
from duologue.transports.lobby import hash_of
from duologue.transports.realtime import RealtimeConnection
from duologue.transports.restoring import MAX_PAST, Left, Past
from duologue.transports.websocket import Rejection
from tests.support.archive import MemoryArchive
from tests.transports.device import TALK, Device, Heard, House, Wire, house

TRANSCRIBES = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}


async def speaking(h: House, ms: int = 1000) -> Device:
    """A device with a turn, and so much of its answer."""
    device = await h.device()
    await device.ask("session.update", session=TRANSCRIBES)
    await device.turn()
    await h.pass_time(ms)
    return device


@asynccontextmanager
async def next_server(archive: MemoryArchive, **engines: Any) -> AsyncIterator[House]:
    """The one after the kill."""
    chosen: dict[str, Any] = {**TALK, **engines}
    async with house(archive.after_the_kill(), **chosen) as h:
        yield h


def only(archive: MemoryArchive) -> SessionRecord:
    (record,) = archive.kept.values()
    return record


# --- written ---
async def test_a_conversation_is_written_as_it_was_heard() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device = await speaking(h, 7000)
        await device.ask(
            "conversation.item.create",
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "x"}],
            },
        )
        said, answer, typed = (await archive.last_items(only(archive).id))[-3:]
        assert (said.number, answer.number, typed.number) == (1, 2, 3)
        assert (said.kind, said.role, said.status) == ("message", "user", "completed")
        assert (
            said.text
            == device.heard.of("conversation.item.input_audio_transcription.completed")[0][
                "transcript"
            ]
        )
        assert 0 <= said.start_ms < said.end_ms <= 1600
        assert answer.text == device.heard.of("duologue.heard")[-1]["text"]
        assert answer.body["item"]["parts"][0]["spoken"]["words"]
        assert "heard_ms" not in answer.body
        assert typed.text == "x"
        record = only(archive)
        assert (record.owner, record.kind, record.ended_s) == ("kitchen", "realtime", None)
        assert record.settings["session"]["audio"]["input"]["transcription"] == {"model": "any"}
        assert record.settings["extended"] is True
        assert record.token_hashes == (hash_of(device.heard.token),)
        assert archive.turned[0].item_id == said.id
        item_id = typed.id
        await device.ask("conversation.item.delete", item_id=item_id)
        assert item_id not in archive.items_of[record.id]
        await device.close()
        assert only(archive).ended_s is not None
        assert only(archive).token_hashes == ()


async def test_a_stock_client_that_hangs_up_leaves_what_it_heard() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        handler = h.knock(())
        assert isinstance(handler, RealtimeConnection)
        heard = Heard()
        device = Device(h, heard, handler)
        archive.is_held = True
        await device.open()
        assert heard.of("session.created"), "stock clients wait for nothing"
        archive.is_held = False
        archive.commit()
        session = handler.session
        assert session is not None
        for _ in range(40):
            session.hear(b"\x10\x27" * 480)
            await h.pass_time(20)
        for _ in range(35):
            session.hear(bytes(960))
            await h.pass_time(20)
        await h.pass_time(1500)
        playing = archive.texts()[1]
        handler.on_close()
        await h.settle()
        record = only(archive)
        assert (record.token_hashes, record.expires_s) == ((), record.active_s)
        assert record.ended_s is not None
        answer = (await archive.last_items(record.id))[1]
        assert answer.status == "incomplete"
        assert answer.text.startswith("You said")
        assert len(answer.text) > len(playing)


async def test_silence_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device = await h.device()
        keeper = device.connection.keeper
        assert keeper is not None
        before = len(archive.commits)
        keeper.refresh()
        await h.settle()
        assert len(archive.commits) == before
        keeper._written_s -= 31
        keeper.refresh()
        await h.settle()
        assert len(archive.commits) == before + 1
        await device.close()


# --- told what is stored ---
async def test_nothing_of_an_item_is_told_before_it_is_stored() -> None:
    archive = MemoryArchive()
    archive.is_held = True
    async with house(archive, **TALK) as h:
        device = await h.device()
        assert not device.heard.events
        archive.commit()
        await h.settle()
        assert len(device.heard.events) == 2
        await device.turn()
        for kind in ("input_audio_buffer.committed", "conversation.item.added", "response.created"):
            assert not device.heard.of(kind)
        stored: list[str] = []
        while archive.waiting:
            archive.commit(1)
            await h.settle()
            stored = [record.id for record in await archive.last_items(only(archive).id)]
            told = [event["item"]["id"] for event in device.heard.of("conversation.item.added")]
            assert told == stored, "told at once when it is stored, and not before"
        assert len(stored) == 2
        assert device.heard.of("response.created")
        archive.is_held = False
        archive.commit()
        await device.close()


async def test_a_store_that_is_late_holds_nobody_up_for_long() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device = await h.device()
        archive.is_held = True
        await device.turn()
        assert not device.heard.of("conversation.item.added")
        gate = device.connection._gate
        assert gate is not None
        barrier = gate._queue[0]
        assert isinstance(barrier, _Barrier)
        barrier.timer._run()
        assert device.heard.of("conversation.item.added")
        assert h.world.meters.counts["store_late"] == 1
        await h.pass_time(1000)
        assert device.heard.frames, "nobody waits for it until it has caught up"
        archive.is_held = False
        archive.commit()
        await device.close()


async def test_a_store_that_fails_costs_the_history_and_not_the_conversation() -> None:
    archive = MemoryArchive()
    archive.fails = True
    async with house(archive, **TALK) as h:
        device = await speaking(h, 7000)
        assert device.heard.of("response.done")[0]["response"]["status"] == "completed"
        assert not archive.kept
        await device.close()


async def test_without_an_archive_the_channel_says_that_nothing_is_kept() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        assert device.heard.of("duologue.welcome")[0]["restart_ms"] == 0
        assert device.connection.keeper is None
        await device.close()


async def test_sound_is_acknowledged_when_it_is_of_no_more_need() -> None:
    async with house(MemoryArchive(), **TALK) as h:
        device = await h.device()
        await device.quiet(4000)
        settled = device.heard.of("duologue.ack")[-1]["sequence"]
        assert 0 < settled < device.sequence - 50
        began = device.sequence
        await device.speak(3000)
        during = device.heard.of("duologue.ack")[-1]["sequence"]
        assert settled <= during < began
        await device.quiet(4000)
        assert device.heard.of("duologue.ack")[-1]["sequence"] > began + 150
        await device.close()


# --- after the kill ---
async def test_an_answer_that_was_cut_by_the_kill_stays_as_it_was_heard() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 1500) as (device, other):
        heard = device.heard.of("duologue.heard")[-1]
        before, frames = device.heard.count, len(device.heard.frames)
        events = len(device.heard.events)
        assert await device.move_to(other) is None
        (resumed,) = device.heard.resumed
        assert resumed["session_id"] == device.heard.of("session.created")[0]["session"]["id"]
        assert (resumed["complete"], resumed["sequence"]) == (False, before)
        assert resumed["floor"] == "open"
        assert resumed["restart_ms"] == 600_000
        told = device.heard.events[events:]
        kinds = [event["type"] for event in told]
        assert kinds == [
            "response.output_item.done",
            "conversation.item.done",
            "duologue.heard",
            "response.done",
        ]
        _, done, last, ended = told
        assert done["item"]["status"] == "incomplete"
        assert done["item"]["content"][0]["transcript"] == heard["text"] == last["text"]
        assert last["ended"] is True
        assert ended["response"]["status"] == "failed"
        assert ended["response"]["status_details"]["error"]["code"] == "server_restarted"
        assert ended["response"]["output"][0]["id"] == done["item"]["id"]
        assert len(device.heard.frames) == frames
        assert other.world.meters.counts["sessions_restored"] == 1
        # it goes on: another turn, another break, another kill
        device.sequence = resumed["input_sequence"]
        await device.turn()
        await other.pass_time(1000)
        assert len(device.heard.of("response.created")) == 2
        await device.drop()
        assert await device.resume() is None
        assert device.heard.resumed[-1]["complete"] is True
        await device.quiet(200)
        again = other.world.archive
        assert isinstance(again, MemoryArchive)
        async with next_server(again) as third:
            old = device.handler
            assert await device.move_to(third) is None
            items = third.world.archive.items_of[resumed["session_id"]]  # type: ignore[union-attr]
            assert [items[i].number for i in items] == [1, 2, 3, 4]
            told_of = [e["item"]["id"] for e in device.heard.of("conversation.item.added")]
            assert told_of == list(items)
            await device.close()
            old.on_close()


@asynccontextmanager
async def next_server_of(
    h: House, archive: MemoryArchive, ms: int
) -> AsyncIterator[tuple[Device, House]]:
    """A device that was being answered when its server was killed, and the next server."""
    device = await speaking(h, ms)
    device.wire.is_dead = True
    async with next_server(archive) as other:
        yield device, other


async def test_items_that_the_client_may_not_know_of_are_told() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device = await h.device()
        await device.ask("session.update", session=TRANSCRIBES)
        device.wire.is_dead = True  # nothing of all this arrives
        before = device.heard.count
        await device.turn()
        await h.pass_time(9000)
        async with next_server(archive) as other:
            assert await device.move_to(other) is None
            kinds = [e["type"] for e in device.heard.events[before:]]
            assert kinds == [
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
                "conversation.item.input_audio_transcription.completed",
                "conversation.item.added",
                "conversation.item.done",
                "duologue.heard",
            ]
            answer = device.heard.of("conversation.item.done")[-1]["item"]
            assert answer["status"] == "completed"
            await device.ask("conversation.item.retrieve", item_id=answer["id"])
            assert device.heard.of("conversation.item.retrieved")[0]["item"] == answer
            await device.ask(
                "conversation.item.truncate",
                item_id=answer["id"],
                content_index=0,
                audio_end_ms=900,
            )
            assert device.heard.of("conversation.item.truncated")
            await device.close()


async def test_an_utterance_that_was_not_understood_is_asked_for_again() -> None:
    archive = MemoryArchive()
    slow = FakeStt("stt_ms=60000")
    async with house(archive, stt=slow, tts=FakeTts("tts_s=6"), llm=FakeLlm()) as h:
        device = await h.device()
        await device.ask("session.update", session=TRANSCRIBES)
        await device.quiet(3000)
        began = device.sequence
        await device.turn()
        assert device.heard.of("input_audio_buffer.committed")
        device.wire.is_dead = True
        async with next_server(archive) as other:
            assert await device.move_to(other) is None
            (failed,) = device.heard.of("conversation.item.input_audio_transcription.failed")
            assert failed["error"]["code"] == "server_restarted"
            assert device.heard.resumed[0]["input_sequence"] <= began
            device.sequence, device.position = began, began * 480
            await device.turn()
            (done,) = device.heard.of("conversation.item.input_audio_transcription.completed")
            assert done["item_id"] != failed["item_id"]
            again = other.world.archive
            assert isinstance(again, MemoryArchive)
            assert await device.resume() is None
            await device.quiet(20)
            async with next_server(again) as third:
                assert await device.move_to(third) is None
                assert (
                    len(device.heard.of("conversation.item.input_audio_transcription.failed")) == 1
                )
                await device.close()


async def test_settings_come_back_and_secrets_are_not_stored() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device = await h.device()
        tool = {
            "type": "mcp",
            "server_label": "shop",
            "server_url": "https://shop.example/mcp",
            "authorization": "sesame",
            "headers": {"X-Key": "sesame"},
        }
        session = {"type": "realtime", "instructions": "Be brief.", "tools": [tool]}
        await device.ask("session.update", session=session)
        await device.ask("duologue.configure", turns="patient", filler="Just a moment.")
        assert "sesame" not in json.dumps(dict(only(archive).settings))
        options = device.session.options
        async with next_server(archive) as other:
            assert await device.move_to(other) is None
            restored = device.session.options
            assert restored.turn == options.turn
            assert restored.filler == "Just a moment."
            assert restored.reply.instructions == "Be brief."
            assert restored.reply.servers[0].headers == ()
            await device.close()


async def test_settings_that_are_not_served_any_more_cost_the_settings() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 500) as (device, other):
        kept = other.world.archive
        assert isinstance(kept, MemoryArchive)
        record = only(kept)
        kept.kept[record.id] = replace(
            record, settings={"session": {"type": "dance"}, "configure": {}}
        )
        assert await device.move_to(other) is None
        assert len(device.session.conversation) == 2
        await device.close()


async def test_who_may_come_back_and_when() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 500) as (device, other):
        token, left = device.heard.token, other.reception.past
        for refused, status, code in (
            (await device.move_to(other, name="thief"), 410, "session_gone"),
            (await device.move_to(other, token="guessed"), 410, "session_gone"),
            (await device.move_to(other, received="many"), 400, "invalid_resume"),
        ):
            assert isinstance(refused, Rejection)
            assert (refused.status, refused.code) == (status, code)
        other.reception.is_open = False
        refused = await device.move_to(other)
        assert isinstance(refused, Rejection)
        assert refused.status == 503
        other.reception.is_open = True
        other.reception._max_sessions = 0
        refused = await device.move_to(other)
        assert isinstance(refused, Rejection)
        assert refused.code == "session_limit_reached"
        other.reception._max_sessions = 10
        assert other.here == 0
        assert len(left) == 1
        assert await device.move_to(other) is None
        assert (other.here, len(left)) == (1, 0)
        await device.drop()
        device.heard.resumed.clear()
        assert await device.resume(token=token) is None, "the next token never arrived"
        assert device.heard.resumed[0]["complete"] is False
        assert other.here == 1
        await device.quiet(20)
        await device.drop()
        assert isinstance(await device.resume(token=token), Rejection)
        other.max_sessions_per_key = 0
        assert isinstance(await device.move_to(other, token="guessed"), Rejection)
        other.max_sessions_per_key = 10
        assert await device.resume() is None
        await device.close()


def test_a_session_can_be_found_for_so_long() -> None:
    past = Past()
    past.put(Left("sess_1", "", 1000.0, (hash_of("a"), hash_of("b"))))
    assert past.find("a", 999.0) is past.find("b", 999.0) is not None
    assert past.find("a", 1000.0) is None
    assert len(past) == 0


async def test_a_store_that_does_not_answer_costs_the_old_sessions_only() -> None:
    archive = MemoryArchive()
    archive.fails = True
    past = Past()
    await past.learn(archive, 0.0)
    assert len(past) == 0
    assert MAX_PAST == 1000


async def test_a_session_that_cannot_be_read_stays_what_it_is() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 500) as (device, other):
        kept = other.world.archive
        assert isinstance(kept, MemoryArchive)
        kept.fails = True
        assert await device.move_to(other) is None
        assert device.wire.closed == [(1011, "the session cannot be read")]
        device.handler.on_close()
        kept.fails = False
        assert await device.move_to(other) is None
        assert device.heard.resumed
        await device.close()


async def test_a_line_that_breaks_again_before_the_session_is_there_costs_nothing() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 500) as (device, other):
        token = device.heard.token
        offered = ["duologue.v1", f"duologue-resume.{token}.{device.heard.count}"]
        first = other.knock(offered)
        assert not isinstance(first, Rejection)
        lost = Wire(Heard())
        first.on_open(lost)
        first.on_close()  # within the same moment
        await other.settle()
        assert len(other.reception.lobby) == 1
        second = other.knock(offered)
        assert not isinstance(second, Rejection)
        device.heard.is_judged = False
        device.house, device.handler, device.wire = other, second, Wire(device.heard)
        await device.open()
        assert not lost.heard.resumed
        assert device.heard.resumed[0]["complete"] is False
        assert device.heard.of("response.done")
        await device.close()


async def test_two_sockets_before_the_session_is_there() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h, next_server_of(h, archive, 500) as (device, other):
        offered = ["duologue.v1", f"duologue-resume.{device.heard.token}.{device.heard.count}"]
        first, second = other.knock(offered), other.knock(offered)
        assert isinstance(first, Leg)
        assert isinstance(second, Leg)
        old = Wire(Heard())
        first.on_open(old)
        device.heard.is_judged = False
        device.house, device.handler, device.wire = other, second, Wire(device.heard)
        await device.open()
        assert old.closed[0][0] == 1008
        assert not old.heard.resumed
        assert device.heard.resumed
        assert other.here == 1
        await device.close()


async def test_a_server_that_goes_down_leaves_its_sessions_to_the_next() -> None:
    archive = MemoryArchive()
    async with house(archive, **TALK) as h:
        device, kept = await h.device(), await h.device()
        await kept.drop()
        device.handler.drain()
        kept.connection.drain()
        await asyncio.sleep(0.01)
        assert device.wire.closed == [(1001, "the server is going down")]
        device.handler.on_close()
        await h.settle()
        assert h.world.meters.live == 0
        async with next_server(archive) as other:
            for each in (device, kept):
                assert await each.move_to(other) is None
                assert each.heard.resumed
                await each.close()
