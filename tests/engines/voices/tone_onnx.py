"""ONNX files with the inputs and outputs of Kokoro and of Piper, in which each symbol is a tone of its own.

Written field by field (the numbers are those of onnx.proto3, opset 13), so that no other package is needed. How long
the sound is follows from the symbols and the speed, as in the true networks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7
"""TensorProto.DataType"""

KOKORO_SAMPLES = 1_200
"""Of each symbol at speed 1: 50 ms."""

PIPER_FRAMES, HOP = 5, 256
"""Of each symbol at length scale 1; a frame has so many samples."""

Shape = Sequence[str | int]


class Graph:
    """A graph in the making."""

    def __init__(self) -> None:
        self._body = _text(2, "tones")
        self._names = 0

    def takes(self, name: str, kind: int, shape: Shape) -> str:
        self._body += _field(11, _value(name, kind, shape))
        return name

    def gives(self, name: str, kind: int, shape: Shape) -> None:
        self._body += _field(12, _value(name, kind, shape))

    def holds(self, values: NDArray[np.float32] | NDArray[np.int64] | list[int]) -> str:
        """A constant; a list is of integers."""
        array = np.asarray(values, np.int64) if isinstance(values, list) else values
        kind = INT64 if array.dtype == np.int64 else FLOAT
        self._names += 1
        name = f"held{self._names}"
        sizes = b"".join(_varint(1, size) for size in array.shape)
        tensor = sizes + _varint(2, kind) + _text(8, name) + _field(9, array.tobytes())
        self._body += _field(5, tensor)
        return name

    def does(self, operator: str, *takes: str, named: str = "", **attributes: int) -> str:
        self._names += 1
        name = named or f"made{self._names}"
        node = b"".join(_text(1, take) for take in takes) + _text(2, name) + _text(4, operator)
        for key, number in attributes.items():
            node += _field(5, _text(1, key) + _varint(3, number) + _varint(20, 2))
        self._body += _field(1, node)
        return name

    def casts(self, takes: str, kind: int) -> str:
        return self.does("Cast", takes, to=kind)

    def write(self, path: Path) -> Path:
        opset = _text(1, "") + _varint(2, 13)
        path.write_bytes(_varint(1, 8) + _field(7, self._body) + _field(8, opset))
        return path


def kokoro(path: Path, *, tells_durations: bool = False, slow: int = 0) -> Path:
    """A Kokoro network: a style's first number is how loud it is, its second how long its symbols are.

    Args:
        tells_durations: as exports of kokoro-onnx's own script do.
        slow: multiplications of matrices beside the sound, some milliseconds each.
    """
    graph = Graph()
    tokens = graph.takes("tokens", INT64, (1, "T"))
    style = graph.takes("style", FLOAT, (1, 256))
    speed = graph.takes("speed", FLOAT, (1,))
    rows = graph.does("Gather", graph.holds(_tones(180, 2 * KOKORO_SAMPLES, {0, 16})), tokens)
    length = graph.does("Div", graph.holds(np.array([KOKORO_SAMPLES], np.float32)), speed)
    pace = graph.does("Reshape", _column(graph, style, 1), graph.holds([1]))
    samples = graph.casts(graph.does("Mul", length, pace), INT64)
    cut = graph.does("Slice", rows, graph.holds([0]), samples, graph.holds([2]))
    loud = graph.does("Mul", cut, _column(graph, style, 0))
    if slow:
        loud = graph.does("Add", loud, _nothing(graph, speed, slow))
    graph.does("Reshape", loud, graph.holds([-1]), named="audio")
    graph.gives("audio", FLOAT, ("N",))
    if tells_durations:
        none = graph.does("Sub", tokens, tokens)
        graph.does("Add", none, graph.holds([1]), named="duration")
        graph.gives("duration", INT64, (1, "T"))
    return graph.write(path)


def piper(path: Path, *, speakers: int = 1, slow: int = 0) -> Path:
    """A Piper network: the symbols of the second of its speakers are twice as long, of the third three times.

    It knows how long each symbol is (the output of its one `Ceil`), and does not tell.
    """
    graph = Graph()
    symbols = graph.takes("input", INT64, (1, "T"))
    graph.takes("input_lengths", INT64, (1,))
    scales = graph.takes("scales", FLOAT, (3,))
    ends = graph.holds([1]), graph.holds([2]), graph.holds([0])
    frames = graph.does(
        "Mul", graph.does("Slice", scales, *ends), graph.holds(np.array([5], np.float32))
    )
    if speakers > 1:
        speaker = graph.takes("sid", INT64, (1,))
        times = graph.casts(graph.does("Add", speaker, graph.holds([1])), FLOAT)
        frames = graph.does("Mul", frames, times)
    ones = graph.does("Add", graph.does("Sub", symbols, symbols), graph.holds([1]))
    each = graph.does("Mul", graph.casts(ones, FLOAT), frames)
    ceil = graph.does("Ceil", each, named="w_ceil")
    longest = graph.does("ReduceMax", ceil, keepdims=0)
    samples = graph.does("Mul", longest, graph.holds(np.array([HOP], np.float32)))
    samples = graph.casts(samples, INT64)
    table = graph.holds(_tones(170, 8 * speakers * HOP, {0, 1, 2, 3}))
    rows = graph.does("Gather", table, symbols)
    cut = graph.does("Slice", rows, graph.holds([0]), samples, graph.holds([2]))
    if slow:
        cut = graph.does("Add", cut, _nothing(graph, scales, slow))
    graph.does("Reshape", cut, graph.holds([1, 1, -1]), named="output")
    graph.gives("output", FLOAT, (1, 1, "N"))
    return graph.write(path)


def _tones(symbols: int, samples: int, silent: set[int]) -> NDArray[np.float32]:
    """A row for each symbol."""
    time = np.arange(samples, dtype=np.float32)
    pitch = np.linspace(0.02, 0.3, symbols, dtype=np.float32)[:, None]
    rows: NDArray[np.float32] = (0.3 * np.sin(time * pitch)).astype(np.float32)
    rows[sorted(silent)] = 0
    return rows


def _column(graph: Graph, matrix: str, number: int) -> str:
    return graph.does(
        "Slice", matrix, graph.holds([number]), graph.holds([number + 1]), graph.holds([1])
    )


def _nothing(graph: Graph, number: str, times: int) -> str:
    """Zero, after so many multiplications that cannot be foreseen when the file is opened."""
    size = 512
    first = graph.does("Slice", number, graph.holds([0]), graph.holds([1]), graph.holds([0]))
    unit = graph.holds(np.eye(size, dtype=np.float32))
    matrix = graph.does("Mul", unit, first)
    for _ in range(times):
        matrix = graph.does("MatMul", matrix, unit)
    return graph.does(
        "Mul", graph.does("ReduceMax", matrix, keepdims=0), graph.holds(np.array([0], np.float32))
    )


def _value(name: str, kind: int, shape: Shape) -> bytes:
    """A ValueInfoProto."""
    sizes = b"".join(
        _field(1, _text(2, size) if isinstance(size, str) else _varint(1, size)) for size in shape
    )
    return _text(1, name) + _field(2, _field(1, _varint(1, kind) + _field(2, sizes)))


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
