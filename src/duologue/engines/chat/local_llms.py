"""Language models that already run on this machine: looked for on the ports where they usually listen.

Nothing is used that was found; the person who started the server is told what could be. The answer is read
by hand (HTTP/1.0, one GET), so that looking costs no library and can be given up at any moment.
"""

import asyncio
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

PORTS = {11434: "Ollama", 8080: "llama.cpp", 8000: "vLLM", 8001: "vLLM", 1234: "LM Studio"}
"""Where their documentation has them listen."""

OWNERS = {
    "library": "Ollama",
    "llamacpp": "llama.cpp",
    "vllm": "vLLM",
    "organization_owner": "LM Studio",
    "sglang": "SGLang",
}
"""What they say of themselves, as the owner of their models; more certain than the port."""

OWN = "duologue"
"""The owner of the models of a server like ours; not a language model."""

TIMEOUT_S = 0.4
"""On one machine an answer takes a few milliseconds; a busy one is worth a short wait."""

MAX_BYTES = 1_000_000
MAX_MODELS = 50


@dataclass(frozen=True, slots=True)
class FoundLlm:
    """A server that answers.

    Attributes:
        name: of the program, as far as can be told.
        url: as an OpenAI-compatible address.
        models: what it lists; may be empty.
    """

    name: str
    url: str
    models: tuple[str, ...]


async def find(
    *,
    skip_ports: Collection[int] = (),
    ports: Iterable[int] = tuple(PORTS),
    timeout_s: float = TIMEOUT_S,
) -> list[FoundLlm]:
    """Look at all ports at once; those that answer, in the order of the ports.

    Args:
        skip_ports: our own.
    """
    wanted = [port for port in ports if port not in skip_ports]
    async with asyncio.TaskGroup() as tasks:
        looks = [tasks.create_task(_look(port, timeout_s), name=f"look-{port}") for port in wanted]
    return [found for look in looks if (found := look.result()) is not None]


async def _look(port: int, timeout_s: float) -> FoundLlm | None:
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _get(port)
    except (OSError, TimeoutError, ValueError, asyncio.LimitOverrunError):
        return None
    return _read(port, answer)


async def _get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n".encode()
        )
        await writer.drain()
        parts: list[bytes] = []
        while (part := await reader.read(65_536)) and sum(map(len, parts)) < MAX_BYTES:
            parts.append(part)
            if _is_whole(b"".join(parts)):
                break
        return b"".join(parts)
    finally:
        writer.transport.abort()


def _is_whole(answer: bytes) -> bool:
    """Whether a server that keeps the connection open has sent all that it announced."""
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def _read(port: int, answer: bytes) -> FoundLlm | None:
    """The models in an answer; None if it is no list of models."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or not status[0].startswith(b"HTTP/") or status[1] != b"200":
        return None
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, dict) or not isinstance(listed.get("data", ""), list | None):
        return None
    models = [entry for entry in listed["data"] or () if isinstance(entry, dict)]
    owners = {_text(entry.get("owned_by")) for entry in models}
    if OWN in owners:
        return None
    names = tuple(name for entry in models if (name := _text(entry.get("id"))))
    known = next((OWNERS[owner] for owner in sorted(owners) if owner in OWNERS), None)
    name = known or PORTS.get(port, "A language model server")
    return FoundLlm(name, f"http://127.0.0.1:{port}/v1", names[:MAX_MODELS])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
