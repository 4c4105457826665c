"""Language models behind an OpenAI-compatible server: Ollama, llama.cpp, vLLM, LM Studio, or OpenAI itself.

An answer is one streaming request. Closing the iterator closes its connection, which is how servers learn
that nobody wants the rest. What a server does not take is left out once it has said so, and remembered.
"""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import EngineRefused, EngineUnavailable, OurError
from duologue.engines.base import EngineSpec
from duologue.engines.chat.address import checked, is_local, secrets, shown
from duologue.engines.chat.chunks import ChunkReader, is_bare
from duologue.engines.chat.errors import (
    Server,
    bad_answer,
    broke_off,
    timed_out,
    translated,
    words_of,
)
from duologue.engines.chat.listed import model_names
from duologue.engines.chat.messages import request_body
from duologue.engines.chat.thoughts import ThoughtFilter
from duologue.engines.loading import run_apart
from duologue.ports import Delta, Prompt

log = logging.getLogger("duologue.engines")

T = TypeVar("T")

KEEP_ALIVE_S = 120.0
"""Connections stay open over the pauses of a conversation: a fresh one costs a turn its TLS handshake."""

MAX_CONNECTIONS = 1_000
_END = object()
_NO_MODELS = (400, 404, 405, 501)
"""What servers without a list of models answer."""

_NO_CHAT = re.compile(r"embed|rerank|whisper|\btts\b")
"""Models that a server may list and that cannot talk."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Attributes:
        connect_s: for the connection.
        first_s: from the request to the first piece of the answer; the prompt is read meanwhile.
        next_s: between two pieces.
        models_s: for the list of models.
        warm_up_s: for the first answer of all; a server may load tens of gigabytes for it.
    """

    connect_s: float = 5.0
    first_s: float = 60.0
    next_s: float = 20.0
    models_s: float = 10.0
    warm_up_s: float = 180.0


class _Dialect:
    """What this server was found not to take. Each is learned once."""

    def __init__(self) -> None:
        self.has_usage = True
        self.limit = "max_tokens"

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as this server takes it."""
        said = dict(body)
        if not self.has_usage:
            said.pop("stream_options", None)
        if "max_tokens" in said:
            said[self.limit] = said.pop("max_tokens")
        return said

    def learn(self, status: int, words: str) -> bool:
        """Whether a refusal names something that can be said otherwise."""
        if status not in (400, 422):
            return False
        if self.has_usage and re.search(r"stream_options|include_usage", words):
            self.has_usage = False
            return True
        if self.limit == "max_tokens" and "max_completion_tokens" in words:
            self.limit = "max_completion_tokens"
            return True
        return False


class OpenAIResponder:
    """See `ports.Responder`.

    Args:
        url: of the API, usually ending in /v1, which is added where there is no path at all.
        model: its name there; empty for the first that the server lists.
        api_key: empty if the server wants none. Nothing is taken from the environment.

    Attributes:
        model: as it will be asked for; known after `load`.
        models: what the server lists; empty if it does not.
    """

    def __init__(
        self, url: str, model: str = "", api_key: str = "", *, patience: Patience | None = None
    ) -> None:
        self.capabilities = SPEC.capabilities
        self.model = model
        self.models: tuple[str, ...] = ()
        self._url = url.strip()
        self._api_key = api_key
        self._patience = patience or Patience()
        self._dialect = _Dialect()
        self._client: Any = None
        self._tls: Any = None
        self._opens_thoughts_unsaid = False

    @property
    def server(self) -> Server:
        """Whom we speak to."""
        return Server(shown(self._url), self.model, (self._api_key, *secrets(self._url)))

    def load(self) -> None:
        """Build the client and ask the server for its models. Blocks; may be called in any thread.

        Raises:
            EngineError: the library is not there, the address is none, nobody answers there, the key is
                not accepted, or there is no model to use.
        """
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise EngineUnavailable(
                "llm_library_missing",
                "No language model can be asked: the openai package is not installed.",
                remedy="Install duologue[server].",
            ) from error
        self._url = checked(self._url)
        self._client = self._make_client()
        self.models = run_apart(self._list_models())
        self._choose()

    def warm_up(self) -> None:
        """Have it say one word, so that it is loaded there and every setting is known to work. Blocks.

        Raises:
            EngineError: it could not.
        """
        run_apart(self._say_one_word())

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`."""
        if self._client is None:
            raise OurError("llm_not_loaded", "The language model was asked before it was loaded.")
        thoughts = ThoughtFilter(is_opened_unsaid=self._opens_thoughts_unsaid)
        reader = ChunkReader(thoughts)
        body = request_body(prompt, self.model)
        async with aclosing(self._chunks(self._client, body, self._patience.first_s)) as chunks:
            async for chunk in chunks:
                with translated(self.server):
                    deltas = reader.read(chunk)
                for delta in deltas:
                    yield delta
        if not reader.is_finished:
            raise broke_off(self.server)
        self._opens_thoughts_unsaid = thoughts.ended_unopened
        for delta in reader.finish():
            yield delta

    # --- one request ---
    async def _chunks(
        self, client: Any, body: dict[str, Any], first_s: float
    ) -> AsyncGenerator[object, None]:
        """The pieces of one answer, as they come; at least one."""
        server = self.server
        wait = _Wait(server, "no first word", first_s)
        with translated(server):
            stream = await wait.until(self._open(client, body))
        is_empty = is_opening = True
        try:
            while True:
                with translated(server, in_answer=True):
                    chunk = await wait.until(anext(stream, _END))
                if chunk is _END:
                    break
                is_empty = False
                is_opening = is_opening and is_bare(chunk)
                yield chunk
                if not is_opening:
                    wait = _Wait(server, "no further word", self._patience.next_s)
        finally:
            await stream.close()
        if is_empty:
            raise bad_answer(server, "it is no stream of events")

    async def _open(self, client: Any, body: dict[str, Any]) -> Any:
        """Send the request, again if it must be put otherwise or met a connection that was closed meanwhile."""
        import openai

        has_met_closed = False
        while True:
            try:
                return await client.post(
                    "/chat/completions",
                    cast_to=object,
                    body=self._dialect.apply(body),
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            except openai.APIStatusError as error:
                words = f"{words_of(error)} {error.param}"
                if not self._dialect.learn(error.status_code, words):
                    raise
            except openai.APIConnectionError as error:
                if has_met_closed or not _was_closed(error.__cause__):
                    raise
                has_met_closed = True

    # --- at start ---
    async def _list_models(self) -> tuple[str, ...]:
        import openai

        async with self._make_client() as client:
            wait = _Wait(self.server, "no list of its models", self._patience.models_s)
            with translated(self.server):
                try:
                    return model_names(await wait.until(client.get("/models", cast_to=object)))
                except openai.APIStatusError as error:
                    if error.status_code in _NO_MODELS:
                        return ()
                    raise

    def _choose(self) -> None:
        """Settle which model to ask for, or say that the one asked for is not listed."""
        if self.model:
            if self.models and not any(_is_same(self.model, name) for name in self.models):
                log.warning("! %s does not list the model '%s'", self.server.place, self.model)
            return
        able = [name for name in self.models if not _NO_CHAT.search(name.lower())]
        if not able:
            raise EngineUnavailable(
                "llm_model_unnamed",
                f"{self.server.place} does not say which language models it has.",
                remedy="Name the model.",
            )
        self.model = able[0]
        log.info("= the language model is '%s', the first at %s", self.model, self.server.url)

    async def _say_one_word(self) -> None:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": "Hello."}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 1,
        }
        try:
            async with self._make_client() as client:
                wait = _Wait(self.server, "no whole answer", self._patience.warm_up_s)
                await wait.until(self._read_all(client, body))
        except EngineRefused as error:
            if "output limit was reached" in error.message:
                return  # it works, and has more to say than one token holds
            if error.code == "llm_model_unknown" and self.models:
                error.remedy = f"It has: {', '.join(self.models[:8])}."
            raise

    async def _read_all(self, client: Any, body: dict[str, Any]) -> None:
        async with aclosing(self._chunks(client, body, self._patience.warm_up_s)) as chunks:
            async for _ in chunks:
                pass

    def _make_client(self) -> Any:
        import httpx2
        import openai

        if self._tls is None:  # reading the certificates takes longer than all the rest
            self._tls = httpx2.create_ssl_context()
        http = openai.DefaultAsyncHttpxClient(
            verify=self._tls,
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=KEEP_ALIVE_S,
            ),
            # a proxy that the machine goes out through is no way to the machine itself
            trust_env=not is_local(self._url),
        )
        client = openai.AsyncOpenAI(
            api_key=self._api_key or "none",
            base_url=self._url,
            timeout=httpx2.Timeout(None, connect=self._patience.connect_s),
            max_retries=0,
            http_client=http,
        )
        client.organization = client.project = None  # or it would send what the environment says
        return client


class _Wait:
    """How long something may take, from now."""

    def __init__(self, server: Server, what: str, seconds: float) -> None:
        self._server = server
        self._what = what
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds

    async def until(self, work: Awaitable[T]) -> T:
        """Await it.

        Raises:
            EngineLost: it took longer.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                return await work
        except TimeoutError:
            raise timed_out(self._server, self._what, self._seconds) from None


def _was_closed(cause: BaseException | None) -> bool:
    """Whether the server had closed a connection that was kept open: then nobody read the request."""
    import httpx2

    return isinstance(cause, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError)


def _is_same(wanted: str, listed: str) -> bool:
    """Names match as they are, or without the tag that Ollama lets be left out."""
    return listed in (wanted, f"{wanted}:latest")


def _make(argument: str) -> OpenAIResponder:
    """From "openai:URL|MODEL"; the model may be left out."""
    url, _, model = argument.partition("|")
    return OpenAIResponder(url, model)


SPEC = EngineSpec(
    "openai",
    Role.LLM,
    Capabilities(),
    _make,
    about="a language model behind an OpenAI-compatible URL",
)
