"""The pieces of words by which sherpa-onnx spells a hint.

It wants them as a text, `bpe.vocab`: a piece, a tab and its score a line. Most models come with `bpe.model` instead,
SentencePiece's own file, which holds the same: a protobuf message whose field 1 is a piece, of which 1 is the text
and 2 the score (sentencepiece_model.proto).
"""

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from duologue.engines.sherpa.metadata import NotOnnx, next_field

TEXT = ".vocab"


@contextmanager
def as_text(path: Path | None) -> Iterator[str]:
    """The path of a vocabulary as text, for as long as it is open; empty if there is none.

    Raises:
        NotOnnx: it is no vocabulary.
    """
    if path is None or path.suffix == TEXT:
        yield str(path or "")
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"bpe{TEXT}"
        made.write_text("".join(f"{piece}\t{score}\n" for piece, score in _pieces(path)), "utf-8")
        yield str(made)


def _pieces(path: Path) -> Iterator[tuple[str, float]]:
    data = path.read_bytes()
    file = BytesIO(data)
    while file.tell() < len(data):
        number, length = next_field(file)
        body = file.read(length)
        if len(body) < length:
            raise NotOnnx
        if number == 1:
            yield _piece(body)


def _piece(body: bytes) -> tuple[str, float]:
    file, text, score = BytesIO(body), "", 0.0
    while file.tell() < len(body):
        number, length = next_field(file)
        value = file.read(length)
        if number == 1:
            text = value.decode("utf-8", "replace")
        elif number == 2 and len(value) == 4:
            (score,) = struct.unpack("<f", value)
    return text, score
