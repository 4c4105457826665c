"""The HTTP routes, as an HTTP client meets them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest

from duologue.server.api import Facade, create_api
from duologue.server.audio.desk import AudioDesk
from duologue.server.auth import Guard
from duologue.server.engine_state import EngineState
from duologue.server.metrics import Gauges, Metrics
from duologue.session.meters import Meters, Turn
from duologue.transports.admission import Visitor
from duologue.transports.webrtc import Switchboard


class Hand:
    now = 5_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def api(
    *, ready: bool = True, keys: tuple[str, ...] = ()
) -> AsyncIterator[tuple[httpx.AsyncClient, Meters, Hand]]:
    clock = Hand()
    meters = Meters(clock)
    gauges = Gauges(
        lag_ms=lambda: [1.0, 2.0, 30.0],
        windows=lambda: (100, 40),
        fallbacks=lambda: 3,
        broken=lambda: 1,
        engines=lambda: states,
    )
    states = [
        EngineState(role=role, name=role, state="ready" if ready else "loading")
        for role in ("vad", "stt", "llm", "tts")
    ]
    states[1] = states[1].model_copy(update={"streams": 2, "lost": 4, "resting": True})
    facade = Facade(
        guard=Guard(keys),
        meters=meters,
        metrics=Metrics(meters, gauges),
        engines=lambda: states,
        is_ready=lambda: ready,
        models=lambda: ["duologue"],
        effective_session=lambda session: session,
        audio=AudioDesk(cast(Any, None), list, lambda: cast(Any, None), lambda: ready, clock),
        calls=Switchboard(cast(Any, None)),
        visitor_of=lambda _: Visitor(),
    )
    transport = httpx.ASGITransport(create_api(facade))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client, meters, clock


async def test_alive_ready_and_by_role() -> None:
    async with api() as (client, _, _):
        assert (await client.get("/health")).json()["status"] == "ok"
        assert (await client.get("/ready")).json()["ready"] is True
        by_role = (await client.get("/v1/health")).json()
        assert all(by_role[name] for name in ("ok", "vad_up", "stt_up", "llm_up", "tts_up"))
    async with api(ready=False) as (client, _, _):
        answer = await client.get("/ready")
        assert answer.status_code == 503
        assert {e["state"] for e in answer.json()["engines"]} == {"loading"}
        assert (await client.get("/v1/health")).json()["stt_up"] is False


async def test_models_as_the_sdk_expects_them() -> None:
    from openai.types import Model

    async with api() as (client, _, _):
        models = (await client.get("/v1/models")).json()
        assert Model.model_validate(models["data"][0]).id == "duologue"
        assert (await client.get("/v1/models/duologue")).json()["object"] == "model"
        missing = await client.get("/v1/models/gpt-9")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"


async def test_keys_guard_everything_but_the_signs_of_life() -> None:
    async with api(keys=("sesame",)) as (client, _, _):
        for path in ("/", "/health", "/ready", "/v1/health"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/models", "/v1/turns", "/metrics", "/nix"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
        key = {"Authorization": "Bearer sesame"}
        assert (await client.get("/v1/models", headers=key)).status_code == 200


async def test_foreign_pages_are_kept_out() -> None:
    async with api() as (client, _, _):
        answer = await client.get("/v1/turns", headers={"Origin": "http://evil.example"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_not_allowed")


async def test_turns_newest_first_and_no_word_of_what_was_said() -> None:
    async with api() as (client, meters, clock):
        for number in range(3):
            turn = meters.begin(Turn("s", f"item_{number}", "now", clock.now - 600))
            turn.reasons.append("turn ended: silence of 500 ms")
            meters.mark(turn, "end_of_turn")
            clock.now += 20
            meters.mark(turn, "first_sent")
            meters.mark(turn, "first_sent")
            meters.end(turn, "answered")
            meters.end(turn, "failed")
        turns = (await client.get("/v1/turns?limit=2")).json()["turns"]
        assert [t["item_id"] for t in turns] == ["item_2", "item_1"]
        assert turns[0]["waterfall_ms"] == {"end_of_turn": 600.0, "first_sent": 620.0}
        assert turns[0]["outcome"] == "answered"
        assert set(turns[0]) == {
            "session_id",
            "item_id",
            "at",
            "speech_ms",
            "waterfall_ms",
            "reasons",
            "outcome",
            "said_ms",
            "heard_ms",
        }
        refused = await client.get("/v1/turns?limit=0")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "limit")


async def test_only_the_latest_thousand_turns_are_kept() -> None:
    meters = Meters(lambda: 0.0)
    for number in range(1_005):
        meters.begin(Turn("s", str(number), "now", 0.0))
    assert len(meters.turns) == 1_000
    assert meters.turns[0].item_id == "5"


async def test_metrics_say_what_happens() -> None:
    async with api() as (client, meters, clock):
        meters.live = 4
        meters.counts.update(sessions=9, interruptions=2, underruns=1)
        turn = meters.begin(Turn("s", "i", "now", clock.now - 700))
        meters.mark(turn, "first_sent")
        meters.end(turn, "answered")
        text = (await client.get("/metrics")).text

        def value(line: str) -> float:
            found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.M)
            assert found, line
            return float(found[1])

        assert value("duologue_sessions_open") == 4
        assert value("duologue_sessions_total") == 9
        assert value("duologue_interruptions_total") == 2
        assert value("duologue_underruns_total") == 1
        assert value('duologue_turns_total{outcome="answered"}') == 1
        assert value('duologue_turn_seconds_sum{stage="first_sent"}') == pytest.approx(0.7)
        assert value('duologue_event_loop_lag_seconds{quantile="1"}') == 0.03
        assert value('duologue_engine_streams{engine="stt:stt"}') == 2
        assert value('duologue_engine_lost_total{engine="stt:stt"}') == 4
        assert value('duologue_engine_resting{engine="stt:stt"}') == 1
        assert value('duologue_engine_resting{engine="tts:tts"}') == 0
        assert value("duologue_engine_streams_broken_total") == 1
        assert value("duologue_engine_fallbacks_total") == 3


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    async with api() as (client, _, _):
        page = (await client.get("/")).text
        assert "Start talking" in page
        assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)


async def test_the_interface_is_described() -> None:
    async with api() as (client, _, _):
        paths = (await client.get("/openapi.json")).json()["paths"]
        page = (await client.get("/docs")).text
        assert all(path in page for path in paths)
        assert "//" not in page  # nothing from elsewhere
        assert {"/ready", "/v1/health", "/v1/models", "/v1/turns", "/metrics"} <= set(paths)
