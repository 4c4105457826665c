"""Fetches a repository of a model hub through the hub's own client, which goes on with what broke off.

Its mirror is set by HF_ENDPOINT, its login by `hf auth login`, its proxy by HTTPS_PROXY: all read by the client.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duologue.core.errors import DuologueError, EngineUnavailable
from duologue.engines.models.forms import HubSource
from duologue.engines.models.means import Means, by_hand, check_room
from duologue.engines.models.progress import Progress
from duologue.engines.models.url import mismatch, sha256

LOOK_S = 0.2
"""How often the folder's size is looked at."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    size: int | None
    sha256: str


def fetch(source: HubSource, into: Path, means: Means, place: Path) -> str:
    """Put the files into a folder; what lies there of an earlier attempt is gone on with.

    Args:
        place: where somebody would put them by hand.

    Returns:
        The commit that it is.

    Raises:
        EngineUnavailable: they cannot be had.
        SetupError: they are larger than the disk.
        OSError: they cannot be stored.
    """
    hub = _client(source, place)
    try:
        commit, files = _listed(hub, source, place)
        _fetch(hub, source.repo, commit, files, into, means)
    except DuologueError:
        raise
    except Exception as error:  # outer wall: what it raises depends on its version and HTTP library
        raise _hub_error(error, source, place) from error
    shutil.rmtree(into / ".cache", ignore_errors=True)  # the client's notes for resuming
    for file in files:
        _check(into / file.name, file, source)
    return commit


def _client(source: HubSource, place: Path) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise EngineUnavailable(
            "hub_client_missing",
            f"{source.repo} cannot be fetched: the hub's client is not installed.",
            remedy="Run `make setup EXTRAS=whisper` or `pip install 'duologue[hub]'`, "
            f"or {_elsewhere(source, place)}.",
        ) from error
    return huggingface_hub


def _listed(hub: Any, source: HubSource, place: Path) -> tuple[str, list[_File]]:
    """The commit, and the files that are wanted of it.

    Asked before anything is fetched: of a folder that exists, the client would say without a network that all is
    there; and how much it will be is known before the disk is full.
    """
    about = hub.HfApi().model_info(
        source.repo, revision=source.revision or None, files_metadata=True
    )
    names = {sibling.rfilename: sibling for sibling in about.siblings or ()}
    wanted = hub.utils.filter_repo_objects(names, allow_patterns=list(source.files) or None)
    files = [
        _File(name, names[name].size, names[name].lfs.sha256 if names[name].lfs else "")
        for name in wanted
    ]
    if not files:
        raise EngineUnavailable(
            "hub_files_missing",
            f"The repository {source.repo} holds none of the files that are wanted ({', '.join(source.wanted)}).",
            remedy=f"See what it holds on its page, and write hub:ORG/NAME:pattern; or {by_hand(source, place)}.",
        )
    return str(about.sha), files


def _fetch(hub: Any, repo: str, commit: str, files: list[_File], into: Path, means: Means) -> None:
    have = size_of(into)
    total = sum(file.size or 0 for file in files)
    check_room(into.parent, total - have, repo)
    hub.utils.disable_progress_bars()
    with _watched(into, repo, total or None, means.progress):
        hub.snapshot_download(
            repo, revision=commit, local_dir=into, allow_patterns=[file.name for file in files]
        )


@contextmanager
def _watched(folder: Path, what: str, total: int | None, progress: Progress) -> Iterator[None]:
    """Tell how far it is by the size of the folder: the client's own bars differ from version to version."""
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(LOOK_S):
            progress.reach(size_of(folder))

    progress.begin(what, total, size_of(folder))
    thread = threading.Thread(target=look, name="hub-progress")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        progress.reach(size_of(folder))
        progress.end()


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, of which some may come and go."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += 0 if path.is_dir() else path.stat().st_size
        except OSError:
            continue
    return total


def _check(path: Path, file: _File, source: HubSource) -> None:
    size = path.stat().st_size if path.is_file() else None
    if size is None or (file.size is not None and size != file.size):
        path.unlink(missing_ok=True)
        raise EngineUnavailable(
            "hub_file_incomplete",
            f"'{file.name}' of {source.repo} has {size or 0} bytes, and not the {file.size} that it has on the hub.",
            remedy="Try again.",
        )
    if file.sha256 and (found := sha256(path)) != file.sha256:
        path.unlink()
        raise mismatch(f"'{file.name}' of {source.repo}", found, file.sha256)


def _hub_error(error: Exception, source: HubSource, place: Path) -> Exception:
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
        remedy=f"Check the network (a mirror: HF_ENDPOINT, a proxy: HTTPS_PROXY), or {_elsewhere(source, place)}.",
    )


def _root(error: BaseException) -> str:
    """The cause at the bottom, in one line."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _elsewhere(source: HubSource, place: Path) -> str:
    return f"download {source.repo} elsewhere and {by_hand(source, place)}"
