"""A form with a file in it, received within limits: never more than a megabyte of it is held in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from duologue.server.audio.refusals import Refusal, wrong

MAX_FILE_BYTES = 25 * 1024 * 1024
"""OpenAI's own limit."""

MAX_BODY_BYTES = MAX_FILE_BYTES + 1024 * 1024
"""The other fields are short."""

MAX_FIELDS = 200

UPLOAD_TIMEOUT_S = 300
"""A whole file over a line of 0.7 Mbit/s."""

MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class Upload:
    """A form as it was received. Lists are sent as `name[]` by OpenAI's clients and as `name` by others.

    Attributes:
        file: to be read from its beginning; beyond a megabyte it lies on the disk.
    """

    file: BinaryIO
    form: FormData

    def text(self, name: str) -> str:
        """A field; empty if it was not sent."""
        value = self.form.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """A field that may be sent several times."""
        values = [*self.form.getlist(f"{name}[]"), *self.form.getlist(name)]
        return [value for value in values if isinstance(value, str)]

    async def close(self) -> None:
        """Forget the file."""
        await self.form.close()


@asynccontextmanager
async def _closed_if_wrong(form: FormData) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await form.close()
        raise


async def receive(request: Request) -> Upload:
    """The form of a request. The caller must close it.

    Raises:
        Refusal: it is too large, no form, or without a file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        message = f"A file comes as '{MULTIPART}'; this is '{kind[:64]}'."
        raise wrong("unsupported_content_type", message)
    if _announced(request) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            parser = MultiPartParser(
                request.headers,
                _counted(request),
                max_files=MAX_FIELDS,
                max_fields=MAX_FIELDS,
            )
            form = await parser.parse()
    except MultiPartException as error:
        raise wrong("invalid_form", f"This is no multipart form: {error.message}") from error
    except TimeoutError as error:
        message = f"The file did not arrive within {UPLOAD_TIMEOUT_S} s."
        raise Refusal(408, "upload_timed_out", message) from error
    except ClientDisconnect as error:
        raise wrong("client_gone", "The client hung up while it sent its file.") from error
    async with _closed_if_wrong(form):
        return Upload(_file_of(form), form)


def _file_of(form: FormData) -> BinaryIO:
    file = form.get("file")
    if file is None:
        raise wrong("missing_required_parameter", "Missing required parameter: 'file'.", "file")
    if not isinstance(file, UploadFile):
        message = "'file' must be sent as a file, with a file name."
        raise wrong("invalid_type", message, "file")
    if not file.size:
        raise wrong("file_empty", "The file is empty: it has no bytes at all.", "file")
    if file.size > MAX_FILE_BYTES:
        raise _too_large()
    return file.file


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


async def _counted(request: Request) -> AsyncGenerator[bytes, None]:
    """The body, as long as it is not too long: a client may announce less than it sends, or nothing."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        yield chunk


def _too_large() -> Refusal:
    message = (
        f"The file is larger than {MAX_FILE_BYTES} bytes (25 MB). "
        "Send it compressed (Opus or MP3), or in parts."
    )
    return Refusal(413, "file_too_large", message, param="file")
