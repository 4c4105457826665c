"""Errors in OpenAI's form."""

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from duologue.core.errors import (
    AtCapacity,
    DuologueError,
    EngineLost,
    EngineRefused,
    EngineUnavailable,
    MalformedEvent,
    OurError,
)
from duologue.server.audio.refusals import install_errors, refused, wrong


@pytest.mark.parametrize(
    ("error", "status", "param"),
    [
        (AtCapacity("c", "m"), 429, None),
        (EngineRefused("stt_language_not_supported", "m"), 400, "language"),
        (EngineRefused("c", "m"), 400, None),
        (EngineUnavailable("c", "m"), 503, None),
        (EngineLost("c", "m"), 500, None),
        (MalformedEvent("c", "m", param="voice"), 400, "voice"),
        (OurError("c", "m"), 500, None),
    ],
)
def test_what_our_errors_are_in_http(error: DuologueError, status: int, param: str | None) -> None:
    refusal = refused(error)
    assert (refusal.status, refusal.param, refusal.code) == (status, param, error.code)
    assert (refusal.retry_after_s is not None) == (status == 429)
    assert refusal.event()["error"]["type"] == (
        "invalid_request_error" if status < 500 else "server_error"
    )


def application() -> FastAPI:
    app = FastAPI()
    install_errors(app)

    @app.get("/v1/numbers")
    async def numbers(limit: int, kind: str = "") -> None:
        if kind == "bug":
            raise ZeroDivisionError
        if kind == "http":
            raise HTTPException(418, "teapot", {"X-Tea": "green"})
        raise wrong("too_many", f"{limit} are too many.", "limit")

    @app.get("/page")
    async def page(limit: int) -> None:
        raise ZeroDivisionError

    return app


async def ask(path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.request(method, path)


@pytest.mark.parametrize(
    ("path", "status", "code", "param"),
    [
        ("/v1/numbers?limit=7", 400, "too_many", "limit"),
        ("/v1/numbers?limit=seven", 400, "invalid_value", "limit"),
        ("/v1/numbers", 400, "missing_required_parameter", "limit"),
        ("/v1/nothing", 404, "unknown_url", None),
        ("/v1/numbers?limit=1&kind=http", 418, "http_error", None),
        ("/v1/numbers?limit=1&kind=bug", 500, "internal_error", None),
    ],
)
async def test_every_error_below_v1_has_openais_form(
    path: str, status: int, code: str, param: str | None
) -> None:
    answer = await ask(path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert "ZeroDivision" not in answer.text


async def test_headers_of_an_error_are_kept() -> None:
    assert (await ask("/v1/numbers?limit=1&kind=http")).headers["x-tea"] == "green"
    wrong_method = await ask("/v1/numbers", "POST")
    assert wrong_method.json()["error"]["code"] == "method_not_allowed"
    assert wrong_method.headers["allow"] == "GET"


async def test_other_paths_keep_fastapis_form() -> None:
    assert (await ask("/nothing")).json() == {"detail": "Not Found"}
    assert (await ask("/page?limit=x")).status_code == 422
    assert (await ask("/page?limit=1")).text == "Internal Server Error"
