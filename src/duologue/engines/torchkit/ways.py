"""The ways to run one model that a contest is held between: a precision, and how attention is computed.

"sdpa" is torch's fused attention, "eager" the same step by step. The fused one takes less memory and mostly less
time; for one new word after a short prompt it is not sure to, so the other is tried as well, last.
"""

from dataclasses import dataclass

from duologue.core.errors import SetupError
from duologue.core.placement import Placement
from duologue.engines.torchkit.precision import Precision

ATTENTIONS = ("sdpa", "eager")
"""As Transformers calls them; the usual one first."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a model.

    Attributes:
        precision: of `precision.NAMES`.
        attention: of `ATTENTIONS`.
    """

    precision: str
    attention: str = ATTENTIONS[0]

    @property
    def name(self) -> str:
        """As a verdict has it: "bf16 sdpa"."""
        return f"{self.precision} {self.attention}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user left open, and what not.

    Attributes:
        precision: empty where none is asked for.
        attention: of `ATTENTIONS`; empty where none is asked for.
        contest: whether there is to be one.
    """

    precision: str = ""
    attention: str = ""
    contest: bool = True

    @classmethod
    def of(cls, placement: Placement) -> "Asked":
        """From "/PRECISION", "?attention=" and "?contest=" of an engine's argument.

        Raises:
            SetupError: an option has a value that is none of its own.
        """
        contest = _option(placement, "contest", ("on", "off"))
        return cls(
            placement.precision, _option(placement, "attention", ATTENTIONS), contest != "off"
        )


def ways(choice: Precision, asked: Asked) -> tuple[Way, ...]:
    """The plain way first, then what may be faster: other precisions, then the other attention.

    Nothing but the plain way where there is to be no contest, or a precision is asked for: the model then runs just
    as written.
    """
    attention = asked.attention or ATTENTIONS[0]
    plain = Way(choice.name, attention)
    if asked.precision or not asked.contest:
        return (plain,)
    rivals = [Way(name, attention) for name in choice.rivals]
    if not asked.attention:
        rivals += [Way(choice.name, other) for other in ATTENTIONS[1:]]
    return (plain, *rivals)


def _option(placement: Placement, key: str, values: tuple[str, ...]) -> str:
    value = placement.option(key)
    if value and value not in values:
        raise SetupError(
            "torch_option_invalid",
            f"{key}={value} cannot be used for {placement.model}.",
            remedy=f"Write one of {', '.join(values)}, or leave it out.",
        )
    return value
