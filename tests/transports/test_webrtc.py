"""WebRTC calls between aiortc on both sides, over this machine's own network, against fake engines."""

import asyncio
import base64
import math
import os
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from duologue.app.house import build
from duologue.engines import fakes
from duologue.engines.fakes import tone_hz
from duologue.settings import Settings
from duologue.transports.admission import Visitor
from duologue.transports.webrtc import Call, Switchboard
from duologue.transports.webrtc_peer import load_library
from duologue.transports.websocket import Rejection
from duologue.wire.choosing import Choice
from tests.support.clips import clip, silence
from tests.transports.caller import Caller, caller, level, loud_ms, pitch_hz

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

SPOKEN = ["commands-cards_002.flac", "commands-cards_003.flac", "commands-something.flac"]


@asynccontextmanager
async def switchboard(fake: str, **settings: int) -> AsyncIterator[Switchboard]:
    """A server without its HTTP: engines, reception, switchboard."""
    house = build(Settings(engines="fake", fake=fake, **settings))  # type: ignore[arg-type]
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(house.run(ready.set))
        await ready.wait()
        yield Switchboard(house.reception)
        running.cancel()


async def ring(held: Caller, board: Switchboard, **session: object) -> Call:
    call = await board.begin(Visitor(), Choice(), await held.offer(), session or None)
    assert isinstance(call, Call), call
    await held.accept(call.answer.result())
    await held.until("session.created")
    return call


async def test_three_turns_are_spoken_and_answered_in_their_own_tone() -> None:
    async with switchboard("tts_s=1,llm_tokens=10") as board, caller() as held:
        await ring(held, board, audio={"input": {"transcription": {"model": "any"}}})
        for turn, name in enumerate(SPOKEN, 1):
            await held.say(clip(name, 48_000) + silence(300, 48_000))
            done = await held.until("output_audio_buffer.stopped", turn)
            began = held.when("output_audio_buffer.started", turn)
            answer = held.of("response.output_audio_transcript.done")[turn - 1]["transcript"]
            sound = held.heard(began + 0.2, held.when("output_audio_buffer.stopped", turn) - 0.1)
            assert level(sound) > 2_000
            assert abs(pitch_hz(sound) - tone_hz(answer)) < 10
            assert done["response_id"] == held.of("response.done")[turn - 1]["response"]["id"]
        heard = held.of("conversation.item.input_audio_transcription.completed")
        assert len(heard) == 3
        assert "response.output_audio.delta" not in held.types()
        assert not held.of("error")


async def test_talking_over_an_answer_stops_it_and_tells_what_was_heard() -> None:
    async with switchboard("tts_s=6,llm_tokens=12") as board, caller() as held:
        await ring(held, board)
        await held.say(clip(SPOKEN[0], 48_000) + silence(300, 48_000))
        await held.until("output_audio_buffer.started")
        await asyncio.sleep(1.5)
        await held.say(clip(SPOKEN[1], 48_000))
        await held.until("output_audio_buffer.cleared")
        cut = held.when("output_audio_buffer.cleared")
        response = held.of("response.done")[0]["response"]
        assert response["status"] == "cancelled"
        assert held.of("output_audio_buffer.cleared")[0]["response_id"] == response["id"]
        truncated = held.of("conversation.item.truncated")
        assert [e["item_id"] for e in truncated] == [response["output"][0]["id"]]
        await asyncio.sleep(0.3)  # what was on its way has arrived
        sounded_ms = loud_ms(held.heard())
        assert 1_000 < sounded_ms < 2_500
        assert abs(truncated[0]["audio_end_ms"] - sounded_ms) <= 60
        assert level(held.heard(cut + 0.15)) < 50
        await held.until("output_audio_buffer.started", 2)
        assert "output_audio_buffer.stopped" not in held.types()


async def test_the_client_may_clear_what_is_being_said() -> None:
    async with switchboard("tts_s=6,llm_tokens=12") as board, caller() as held:
        await ring(held, board)
        held.send("response.create")
        await held.until("output_audio_buffer.started")
        await asyncio.sleep(0.5)
        held.send("output_audio_buffer.clear", event_id="mine")
        await held.until("output_audio_buffer.cleared")
        cut = held.when("output_audio_buffer.cleared")
        assert (await held.until("response.done"))["response"]["status"] == "cancelled"
        await asyncio.sleep(1)
        assert level(held.heard(cut + 0.3)) < 50
        assert not held.of("error")
        held.send("input_audio_buffer.append", event_id="wrong", audio="AAAA")
        error = (await held.until("error"))["error"]
        assert error["event_id"] == "wrong"
        assert "audio track" in error["message"]


async def test_a_function_is_called_over_the_channel() -> None:
    tool = {"type": "function", "name": "lamp", "description": "x" * 100_000, "parameters": {}}
    async with switchboard("tts_s=0.5,llm_tokens=12") as board, caller() as held:
        await ring(held, board)
        held.send("session.update", session={"type": "realtime", "tools": [tool]})
        assert (
            len((await held.until("session.updated"))["session"]["tools"][0]["description"])
            == 100_000
        )
        said = {"type": "input_text", "text": "now call lamp"}
        item = {"type": "message", "role": "user", "content": [said]}
        held.send("conversation.item.create", item=item)
        held.send("response.create")
        call = (await held.until("response.done"))["response"]["output"][0]
        assert (call["type"], call["name"]) == ("function_call", "lamp")
        item = {"type": "function_call_output", "call_id": call["call_id"], "output": "it is lit"}
        held.send("conversation.item.create", item=item)
        held.send("response.create")
        await held.until("output_audio_buffer.stopped")
        assert "it is lit" in held.of("response.output_audio_transcript.done")[0]["transcript"]
        assert not held.of("error")


async def test_hanging_up_ends_the_call_on_both_sides() -> None:
    async with switchboard("tts_s=1") as board, caller() as held:
        call = await ring(held, board)
        assert not board.hang_up(call.id, "another key")
        assert board.hang_up(call.id, "")
        await asyncio.wait_for(held.closed.wait(), 5)
        await gone(board)
        assert not board.hang_up(call.id, "")


async def gone(board: Switchboard) -> None:
    async with asyncio.timeout(8):
        while len(board) or board.connections:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


def lines(*media: str) -> str:
    """An offer with everything but a peer behind it."""
    mids = " ".join(str(number) for number in range(len(media)))
    head = f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n"
    common = (
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
        f"a=fingerprint:sha-256 {':'.join(['AA'] * 32)}\r\na=setup:actpass\r\na=rtcp-mux\r\n"
    )
    return head + "".join(f"{line}\r\n{common}a=mid:{n}\r\n" for n, line in enumerate(media))


AUDIO = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2"


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("hello", "invalid_sdp"),
        ("v=0\r\nm=audio nonsense\r\n", "invalid_sdp"),
        (lines("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000"), "no_audio"),
        (lines("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=rtpmap:0 PCMU/8000"), "no_opus"),
        (lines(AUDIO, AUDIO).replace("BUNDLE 0 1", "BUNDLE 0"), "not_bundled"),
        (lines(AUDIO).replace("a=rtcp-mux\r\n", ""), "invalid_sdp"),
        (lines(AUDIO).replace("a=ice-ufrag:abcd\r\n", ""), "invalid_sdp"),
    ],
)
async def test_an_offer_that_cannot_be_used_is_explained(offer: str, code: str) -> None:
    async with switchboard("tts_s=1") as board:
        refused = await board.begin(Visitor(), Choice(), offer)
        assert isinstance(refused, Rejection)
        assert (refused.status, refused.code) == (400, code)
        assert refused.message.startswith("This SDP offer cannot be used.")
        await gone(board)


async def test_an_answer_takes_opus_only_and_no_pictures_and_asks_nobody_outside() -> None:
    video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\na=sendrecv"
    audio = AUDIO.replace("111\r\n", "111 0\r\n") + "\r\na=rtpmap:0 PCMU/8000"
    async with switchboard("tts_s=1") as board:
        call = await board.begin(Visitor(), Choice(), lines(audio, video))
        assert isinstance(call, Call)
        sound, picture = call.answer.result().split("m=")[1:]
        assert "opus/48000" in sound
        assert "PCMU" not in sound
        assert "a=sendrecv" in sound
        assert "a=inactive" in picture
        kinds = {line.split()[7] for line in sound.splitlines() if line.startswith("a=candidate")}
        assert kinds == {"host"}
        ice = call._peer._connection.getReceivers()[0].transport.transport._connection
        assert ice.stun_server is None
        assert ice.turn_server is None
        call.hang_up()  # nobody ever came
        await gone(board)


async def test_a_tone_of_10_khz_keeps_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "tone_hz", lambda _text: 10_000.0)
    async with switchboard("tts_s=2") as board, caller() as held:
        await ring(held, board)
        held.send("response.create")
        await held.until("output_audio_buffer.stopped")
        began = held.when("output_audio_buffer.started")
        sound = held.heard(began + 0.4, began + 1.8)
        assert abs(pitch_hz(sound) - 10_000) < 10
        assert abs(20 * math.log10(level(sound) / (9_000 / math.sqrt(2)))) < 1


async def test_a_call_without_a_channel_is_still_a_conversation() -> None:
    async with switchboard("tts_s=1,llm_tokens=10") as board, caller(channel=False) as held:
        call = await board.begin(Visitor(), Choice(), await held.offer())
        assert isinstance(call, Call)
        await held.accept(call.answer.result())
        await held.connected.wait()
        await held.say(clip(SPOKEN[0], 48_000) + silence(1_000, 48_000))
        async with asyncio.timeout(10):
            while loud_ms(held.heard()) < 900:  # noqa: ASYNC110 - there are no events in this call
                await asyncio.sleep(0.1)


async def test_an_answer_out_of_band_is_not_spoken_into_the_call() -> None:
    async with switchboard("tts_s=3,llm_tokens=10") as board, caller() as held:
        await ring(held, board)
        began = time.monotonic()
        held.send("response.create", response={"conversation": "none"})
        await held.until("response.done")
        assert time.monotonic() - began < 2
        deltas = held.of("response.output_audio.delta")
        size = sum(len(base64.b64decode(e["delta"])) for e in deltas)
        assert abs(size - 3 * 48_000) < 100
        await asyncio.sleep(0.5)
        assert level(held.heard()) < 50
        assert "output_audio_buffer.started" not in held.types()


async def test_a_client_that_vanishes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 2)
    async with switchboard("tts_s=1") as board, caller() as held:
        await ring(held, board)
        for protocol in held.connection.sctp.transport.transport._connection._protocols:
            protocol.transport.close()  # as when its machine loses its network
        await gone(board)


async def test_somebody_with_another_certificate_is_given_up() -> None:
    async with switchboard("tts_s=1") as board, caller() as held:
        offer = re.sub(r"(a=fingerprint:\S+ ).*", rf"\1{':'.join(['AA'] * 32)}", await held.offer())
        call = await board.begin(Visitor(), Choice(), offer)
        assert isinstance(call, Call)
        await held.accept(call.answer.result())
        await gone(board)
        assert not held.events


async def test_ten_calls_come_and_go_and_nothing_is_left() -> None:
    async with switchboard("tts_s=6,llm_tokens=10") as board:
        world = board._reception.world
        await load_library()
        before = asyncio.all_tasks(), threading.active_count(), len(os.listdir("/proc/self/fd"))
        for number in range(10):
            async with caller() as held:
                call = await ring(held, board)
                held.send("response.create")
                await held.until("output_audio_buffer.started")
                if number % 2:
                    call.hang_up()
            await gone(board)
        assert world.meters.live == 0
        assert not world.pacer._members
        assert asyncio.all_tasks() == before[0]
        assert threading.active_count() <= before[1] + 1  # the pool that imported the library
        assert len(os.listdir("/proc/self/fd")) <= before[2]  # an earlier test's may go meanwhile


async def test_a_server_on_its_way_down_lets_an_answer_end() -> None:
    async with switchboard("tts_s=2,llm_tokens=10") as board, caller() as held:
        await ring(held, board)
        held.send("response.create")
        await held.until("output_audio_buffer.started")
        for connection in list(board.connections):
            connection.shutdown()
        await gone(board)
        assert held.of("response.done")[0]["response"]["status"] == "completed"
        assert loud_ms(held.heard()) > 1_900


async def test_limits_hold_for_calls_as_for_sockets() -> None:
    async with switchboard("tts_s=1", max_sessions=1) as board, caller() as held:
        call = await ring(held, board)
        left: list[str] = []
        visitor = Visitor(leave=lambda: left.append("left"))
        refused = await board.begin(visitor, Choice(), lines(AUDIO))
        assert isinstance(refused, Rejection)
        assert (refused.status, refused.code) == (503, "session_limit_reached")
        assert refused.retry_after_s
        assert left == ["left"]
        call.hang_up()
        await gone(board)
        odd = await board.begin(visitor, Choice(), lines(AUDIO), {"type": "realtime", "audio": 3})
        assert isinstance(odd, Rejection)
        assert odd.status == 400
