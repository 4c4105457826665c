"""What a plan is to be good for, and the profiles by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError

Aim = Literal["balanced", "quality", "latency"]

GIB = 1_024
ROLES = (Role.STT, Role.TTS, Role.LLM)

PER_MS: Mapping[Aim, float] = {"balanced": 0.03, "quality": 0.003, "latency": 0.15}
"""Points of quality that a millisecond of waiting costs: in balance a tenth of a second is worth three points."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A budget with a name.

    Attributes:
        caps: of each role on a card, MiB, the context of its process with it.
        total_mib: of all together; None for what the machine has.
        uses_cards: a plan within it may use graphics cards.
        is_built_in_only: nothing but what comes with the server.
    """

    about: str
    caps: Mapping[Role, int] = field(default_factory=dict)
    total_mib: int | None = None
    uses_cards: bool = True
    is_built_in_only: bool = False


def _split(about: str, stt_gib: float, tts_gib: float, llm_gib: float) -> Profile:
    caps = dict(zip(ROLES, (round(g * GIB) for g in (stt_gib, tts_gib, llm_gib)), strict=True))
    return Profile(about, caps, sum(caps.values()))


PROFILES: Mapping[str, Profile] = {
    "auto": Profile("all memory that is free"),
    "default": _split("9 GB of a card: 2 for STT, 3 for TTS, 4 for the LLM", 2, 3, 4),
    "optimized": _split("5 GB of a card: 1 for STT, 2 for TTS, 2 for the LLM", 1, 2, 2),
    "low": _split("3 GB of a card: 1 for each", 1, 1, 1),
    "minimal": Profile("1.5 GB of a card, in as few processes as it takes", {}, round(1.5 * GIB)),
    "cpu": Profile("no card at all", uses_cards=False),
    "embedded": Profile(
        "what comes with the server: no card, no download", uses_cards=False, is_built_in_only=True
    ),
}
MINIMAL_EACH_MIB = GIB // 2
"""What `minimal` would leave each of three processes."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted.

    Attributes:
        profile: one of `PROFILES`.
        budget_mib: of all cards together, less than the profile's if that has one; None for no such limit.
        aim: what counts more.
        sessions: conversations at a time that must be served in time.
        context_tokens: of each session, that the language model keeps in mind.
        languages: spoken in these only (ISO-639-1); empty for any.
        is_apart: each engine in a process (a container) of its own, also those that could share one.
    """

    profile: str = "auto"
    budget_mib: int | None = None
    aim: Aim = "balanced"
    sessions: int = 1
    context_tokens: int = 4_096
    languages: tuple[str, ...] = ()
    is_apart: bool = False

    @property
    def limits(self) -> Profile:
        """The profile itself.

        Raises:
            SetupError: there is none of that name.
        """
        if self.profile not in PROFILES:
            raise SetupError(
                "profile_unknown",
                f"There is no profile '{self.profile}'.",
                remedy=f"Known: {', '.join(PROFILES)}.",
            )
        return PROFILES[self.profile]

    @property
    def total_mib(self) -> int | None:
        """The most that all cards together may hold of ours; None for no limit but theirs."""
        known = [mib for mib in (self.budget_mib, self.limits.total_mib) if mib is not None]
        return min(known) if known else None

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            SetupError: an unknown profile, or numbers that are none.
        """
        _ = self.limits
        if self.sessions < 1 or self.context_tokens < 1 or (self.budget_mib or 0) < 0:
            raise SetupError(
                "goal_invalid",
                "A plan is for at least one session with at least one token of context, and no budget is negative.",
                remedy="Say --sessions 1 --context 4096, for example.",
            )
