"""A web server on this machine that can be made to misbehave, and somebody who is told how far a download is."""

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from duologue.engines.models.progress import Progress


@dataclass
class Page:
    """What is at an address, and what happens to those who ask; lists are used up, request by request.

    Attributes:
        statuses: given instead of the file.
        breaks: after so many bytes of an answer the connection is closed.
        stalls: after so many bytes of an answer nothing more comes.
        length: told instead of the true one.
    """

    body: bytes = b""
    etag: str = '"one"'
    headers: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    knows_range: bool = True
    knows_if_range: bool = True
    length: int | None = None
    is_chunked: bool = False
    location: str = ""


class Web:
    """Pages by their paths, and what was asked for: (path, Range, If-Range)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.is_over = threading.Event()

    def put(self, path: str, page: Page) -> str:
        self.pages[path] = page
        return self.url + path

    @property
    def ranges(self) -> list[str | None]:
        return [asked[1] for asked in self.asked]


@contextmanager
def web(certificate: tuple[Path, Path] | None = None) -> Iterator[Web]:
    """A running server; with a certificate and its key it speaks https."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        Handler.web = found = Web(f"{scheme}://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            found.is_over.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    web: Web

    def do_GET(self) -> None:
        self.web.asked.append((self.path, self.headers["Range"], self.headers["If-Range"]))
        page = self.web.pages.get(self.path)
        if page is None:
            return self._say(404, b"")
        if page.statuses:
            return self._say(page.statuses.pop(0), b"no", page.headers)
        if page.location:
            return self._say(302, b"", {"Location": page.location})
        return self._give(page)

    def _give(self, page: Page) -> None:
        span = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        is_same = not page.knows_if_range or self.headers["If-Range"] in (None, page.etag)
        start = int(span[1]) if span and page.knows_range and is_same else 0
        whole = len(page.body)
        headers = {"ETag": page.etag} if page.etag else {}
        headers |= page.headers
        if start and start >= whole:
            return self._say(416, b"", {"Content-Range": f"bytes */{whole}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        return self._say(206 if start else 200, page.body[start:], headers, page)

    def _say(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        page: Page | None = None,
    ) -> None:
        page = page or Page()
        self.send_response(status)
        told = {"Content-Length": str(len(body) if page.length is None else page.length)}
        if page.is_chunked:
            told = {"Transfer-Encoding": "chunked"}
        for name, value in {**told, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = page.breaks.pop(0) if page.breaks else len(body)
        pause = page.stalls.pop(0) if page.stalls else None
        is_cut, body = cut < len(body), body[:cut]
        if page.is_chunked:
            body = b"%x\r\n%s\r\n" % (len(body), body) + (b"" if is_cut else b"0\r\n\r\n")
        try:
            self.wfile.write(body[:pause])
            self.wfile.flush()
            if pause is not None:
                self.web.is_over.wait(10)
        except OSError:
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Told(Progress):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None, int]] = []
        self.reached: list[int] = []
        self.ends = 0
        self.notes: list[str] = []

    def begin(self, what: str, total: int | None, have: int = 0) -> None:
        self.begun.append((what, total, have))

    def reach(self, have: int) -> None:
        self.reached.append(have)

    def end(self) -> None:
        self.ends += 1

    def note(self, text: str) -> None:
        self.notes.append(text)
