"""The servers that are known here: how each is called, what it needs, and what to do where that is missing."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duologue.core.errors import EngineUnavailable
from duologue.core.placement import Placement
from duologue.engines.managed_llm import flags
from duologue.engines.managed_llm.flags import Facts
from duologue.engines.models.store import how_to_get


@dataclass(frozen=True, slots=True)
class Kind:
    """A server program.

    Attributes:
        name: as people say it.
        binary: as it is looked for.
        port: where it usually listens, and may run already; None where one is started for us alone.
        health: the path that is answered with 200 when it is well.
        has_models: it serves many models, and keeps them itself.
        get_it: how to come by the program.
        check: raises `SetupError` where it cannot be what is asked for.
        find: the model as the server is given it; raises `EngineUnavailable` where it is missing.
    """

    name: str
    binary: str
    port: int | None
    health: str
    has_models: bool
    get_it: str
    check: Callable[[Placement], None]
    find: Callable[[str], str]
    command: Callable[[Placement, Facts], list[str]]
    variables: Callable[[Placement, Facts], dict[str, str]]


def program(kind: Kind, path: str | None = None) -> str | None:
    """Where a server's program lies; None where it is missing.

    Args:
        path: where it is looked for, as PATH; None for PATH itself, and beside our own Python.
    """
    found = shutil.which(kind.binary, path=path)
    if found is None and path is None:
        found = shutil.which(kind.binary, path=str(Path(sys.executable).parent))
    return found


def checkpoint(model: str) -> str:
    """vLLM's: a folder; or a name on a hub, which vLLM fetches itself.

    Raises:
        EngineUnavailable: there is no such folder.
    """
    if not model.startswith(("/", ".", "~")):
        return model
    folder = Path(model).expanduser()
    if not (folder / "config.json").is_file():
        raise _missing(folder, "a checkpoint with its config.json")
    return str(folder)


def gguf(model: str) -> str:
    """llama.cpp's: a GGUF file; its first part, where it has parts; the one in a folder.

    Raises:
        EngineUnavailable: there is none.
    """
    path = Path(model).expanduser()
    named = Path(f"{path}.gguf")
    if path.is_file() or named.is_file():
        return str(path if path.is_file() else named)
    inside = sorted(p for p in path.glob("*.gguf") if not p.name.startswith("mmproj"))
    if not inside:
        raise _missing(path, "a GGUF file")
    return str(inside[0])


def _missing(path: Path, what: str) -> EngineUnavailable:
    name = path.stem if path.suffix == ".gguf" else path.name
    fetch = how_to_get(name, again=path.is_dir())
    return EngineUnavailable(
        "llm_model_missing",
        f"There is no language model at {path}: {what} is needed.",
        remedy=f"Put it there, or fetch it: {fetch}.",
    )


def as_it_is(model: str) -> str:
    """Ollama's: a name of its own."""
    return model


VLLM = Kind(
    name="vLLM",
    binary="vllm",
    port=None,
    health="/health",
    has_models=False,
    get_it="Install it, best where nothing else is: pip install vllm. It needs a CUDA GPU.",
    check=flags.check_vllm,
    find=checkpoint,
    command=flags.vllm_command,
    variables=flags.vllm_variables,
)

LLAMA_SERVER = Kind(
    name="llama-server",
    binary="llama-server",
    port=None,
    health="/health",
    has_models=False,
    get_it="It comes with llama.cpp: from its releases, from Homebrew (llama.cpp) or Debian (llama.cpp-tools).",
    check=flags.check,
    find=gguf,
    command=flags.llama_command,
    variables=flags.llama_variables,
)

OLLAMA = Kind(
    name="Ollama",
    binary="ollama",
    port=11434,
    health="/v1/models",
    has_models=True,
    get_it="Install Ollama from its makers; its service may also run already, at port 11434.",
    check=flags.check,
    find=as_it_is,
    command=flags.ollama_command,
    variables=flags.ollama_variables,
)
