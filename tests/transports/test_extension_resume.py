"""A session outlives its socket: what a device that comes back finds, and what it cannot have."""

import asyncio
import base64

import pytest

from duologue.core.audio import WIRE
from duologue.engines.fakes import FakeLlm, FakeTts
from duologue.transports import lobby, replay
from duologue.transports.extension import Leg
from duologue.transports.lobby import RESUME_MS, Lobby
from duologue.transports.replay import ReplayBuffer
from duologue.transports.websocket import Rejection
from duologue.wire.extension_frames import DISCONTINUITY
from tests.support.scripted import TimingStt
from tests.transports.device import TALK, WHOLE, Device, Heard, House, Wire, house


async def answered(h: House, device: Device, ms: int) -> None:
    """A turn, and so much of its answer."""
    await device.turn()
    assert device.heard.of("response.created")
    await h.pass_time(ms)
    assert device.heard.frames


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "unnoticed"])
async def test_an_answer_goes_on_after_a_break_without_a_gap_or_a_repetition(noticed: bool) -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        first = device.handler
        if noticed:
            await device.drop()
            sent_ms = device.session.mouth.sent_ms
            await h.pass_time(3000)
            assert len(h.reception.lobby) == 1
            assert device.session.mouth.sent_ms == sent_ms
        else:
            device.wire.is_dead = True
            await h.pass_time(3000)
        dead = device.wire
        before = device.assert_gapless()
        assert await device.resume() is None
        if not noticed:
            assert dead.closed
            first.on_close()  # the old socket's end is no matter of the session's any more
        (resumed,) = device.heard.resumed
        assert resumed["complete"] is True
        assert resumed["session_id"] == device.heard.of("session.created")[0]["session"]["id"]
        assert resumed["input_sequence"] == device.sequence
        assert resumed["floor"] == "agent"
        assert device.session.mouth.heard_ms() <= before * 1000 / WIRE.rate_hz
        await h.pass_time(6500)
        assert device.assert_gapless() == WHOLE
        assert device.heard.of("response.done")[0]["response"]["status"] == "completed"
        assert device.heard.of("duologue.heard")[-1]["ended"] is True
        assert device.session.floor.name == "OPEN"
        await device.turn()
        await h.pass_time(500)
        assert len(device.heard.of("response.created")) == 2
        await device.close()


async def test_what_was_not_heard_before_the_break_counts_as_not_heard() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        device.wire.is_dead = True
        came_ms = device.assert_gapless() * 1000 / WIRE.rate_hz
        await h.pass_time(2000)
        assert device.session.mouth.heard_ms() > came_ms + 1500
        await device.resume()
        assert device.session.mouth.heard_ms() == pytest.approx(came_ms, abs=1)
        await device.close()


async def test_a_session_is_kept_for_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.turn()
        await device.drop()
        timer, loop = device.connection._timer, asyncio.get_running_loop()
        assert timer is not None
        assert timer.when() == pytest.approx(loop.time() + RESUME_MS / 1000, abs=1)
        timer._run()
        await h.settle()
        assert h.world.meters.live == 0
        refused = await device.resume()
        assert isinstance(refused, Rejection)
        assert (refused.status, refused.code) == (410, "session_gone")
        assert h.here == 0


@pytest.mark.parametrize("code", [1000, 1005, 0])
async def test_a_goodbye_ends_the_session_at_once(code: int) -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.turn()
        await device.close(code)
        assert h.world.meters.live == 0
        assert isinstance(await device.resume(), Rejection)


async def test_a_page_that_goes_away_may_come_back() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.close(1001)
        assert await device.resume() is None
        await device.close()


async def test_a_token_is_used_up_once_the_client_has_the_next() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        first = device.heard.token
        await device.drop()
        assert await device.resume() is None
        lost = device.wire
        await device.drop()
        device.heard.resumed.pop()  # it never came
        assert await device.resume() is None, "the client could not know of a later token"
        assert lost is not device.wire
        await device.quiet(20)
        await device.drop()
        refused = await device.resume(token=first)
        assert isinstance(refused, Rejection)
        assert refused.code == "session_gone"
        assert await device.resume() is None
        await device.close()


async def test_a_session_is_its_owners_and_is_counted_once() -> None:
    async with house(**TALK) as h:
        h.max_sessions_per_key = 1
        device = await h.device()
        device.wire.is_dead = True  # the server has not noticed: the session still counts
        refused = await device.resume(name="thief")
        assert isinstance(refused, Rejection)
        assert refused.code == "session_gone"
        refused = await device.resume(received=10_000)
        assert isinstance(refused, Rejection)
        assert (refused.status, refused.code) == (400, "invalid_resume")
        refused = await device.resume(received="many")
        assert isinstance(refused, Rejection)
        assert refused.code == "invalid_resume"
        assert await device.resume() is None
        assert h.here == 1
        await device.close()


async def test_of_two_who_come_back_at_once_the_first_has_the_session() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.drop()
        offered = ["duologue.v1", f"duologue-resume.{device.heard.token}.{device.heard.count}"]
        first, second = h.knock(offered), h.knock(offered)
        assert isinstance(first, Leg)
        assert isinstance(second, Leg)
        device.handler = first
        await device.open()
        await device.quiet(20)  # it shows that it has the next token
        late = Wire(Heard())
        second.on_open(late)
        assert late.closed == [(1008, "the session is gone")]
        second.on_bytes(b"{}")
        second.on_binary(b"")
        second.drain()
        second.on_close()
        assert not device.heard.of("error")
        assert h.world.meters.live == 1
        await device.close()


async def test_a_server_that_goes_down_lets_the_answer_be_said_and_keeps_nobody() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        device.handler.drain()
        await asyncio.sleep(0.01)
        assert device.wire.closed == [(1001, "the server is going down")]
        device.handler.on_close()
        await h.settle()
        assert h.world.meters.live == 0
        h.reception.is_open = False
        refused = await device.resume()
        assert isinstance(refused, Rejection)
        assert refused.status == 503


@pytest.mark.parametrize("how", ["drain", "revoke", "fail"])
async def test_a_kept_session_ends_with_the_server_its_key_or_itself(how: str) -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 500)
        await device.drop()
        assert h.world.meters.live == 1
        if how == "drain":
            device.connection.drain()
        elif how == "revoke":
            h.revoke[-1]()
        else:
            device.session.fail(ValueError("a bug"))
        await h.settle()
        assert h.world.meters.live == 0


async def test_a_socket_that_we_close_is_not_waited_for() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        h.revoke[-1]()
        assert device.wire.closed == [(1008, "the API key was revoked")]
        device.handler.on_close()
        await h.settle()
        assert h.world.meters.live == 0


async def test_so_many_sessions_are_kept_and_then_the_oldest_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lobby, "MAX_KEPT", 2)
    async with house(**TALK) as h:
        devices = [await h.device() for _ in range(3)]
        for device in devices:
            await device.drop()
        assert h.world.meters.live == 2
        assert isinstance(await devices[0].resume(), Rejection)
        for device in devices[1:]:
            assert await device.resume() is None
            await device.close()


async def test_more_than_can_be_kept_is_lost_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_BYTES", 50_000)
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        device.wire.is_dead = True
        await h.pass_time(3000)
        assert device.connection._replay.bytes <= 50_000
        before = device.heard.count
        frames = len(device.heard.frames)
        await device.resume()
        (resumed,) = device.heard.resumed
        assert resumed["complete"] is False
        assert resumed["sequence"] > before
        marked = [f.flags for f in device.heard.frames[frames:]]
        assert marked[0] == DISCONTINUITY
        assert set(marked[1:]) == {0}
        await h.pass_time(7000)
        at = device.heard.frames[frames].position
        for start, end in device.positions()[frames:]:
            assert start == at
            at = end
        assert at == WHOLE
        assert await device.resume() is None  # the count that the client was given is the right one
        await device.close()


async def test_what_the_client_has_is_not_kept() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await answered(h, device, 1000)
        kept = device.connection._replay
        assert len(kept) == device.heard.count
        await device.ask("duologue.ack", sequence=device.heard.count - 3)
        assert len(kept) == 3
        await device.ask("duologue.ack", sequence=1)
        assert len(kept) == 3
        await device.close()


async def test_old_messages_leave() -> None:
    buffer = ReplayBuffer()
    buffer.keep(b"a", 0)
    buffer.keep(b"b", replay.MAX_AGE_MS)
    assert [sent.data for sent in buffer.rest()] == [b"a", b"b"]
    buffer.keep(b"c", replay.MAX_AGE_MS + 1)
    assert [sent.data for sent in buffer.rest()] == [b"b", b"c"]
    assert buffer.is_complete_after(1)
    assert not buffer.is_complete_after(0)


async def test_a_text_answer_that_is_made_while_nobody_is_there_arrives() -> None:
    async with house(**TALK) as h:
        device = await h.device()
        await device.ask(
            "session.update", session={"type": "realtime", "output_modalities": ["text"]}
        )
        await device.speak(800)
        await device.drop()
        await h.pass_time(1500)
        assert not device.heard.of("response.created")
        await device.resume()
        assert device.heard.of("response.done")[0]["response"]["status"] == "completed"
        await device.close()


async def test_an_answer_out_of_band_waits_for_somebody_who_reads() -> None:
    tts, llm = FakeTts("tts_s=120"), FakeLlm("llm_tokens=24")
    async with house(stt=TimingStt(), tts=tts, llm=llm) as h:
        device = await h.device()
        await device.drop()
        device.connection.on_bytes(
            b'{"type": "response.create", "response": {"conversation": "none"}}'
        )
        await h.pass_time(1000)
        assert device.connection._replay.bytes < replay.MAX_BYTES / 2
        assert await device.resume() is None
        await h.pass_time(4000)
        sounds = device.heard.of("response.output_audio.delta")
        sent_ms = sum(len(base64.b64decode(event["delta"])) for event in sounds) / 48
        assert sent_ms == pytest.approx(120_000, abs=1)
        assert device.heard.resumed[0]["complete"] is True
        await device.close()


async def test_a_handshake_that_fails_leaves_nothing() -> None:
    async with house(**TALK) as h:
        handler = h.knock(["duologue.v1"])
        assert not isinstance(handler, Rejection)
        await h.settle()
        handler.on_close()
        await h.settle()
        assert h.world.meters.live == 0


def test_a_lobby_forgets_what_is_over() -> None:
    class Kept:
        given_up = False

        def give_up(self) -> None:
            self.given_up = True

    found: Lobby[Kept] = Lobby()
    kept = Kept()
    tokens = [found.issue(kept) for _ in range(3)]
    assert [found.find(token) for token in tokens] == [None, kept, kept]
    found.confirm(kept)
    assert [found.find(token) for token in tokens] == [None, None, kept]
    found.forget(kept)
    assert [found.find(token) for token in tokens] == [None, None, None]
    assert not found._by_hash
    assert not found._hashes
