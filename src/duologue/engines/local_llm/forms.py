"""How a conversation is put to a model, which depends on what it was trained on.

    template    by the chat template of its tokenizer: every model that was made for talk has one
    turns       nothing but the texts in turn, each ended by the end-of-text token: DialoGPT (arXiv 1911.00536, 3.1)
    transcript  as a play is printed, "User: …" and "Assistant: …": for models that only continue texts, as distilgpt2

Templates are not all alike: some refuse instructions, or two messages of one role in a row. Then the instructions go
into the user's first words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from duologue.core.errors import EngineUnavailable
from duologue.engines.local_llm.fitting import Line
from duologue.engines.local_llm.wanted import FormName
from duologue.engines.torchkit.host import first_line

NAMES = {"user": "User", "assistant": "Assistant"}

INTRODUCTION = "A conversation. The assistant's answers are short and friendly."
"""Before a transcript that has no instructions."""


@dataclass(frozen=True, slots=True)
class Template:
    """See the module.

    Attributes:
        stops: texts that end an answer, beside the model's own end.
    """

    tokenizer: Any
    stops: tuple[str, ...] = ()

    def encode(self, lines: Sequence[Line]) -> list[int]:
        """The prompt's tokens.

        Raises:
            EngineUnavailable: the template takes no conversation at all.
        """
        try:
            return self._applied(lines)
        except Exception:  # noqa: BLE001 - templates are programs of the model's author, and refuse as they like
            try:
                return self._applied(_alternating(lines))
            except Exception as error:
                raise EngineUnavailable(
                    "llm_template_broken",
                    f"The model's chat template fails: {first_line(error)}.",
                    remedy="Write ?form=transcript to do without it.",
                ) from error

    def _applied(self, lines: Sequence[Line]) -> list[int]:
        chat = [{"role": line.role, "content": line.text} for line in lines]
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        # the template writes the special tokens itself
        return list(self.tokenizer.encode(text, add_special_tokens=False))


@dataclass(frozen=True, slots=True)
class Turns:
    """See the module. Instructions are left out: such models would take them for something that was said."""

    tokenizer: Any
    stops: tuple[str, ...] = ()

    def encode(self, lines: Sequence[Line]) -> list[int]:
        """The prompt's tokens."""
        end = self.tokenizer.eos_token_id
        tokens: list[int] = []
        for line in lines:
            if line.role != "system":
                tokens += [*self.tokenizer.encode(line.text, add_special_tokens=False), end]
        return tokens


@dataclass(frozen=True, slots=True)
class Transcript:
    """See the module. An answer is one line: what such a model writes after it is no longer the answer."""

    tokenizer: Any
    stops: tuple[str, ...] = ("\n", "User:", "Assistant:")

    def encode(self, lines: Sequence[Line]) -> list[int]:
        """The prompt's tokens."""
        system = " ".join(line.text.strip() for line in lines if line.role == "system")
        said = (
            f"{NAMES[line.role]}: {' '.join(line.text.split())}\n"
            for line in lines
            if line.role in NAMES
        )
        text = f"{system or INTRODUCTION}\n\n{''.join(said)}{NAMES['assistant']}:"
        return list(self.tokenizer.encode(text))


Form = Template | Turns | Transcript


def form_for(tokenizer: Any, config: Any, wanted: FormName = "") -> Form:
    """The form that is asked for, or the one that the model's files suggest.

    DialoGPT's configuration names the task "conversational", and its older releases have no template.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if not wanted:
        tasks = getattr(config, "task_specific_params", None) or {}
        wanted = "turns" if "conversational" in tasks else "transcript"
        wanted = "template" if has_template else wanted
    if wanted == "template" and not has_template:
        raise EngineUnavailable(
            "llm_template_missing",
            "The model's tokenizer has no chat template.",
            remedy="Leave ?form=template out, or use a model that was made for conversation.",
        )
    if wanted == "turns" and tokenizer.eos_token_id is None:
        raise EngineUnavailable(
            "llm_end_missing", "The model's tokenizer has no token for the end of a text."
        )
    kinds: dict[str, Any] = {"template": Template, "turns": Turns, "transcript": Transcript}
    form: Form = kinds[wanted](tokenizer)
    return form


def _alternating(lines: Sequence[Line]) -> list[Line]:
    """Instructions as the beginning of what the user says, and no two lines of one role in a row."""
    plain = [Line("user" if line.role == "system" else line.role, line.text) for line in lines]
    return [
        Line(role, "\n\n".join(line.text for line in group))
        for role, group in groupby(plain, key=lambda line: line.role)
    ]
