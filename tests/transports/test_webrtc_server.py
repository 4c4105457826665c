"""Calls to a real server, begun and ended by the stock `openai` client."""

import asyncio
import time

import httpx
import pytest
from openai import AsyncOpenAI

from tests.support.server import RunningServer, server
from tests.transports.caller import caller, loud_ms

pytestmark = [pytest.mark.full, pytest.mark.timeout(60)]

SDP = {"Content-Type": "application/sdp"}


async def test_the_stock_client_begins_a_call_with_its_settings_and_ends_it(
    fake_server: RunningServer,
) -> None:
    client = AsyncOpenAI(api_key="none", base_url=f"{fake_server.url}/v1")
    async with client, caller() as held:
        taken = await client.realtime.calls.create(
            sdp=await held.offer(),
            session={
                "type": "realtime",
                "model": "gpt-realtime",
                "instructions": "Be brief.",
                "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}},
            },
        )
        assert taken.response.status_code == 201
        await held.accept(taken.text)
        session = (await held.until("session.created"))["session"]
        assert (session["model"], session["instructions"]) == ("gpt-realtime", "Be brief.")
        assert session["audio"]["input"]["turn_detection"] is None
        call_id = taken.response.headers["location"].removeprefix("/v1/realtime/calls/")
        await client.realtime.calls.hangup(call_id)
        await asyncio.wait_for(held.closed.wait(), 5)
        async with httpx.AsyncClient() as plain:
            again = await plain.post(f"{fake_server.url}/v1/realtime/calls/{call_id}/hangup")
        assert again.status_code == 404


async def test_a_server_that_is_stopped_says_its_sentence_and_hangs_up() -> None:
    with server("--engines", "fake", "--fake", "tts_s=2,llm_tokens=10") as running:
        async with caller() as held, httpx.AsyncClient() as plain:
            taken = await plain.post(
                f"{running.url}/v1/realtime/calls", content=await held.offer(), headers=SDP
            )
            await held.accept(taken.text)
            await held.until("session.created")
            held.send("response.create")
            await held.until("output_audio_buffer.started")
            began = time.monotonic()
            assert await asyncio.to_thread(running.stop) == 0
            assert time.monotonic() - began < 6
            await asyncio.wait_for(held.closed.wait(), 5)
            assert held.of("response.done")[0]["response"]["status"] == "completed"
            assert loud_ms(held.heard()) > 1_900
        assert "Traceback" not in running.output


async def test_a_page_of_another_origin_is_let_in_only_if_named() -> None:
    asks = {
        "Origin": "http://pages.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with server("--engines", "fake", "--origin", "http://pages.example") as running:
        async with httpx.AsyncClient(base_url=running.url) as plain:
            preflight = await plain.options("/v1/realtime/calls", headers=asks)
            assert preflight.headers["access-control-allow-origin"] == "http://pages.example"
            strange = {**SDP, "Origin": "http://other.example"}
            refused = await plain.post("/v1/realtime/calls", content="v=0", headers=strange)
            assert refused.status_code == 403
            assert "access-control-allow-origin" not in refused.headers
            named = {**SDP, "Origin": "http://pages.example"}
            wrong = await plain.post("/v1/realtime/calls", content="v=0", headers=named)
            assert wrong.json()["error"]["code"] == "no_audio"
            assert wrong.headers["access-control-allow-origin"] == "http://pages.example"


async def test_an_offer_that_breaks_the_peer_costs_nobody_else(fake_server: RunningServer) -> None:
    url = f"{fake_server.url}/v1/realtime/calls"
    async with caller() as broken, caller() as held, httpx.AsyncClient() as plain:
        taken = await plain.post(url, content=await held.offer(), headers=SDP)
        await held.accept(taken.text)
        await held.until("session.created")
        for mid in ("0", "1"):
            twice = (await broken.offer()).replace(f"a=mid:{mid}", f"a=mid:{mid}\r\na=mid:{mid}")
            refused = await plain.post(url, content=twice, headers=SDP)
            assert refused.status_code in (201, 400)
        await asyncio.sleep(1.0)  # whatever is torn down, is
        held.send("response.create")
        await held.until("response.done")
        assert (await plain.get(f"{fake_server.url}/ready")).status_code == 200
