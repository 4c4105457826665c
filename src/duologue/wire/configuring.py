"""How a session behaves beyond the protocol's session object: the operator's choice, and a client's of `duologue.v1`.

Kept apart from that object, which stays as the protocol has it, and laid over what it means.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from duologue.core.options import Echo, SessionOptions
from duologue.core.policy import TurnPolicy
from duologue.core.presets import PRESETS
from duologue.wire.session_options import IDLE_MS
from duologue.wire.validation import MAX_EVENT_ID

Preset = Literal["patient", "balanced", "snappy"]

MAX_TURN_MS = (1_000, 600_000)
MAX_FILLER_CHARS = 200
MAX_GREETING_CHARS = 1_000
"""A minute of speech."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator chose, for sessions whose client says nothing of it.

    Attributes:
        turns: the preset that `semantic_vad` begins with; empty for the protocol's own `server_vad`.
        max_turn_ms: None for the presets' own.
    """

    turns: Preset | Literal[""] = ""
    max_turn_ms: int | None = None
    filler: str = ""
    hang_up: bool = False
    greeting: str = ""
    echo: Echo = "auto"

    def under(self, options: SessionOptions) -> SessionOptions:
        """What a client's session object means, completed."""
        turn = options.turn
        if self.max_turn_ms is not None:
            turn = replace(turn, max_turn_ms=self.max_turn_ms)
        return replace(
            options,
            turn=turn,
            filler=self.filler,
            hang_up=self.hang_up,
            greeting=self.greeting,
            echo=self.echo,
        )


class Configure(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="duologue.configure"
):
    """What a client configures: what is unset, it says nothing of; null takes back what it said."""

    event_id: Annotated[str, msgspec.Meta(max_length=MAX_EVENT_ID)] | None = None
    turns: Preset | UnsetType | None = UNSET
    max_turn_ms: (
        Annotated[int, msgspec.Meta(ge=MAX_TURN_MS[0], le=MAX_TURN_MS[1])] | UnsetType | None
    ) = UNSET
    idle_timeout_ms: (
        Annotated[int, msgspec.Meta(ge=IDLE_MS[0], le=IDLE_MS[1])] | UnsetType | None
    ) = UNSET
    filler: Annotated[str, msgspec.Meta(max_length=MAX_FILLER_CHARS)] | UnsetType | None = UNSET
    hang_up: bool | UnsetType | None = UNSET
    greeting: Annotated[str, msgspec.Meta(max_length=MAX_GREETING_CHARS)] | UnsetType | None = UNSET
    echo: Echo | UnsetType | None = UNSET

    def and_then(self, later: "Configure") -> "Configure":
        """Both, the later word counting."""
        said = {name: value for name, value in _fields(later).items() if value is not UNSET}
        return msgspec.structs.replace(self, **said)

    def over(self, options: SessionOptions) -> SessionOptions:
        """What the session object and the operator's defaults mean, with this laid over it."""
        said = {n: v for n, v in _fields(self).items() if v is not UNSET and v is not None}
        turn = options.turn
        if (preset := said.pop("turns", None)) is not None:
            turn = with_preset(turn, preset)
        if (max_turn_ms := said.pop("max_turn_ms", None)) is not None:
            turn = replace(turn, max_turn_ms=max_turn_ms)
        if (idle_ms := said.pop("idle_timeout_ms", None)) is not None and turn.detect:
            turn = replace(turn, idle_ms=idle_ms)
        return replace(options, turn=turn, **said)

    def shown(self, options: SessionOptions) -> dict[str, Any]:
        """All of it as it is now; `options` is what `over` gave."""
        return {
            "turns": None if self.turns is UNSET else self.turns,
            "max_turn_ms": options.turn.max_turn_ms,
            "idle_timeout_ms": options.turn.idle_ms,
            "filler": options.filler,
            "hang_up": options.hang_up,
            "greeting": options.greeting,
            "echo": options.echo,
        }


def with_preset(turn: TurnPolicy, name: str) -> TurnPolicy:
    """A preset's patience and manners; whether there are turns and answers at all stays as it was."""
    if not turn.detect:
        return turn
    return replace(
        PRESETS[name],
        create_response=turn.create_response,
        interrupt_response=turn.interrupt_response,
        idle_ms=turn.idle_ms,
        max_turn_ms=turn.max_turn_ms,
    )


def _fields(said: Configure) -> dict[str, Any]:
    names = (name for name in Configure.__struct_fields__ if name != "event_id")
    return {name: getattr(said, name) for name in names}
