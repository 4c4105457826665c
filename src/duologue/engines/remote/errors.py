"""What goes wrong with a remote recogniser or voice, in words that help. No message ever holds the key.

Each code begins with the role, "stt" or "tts":

…_url_missing      no address was given
…_url_invalid      the address is none
…_url_wrong        something answers there, but no such service (404)
…_model_unknown    the server does not have the model (404, or its name in a refusal)
…_unreachable      nobody answers at the address
…_unauthorised     the key is missing or wrong, or may not do this (401, 403)
…_rate_limited     too many requests, no credit left, or all places of the server are taken (429)
…_refused          any other refusal (4xx)
…_failed           the server failed (5xx), or said so in the middle of an answer
…_timed_out        nothing came in time
…_broke_off        the connection ended in the middle
…_bad_answer       what came is no answer of this kind
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from duologue.core.capabilities import Role
from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused
from duologue.engines.chat.errors import Server

_NAMES = {Role.STT: "speech recogniser", Role.TTS: "voice"}


@dataclass(frozen=True, slots=True)
class AudioServer(Server):
    """Whom we speak to, for messages."""

    role: Role = Role.STT

    @property
    def name(self) -> str:
        """The engine and where it is."""
        model = f" '{self.model}'" if self.model else ""
        return f"The {_NAMES[self.role]}{model} at {self.url}"

    @property
    def place(self) -> str:
        """Where it is."""
        return f"The server of the {_NAMES[self.role]} at {self.url}"


def refusal(server: AudioServer, status: int, body: bytes, retry_after: str = "") -> EngineError:
    """An HTTP status that is no success."""
    role, text = server.role, server.said(_words(body)) or "nothing more was said"
    if status in (401, 403):
        return EngineRefused(
            f"{role}_unauthorised",
            f"{server.place} does not accept the API key (HTTP {status}: {text}).",
            remedy="Give the right key for this server: DUOLOGUE_AUDIO_API_KEY=HOST=KEY.",
        )
    if status == 429:
        wait = f" It asks to wait for {server.said(retry_after)} s." if retry_after else ""
        return AtCapacity(
            f"{role}_rate_limited",
            f"{server.name} takes no more requests for now (HTTP 429: {text}).",
            remedy=f"Try again later, or raise the limit.{wait}",
        )
    if status in (400, 404, 422) and _is_about_model(server.model, status, text):
        return EngineRefused(
            f"{role}_model_unknown",
            f"{server.place} does not have the model '{server.model}' (HTTP {status}: {text}).",
            remedy="Name a model that it has, or load this one there first.",
        )
    if status in (404, 405):
        return EngineRefused(
            f"{role}_url_wrong",
            f"There is no such service at {server.url} (HTTP {status}: {text}).",
            remedy="Check the address: that of an OpenAI-compatible server usually ends in /v1.",
        )
    if status >= 500:
        return failed(server, f"HTTP {status}: {text}")
    return EngineRefused(f"{role}_refused", f"{server.name} refused (HTTP {status}: {text}).")


def failed(server: AudioServer, text: str) -> EngineLost:
    """It says that it failed."""
    return EngineLost(
        f"{server.role}_failed",
        f"{server.name} failed ({server.said(text)}).",
        remedy="It may still be loading; otherwise see its own log.",
    )


def unreachable(server: AudioServer, why: str) -> EngineLost:
    """Nobody answers."""
    return EngineLost(
        f"{server.role}_unreachable",
        f"{server.place} cannot be reached: {server.said(why).rstrip('.')}.",
        remedy="Start it, or correct the address.",
    )


def timed_out(server: AudioServer, what: str, seconds: float) -> EngineLost:
    """It took longer than we wait."""
    return EngineLost(
        f"{server.role}_timed_out",
        f"{server.name} sent {what} for {seconds:g} s.",
        remedy="It is overloaded, or too large for its machine; see its own log.",
    )


def broke_off(server: AudioServer) -> EngineLost:
    """It ended in the middle."""
    return EngineLost(
        f"{server.role}_broke_off",
        f"{server.name} broke off in the middle of its work.",
        remedy="See the server's own log.",
    )


def bad_answer(server: AudioServer, what: str, remedy: str = "") -> EngineRefused:
    """It is none of this kind."""
    return EngineRefused(
        f"{server.role}_bad_answer",
        f"{server.name} did not answer as such a server does: {server.said(what)}.",
        remedy=remedy or "Check the address, and which services the server has.",
    )


@contextmanager
def translated(server: AudioServer, *, in_answer: bool = False) -> Iterator[None]:
    """Turn what the HTTP client raises into our errors.

    The original is dropped (`from None`): its request holds the key, and its text is not ours to log.

    Args:
        in_answer: the server has begun to answer.
    """
    import httpx2

    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL) as error:
        raise unreachable(server, str(error) or type(error).__name__) from None
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        if in_answer:
            raise broke_off(server) from None
        raise unreachable(server, str(error) or type(error).__name__) from None


def _is_about_model(model: str, status: int, text: str) -> bool:
    if status == 404 and "model" in text.lower():
        return True
    words = (
        r"(unknown|invalid|no such) model|model\b.{0,80}\b(not exist|not found|not loaded|unknown)"
    )
    return bool(model) and bool(re.search(words, text, re.I))


def _words(body: bytes) -> str:
    """What the server itself said, out of the shapes in which servers say it."""
    said: Any
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = body.decode("utf-8", "replace")
    for key in ("error", "detail", "message"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return said if isinstance(said, str) else str(said or "")
