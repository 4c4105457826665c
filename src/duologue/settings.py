"""Settings: the only reader of the environment and of duologue.toml.

Command line > environment (`DUOLOGUE_<NAME>`) > ./duologue.toml (`<name>`) > default.
"""

import logging
import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from duologue.core.errors import SetupError
from duologue.server.keys import FILE as KEYS_FILE

log = logging.getLogger("duologue.settings")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PREFIX = "DUOLOGUE_"
FILE = "duologue.toml"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one server behaves.

    Attributes:
        host: address to bind; beyond the own machine only with an API key, or with `no_auth` said.
        api_key: keys that open the server, separated by commas.
        no_auth: nobody needs a key, even from other machines.
        origin: web origins that may use the server besides its own pages, separated by commas; "*" for all.
        tls: "auto" for a self-made certificate, or "CERT,KEY" files.
        engines: which set; fake: the policy of the fake one ("stt_ms=200,llm_tokens=20,fail=0.01").
        stt, tts, llm: engines in order of preference, separated by commas: "whisper:/path,embedded". One written as
            "a>b" becomes b when a's memory runs out.
        turn_end: judge of turns by their sound; "none" for none. Empty: smart-turn where its file is.
        llm_url: an OpenAI-compatible server ("http://127.0.0.1:11434/v1"), with its model and key, where `llm` names
            nothing.
        audio_api_key: keys of the servers behind openai-stt, openai-tts and Kyutai's engines, separated by commas:
            "KEY" for OpenAI's own, "HOST[:PORT]=KEY" for another.
        engine_token: by which engine servers know us, and we our clients as one (`duologue engine-server`).
        instructions: the system prompt of sessions that set none.
        turns: how sessions that set no turn detection begin: "patient", "balanced" or "snappy" (`semantic_vad` of
            that eagerness); empty for the protocol's own, a fixed silence.
        max_turn_ms: a turn that lasts so long is ended; the preset's own limit if not set.
        greeting: said first in every session, unless somebody else is quicker; empty to wait for the user.
        filler: said where a tool takes its time; empty for nothing.
        hang_up: the language model may end a conversation after its goodbye.
        echo: what is done about our own voice in the user's sound: "auto", "off" or "half_duplex".
        model: the name under which `/v1/models` lists what is loaded.
        max_sessions: conversations at a time.
        lead_ms: how far ahead of the listener an answer is sent.
        mcp_servers: addresses of MCP servers that clients may have called, each with all below it, separated by
            commas; "*" for any. Empty: none.
        journal_dir: where each session's journal is written; it holds what was said. Empty: nowhere.
        database_url: where conversations are kept: "postgresql://…", "sqlite:////path", "off"; empty: SQLite in the
            user's data directory.
        store_days: ended conversations are erased after so many; recording_days: recorded sound likewise. 0: never.
        chunk_duration: seconds of sound that a streaming session gives at a time to a recogniser that takes only
            whole windows; overlap_duration: of it again with the next.
        max_chunk_size: bytes of one chunk; max_buffer_size: of sound in one session that is not transcribed yet.
        sample_rate: of raw samples that do not say theirs. Inside, all sound is 16 kHz mono.
        session_timeout: seconds without a sign of life until a streaming session ends; max_session_duration: until
            any does that is not renewed.
        num_workers: pieces of a kind (windows, texts) that are worked on at a time, over all streaming sessions.
        offline: models are never fetched; what is missing is named.
        models_dir: where `duologue models pull` puts files; the user's data directory if empty.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8_000
    api_key: str = ""
    no_auth: bool = False
    origin: str = ""
    tls: str = ""
    engines: Literal["embedded", "fake"] = "embedded"
    fake: str = ""
    stt: str = ""
    tts: str = ""
    llm: str = ""
    turn_end: str = ""
    llm_url: str = ""
    llm_model: str = ""
    llm_api_key: str = ""
    audio_api_key: str = ""
    engine_token: str = ""
    instructions: str = (
        "You are a friendly voice assistant. Answer in one or two short spoken sentences, "
        "without lists or markup."
    )
    turns: Literal["", "patient", "balanced", "snappy"] = ""
    max_turn_ms: Annotated[int, msgspec.Meta(ge=1_000, le=600_000)] | None = None
    greeting: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    filler: Annotated[str, msgspec.Meta(max_length=200)] = ""
    hang_up: bool = False
    echo: Literal["auto", "off", "half_duplex"] = "auto"
    model: str = "duologue"
    max_sessions: Annotated[int, msgspec.Meta(ge=1)] = 200
    max_sessions_per_key: Annotated[int, msgspec.Meta(ge=0)] = 0
    requests_per_minute: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    lead_ms: Annotated[int, msgspec.Meta(ge=40, le=1_000)] = 80
    mcp_servers: str = ""
    journal_dir: str = ""
    database_url: str = ""
    store_days: Annotated[float, msgspec.Meta(ge=0)] = 30
    recording_days: Annotated[float, msgspec.Meta(ge=0)] = 7
    chunk_duration: Annotated[float, msgspec.Meta(ge=0.5, le=13)] = 2.0
    overlap_duration: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.5
    max_chunk_size: Annotated[int, msgspec.Meta(ge=1_024, le=16 * 2**20)] = 2**20
    sample_rate: Annotated[int, msgspec.Meta(ge=8_000, le=48_000)] = 16_000
    max_buffer_size: Annotated[int, msgspec.Meta(ge=2**16)] = 10 * 2**20
    session_timeout: Annotated[float, msgspec.Meta(gt=0)] = 3_600
    max_session_duration: Annotated[float, msgspec.Meta(gt=0)] = 3_600
    num_workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    offline: bool = False
    models_dir: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys."""
        return listed(self.api_key)

    @property
    def keys_file(self) -> Path | None:
        """Where `duologue keys` keeps keys; None if nobody needs one."""
        return None if self.no_auth else data_home() / KEYS_FILE

    @property
    def origins(self) -> tuple[str, ...]:
        """The web origins."""
        return listed(self.origin)

    @property
    def models_folder(self) -> Path:
        """Where model files are."""
        return Path(self.models_dir).expanduser() if self.models_dir else data_home() / "models"


def listed(text: str) -> tuple[str, ...]:
    """What stands between the commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def data_home() -> Path:
    """The user's data directory of Duologue."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "duologue"


def variable(name: str) -> str:
    """One `DUOLOGUE_` variable, for commands that need no more; empty if it is not set."""
    return os.environ.get(PREFIX + name, "")


def visible_gpus() -> str | None:
    """`CUDA_VISIBLE_DEVICES`: which GPUs may be used, and in which order; None for all."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def load(given: Mapping[str, Any], file: Path = Path(FILE)) -> Settings:
    """Read all sources; `given` comes from the command line and wins.

    Raises:
        SetupError: a value that cannot be, an unknown name in the file, or a server open to all unsaid.
    """
    sources = {str(file): _from_file(file), "the environment": _from_environment(), "": dict(given)}
    merged: dict[str, Any] = {}
    for source, values in sources.items():
        for name, value in values.items():
            _check(source, name, value)
            merged[name] = value
    settings = msgspec.convert(merged, Settings, strict=False)
    has_keys = bool(settings.keys) or (
        settings.keys_file is not None and settings.keys_file.exists()
    )
    if settings.host not in LOOPBACK and not has_keys and not settings.no_auth:
        raise SetupError(
            "no_api_key",
            f"Binding to {settings.host} would open this server to everybody who can reach it.",
            remedy="Make a key (`duologue keys add NAME`), set DUOLOGUE_API_KEY, or say --no-auth if that is meant.",
        )
    return settings


def _check(source: str, name: str, value: Any) -> None:
    """Refuse a setting by its name, and say where it stands."""
    where = f" in {source}" if source else ""
    if name not in Settings.__struct_fields__:
        near = get_close_matches(name, Settings.__struct_fields__, 1)
        raise SetupError(
            "setting_unknown",
            f"There is no setting '{name}'{where}.",
            remedy=f"Did you mean '{near[0]}'?" if near else "`duologue serve --help` lists them.",
        )
    try:
        msgspec.convert({name: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at")[0]
        raise SetupError(
            "setting_invalid",
            f"The setting '{name}'{where} cannot be {value!r}: {reason}.",
            remedy=_CHOICES.get(name, "`duologue serve --help` says what it may be."),
        ) from error


_CHOICES = {
    "engines": "It is 'embedded' or 'fake'.",
    "log_level": "It is 'debug', 'info', 'warning' or 'error'.",
    "port": "It is a number from 0 to 65535.",
    "turns": "It is 'patient', 'balanced' or 'snappy', or empty for the protocol's own turn detection.",
    "max_turn_ms": "It is a number of milliseconds, from 1000 to 600000.",
    "echo": "It is 'auto', 'off' or 'half_duplex'.",
}


def _from_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(
            "settings_file_invalid",
            f"{file} is no TOML: {error}.",
            remedy='One setting a line: host = "127.0.0.1" (words in quotes), port = 8000.',
        ) from error


def _from_environment() -> dict[str, str]:
    names = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    for key in os.environ:
        if key.startswith(PREFIX) and key not in names and key not in _OTHERS:
            log.warning("! %s is no setting of Duologue, and is not used", key)
    return {name: os.environ[key] for key, name in names.items() if key in os.environ}


_OTHERS = {PREFIX + "SPEECH"}
"""Variables of the benches."""
