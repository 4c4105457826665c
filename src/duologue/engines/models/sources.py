"""Where model files may come from: plain descriptions, and the short list of models known by name.

    /path/to/it  ./it  ~/it                     a folder or file on this machine
    wheel:NAME==VERSION:path/in/it[#sha256=…]   one file of a published wheel, which is not installed
    hub:ORG/NAME[@REVISION]                     a repository of the Hugging Face hub

Fetching them is the business of `fetch`.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from duologue.core.errors import SetupError


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder, or a single file, on this machine; copied, so that it may go away afterwards."""

    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, slots=True)
class WheelSource:
    """One file of a wheel that a package index publishes.

    Attributes:
        member: path inside the wheel.
        sha256: of that file, in hexadecimal; empty if it is not known.
    """

    package: str
    version: str
    member: str
    sha256: str = ""

    def __str__(self) -> str:
        check = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"wheel:{self.package}=={self.version}:{self.member}{check}"

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        return PurePosixPath(self.member).stem


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of a model hub.

    Attributes:
        revision: a branch, tag or commit; empty for the newest.
        files: patterns of the files that are wanted; empty for all.
    """

    repo: str
    revision: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"hub:{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        return self.repo.rpartition("/")[2]


Source = LocalSource | WheelSource | HubSource

_WHEEL = re.compile(
    r"wheel:(?P<package>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+):(?P<member>[^#:]+)"
    r"(#sha256=(?P<sha256>[0-9a-f]{64}))?"
)
_HUB = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def parse(text: str) -> Source:
    """Read one of the forms above, or a name of the `CATALOGUE`.

    Raises:
        SetupError: it is neither.
    """
    if (known := CATALOGUE.get(text)) is not None:
        return known.source
    if (match := _WHEEL.fullmatch(text)) is not None:
        return WheelSource(**match.groupdict(""))
    if (match := _HUB.fullmatch(text)) is not None:
        return HubSource(match["repo"], match["revision"] or "")
    if text.startswith(("/", "./", "../", "~")):
        return LocalSource(text)
    raise SetupError(
        "model_source_invalid",
        f"'{text}' is no model that is known by name, and no source of one.",
        remedy="Use a folder (/path, ./path), wheel:NAME==VERSION:path[#sha256=…], hub:ORG/NAME[@REVISION], "
        f"or one of: {', '.join(CATALOGUE)}.",
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A model that can be asked for by name.

    Attributes:
        megabytes: to download (10^6 bytes).
        use: how it is then used; empty where Duologue finds it by itself.
    """

    source: Source
    megabytes: int
    about: str
    use: str = ""


WHISPER_FILES = (
    "model.bin",
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.*",
)
"""What faster-whisper reads; some repositories hold more."""

SILERO = WheelSource(
    "silero-vad",
    "6.2.3",
    "silero_vad/data/silero_vad.onnx",
    "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
)
"""The batchable one, as the package itself carries it (hatch_build.py)."""

SMART_TURN = WheelSource(
    "pipecat-ai",
    "1.14.0",
    "pipecat/audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx",
    "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
)
"""The same as the package carries, if it could be had when that was built (hatch_build.py)."""


def _whisper(name: str, repo: str, megabytes: int, about: str) -> Known:
    use = f"duologue serve --stt whisper:{name}"
    return Known(HubSource(repo, files=WHISPER_FILES), megabytes, f"Whisper {about} (MIT)", use)


CATALOGUE = {
    "tiny": _whisper("tiny", "Systran/faster-whisper-tiny", 78, "39 M, 99 languages"),
    "tiny.en": _whisper("tiny.en", "Systran/faster-whisper-tiny.en", 78, "39 M, English"),
    "base": _whisper("base", "Systran/faster-whisper-base", 148, "74 M, 99 languages"),
    "base.en": _whisper("base.en", "Systran/faster-whisper-base.en", 148, "74 M, English"),
    "small": _whisper("small", "Systran/faster-whisper-small", 486, "244 M, 99 languages"),
    "small.en": _whisper("small.en", "Systran/faster-whisper-small.en", 486, "244 M, English"),
    "medium": _whisper("medium", "Systran/faster-whisper-medium", 1_530, "769 M, 99 languages"),
    "large-v3-turbo": _whisper(
        "large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        1_624,
        "809 M, 100 languages",
    ),
    "silero-vad": Known(SILERO, 3, "Silero VAD (MIT)"),
    "smart-turn": Known(SMART_TURN, 13, "Smart Turn v3.2, end of turn (BSD-2)"),
}
"""Names of repositories and sizes as the hub's pages and faster-whisper 1.2.1 have them; nothing was fetched
from there to try. Parameters: Radford et al. 2022, table 1, and the turbo model's card."""
