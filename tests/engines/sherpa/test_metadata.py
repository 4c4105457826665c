"""Reading an ONNX file's entries: on bytes written by hand, as `onnx` is no part of every environment."""

from pathlib import Path

import pytest

from duologue.engines.sherpa.metadata import NotOnnx, read


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, body: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(body)) + body


def entry(key: str, value: str) -> bytes:
    return field(14, field(1, key.encode()) + field(2, value.encode()))


IR_VERSION = varint(1 * 8) + varint(300)
GRAPH = field(7, bytes(range(256)) * 10)


def test_the_entries_are_found_before_and_behind_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(IR_VERSION + entry("T", "45") + GRAPH + entry("name", "Größe") + entry("", ""))
    assert read(path) == {"T": "45", "name": "Größe", "": ""}


def test_an_entry_that_is_very_long_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(entry("long", "x" * (1 << 20)) + entry("T", "45"))
    assert read(path) == {"T": "45"}


def test_fields_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    fixed = varint(30 * 8 + 1) + bytes(8) + varint(31 * 8 + 5) + bytes(4)
    path.write_bytes(fixed + entry("T", "45"))
    assert read(path) == {"T": "45"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (IR_VERSION + GRAPH)[:-1],
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\xff" * 40,
        varint(14 * 8 + 2) + varint(3) + varint(1 * 8 + 2) + varint(9) + b"abcdefghi",
        varint(1 * 8 + 3),
    ],
)
def test_what_is_no_model_or_not_whole_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(NotOnnx):
        read(path)
