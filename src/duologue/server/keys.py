"""API keys: made, named, revoked, and kept as hashes in a file of the data directory.

A key is 256 random bits behind a prefix. One round of SHA-256 is enough to keep it: nobody can try 2**256
keys, however fast a try is, so there is nothing that a slow or salted hash would protect. (Passwords are
guessable; for those it would be wrong.) Keys that the operator chose himself, in the environment, are never
written down; they may be guessable, and `server.auth` limits guesses at them.

The file is replaced whole, so a reader sees the old or the new one; a lock beside it keeps two writers apart.
A server looks at the file's time stamp at each request, and reads it again when it has changed.
"""

import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from duologue.core.errors import SetupError
from duologue.server.limits import MAX_PER_MINUTE, MAX_SESSIONS

log = logging.getLogger("duologue.keys")

FILE = "api-keys.json"
PREFIX = "dl_"
EPHEMERAL_PREFIX = "ek_"
GIVEN_NAME = "env-"
RANDOM_BYTES = 32
MAX_KEYS = 1_000
MAX_FILE_BYTES = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_SESSIONS)]
Rate = Annotated[int, msgspec.Meta(ge=0, le=MAX_PER_MINUTE)]


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a key.

    Attributes:
        sha256: of the key, in hexadecimal; it also tells a key from a later one of the same name.
        created_at: Unix time in seconds.
        max_sessions: at a time; 0 for no limit, None for the server's own.
        per_minute: requests; 0 for no limit, None for the server's own.
    """

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    created_at: int
    max_sessions: Count | None = None
    per_minute: Rate | None = None


class _Contents(msgspec.Struct, forbid_unknown_fields=True):
    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    keys: Annotated[list[Key], msgspec.Meta(max_length=MAX_KEYS)]


Stamp = tuple[int, ...]
"""A file's times, size and inode: a file that was replaced, written to or made readable has another."""


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class KeyFile:
    """The file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> Stamp | None:
        """Another one when the file has changed; None if there is none."""
        try:
            return _stamp(self.path.stat())
        except OSError:
            return None

    def read(self) -> tuple[tuple[Key, ...], Stamp | None]:
        """The keys, and the stamp of what was read; none where there is no file.

        Raises:
            SetupError: it cannot be read, or it is no key file.
        """
        try:
            with self.path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return (), None
        except OSError as error:
            raise SetupError(
                "key_file_unreadable",
                f"The key file {self.path} cannot be read: {error.strerror}.",
                remedy="The user that runs the server must be able to read it.",
            ) from error
        return self._parse(data), stamp

    def add(
        self, name: str, *, max_sessions: int | None = None, per_minute: int | None = None
    ) -> str:
        """Make a key; it is returned once and kept nowhere.

        Raises:
            SetupError: the name is taken or cannot be one, a limit cannot be, or the file cannot be written.
        """
        if not _NAME.fullmatch(name) or name.startswith(GIVEN_NAME):
            raise SetupError(
                "key_name_invalid",
                f"'{name}' cannot be the name of a key.",
                remedy="Use up to 64 letters, digits, '.', '_' and '-'; "
                f"'{GIVEN_NAME}…' names the keys in DUOLOGUE_API_KEY.",
            )
        secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        fields = {"name": name, "sha256": digest(secret), "created_at": int(time.time())}
        try:
            key = msgspec.convert(
                {**fields, "max_sessions": max_sessions, "per_minute": per_minute}, Key
            )
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at")[0]
            raise SetupError(
                "key_limit_invalid",
                f"The limits of a key cannot be so: {reason}.",
                remedy=f"At most {MAX_SESSIONS} sessions, {MAX_PER_MINUTE} requests a minute; 0 for no limit.",
            ) from error
        with self._held():
            keys, _ = self.read()
            if any(other.name == name for other in keys):
                raise SetupError(
                    "key_exists",
                    f"There is a key '{name}' already.",
                    remedy=f"Choose another name, or revoke it: `duologue keys revoke {name}`.",
                )
            if len(keys) >= MAX_KEYS:
                raise SetupError(
                    "too_many_keys",
                    f"There are {MAX_KEYS} keys already.",
                    remedy="Revoke one; visitors' browsers need ephemeral keys, not keys of their own.",
                )
            self._write((*keys, key))
        return secret

    def revoke(self, name: str) -> int:
        """Forget a key; returns how many are left. The file stays, so that a server without keys stays shut.

        Raises:
            SetupError: there is none of this name, or the file cannot be written.
        """
        with self._held():
            keys, _ = self.read()
            left = tuple(key for key in keys if key.name != name)
            if len(left) == len(keys):
                raise SetupError(
                    "key_unknown",
                    f"There is no key '{name}' in {self.path}.",
                    remedy="`duologue keys list` shows them; those in DUOLOGUE_API_KEY are revoked there.",
                )
            self._write(left)
        return len(left)

    def _parse(self, data: bytes) -> tuple[Key, ...]:
        try:
            if len(data) > MAX_FILE_BYTES:
                raise msgspec.ValidationError(f"it is larger than {MAX_FILE_BYTES} bytes")
            keys = tuple(msgspec.json.decode(data, type=_Contents).keys)
            if len({k.name for k in keys}) < len(keys) or len({k.sha256 for k in keys}) < len(keys):
                raise msgspec.ValidationError("a name or a key is in it twice")
        except msgspec.MsgspecError as error:
            raise SetupError(
                "key_file_invalid",
                f"{self.path} is no key file: {error}.",
                remedy="Bring back a copy of it, or remove it and make keys anew: `duologue keys add NAME`.",
            ) from error
        return keys

    def _write(self, keys: tuple[Key, ...]) -> None:
        data = msgspec.json.format(msgspec.json.encode(_Contents(1, list(keys))), indent=2) + b"\n"
        number, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
        try:  # mkstemp lets nobody else read it (mode 0600)
            with open(number, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other writers out; the lock goes with the process, however it ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise SetupError(
                "key_file_unwritable",
                f"The key file {self.path} cannot be written: {error.strerror or error}.",
                remedy="Run this as the user that runs the server; XDG_DATA_HOME moves the data directory.",
            ) from error


class KeyBook:
    """All keys of a running server: those of the file as it is now, and those it was given at its start.

    Args:
        file: where keys are kept; None for nowhere.
        given: keys of the operator's choice; named "env-1", "env-2", …

    Attributes:
        is_asking: a key is needed: one was given, or there is a key file, even an empty one. Once true it stays
            so: a server that was shut never opens because a file went away.
        fault: why the file cannot be used; then none of its keys opens.

    Raises:
        SetupError: the file cannot be used, or a given key cannot be told from an ephemeral one.
    """

    def __init__(self, file: Path | None = None, given: Iterable[str] = ()) -> None:
        given = tuple(given)
        if any(secret.startswith(EPHEMERAL_PREFIX) for secret in given):
            raise SetupError(
                "api_key_invalid",
                f"An API key cannot begin with '{EPHEMERAL_PREFIX}': ephemeral keys do.",
                remedy="Choose another for DUOLOGUE_API_KEY; `duologue keys add NAME` makes good ones.",
            )
        self.is_asking = bool(given)
        self.fault: SetupError | None = None
        self._file = KeyFile(file) if file is not None else None
        self._stamp: Stamp | None = None
        self._made: dict[str, Key] = {}
        self._given = {
            digest(secret): Key(name=f"{GIVEN_NAME}{n}", sha256=digest(secret), created_at=0)
            for n, secret in enumerate(given, 1)
        }
        self.refresh()
        if self.fault is not None:
            raise self.fault

    def refresh(self) -> tuple[Key, ...]:
        """Read the file again if it has changed; returns the keys that were revoked.

        A file that cannot be read revokes none, but none opens until it is mended.
        """
        if self._file is None or (stamp := self._file.stamp()) == self._stamp:
            return ()
        try:
            keys, self._stamp = self._file.read()
        except SetupError as error:
            if self.fault is None:
                log.error("! no key of the key file opens: %s", error)
            self._stamp, self.fault, self.is_asking = stamp, error, True
            return ()
        before, self._made, self.fault = self._made, {key.sha256: key for key in keys}, None
        self.is_asking = self.is_asking or self._stamp is not None
        return tuple(key for sha256, key in before.items() if sha256 not in self._made)

    def made(self, secret: str) -> Key | None:
        """The key of the file that this is."""
        return None if self.fault is not None else _find(self._made, secret)

    def given(self, secret: str) -> Key | None:
        """The key of the operator's choice that this is."""
        return _find(self._given, secret)

    def by_sha256(self, sha256: str) -> Key | None:
        """A key that opens, by what is kept of it."""
        made = self._made if self.fault is None else {}
        return self._given.get(sha256) or made.get(sha256)

    def names(self) -> set[str]:
        """Of all keys."""
        return {key.name for keys in (self._made, self._given) for key in keys.values()}


def _find(keys: dict[str, Key], secret: str) -> Key | None:
    """Compare with every key, each in constant time: how long it takes says nothing of any."""
    asked, found = digest(secret), None
    for sha256, key in keys.items():
        if hmac.compare_digest(asked, sha256):
            found = key
    return found


def _stamp(about: os.stat_result) -> Stamp:
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino
