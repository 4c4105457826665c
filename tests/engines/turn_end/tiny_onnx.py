"""ONNX files of a few hundred bytes with Smart Turn's inputs and outputs, written field by field.

The numbers of fields are those of onnx.proto3 (opset 11): a protobuf message is a row of (field number, wire type),
value; wire type 0 is a varint, 2 is a length and so many bytes.
"""

from pathlib import Path

FLOAT = 1
"""TensorProto.DataType"""

FEATURES = ("N", 80, 800)


def make(
    path: Path,
    *,
    takes: tuple[str | int, ...] = FEATURES,
    gives: tuple[str | int, ...] = ("N", 1),
    then: str = "Sigmoid",
    inputs: int = 1,
) -> Path:
    """Write a model that answers then(mean of what it is given).

    Args:
        takes, gives: shapes as the file declares them.
        then: the operator at the end.
        inputs: how many it wants; all but the first are ignored.
    """
    graph = _text(2, "tiny")
    graph += _node("ReduceMean", "features", "mean", _ints("axes", [1, 2]) + _int("keepdims", 0))
    graph += _node("Unsqueeze", "mean", "column", _ints("axes", [1]))
    if gives[-1] == 2:
        graph += _node("Concat", "column column", "row", _int("axis", 1))
    graph += _node(then, "row" if gives[-1] == 2 else "column", "logits", b"")
    for number in range(inputs):
        graph += _field(11, _tensor("features" if not number else f"more{number}", takes))
    graph += _field(12, _tensor("logits", gives))
    opset = _text(1, "") + _varint(2, 11)
    path.write_bytes(_varint(1, 6) + _field(7, graph) + _field(8, opset))
    return path


def _node(operator: str, takes: str, gives: str, attributes: bytes) -> bytes:
    names = b"".join(_text(1, name) for name in takes.split())
    return _field(1, names + _text(2, gives) + _text(4, operator) + attributes)


def _ints(name: str, values: list[int]) -> bytes:
    """An attribute of type INTS."""
    return _field(5, _text(1, name) + b"".join(_varint(8, n) for n in values) + _varint(20, 7))


def _int(name: str, value: int) -> bytes:
    """An attribute of type INT."""
    return _field(5, _text(1, name) + _varint(3, value) + _varint(20, 2))


def _tensor(name: str, shape: tuple[str | int, ...]) -> bytes:
    """A ValueInfoProto."""
    sizes = b"".join(
        _field(1, _text(2, size) if isinstance(size, str) else _varint(1, size)) for size in shape
    )
    kind = _field(1, _varint(1, FLOAT) + _field(2, sizes))
    return _text(1, name) + _field(2, kind)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _varint(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def _number(value: int) -> bytes:
    """Seven bits a byte, the low ones first; the high bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
