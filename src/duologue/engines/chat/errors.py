"""What goes wrong with a language model's server, in words that help. No message ever holds the key.

llm_library_missing   the `openai` package is not installed
llm_url_missing       no address was given
llm_url_invalid       the address is none
llm_url_wrong         something answers there, but not a chat-completions server (404)
llm_model_unnamed     no model was named, and the server lists none
llm_model_unknown     the server does not have the model (404)
llm_unreachable       nobody answers at the address
llm_unauthorised      the key is missing or wrong, or may not do this (401, 403)
llm_rate_limited      too many requests, or no credit left (429)
llm_context_full      the conversation is longer than the model can read
llm_refused           any other refusal (4xx)
llm_failed            the server failed (5xx), or said so in the middle of an answer
llm_timed_out         no answer, no first word or no next word in time
llm_broke_off         the connection ended in the middle of an answer
llm_bad_answer        what came is no chat completion
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from duologue.core.errors import AtCapacity, EngineError, EngineLost, EngineRefused

MAX_SAID = 300
"""Characters of a server's own words that go into a message."""

_CONTEXT = re.compile(
    r"context[ _](?:length|size|window|limit)|exceed_context|maximum context|too many tokens"
)


@dataclass(frozen=True, slots=True)
class Server:
    """Whom we speak to, for messages; `secrets` are never repeated."""

    url: str
    model: str
    secrets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"The language model '{self.model}' at {self.url}" if self.model else self.place

    @property
    def place(self) -> str:
        """Where it is."""
        return f"The language model server at {self.url}"

    def said(self, text: str) -> str:
        """The server's own words, shortened and without secrets."""
        for secret in filter(None, self.secrets):
            text = text.replace(secret, "***")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return line if len(line) <= MAX_SAID else line[:MAX_SAID] + "…"


@contextmanager
def translated(server: Server, *, in_answer: bool = False) -> Iterator[None]:
    """Turn what the HTTP client raises into our errors.

    The original is dropped (`from None`): its request holds the key, and its text is not ours to log.

    Args:
        in_answer: the server has begun to answer.
    """
    import httpx2
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refusal(server, error) from None
    except openai.APIConnectionError as error:
        raise _lost(server, error.__cause__, in_answer=in_answer) from None
    except openai.APIError as error:
        text = server.said(error.message)
        raise EngineLost("llm_failed", f"{server.name} failed: {text}.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _lost(server, error, in_answer=in_answer) from None
    except (ValueError, RecursionError) as error:
        raise bad_answer(server, str(error)) from None


def timed_out(server: Server, what: str, seconds: float) -> EngineLost:
    """It took longer than we wait."""
    return EngineLost(
        "llm_timed_out",
        f"{server.name} sent {what} for {seconds:g} s.",
        remedy="It is overloaded, or too large for its machine; see its own log.",
    )


def broke_off(server: Server) -> EngineLost:
    """It ended in the middle."""
    return EngineLost(
        "llm_broke_off", f"{server.name} broke off in the middle of its answer.",
        remedy="See the server's own log.",
    )  # fmt: skip


def bad_answer(server: Server, what: str) -> EngineRefused:
    """It is no chat completion."""
    return EngineRefused(
        "llm_bad_answer",
        f"{server.name} did not answer with a chat completion: {server.said(what)}.",
        remedy="Check the address: it should be that of an OpenAI-compatible server, usually ending in /v1.",
    )


def _lost(server: Server, cause: BaseException | None, *, in_answer: bool) -> EngineError:
    import httpx2

    if in_answer and not isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        return broke_off(server)
    reason = server.said(str(cause) or type(cause).__name__).rstrip(".")
    return EngineLost(
        "llm_unreachable",
        f"{server.place} cannot be reached: {reason}.",
        remedy="Start it, or correct the address.",
    )


def _refusal(server: Server, error: Any) -> EngineError:
    """An HTTP status that is no success."""
    status: int = error.status_code
    text = server.said(words_of(error))
    if status in (401, 403):
        return EngineRefused(
            "llm_unauthorised",
            f"{server.place} does not accept the API key (HTTP {status}: {text}).",
            remedy="Give the right key; some keys may use only some models.",
        )
    if status == 429:
        after = error.response.headers.get("retry-after", "")
        wait = f" It asks to wait for {server.said(after)} s." if after else ""
        return AtCapacity(
            "llm_rate_limited",
            f"{server.name} takes no more requests for now (HTTP 429: {text}).",
            remedy=f"Try again later, or raise the limit.{wait}",
        )
    if status == 404:
        return _not_found(server, text)
    if status >= 500:
        return EngineLost(
            "llm_failed",
            f"{server.name} failed (HTTP {status}: {text}).",
            remedy="It may still be loading; otherwise see its own log.",
        )
    if _CONTEXT.search(words_of(error).lower()):
        return EngineRefused(
            "llm_context_full",
            f"The conversation is too long for {server.name[0].lower()}{server.name[1:]} (HTTP {status}: {text}).",
            remedy="Start a new session, or give the model a longer context.",
        )
    return EngineRefused("llm_refused", f"{server.name} refused (HTTP {status}: {text}).")


def _not_found(server: Server, text: str) -> EngineError:
    if "model" in text.lower() or (server.model and server.model in text):
        return EngineRefused(
            "llm_model_unknown",
            f"{server.place} does not have the model '{server.model}' (HTTP 404: {text}).",
            remedy="Name a model that it has, or load this one there first.",
        )
    return EngineRefused(
        "llm_url_wrong",
        f"There is no chat-completions service at {server.url} (HTTP 404: {text}).",
        remedy="Check the address: it usually ends in /v1.",
    )


def words_of(error: Any) -> str:
    """What the server itself said, out of the shapes in which servers say it."""
    body = error.body
    for key in ("error", "detail", "message"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    return body if isinstance(body, str) else str(body or error.message)
