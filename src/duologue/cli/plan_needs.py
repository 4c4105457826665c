"""What a plan needs that is not there: programs to install, models to get. A line or two under `duologue plan`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from duologue.engines.models.forms import HubSource
from duologue.engines.models.sources import CATALOGUE
from duologue.engines.models.store import installed
from duologue.memory.plan import Choice

EXTRAS = {
    "whisper": "whisper",
    "sherpa": "sherpa",
    "kokoro": "kokoro",
    "piper": "piper",
    "pocket": "pocket",
    "csm": "transformers",
    "transformers-whisper": "transformers",
    "voxtral": "voxtral",
    "transformers": "transformers",
}
"""By engine; the others are built in, or programs of their own."""

PROGRAMS = {"vllm": "vLLM", "llama-server": "llama.cpp's llama-server"}


def needs(choices: Sequence[Choice], folder: Path) -> Iterator[str]:
    """Lines that say how to get what the plan's engines run on.

    Args:
        folder: where models are.
    """
    extras = sorted({EXTRAS[c.engine] for c in choices if c.engine in EXTRAS})
    if extras:
        yield f'Engines: make setup EXTRAS="{" ".join(extras)}"'
    programs = [PROGRAMS[c.engine] for c in choices if c.engine in PROGRAMS]
    if programs:
        yield f"Programs of their own, to be installed beside it: {', '.join(programs)}"
    have = {model.name for model in installed(folder)}
    missing = [c.model for c in choices if c.model and c.model not in have]
    known = [name for name in missing if name in CATALOGUE]
    if known:
        yield f"Models:  duologue models pull {' '.join(known)}"
    for name in missing:
        if name not in CATALOGUE:
            yield f"         duologue models pull hub:ORG/NAME --as {name}   (no address of it is known here)"


def gguf_files() -> dict[str, str]:
    """By model, the name of its file, for those that are a single GGUF file."""
    sources = {name: known.source for name, known in CATALOGUE.items()}
    return {
        name: source.files[0]
        for name, source in sources.items()
        if isinstance(source, HubSource)
        and len(source.files) == 1
        and source.files[0].endswith(".gguf")
    }
