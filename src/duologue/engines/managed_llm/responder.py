"""A language model whose server we start ourselves, and end with us.

    vllm:NAME@cuda:1?max_model_len=4096&max_num_seqs=4    see `flags` for what may be written
    llama-server:NAME@cpu:4?ctx_size=4096
    ollama:llama3.2

It is asked as any OpenAI-compatible server is. Where a port is named (`?port=8001`), and for Ollama, a server that
answers there already is used as it is, and left running at our end.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from duologue.core.capabilities import Capabilities, Role
from duologue.core.errors import (
    EngineError,
    EngineLost,
    EngineOutOfMemory,
    EngineUnavailable,
    OurError,
)
from duologue.core.oom import says_out_of_memory
from duologue.core.placement import Placement
from duologue.engines.base import EngineSpec
from duologue.engines.chat.responder import OpenAIResponder, Patience
from duologue.engines.managed_llm import probe
from duologue.engines.managed_llm.flags import ONLY_IF_KNOWN, Facts, served_name
from duologue.engines.managed_llm.keeper import Keeper, Pace
from duologue.engines.managed_llm.kinds import LLAMA_SERVER, OLLAMA, VLLM, Kind, program
from duologue.engines.managed_llm.process import ServerProcess
from duologue.engines.models import store as models
from duologue.ports import Delta, Prompt

log = logging.getLogger("duologue.engines")

_UNKNOWN = re.compile(r"unrecognized arguments: (.*)")
"""As Python's argparse says it, and hence vLLM."""


class ManagedResponder:
    """See `ports.Responder`.

    Args:
        kind: which server.
        argument: see the module.
        path: where its program is looked for, as PATH; None for PATH itself, and beside our own Python.
        visible_gpus: our CUDA_VISIBLE_DEVICES; None for all.
        pace: how long things may take; the option `patience_s` is its `start_s`.
        patience: see `OpenAIResponder`.

    Attributes:
        visible_gpus: may be set until `load`.
        on_shortage: called, in any thread, each time that memory ran out after the start; may be set until `load`.

    Raises:
        SetupError: the argument cannot be meant.
    """

    def __init__(
        self,
        kind: Kind,
        argument: str,
        *,
        path: str | None = None,
        visible_gpus: str | None = None,
        pace: Pace | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.capabilities = Capabilities()
        self.placement = Placement.parse(argument)
        kind.check(self.placement)
        self.kind = kind
        self.visible_gpus = visible_gpus
        self.on_shortage: Callable[[], None] = _nothing
        self._path = path
        start_s = self.placement.option("patience_s")
        self._pace = replace(pace or Pace(), **({"start_s": float(start_s)} if start_s else {}))
        self._patience = patience
        self._keeper: Keeper | None = None
        self._inner: OpenAIResponder | None = None
        self._loading = threading.Lock()
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.kind.name} with '{served_name(self.placement.model)}'"

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's process, where it is ours."""
        pid = None if self._keeper is None else self._keeper.pid
        return () if pid is None else (pid,)

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return 0 if self._keeper is None else self._keeper.restarts

    def load(self) -> None:
        """Start the server, unless it answers already, and wait until it is well. Blocks, for minutes perhaps.

        Raises:
            EngineOutOfMemory: it does not fit.
            EngineError: its program or its model is missing, its port is taken, or it does not become well.
        """
        with self._loading:
            if self._inner is not None:
                return
            port = int(self.placement.option("port") or self.kind.port or 0)
            if not port or probe.get(port, self.kind.health) is None:
                self._binary()  # a model without its program is not worth fetching
            model = self.kind.find(self.placement.model)
            served = self._already(port, model) if port else None
            if served is None:
                served = served_name(model)
                port = port or probe.free_port()
                self._start(Facts(self._binary(), model, served, port, self.visible_gpus))
            inner = self._asker(port, served)
            try:
                inner.load()
                self._check_model(inner)
            except EngineError as error:
                reason = self._explained(error)
                self._end()
                raise reason from error
            self._inner = inner

    def warm_up(self) -> None:
        """Have it say one word. Blocks.

        Raises:
            EngineError: it could not; it is ended then.
        """
        if self._inner is None:
            raise _not_loaded()
        try:
            self._inner.warm_up()
        except EngineError as error:
            reason = self._explained(error)
            self._inner = None
            self._end()
            raise reason from error

    def close(self) -> None:
        """End the server. Blocks for some seconds at most."""
        with self._lock:
            self._is_closed = True
        self._end()

    async def aclose(self) -> None:
        """Close the connections, and end the server."""
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()
        await asyncio.to_thread(self.close)

    async def respond(self, prompt: Prompt) -> AsyncIterator[Delta]:
        """See `ports.Responder.respond`.

        Raises:
            EngineLost: at once, while the server is being started again.
            EngineOutOfMemory: the same, where it ended for want of memory; or it says so now, and lives on.
        """
        inner, keeper = self._inner, self._keeper
        if inner is None:
            raise _not_loaded()
        trouble = None if keeper is None else keeper.trouble()
        if trouble is not None:
            raise trouble
        answer: Any = inner.respond(prompt)
        try:
            async with aclosing(answer):
                async for delta in answer:
                    yield delta
        except EngineError as error:
            if not says_out_of_memory(error.message):
                raise
            self.on_shortage()
            raise _of_memory(error) from error

    # --- at start ---
    def _already(self, port: int, model: str) -> str | None:
        """The model's name on the server that answers at this port already; None if nobody listens there.

        Raises:
            EngineUnavailable: it is another server, or has another model.
        """
        if probe.get(port, self.kind.health) is None:
            return None
        listed = probe.models(port)
        if listed is None:
            raise self._port_taken(port, "what answers there is no language models' server")
        if self.kind.has_models:
            log.info("= %s runs already at port %d; it is used as it is", self.kind.name, port)
            if self.placement.options or self.placement.device:
                log.warning("! where and how that %s runs is not changed", self.kind.name)
            return model
        for name in (served_name(model), model, Path(model).name):
            if name in listed:
                log.info("= '%s' is served already at port %d; it is used as it is", name, port)
                return name
        has = ", ".join(f"'{name}'" for name in listed[:8]) or "none"
        raise self._port_taken(port, f"the server there has {has}")

    def _port_taken(self, port: int, why: str) -> EngineUnavailable:
        return EngineUnavailable(
            "llm_port_taken",
            f"{self.name} cannot be had at port {port}: {why}.",
            remedy="Stop that server, or choose another port with ?port=N.",
        )

    def _binary(self) -> str:
        found = program(self.kind, self._path)
        if found is None:
            raise EngineUnavailable(
                "llm_server_missing",
                f"{self.name} cannot be started: there is no program '{self.kind.binary}'.",
                remedy=self.kind.get_it,
            )
        return found

    def _start(self, facts: Facts) -> None:
        """Start it; again without a flag that only its newer versions know."""
        while True:
            keeper = self._keeper_of(facts)
            with self._lock:
                if self._is_closed:
                    raise EngineLost("llm_closed", f"{self.name} was closed.")
                self._keeper = keeper
            try:
                keeper.start()
            except EngineError as error:
                unknown = _unknown_flags(error, self.placement) - facts.unknown
                if not unknown:
                    raise
                log.warning("! this %s does not know --%s", self.kind.name, ", --".join(unknown))
                facts = replace(facts, unknown=facts.unknown | unknown)
            else:
                return

    def _keeper_of(self, facts: Facts) -> Keeper:
        command = self.kind.command(self.placement, facts)
        variables = self.kind.variables(self.placement, facts)
        log.info("~ %s is started: %s", self.name, " ".join(command))
        return Keeper(
            self.name,
            partial(ServerProcess, self.name, command, variables, self._pace.grace_s),
            facts.port,
            self.kind.health,
            warm_up=partial(self._try_out, facts),
            on_shortage=lambda: self.on_shortage(),
            pace=self._pace,
        )

    def _try_out(self, facts: Facts) -> None:
        """Have a server that was started again say one word."""
        other = self._asker(facts.port, facts.served)
        other.load()
        other.warm_up()

    def _asker(self, port: int, served: str) -> OpenAIResponder:
        return OpenAIResponder(f"http://127.0.0.1:{port}/v1", served, patience=self._patience)

    def _check_model(self, inner: OpenAIResponder) -> None:
        names = (inner.model, f"{inner.model}:latest")
        if self.kind.has_models and not any(name in inner.models for name in names):
            raise EngineUnavailable(
                "llm_model_missing",
                f"{self.kind.name} does not have the model '{inner.model}'.",
                remedy=f"Fetch it: {self.kind.binary} pull {inner.model}.",
            )

    def _explained(self, error: EngineError) -> EngineError:
        return _of_memory(error if self._keeper is None else self._keeper.explain(error))

    def _end(self) -> None:
        keeper = self._keeper
        if keeper is not None:
            keeper.close()


def _of_memory(error: EngineError) -> EngineError:
    """The same error, or what it means: servers that live on say that memory ran out in a 500."""
    if isinstance(error, EngineOutOfMemory) or not says_out_of_memory(error.message):
        return error
    return EngineOutOfMemory("llm_out_of_memory", error.message, remedy=error.remedy)


def _unknown_flags(error: EngineError, placement: Placement) -> frozenset[str]:
    """Flags that this version does not know, and that are not missed."""
    refused = " ".join(_UNKNOWN.findall(error.message))
    known = (key.replace("_", "-") for key in ONLY_IF_KNOWN if placement.option(key))
    return frozenset(flag for flag in known if f"--{flag}" in refused)


def _nothing() -> None:
    """Nobody counts."""


def _not_loaded() -> OurError:
    return OurError("llm_not_loaded", "The language model was asked before it was loaded.")


def _spec(name: str, kind: Kind, about: str, *, is_in_folder: bool = True) -> EngineSpec:
    locate = models.in_folder if is_in_folder else None
    make = partial(ManagedResponder, kind)
    return EngineSpec(name, Role.LLM, Capabilities(), make, about=about, locate=locate)


VLLM_SPEC = _spec("vllm", VLLM, "a language model on vLLM, whose server is started here")
LLAMA_SPEC = _spec(
    "llama-server", LLAMA_SERVER, "a GGUF model on llama.cpp, whose server is started here"
)
OLLAMA_SPEC = _spec(
    "ollama", OLLAMA, "a model of Ollama, which is started here unless it runs", is_in_folder=False
)
