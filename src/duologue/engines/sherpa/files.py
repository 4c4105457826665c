"""Which streaming model is meant, where its files lie, and whether it is whole: known before anything is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duologue.core.errors import EngineUnavailable, SetupError
from duologue.core.placement import Placement
from duologue.engines.models import store as models
from duologue.engines.sherpa import metadata

PARTS = ("encoder", "decoder", "joiner")

PRECISIONS = ("int8", "fp16", "fp32")
"""A file's name says which it is; without a word of it, it is fp32."""

SEARCHES = ("beam", "greedy")

KINDS = ("zipformer2", "zipformer", "lstm", "conformer")
"""Streaming transducers as the recipes of icefall export them; each goes on by a fixed number of frames."""

STEPPING = ("T", "decode_chunk_len")
"""Entries of a streaming encoder: frames that a step looks at, and by which it goes on."""

ENCODER_ENTRIES = {
    "zipformer2": (
        "encoder_dims",
        "query_head_dims",
        "value_head_dims",
        "num_heads",
        "num_encoder_layers",
        "cnn_module_kernels",
        "left_context_len",
    ),
}
"""Without one of them sherpa-onnx ends the process (its online-zipformer2-transducer-model.cc)."""

VOCABULARIES = ("bpe.vocab", "bpe.model")
"""Either will do; without one there are no hints."""

DECODER_ENTRIES = ("vocab_size", "context_size")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is whole.

    Attributes:
        kind: its architecture, as sherpa-onnx calls it.
        window: frames of 10 ms that a step looks at.
        step: frames by which it goes on.
        unit: of what its tokens are, as sherpa-onnx calls it; empty where phrases cannot be cut into them.
        vocabulary: by which phrases are cut into pieces of words, where it needs one.
        upper: it writes capitals only.
    """

    encoder: Path
    decoder: Path
    joiner: Path
    tokens: Path
    kind: str
    window: int
    step: int
    unit: str
    vocabulary: Path | None
    upper: bool

    @property
    def megabytes(self) -> int:
        """Of its three files, in 2^20 bytes."""
        return sum(p.stat().st_size for p in (self.encoder, self.decoder, self.joiner)) >> 20


def placed(argument: str) -> Placement:
    """What stands behind "sherpa:": MODEL[@cpu[:THREADS]][/int8|fp16|fp32][?search=…&language=…].

    Raises:
        SetupError: a device, precision or option that is none of this engine's, or no threads at all.
    """
    placement = Placement.parse(argument)
    if placement.device not in ("", "cpu"):
        raise SetupError(
            "sherpa_device_unknown",
            f"sherpa-onnx, as it is published, has no code for '{placement.device}'.",
            remedy="Use sherpa:NAME@cpu; a step of a streaming model is small.",
        )
    if placement.precision not in ("", *PRECISIONS):
        raise SetupError(
            "sherpa_precision_unknown",
            f"Streaming models come in {', '.join(PRECISIONS)}, not in '{placement.precision}'.",
        )
    for key, value in placement.options:
        if not (key == "language" and value) and not (key == "search" and value in SEARCHES):
            raise SetupError(
                "sherpa_option_unknown",
                f"sherpa has no option '{key}={value}'.",
                remedy="There are search=beam, search=greedy and language=en (or language=zh,en).",
            )
    return placement


def find(placement: Placement, models_folder: Path) -> Model:
    """The files of a model that is whole.

    Raises:
        EngineUnavailable: none is named, it is not in the models folder, or what of it is missing.
    """
    if not placement.model:
        raise EngineUnavailable(
            "sherpa_model_unnamed",
            "sherpa was asked for without a model.",
            remedy="Write sherpa:NAME or sherpa:/path/to/model; `duologue models list` shows names.",
        )
    path = Path(placement.model).expanduser()
    folder = path if placement.is_path else models.find(placement.model, models_folder)
    parts = {part: _best(part, folder, placement.precision) for part in PARTS}
    missing = [f"{part}*.onnx" for part, found in parts.items() if found is None]
    tokens = folder / "tokens.txt"
    if not tokens.is_file():
        missing.append(tokens.name)
    if missing:
        precision = f" in {placement.precision}" if placement.precision else ""
        raise EngineUnavailable(
            "sherpa_file_missing",
            f"The streaming model in {folder} is not whole{precision}: {', '.join(missing)} is missing.",
            remedy=f"Run {models.how_to_get(folder.name, again=folder.is_dir())}, or copy the whole folder of a "
            "streaming transducer there: encoder, decoder, joiner, tokens.txt, and bpe.vocab or bpe.model for hints.",
        )
    return _checked(folder, {part: path for part, path in parts.items() if path is not None})


def _best(part: str, folder: Path, precision: str) -> Path | None:
    """8 bits before 32, but for the decoder: that is a table, which gains nothing by them."""
    order: tuple[str, ...] = ("int8", "fp32", "fp16")
    if part == "decoder":
        order = ("fp32", "int8", "fp16")
    if precision:
        order = (precision,) if part == "encoder" else (precision, "fp32")
    found = sorted(folder.glob(f"{part}*.onnx"))
    return next((path for each in order for path in found if _precision(path) == each), None)


def _precision(path: Path) -> str:
    return next((p for p in PRECISIONS if p in path.stem.split(".")[1:]), "fp32")


def _checked(folder: Path, parts: dict[str, Path]) -> Model:
    entries = {part: _entries(path) for part, path in parts.items()}
    encoder = entries["encoder"]
    kind = encoder.get("model_type", "")
    if kind not in KINDS:
        raise EngineUnavailable(
            "sherpa_model_unknown",
            f"The model in {folder} is of the kind '{kind or 'unknown'}', not a streaming transducer that is known.",
            remedy=f"Use one of: {', '.join(KINDS)}; a streaming Zipformer is the best of them.",
        )
    _want(parts["encoder"], encoder, (*STEPPING, *ENCODER_ENTRIES.get(kind, ())))
    _want(parts["decoder"], entries["decoder"], DECODER_ENTRIES)
    tokens = _tokens(folder / "tokens.txt", int(entries["decoder"]["vocab_size"]))
    unit, vocabulary = _unit(folder, tokens)
    return Model(
        **parts,
        tokens=folder / "tokens.txt",
        kind=kind,
        window=int(encoder["T"]),
        step=int(encoder["decode_chunk_len"]),
        unit=unit,
        vocabulary=vocabulary,
        upper=not any(letter.islower() for token in tokens for letter in token if token[0] != "<"),
    )


def _entries(path: Path) -> dict[str, str]:
    try:
        return metadata.read(path)
    except (metadata.NotOnnx, OSError) as error:
        raise EngineUnavailable(
            "sherpa_file_damaged",
            f"{path} is no ONNX model, or not all of it is there.",
            remedy="Fetch it again; a file of a hundred bytes or so is a pointer of Git LFS to the real one.",
        ) from error


def _want(path: Path, entries: dict[str, str], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in entries]
    numbers = [name for name in (*STEPPING, *DECODER_ENTRIES) if name in names]
    missing += [n for n in numbers if n in entries and not entries[n].isdecimal()]
    if missing:
        raise EngineUnavailable(
            "sherpa_metadata_missing",
            f"{path} does not say: {', '.join(missing)}.",
            remedy="Use the export of a streaming model (causal, chunked) made for sherpa-onnx.",
        )


def _tokens(path: Path, wanted: int) -> list[str]:
    """The symbols of `tokens.txt`: one a line, and its number."""
    lines = path.read_text("utf-8", "replace").splitlines()
    tokens = [line.rpartition(" ")[0] or " " for line in lines if line.strip()]
    if len(tokens) < wanted:
        raise EngineUnavailable(
            "sherpa_tokens_differ",
            f"{path} has {len(tokens)} tokens, and the model {wanted}.",
            remedy="Place the model's own tokens.txt there.",
        )
    return tokens


def _unit(folder: Path, tokens: Sequence[str]) -> tuple[str, Path | None]:
    has_characters = any(is_character(token) for token in tokens)
    for vocabulary in (folder / name for name in VOCABULARIES):
        if vocabulary.is_file():
            return ("cjkchar+bpe" if has_characters else "bpe"), vocabulary
    return ("cjkchar" if has_characters else ""), None


def is_character(token: str) -> bool:
    """It is a character of a script that is written without spaces: a word by itself, as far as times go."""
    return len(token) == 1 and token >= "\u2e80"
