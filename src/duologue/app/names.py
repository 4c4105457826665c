"""Which engines the settings ask for, by name: in order of preference, a role at a time."""

from collections.abc import Callable, Sequence

from duologue.core.capabilities import Role
from duologue.core.errors import SetupError
from duologue.settings import Settings, listed

EMBEDDED = "embedded"
"""In a list of engines: whatever needs neither a download nor another server."""


def stt(settings: Settings) -> Sequence[str]:
    """The recognisers, in order of preference."""
    return _named(settings.stt, "stt", lambda: _embedded(Role.STT, settings))


def tts(settings: Settings) -> Sequence[str]:
    """The voices, in order of preference."""
    return _named(settings.tts, "tts", lambda: _embedded(Role.TTS, settings))


def llm(settings: Settings) -> Sequence[str]:
    """The language models, in order of preference, where the settings name any beside a URL."""
    return _named(settings.llm, "llm", lambda: _embedded(Role.LLM, settings))


def _embedded(role: Role, settings: Settings) -> Sequence[str]:
    """What needs neither a download nor another server."""
    if settings.engines == "fake":
        return [fake(role, settings)]
    if role is Role.STT:
        return ["pocketsphinx"]
    if role is Role.LLM:
        return ["skills"]
    from duologue.engines.voices import flite

    return ["flite", "espeak"] if flite.available() else ["espeak"]


def _named(text: str, setting: str, embedded: Callable[[], Sequence[str]]) -> Sequence[str]:
    if not text:
        return embedded()
    names: list[str] = []
    for name in listed(text):
        names += embedded() if name == EMBEDDED else [name]
    if names:
        return names
    raise SetupError(
        "setting_invalid",
        f"--{setting} names no engine: '{text}'.",
        remedy="Name one or more, separated by commas; `duologue doctor` lists them.",
    )


def fake(role: str, settings: Settings) -> str:
    """The fake engine of a role, with the policy that the settings give it."""
    return f"fake-{role}:{settings.fake}" if settings.fake else f"fake-{role}"
