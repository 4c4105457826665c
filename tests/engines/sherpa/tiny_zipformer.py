"""Makes streaming transducers that sherpa-onnx takes for its own: Zipformer2's inputs, states, metadata, toy size.

The encoder is one causal layer of Zipformer2's kinds of memory: attention over cached keys and values, and a
convolution over cached frames; the states that the toy has no use for go through it unchanged. The predictor sees
two tokens, the joiner adds and squashes, as in the recipes of icefall. Weights are drawn from a seed, but for one
channel, which carries the loudness and holds the blank up while nothing is said: so silence stays empty, and
what is heard follows from the sound.

Layout and metadata as read by sherpa-onnx (csrc/online-zipformer2-transducer-model.cc).
"""

import struct
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MELS = 80
CHUNK = 32
"""Frames of 10 ms by which a step goes on; four of them make one of the encoder's."""

WINDOW = 45
"""Frames that a step looks at."""

SKIPPED = 6
"""Of the window, before those that the toy reads."""

STEPS = CHUNK // 4

WIDTH, KEYS, LEFT, KERNEL = 32, 16, 16, 5
JOINED, CONTEXT = 32, 2
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64

SYLLABLES = ["".join(pair) for pair in product("bdfgklmnprstv", "aeiou")]
PIECES = ["<blk>", "<sos/eos>", "<unk>", *(f"▁{s}" for s in SYLLABLES), *SYLLABLES]

METADATA = {
    "model_type": "zipformer2",
    "encoder_dims": str(WIDTH),
    "query_head_dims": str(KEYS),
    "value_head_dims": str(WIDTH),
    "num_heads": "1",
    "num_encoder_layers": "1",
    "cnn_module_kernels": str(KERNEL),
    "left_context_len": str(LEFT),
    "T": str(WINDOW),
    "decode_chunk_len": str(CHUNK),
}


def make(folder: Path, *, with_vocabulary: bool = True, seed: int = 0, layers: int = 1) -> Path:
    """Write a model, and return its folder.

    Args:
        with_vocabulary: also `bpe.vocab`, by which phrases are cut into pieces.
        layers: how often the encoder's work is done over; more make it slower, nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(seed)
    _save(_encoder(dice, layers), folder / "encoder-tiny.onnx", METADATA)
    decoder = {"vocab_size": str(len(PIECES)), "context_size": str(CONTEXT)}
    _save(_decoder(dice), folder / "decoder-tiny.onnx", decoder)
    _save(_joiner(dice), folder / "joiner-tiny.onnx", {"joiner_dim": str(JOINED)})
    tokens = "".join(f"{piece} {n}\n" for n, piece in enumerate(PIECES))
    (folder / "tokens.txt").write_text(tokens, "utf-8")
    if with_vocabulary:
        lines = "".join(f"{piece}\t{-float(n)}\n" for n, piece in enumerate(PIECES))
        (folder / "bpe.vocab").write_text(lines, "utf-8")
    return folder


def sentencepiece() -> bytes:
    """The same vocabulary as SentencePiece writes it; a trainer's settings stand behind the pieces."""

    def field(number: int, body: bytes) -> bytes:
        return bytes([number * 8 + 2, len(body)]) + body

    pieces = (
        field(1, piece.encode()) + b"\x15" + struct.pack("<f", -float(n)) + b"\x18\x01"
        for n, piece in enumerate(PIECES)
    )
    return b"".join(field(1, piece) for piece in pieces) + field(2, field(1, b"trainer"))


@dataclass(frozen=True)
class Port:
    """An input or output: its name and shape; "N" is the batch."""

    name: str
    shape: tuple[str | int, ...]
    type: int = FLOAT

    def info(self, prefix: str = "") -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(prefix + self.name, self.type, self.shape)


STATES = (
    Port("cached_key_0", (LEFT, "N", KEYS)),
    Port("cached_nonlin_attn_0", (1, "N", LEFT, 3 * WIDTH // 4)),
    Port("cached_val1_0", (LEFT, "N", WIDTH)),
    Port("cached_val2_0", (LEFT, "N", WIDTH)),
    Port("cached_conv1_0", ("N", WIDTH, KERNEL // 2)),
    Port("cached_conv2_0", ("N", WIDTH, KERNEL // 2)),
    Port("embed_states", ("N", 128, 3, 19)),
    Port("processed_lens", ("N",), INT),
)


class Graph:
    """Nodes and weights in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, values: NDArray[np.generic] | list[int]) -> str:
        array = np.asarray(values)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, dice: np.random.Generator, inputs: int, outputs: int) -> str:
        return self.op("MatMul", x, self.weight(_drawn(dice, inputs, outputs)))

    def slice(self, x: str, start: int, end: int, axis: int, out: str = "") -> str:
        ends = [np.array([n], np.int64) for n in (start, end, axis)]
        return self.op("Slice", x, *(self.weight(n) for n in ends), out=out)

    def model(self, inputs: list[Port], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "tiny", [port.info() for port in inputs], outputs, self.weights
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


END = 2**31 - 1


def _encoder(dice: np.random.Generator, layers: int) -> onnx.ModelProto:
    g = Graph()
    frames = g.slice("x", SKIPPED, SKIPPED + CHUNK, 1)
    stacked = g.op("Reshape", frames, g.weight(np.array([0, STEPS, 4 * MELS], np.int64)))
    embed = _drawn(dice, 4 * MELS, WIDTH) / 4
    embed -= embed.mean(axis=0)  # loudness goes by its own channel
    embed[:, 0] = 1 / (4 * MELS)
    hidden = g.op("MatMul", stacked, g.weight(embed.astype(np.float32)))
    for n in range(layers):
        hidden = _attended(g, hidden, dice, is_last=n == layers - 1)
    hidden = _convolved(g, hidden, dice)
    projected = np.eye(WIDTH, JOINED, dtype=np.float32)
    g.op("MatMul", hidden, g.weight(projected), out="encoder_out")
    for name in ("cached_nonlin_attn_0", "cached_val2_0", "cached_conv2_0", "embed_states"):
        g.op("Identity", name, out=f"new_{name}")
    g.op("Add", "processed_lens", g.weight(np.array([STEPS], np.int64)), out="new_processed_lens")
    outputs = [Port("encoder_out", ("N", STEPS, JOINED)).info(), *(p.info("new_") for p in STATES)]
    return g.model([Port("x", ("N", WINDOW, MELS)), *STATES], outputs)


def _attended(g: Graph, hidden: str, dice: np.random.Generator, *, is_last: bool) -> str:
    """Each step looks at those before it, also at those of the steps before."""
    queries = g.linear(hidden, dice, WIDTH, KEYS)
    keys = g.op("Transpose", g.linear(hidden, dice, WIDTH, KEYS), perm=[1, 0, 2])
    values = g.op("Transpose", g.linear(hidden, dice, WIDTH, WIDTH), perm=[1, 0, 2])
    keys = g.op("Concat", "cached_key_0", keys, axis=0)
    values = g.op("Concat", "cached_val1_0", values, axis=0)
    if is_last:
        g.slice(keys, -LEFT, END, 0, out="new_cached_key_0")
        g.slice(values, -LEFT, END, 0, out="new_cached_val1_0")
    scores = g.op("MatMul", queries, g.op("Transpose", keys, perm=[1, 2, 0]))
    later = np.triu(np.full((STEPS, LEFT + STEPS), -1e4, np.float32), LEFT + 1)
    scale = g.weight(np.array(1 / KEYS, np.float32))
    weights = g.op("Softmax", g.op("Add", g.op("Mul", scores, scale), g.weight(later)), axis=-1)
    seen = g.op("MatMul", weights, g.op("Transpose", values, perm=[1, 0, 2]))
    return g.op("Add", hidden, g.op("Mul", seen, g.weight(_all_but_the_loudness(0.3))))


def _convolved(g: Graph, hidden: str, dice: np.random.Generator) -> str:
    """A causal convolution, each channel for itself."""
    turned = g.op("Transpose", hidden, perm=[0, 2, 1])
    padded = g.op("Concat", "cached_conv1_0", turned, axis=2)
    g.slice(padded, -(KERNEL // 2), END, 2, out="new_cached_conv1_0")
    kernel = _drawn(dice, KERNEL // 2 + 1, WIDTH).T.reshape(WIDTH, 1, -1)
    passed = g.op("Conv", padded, g.weight(np.ascontiguousarray(kernel)), group=WIDTH)
    passed = g.op(
        "Mul", g.op("Transpose", passed, perm=[0, 2, 1]), g.weight(_all_but_the_loudness(1))
    )
    return g.op("Add", hidden, passed)


def _decoder(dice: np.random.Generator) -> onnx.ModelProto:
    g = Graph()
    embedded = g.op("Gather", g.weight(_drawn(dice, len(PIECES), JOINED)), "y", axis=0)
    mixed = g.op("Mul", embedded, g.weight(_drawn(dice, CONTEXT, JOINED)))
    axis = g.weight(np.array([1], np.int64))
    summed = g.op("Relu", g.op("ReduceSum", mixed, axis, keepdims=0))
    g.op("Mul", summed, g.weight(_all_but_the_loudness(1)), out="decoder_out")
    return g.model([Port("y", ("N", CONTEXT), INT)], [Port("decoder_out", ("N", JOINED)).info()])


LOUD = 9.0
"""Minus the mean log energy of a frame above which the blank no longer wins by itself; silence has 16."""


def _joiner(dice: np.random.Generator) -> onnx.ModelProto:
    g = Graph()
    shift = np.zeros(JOINED, np.float32)
    shift[0] = LOUD
    both = g.op("Add", g.op("Add", "encoder_out", "decoder_out"), g.weight(shift))
    weights = _drawn(dice, JOINED, len(PIECES)) * 12
    weights[0] = 0
    weights[:, :3] = 0
    weights[0, 0] = -40  # quiet: the blank
    bias = np.zeros(len(PIECES), np.float32)
    bias[0], bias[1], bias[2] = 46, -99, -99
    logits = g.op("MatMul", g.op("Tanh", both), g.weight(weights))
    g.op("Add", logits, g.weight(bias), out="logit")
    inputs = [Port("encoder_out", ("N", JOINED)), Port("decoder_out", ("N", JOINED))]
    return g.model(inputs, [Port("logit", ("N", len(PIECES))).info()])


def _all_but_the_loudness(gain: float) -> NDArray[np.float32]:
    mask = np.full(WIDTH, gain, np.float32)
    mask[0] = 0
    return mask


def _drawn(dice: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    return dice.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(rows))


def _save(model: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
