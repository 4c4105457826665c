"""What an ONNX file says of itself, read without loading it.

sherpa-onnx ends the process where a model lacks an entry that it wants, so they are looked at first. An ONNX file
is one protobuf message: fields one after another, each a tag (number and kind), then a number or a length with
so many bytes; the graph with its weights is one of them, and is jumped over.
"""

import os
from pathlib import Path
from typing import BinaryIO

METADATA_PROPS = 14
"""Field of `ModelProto`: key and value, fields 1 and 2 of the entry (onnx.proto3)."""

MAX_ENTRY_BYTES = 1 << 20
"""Some models carry a vocabulary as metadata; nothing that is asked for here is that long."""


class NotOnnx(ValueError):
    """The file is no ONNX model, or not all of it is there."""


def read(path: Path) -> dict[str, str]:
    """All entries of a file, but such as are very long.

    Raises:
        NotOnnx: see there.
        OSError: it cannot be read.
    """
    entries: dict[str, str] = {}
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise NotOnnx
        while file.tell() < size:
            number, length = next_field(file)
            end = file.tell() + length
            if end > size:
                raise NotOnnx
            if number == METADATA_PROPS and length <= MAX_ENTRY_BYTES:
                key, value = _entry(file, end)
                entries[key] = value
            file.seek(end)
    return entries


def next_field(file: BinaryIO) -> tuple[int, int]:
    """The next field's number, and how many bytes of it follow; for any message of protobuf.

    Raises:
        NotOnnx: there is none.
    """
    number, kind = divmod(_varint(file), 8)
    if kind == 0:
        _varint(file)
        return number, 0
    if kind == 2:
        return number, _varint(file)
    if kind in (1, 5):
        return number, 8 if kind == 1 else 4
    raise NotOnnx


def _entry(file: BinaryIO, end: int) -> tuple[str, str]:
    parts = {1: b"", 2: b""}
    while file.tell() < end:
        number, length = next_field(file)
        if length > end - file.tell():
            raise NotOnnx
        parts[number] = file.read(length)
    return parts[1].decode(errors="replace"), parts[2].decode(errors="replace")


def _varint(file: BinaryIO) -> int:
    """Seven bits a byte, the lowest first; the eighth says that more come."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise NotOnnx
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise NotOnnx
