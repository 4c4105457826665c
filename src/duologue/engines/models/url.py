"""Downloads by address: resumed where they broke off, tried again with growing pauses, checked against their hash.

    it.onnx.part         what is there so far
    it.onnx.part.json    which file that is the beginning of: its address and its ETag or date

A part is gone on with (RFC 9110, sections 14 and 13.1.5: Range, If-Range) only where the server says that the file is
still the same, or where a hash will tell in the end. Proxies are taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as
urllib does.
"""

import hashlib
import json
import re
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from duologue.core.errors import EngineUnavailable
from duologue.engines.models.forms import Link
from duologue.engines.models.means import Means, check_room

TIMEOUT_S = 30.0
"""Without a byte, or without an answer."""

IDLE_TRIES = 5
"""Attempts on end that bring nothing."""

LONELY_TRIES = 3
"""Attempts on end without a connection, where there never was one: the network is away, or the name is wrong."""

MAX_TRIES = 50
"""Attempts in all: a line that breaks off every few megabytes may have many."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Before the next attempt; the first again after one that brought something."""

MAX_PAUSE_S = 60.0
"""However long the server asks us to wait (Retry-After)."""

CHUNK = 1 << 18

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers that another attempt may change."""

POINTER = b"version https://git-lfs"
"""How a file begins that only says where the real one is (the specification of Git LFS)."""


class _Again(Exception):
    """This attempt failed, and another may not; the text says why."""

    def __init__(self, why: str, pause_s: float | None = None) -> None:
        super().__init__(why)
        self.pause_s = pause_s


class _NoConnection(_Again):
    """Nobody was reached."""


def download(link: Link, target: Path, means: Means, way_out: str) -> None:
    """Put a file to its place, which appears only when it is whole.

    Args:
        way_out: what somebody could do by hand, for the remedies.

    Raises:
        EngineUnavailable: it cannot be had; what came so far is kept for the next time, if it may be good.
        SetupError: it is larger than the disk.
        OSError: it cannot be stored.
    """
    address = through(means.mirror, link.url)
    part = _Part(target, link, address)
    idle, was_connected = 0, False
    for _ in range(MAX_TRIES):
        before = part.size
        try:
            _attempt(address, part, means, way_out)
            break
        except _Again as failure:
            idle = 0 if part.size > before else idle + 1
            was_connected = was_connected or not isinstance(failure, _NoConnection)
            if idle >= (IDLE_TRIES if was_connected else LONELY_TRIES):
                raise _gave_up(address, str(failure), part, way_out) from failure
            pause_s = PAUSES_S[idle] if failure.pause_s is None else failure.pause_s
            means.progress.note(f"{failure}, trying again in {pause_s:g} s …")
            means.sleep(pause_s)
        finally:
            means.progress.end()
    else:
        raise _gave_up(address, f"it broke off {MAX_TRIES} times", part, way_out)
    _check(part, way_out)
    part.finish()


def through(mirror: str, url: str) -> str:
    """An address as it is asked for by way of a mirror; see `Means.mirror`."""
    if not mirror:
        return url
    if "{url}" in mirror:
        return mirror.replace("{url}", url)
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{mirror.rstrip('/')}{parts.path}{query}"


# --- what is there so far ---
class _Part:
    """The beginning of a file, and the note of which file that is."""

    def __init__(self, target: Path, link: Link, address: str) -> None:
        self.target, self.link = target, link
        self._address = address
        self._path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self._path.stat().st_size if self._path.is_file() else 0

    @property
    def path(self) -> Path:
        return self._path

    @property
    def validator(self) -> str:
        """The ETag or date that the rest must have too; empty if there is none, or it is of another address."""
        try:
            note = json.loads(self._note.read_text())
            return str(note["validator"]) if note["url"] == self._address else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def clear(self, validator: str = "") -> None:
        """Start anew, with the file that is now there."""
        self._path.write_bytes(b"")
        self._note.write_text(json.dumps({"url": self._address, "validator": validator}))

    def finish(self) -> None:
        self._path.rename(self.target)
        self._note.unlink(missing_ok=True)

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


# --- one attempt ---
def _attempt(address: str, part: _Part, means: Means, way_out: str) -> None:
    have = part.size
    if have and not (part.validator or part.link.sha256):
        part.clear()
        have = 0
    try:
        answer = build_opener(_Redirects).open(_request(address, part), timeout=TIMEOUT_S)
    except HTTPError as error:
        with error:
            if _is_whole(error, have):
                return
            raise _refusal(error, address, part, way_out) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise _untrusted(address, error.reason, way_out) from error
        raise _NoConnection(f"no connection ({_first_line(error.reason)})") from error
    except (OSError, HTTPException) as error:
        raise _Again(_first_line(error)) from error
    with answer:
        total = _begin(answer, part, address, way_out)
        check_room(part.path.parent, (total or 0) - part.size, part.target.name)
        means.progress.begin(part.target.name, total, part.size)
        _read_into(answer, part, total, means)


def _request(address: str, part: _Part) -> Request:
    headers = {"User-Agent": "duologue", "Accept-Encoding": "identity"}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    return Request(quote(address, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers)


def _is_whole(error: HTTPError, have: int) -> bool:
    """The server has nothing beyond what is there: "416 … bytes */N"."""
    return (
        error.code == 416
        and have > 0
        and (error.headers.get("Content-Range", "").strip() == f"bytes */{have}")
    )


def _begin(answer: Any, part: _Part, address: str, way_out: str) -> int | None:
    """Make sure that what comes is the rest of what is there, or start anew.

    Returns:
        Bytes of the whole file; None if the server does not say.
    """
    headers = answer.headers
    kind = headers.get_content_type()
    if kind == "text/html" and not part.target.name.lower().endswith((".html", ".htm")):
        raise EngineUnavailable(
            "download_is_a_page",
            f"{address} gives a web page and not a file.",
            remedy=f"Use the address of the file itself; one that asks for a login cannot be used. Or {way_out}.",
        )
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Again(
            f"the server sends it as {headers['Content-Encoding']}, which was not asked for"
        )
    validator = _validator(headers)
    if answer.status != 206:
        part.clear(validator)
        length = headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", "").strip())
    is_same = not part.validator or not validator or validator == part.validator
    if span is None or int(span[1]) != part.size or not is_same:
        part.clear()
        raise _Again("the file has changed on the server", 0.0)
    return int(span[2])


def _validator(headers: Mapping[str, str]) -> str:
    """What names this very file: a strong ETag, else its date."""
    etag = headers.get("ETag", "").strip()
    return etag if etag.startswith('"') else headers.get("Last-Modified", "").strip()


def _read_into(answer: Any, part: _Part, total: int | None, means: Means) -> None:
    have = part.size
    with part.path.open("ab") as out:
        while chunk := _read(answer):
            out.write(chunk)
            have += len(chunk)
            means.progress.reach(have)
    if total is not None and have < total:
        raise _Again(f"it broke off after {have} of {total} bytes")
    if total is not None and have > total:
        part.clear()
        raise _Again(f"the server sent more than the {total} bytes that it had told")


def _read(answer: Any) -> bytes:
    try:
        return bytes(answer.read1(CHUNK))
    except (OSError, HTTPException) as error:
        raise _Again(_first_line(error)) from error


class _Redirects(HTTPRedirectHandler):
    """Never from a protected address to an open one, where anybody on the way could change the file."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if not newurl.startswith("https:") and (
            req.type == "https" or not newurl.startswith("http:")
        ):
            fp.close()
            raise EngineUnavailable(
                "download_redirect_refused",
                f"{req.full_url} leads to {newurl}, which is not protected.",
                remedy="Use an address that stays with https.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# --- what is the matter ---
def _refusal(error: HTTPError, address: str, part: _Part, way_out: str) -> Exception:
    if error.code == 416:
        part.clear()
        return _Again("the file has changed on the server", 0.0)
    if error.code in BUSY:
        pause = error.headers.get("Retry-After", "")
        told = min(float(pause), MAX_PAUSE_S) if pause.isdecimal() else None
        return _Again(f"the server says {error.code} {error.reason}", told)
    if error.code in (404, 410):
        return EngineUnavailable(
            "download_not_found",
            f"There is nothing at {address} ({error.code}).",
            remedy=f"Check the address; or {way_out}.",
        )
    if error.code in (401, 403, 407):
        return EngineUnavailable(
            "download_forbidden",
            f"The server, or a proxy on the way, does not give {address} to us ({error.code} {error.reason}).",
            remedy=f"It may need a login or the terms accepted: fetch it in a browser, and {way_out}.",
        )
    return EngineUnavailable(
        "download_refused",
        f"{address} is refused ({error.code} {error.reason}).",
        remedy=f"Check the address; or {way_out}.",
    )


def _untrusted(address: str, error: ssl.SSLCertVerificationError, way_out: str) -> Exception:
    return EngineUnavailable(
        "download_untrusted",
        f"The certificate of {address} is not trusted: {error.verify_message}.",
        remedy="Behind a proxy that opens connections, set SSL_CERT_FILE to its authority's certificate; check the "
        f"clock; or {way_out}.",
    )


def _gave_up(address: str, why: str, part: _Part, way_out: str) -> EngineUnavailable:
    kept = f" {part.size / 1e6:.1f} MB are kept: the same command goes on from there." * (
        part.size > 0
    )
    return EngineUnavailable(
        "download_failed",
        f"{address} cannot be fetched: {why}.{kept}",
        remedy="Check the network and the proxy (HTTPS_PROXY), and try again; name another server with --mirror; "
        f"or {way_out}.",
    )


def _check(part: _Part, way_out: str) -> None:
    """See that it is the right file; a wrong one is not gone on with."""
    with part.path.open("rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        part.drop()
        raise EngineUnavailable(
            "download_is_a_pointer",
            f"{part.link.url} gives a pointer of Git LFS and not the file that it stands for.",
            remedy=f"Use the address of the raw file (on hubs: …/resolve/…); or {way_out}.",
        )
    if part.link.sha256:
        found = sha256(part.path)
        if found != part.link.sha256:
            part.drop()
            raise mismatch(part.link.url, found, part.link.sha256)


def mismatch(what: str, found: str, expected: str) -> EngineUnavailable:
    """A file is not the one that was meant."""
    return EngineUnavailable(
        "model_hash_mismatch",
        f"{what} is not the expected file: its SHA-256 is {found}, not {expected}.",
        remedy="Do not use it unless you know why it differs; then leave the hash out of the source.",
    )


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _first_line(error: object) -> str:
    text = (str(error).splitlines() or [""])[0]
    return text or type(error).__name__
