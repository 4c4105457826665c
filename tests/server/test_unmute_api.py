"""The voices, as unmute's page asks for them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI

from duologue.server.unmute_api import Desk, routes


@asynccontextmanager
async def api(voices: Sequence[str]) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(routes(Desk(lambda: voices)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_voices_in_unmute_s_form() -> None:
    async with api(["slt", "rms", "slt"]) as client:
        voices = (await client.get("/v1/voices")).json()
    assert [voice["name"] for voice in voices] == ["slt", "rms"]
    for voice in voices:
        # what the page reads of each: it draws one whose language is English, or not set, by lot
        assert voice["good"] is True
        assert ((voice["instructions"] or {}).get("language") or "en") == "en"
        assert voice["source"]["source_type"] == "file"
        assert voice["source"]["path_on_server"] == voice["name"]


async def test_an_engine_without_named_voices_has_one_nevertheless() -> None:
    async with api([]) as client:
        (voice,) = (await client.get("/v1/voices")).json()
    assert voice["source"]["path_on_server"] == "default"


@pytest.mark.parametrize("size", [10, 200_000])
async def test_nothing_is_cloned(size: int) -> None:
    async with api(["slt"]) as client:
        answer = await client.post("/v1/voices", files={"file": ("me.wav", bytes(size))})
    assert answer.status_code == 501
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("voice_cloning_not_available", None)
    assert "GET /v1/voices" in error["message"]


async def test_voices_are_not_taken_as_gifts() -> None:
    async with api(["slt"]) as client:
        assert (await client.get("/v1/voice-donation")).status_code == 404
