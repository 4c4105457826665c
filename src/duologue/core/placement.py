"""What stands behind an engine's name: which model, where it runs, in what precision.

    MODEL[@DEVICE[:N]][/PRECISION][?key=value&key=value]

    small                        the best device that works, as precise as fits it
    small@cpu:4                  four threads of the CPU
    /models/csm@cuda:1/bf16      the second GPU, in bfloat16
    csm-1b@auto/bf16?top_k=50    any device, in bfloat16, with an option of the engine's own

The planner writes these lines and the engines read them.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal, cast

from duologue.core.errors import SetupError

Device = Literal["", "cpu", "cuda", "mps"]
"""Empty: the best that works."""

_FORM = re.compile(
    r"(?P<model>[^?]*?)"
    r"(?:@(?P<device>auto|cpu|cuda|mps)(?::(?P<number>\d+))?(?:/(?P<precision>[a-z0-9_]+))?)?"
    r"(?:\?(?P<options>.*))?",
    re.DOTALL,
)
"""Every text is of this form: what is no place or option belongs to the model's name."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A model and its place.

    Attributes:
        model: a folder or file, or the name of a model in the models folder.
        number: threads of a CPU, index of a GPU; None for as it fits.
        precision: as the engine calls it: "int8", "fp16", "bf16", …; empty for the engine's own choice.
        options: the engine's own settings, in the order in which they were written.
    """

    model: str
    device: Device = ""
    number: int | None = None
    precision: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, argument: str) -> "Placement":
        """Read the form above.

        Raises:
            SetupError: an option without a value, or a CPU without a thread.
        """
        found = _FORM.fullmatch(argument)
        assert found is not None
        device = "" if found["device"] in (None, "auto") else found["device"]
        number = None if found["number"] is None else int(found["number"])
        if device == "cpu" and number == 0:
            raise SetupError(
                "placement_without_threads",
                f"'{argument}' leaves the engine no thread to run in.",
                remedy="Write @cpu:1 or more, or @cpu for as many as fit.",
            )
        options = tuple(_option(argument, part) for part in _parts(found["options"]))
        return cls(found["model"], cast(Device, device), number, found["precision"] or "", options)

    def __str__(self) -> str:
        where = f"@{self.device or 'auto'}" if self.device or self.precision else ""
        number = "" if self.number is None else f":{self.number}"
        precision = f"/{self.precision}" if self.precision else ""
        options = "&".join(f"{key}={value}" for key, value in self.options)
        return f"{self.model}{where}{number}{precision}" + (f"?{options}" if options else "")

    @property
    def is_path(self) -> bool:
        """The model is named by a path, and not by its name in the models folder."""
        return "/" in self.model or self.model.startswith((".", "~"))

    def option(self, key: str, default: str = "") -> str:
        """One of the engine's own settings; the last, where it was written twice."""
        return dict(self.options).get(key, default)

    def at(self, model: str) -> "Placement":
        """The same place for another model, or for this one by its path."""
        return replace(self, model=model)


def _parts(text: str | None) -> list[str]:
    return [part for part in (text or "").split("&") if part]


def _option(argument: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not key or not equals:
        raise SetupError(
            "placement_invalid", f"'{part}' in '{argument}' is no key=value.", remedy=_REMEDY
        )
    return key, value


_REMEDY = "Write MODEL[@cpu|cuda|mps[:N]][/PRECISION][?key=value&key=value]."
