"""What stands behind "transformers:": which model, where, and how it is to choose its words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.models import store as models
from duologue.engines.torchkit.ways import ATTENTIONS

FormName = Literal["", "template", "transcript", "turns"]
"""How a conversation is put to the model; empty for what its files suggest. See `forms`."""

MAX_NEW_TOKENS = 256
"""Of one answer: a minute and a half of speech. Small models do not always find an end."""


CONTEXT = 4_096
"""Tokens of prompt and answer together: twenty minutes of talk. Newer models have windows thirty times as long, whose
keys and values take gigabytes: 32 KiB a token of Llama 3.2 1B in half precision."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The argument of the engine, read.

    Attributes:
        temperature: 0 for the likeliest word each time; None for what the model's files say; so the three below.
        repetition_penalty: 1 for none. Small models go in circles without one.
        max_memory: see `torchkit.loading.load_model`.
        attention: "sdpa" or "eager"; empty to have it chosen.
        context: tokens of prompt and answer together, where the model's own window is not smaller.
        contest: whether ways to run the model are timed against one another at load, where no precision is asked for.
    """

    placement: Placement
    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_memory: str | None = None
    form: FormName = ""
    attention: str = ""
    context: int = CONTEXT
    contest: bool = True

    @classmethod
    def parse(cls, argument: str) -> "Wanted":
        """Read MODEL[@DEVICE[:N]][/PRECISION][?key=value&…]; the keys are the attributes above.

        Raises:
            SetupError: there is no such option, or its value is none.
        """
        placement = Placement.parse(argument)
        options: dict[str, Any] = {}
        for key, value in placement.options:
            if key not in _READERS:
                raise SetupError(
                    "llm_option_unknown",
                    f"'{key}' in '{argument}' is no option of the language model.",
                    remedy=f"There are: {', '.join(_READERS)}.",
                )
            try:
                options[key] = _READERS[key](value)
            except ValueError as error:
                raise SetupError(
                    "llm_option_invalid", f"{key}={value} in '{argument}' is no value for it."
                ) from error
        return cls(placement, **options)

    def folder(self, models_folder: Path) -> Path:
        """Where the model lies.

        Raises:
            EngineUnavailable: none is named, or it is not in the models folder.
        """
        if not self.placement.model:
            raise EngineUnavailable(
                "llm_model_unnamed",
                "The language model was asked for without a model.",
                remedy="Write transformers:NAME or transformers:/path/to/model; "
                "`duologue models list` shows names.",
            )
        if self.placement.is_path:
            return Path(self.placement.model).expanduser()
        return models.find(self.placement.model, models_folder)


def check_there(folder: Path) -> None:
    """See that a model's folder is there.

    Raises:
        EngineUnavailable: it is not.
    """
    if not folder.exists():
        raise EngineUnavailable(
            "model_folder_missing",
            f"There is no language model: the folder {folder} does not exist.",
            remedy=f"Run {models.how_to_get(folder.name)}, or copy the model's files there (config.json, "
            "*.safetensors, tokenizer.json).",
        )


def _within(kind: Callable[[str], Any], low: float, high: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def _form(text: str) -> FormName:
    if text not in get_args(FormName):
        raise ValueError(text)
    return cast(FormName, text)


def _attention(text: str) -> str:
    if text not in ATTENTIONS:
        raise ValueError(text)
    return text


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError(text)
    return text == "on"


_READERS: dict[str, Callable[[str], Any]] = {
    "max_new_tokens": _within(int, 1, 8_192),
    "temperature": _within(float, 0, 5),
    "top_p": _within(float, 0.01, 1),
    "top_k": _within(int, 1, 1_000_000),
    "repetition_penalty": _within(float, 0.5, 5),
    "max_memory": str,
    "form": _form,
    "attention": _attention,
    "context": _within(int, 64, 1_000_000),
    "contest": _switch,
}
