"""Forms with files, as they come over a socket: within limits, or refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from duologue.server.audio import upload
from tests.server.audio.stage import Service, encoded, service

WAV = encoded(bytes(16_000), 16_000)
URL = "/v1/audio/transcriptions"


@pytest.fixture
async def served() -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    async with service() as running, httpx.AsyncClient(base_url=running.url) as client:
        yield running, client


Served = tuple[Service, httpx.AsyncClient]


def code(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["code"])


async def test_a_form_of_another_kind_is_refused(served: Served) -> None:
    _, client = served
    assert code(await client.post(URL, json={"model": "x"})) == "unsupported_content_type"
    assert code(await client.post(URL)) == "unsupported_content_type"
    headers = {"content-type": "multipart/form-data"}
    assert code(await client.post(URL, content=b"x", headers=headers)) == "invalid_form"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert code(await client.post(URL, content=b"--c\r\nx", headers=headers)) == "invalid_form"


async def test_a_form_without_a_file(served: Served) -> None:
    _, client = served
    form = {"model": (None, "x")}
    assert code(await client.post(URL, files=form)) == "missing_required_parameter"
    as_text = {**form, "file": (None, "no file")}
    assert code(await client.post(URL, files=as_text)) == "invalid_type"
    empty = {"file": ("a.wav", b"")}
    assert code(await client.post(URL, files=empty)) == "file_empty"


async def test_a_file_is_as_large_as_the_limit_at_most(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    monkeypatch.setattr(upload, "MAX_FILE_BYTES", len(WAV))
    files = {"file": ("a.wav", WAV)}
    assert (await client.post(URL, files=files, data={"model": "x"})).status_code == 200
    files = {"file": ("a.wav", WAV + b"\0")}
    answer = await client.post(URL, files=files, data={"model": "x"})
    assert code(answer, 413) == "file_too_large"
    assert "25 MB" in answer.json()["error"]["message"]


async def test_a_body_that_says_it_is_too_large_is_not_read(served: Served) -> None:
    _, client = served
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while read < upload.MAX_BODY_BYTES + 10:
            chunk = bytes(65_536)
            read += len(chunk)
            yield chunk

    headers = {
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(upload.MAX_BODY_BYTES + 10),
        "expect": "100-continue",
    }
    host, port = client.base_url.host, client.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    lines = [f"POST {URL} HTTP/1.1", "host: x", *(f"{n}: {v}" for n, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    assert b" 413 " in head.split(b"\r\n")[0]
    writer.close()


async def test_a_body_that_does_not_say_how_large_it_is_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    monkeypatch.setattr(upload, "MAX_BODY_BYTES", 300_000)
    taken: list[int] = []
    real = upload._counted

    async def counted(request: Any) -> AsyncIterator[bytes]:
        async for chunk in real(request):
            taken.append(len(chunk))
            yield chunk

    monkeypatch.setattr(upload, "_counted", counted)
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(40):
            yield bytes(50_000)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await client.post(URL, content=body(), headers=headers)
    assert code(answer, 413) == "file_too_large"
    assert sum(taken) <= 300_000


async def test_an_upload_that_does_not_come_to_its_end_is_given_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    monkeypatch.setattr(upload, "UPLOAD_TIMEOUT_S", 0.05)
    answered = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        async with asyncio.timeout(5):
            await answered.wait()
        yield b"x"

    headers = {"content-type": "multipart/form-data; boundary=b"}

    async def tell(*_: object) -> None:
        answered.set()

    async with httpx.AsyncClient(base_url=client.base_url) as slow:
        asyncio.get_running_loop().call_later(0.5, answered.set)
        answer = await slow.post(URL, content=body(), headers=headers)
    assert code(answer, 408) == "upload_timed_out"


async def test_lists_are_understood_with_and_without_brackets(served: Served) -> None:
    _, client = served
    for name in ("timestamp_granularities[]", "timestamp_granularities"):
        data = {"model": "x", "response_format": "verbose_json", name: ["word", "segment"]}
        answer = await client.post(URL, files={"file": ("a.wav", WAV)}, data=data)
        assert set(json.loads(answer.text)) >= {"words", "segments"}
