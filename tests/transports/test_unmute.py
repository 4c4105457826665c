"""unmute's stock clients on a real socket: greeted by voice, three turns, interruptions, broken sound."""

import asyncio
import base64
import json

import numpy as np
import pytest
import websockets

from duologue.engines.fakes import tone_hz
from tests.support.clips import clip, silence
from tests.support.ogg_files import ogg_opus, pages_of, pcm_of
from tests.support.server import RunningServer
from tests.support.sounds import level_db
from tests.support.unmute_client import UnmuteClient, unmute_client

pytestmark = pytest.mark.timeout(120)

SPOKEN = ["commands-cards_002.flac", "commands-cards_003.flac"]
REALTIME = [websockets.Subprotocol("realtime")]


def answers(client: UnmuteClient) -> list[str]:
    return [event["text"] for event in client.of("response.text.done")]


def assert_order(client: UnmuteClient, turn: int) -> None:
    """What the load test measures: created < first word, first sound < done."""
    kinds = [event["type"] for _, event in client.events]
    starts = [n for n, kind in enumerate(kinds) if kind == "response.created"]
    own = kinds[starts[turn] :]
    own = own[: own.index("response.audio.done") + 1]
    assert own.index("unmute.response.text.delta.ready") < own.index("response.audio.delta")
    assert own.index("response.audio.delta") < own.index("response.text.delta")
    assert own[-2:] == ["unmute.additional_outputs", "response.audio.done"]


async def test_three_turns_as_the_load_test_has_them(fake_server: RunningServer) -> None:
    async with unmute_client(fake_server) as client:
        await client.until("response.audio.done")  # unasked
        for number, name in enumerate(SPOKEN):
            await client.say(silence(300) + clip(name) + silence(800))
            await client.until("response.audio.done", number + 2)
            assert client.when("input_audio_buffer.speech_started", number) < client.when(
                "response.text.delta", -1
            )
        for turn in range(3):
            assert_order(client, turn)
        assert client.errors() == []
        history = client.referee.history
        roles = [message["role"] for message in history]
        assert roles == ["assistant", "user", "assistant", "user", "assistant"]
        assert "nothing" in answers(client)[0]
        words = client.of("conversation.item.input_audio_transcription.delta")
        assert (
            " ".join(w["delta"] for w in words)
            == f"{history[1]['content']} {history[3]['content']}"
        )
        for number, text in enumerate(answers(client)):
            assert history[2 * number]["content"] == text
        times = [word["start_time"] for word in words]
        assert times == sorted(times)
        # each answer is half a second in the tone that belongs to its text, and 20 ms of what the encoder held
        pcm = client.heard()
        assert abs(len(pcm) / 48 - 3 * 520) < 30
        for number, text in enumerate(answers(client)):
            part = pcm[number * 48 * 520 :][: 48 * 500]
            assert np.abs(np.frombuffer(part, np.int16)).mean() > 2_000
            hz = tone_hz(text)
            others = [level_db(part, hz + off) for off in (-200, 200) if hz + off >= 300]
            assert level_db(part, hz) > max(others) + 20


async def test_speaking_over_the_bot_stops_it(talkative_server: RunningServer) -> None:
    async with unmute_client(talkative_server) as client:
        await client.until("response.audio.delta", 30)
        await client.say(clip(SPOKEN[0]) + silence(900))
        await client.until("unmute.interrupted_by_vad")
        await client.until("response.created", 2)
        await client.until("response.audio.delta", 40)
        cut = next(
            event
            for event in client.of("unmute.additional_outputs")
            if event["args"]["chat_history"]
        )
        said = cut["args"]["chat_history"][0]["content"]
        assert answers(client)[0].startswith(said)
        assert len(said) < len(answers(client)[0])
        assert not client.of("response.audio.done")


async def test_a_broken_stream_costs_an_error_and_the_next_is_heard(
    fake_server: RunningServer,
) -> None:
    async with unmute_client(fake_server) as client:
        await client.until("response.audio.done")
        broken = bytearray(pages_of(ogg_opus(clip(SPOKEN[0])))[4])
        broken[40] ^= 1
        for page in [*pages_of(ogg_opus(clip(SPOKEN[0])))[:4], bytes(broken)]:
            audio = base64.b64encode(page).decode()
            await client.send({"type": "input_audio_buffer.append", "audio": audio})
        await client.until("error")
        await client.say(clip(SPOKEN[1]) + silence(900))
        await client.until("response.audio.done", 2)
        (message,) = client.errors()
        assert "Ogg" in message


async def test_a_browser_of_today_s_protocol_without_key_and_model(
    fake_server: RunningServer,
) -> None:
    url = f"{fake_server.ws}/v1/realtime"
    async with websockets.connect(url, subprotocols=REALTIME) as silent, asyncio.timeout(5):
        created = json.loads(await silent.recv())
        assert created["type"] == "session.created"
        await silent.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
        assert json.loads(await silent.recv())["type"] == "session.updated"
    async with websockets.connect(url, subprotocols=REALTIME) as eager, asyncio.timeout(5):
        await eager.send(json.dumps({"type": "response.create"}))
        kinds = [json.loads(await eager.recv())["type"] for _ in range(2)]
        assert kinds == ["session.created", "response.created"]


async def test_every_delta_of_the_first_answer_is_whole_pages(fake_server: RunningServer) -> None:
    """As the page's decoder wants them: it looks for pages in each message by itself."""
    async with unmute_client(fake_server) as client:
        await client.until("response.audio.done")
        first, *rest = [base64.b64decode(e["delta"]) for e in client.of("response.audio.delta")]
        assert [page[5] & 2 for page in pages_of(first)] == [2, 0, 0]
        assert all(len(pages_of(pages)) == 1 for pages in rest)
        assert len(pcm_of(first + b"".join(rest))) > 48 * 450
