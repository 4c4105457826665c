"""Makes Whisper checkpoints of the true architecture with random weights, in CTranslate2's format.

The sizes, the vocabulary and its special tokens are Whisper's own (51 865 tokens, 51 864 where English-only);
the words are made up and the weights drawn from a seed. So the real loading, feature and decoding code runs,
offline and in about a second; what comes out means nothing, but follows from the sound.
"""

import json
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import whisper_spec
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

MELS = 80
POSITIONS = 1_500
"""Encoder frames of 30 s."""

CONTEXT = 448
"""Tokens that the decoder has places for."""

LISTENING = 4.0
"""Gain of the decoder's attention to the sound: sharp enough that a second of it shows within 30 of padding."""

TIMESTAMPS = 1_501
"""<|0.00|> to <|30.00|>."""

LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he "
    "uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy sk te fa "  # codespell:ignore te
    "lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa "
    "si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn "  # codespell:ignore fo
    "mt sa lb my bo tl mg as tt haw ln ha ba jw su"
).split()


@dataclass(frozen=True, slots=True)
class Size:
    """Widths and depths; encoder and decoder alike."""

    width: int
    heads: int
    layers: int


SIZES = {
    "mini": Size(64, 2, 1),
    "tiny": Size(384, 6, 4),
    "base": Size(512, 8, 6),
    "small": Size(768, 12, 12),
}
"""Whisper's own, and a mini one for tests."""


def make(
    folder: Path,
    size: str = "mini",
    *,
    multilingual: bool = True,
    hears_nothing: bool = False,
    chinese: bool = False,
    seed: int = 0,
) -> Path:
    """Write a checkpoint, and return its folder.

    Args:
        hears_nothing: it takes any sound for no speech.
        chinese: it writes Chinese characters, and takes any sound for Chinese.
    """
    tokenizer = make_tokenizer(multilingual=multilingual, chinese=chinese)
    spec = _Weights(SIZES[size], np.random.default_rng(seed)).spec(tokenizer.get_vocab_size())
    ids = [tokenizer.token_to_id(f"<|{code}|>") for code in LANGUAGES]
    spec.config.lang_ids = ids if multilingual else []
    spec.config.suppress_ids = spec.config.suppress_ids_begin = []
    spec.config.alignment_heads = [(0, 0)]
    bias = np.zeros(tokenizer.get_vocab_size(), np.float32)
    bias[tokenizer.token_to_id("<|endoftext|>")] = -1_000  # it talks as long as it may
    bias[tokenizer.token_to_id("<|nospeech|>")] = 1_000 if hears_nothing else 0
    if chinese:
        bias[[number for code, number in zip(LANGUAGES, ids, strict=True) if code != "zh"]] = -1_000
    spec.decoder.projection.bias = bias
    spec.register_vocabulary([tokenizer.id_to_token(n) for n in range(tokenizer.get_vocab_size())])
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    features = {"feature_size": MELS, "sampling_rate": 16_000, "hop_length": 160, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "chunk_length": 30}))
    return folder


def make_tokenizer(*, multilingual: bool, chinese: bool = False) -> Tokenizer:
    """Byte-level pieces, made-up words, and Whisper's special tokens at Whisper's own ids."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    syllables = [a + b for a, b in product("bdfgklmnprstvz", "aeiou")]
    words = ("Ġ" + "".join(parts) for n in (1, 2, 3) for parts in product(syllables, repeat=n))
    if chinese:
        in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        signs = [in_bytes.pre_tokenize_str(chr(n))[0][0] for n in range(0x4E00, 0x4F00)]
        words = ("".join(parts) for n in (1, 2) for parts in product(signs, repeat=n))
    pieces += islice(words, 50_256 - len(pieces))
    if multilingual:
        pieces.append("")  # by this token CTranslate2 tells a multilingual vocabulary
    tokenizer = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["endoftext", "startoftranscript", *LANGUAGES]
    marks += ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    marks += [f"{n * 0.02:.2f}" for n in range(TIMESTAMPS)]
    tokenizer.add_special_tokens([AddedToken(f"<|{mark}|>", special=True) for mark in marks])
    return tokenizer


class _Weights:
    """Fills a specification with random numbers."""

    def __init__(self, size: Size, dice: np.random.Generator) -> None:
        self._size = size
        self._dice = dice

    def spec(self, vocabulary: int) -> Any:
        size = self._size
        spec = whisper_spec.WhisperSpec(size.layers, size.heads, size.layers, size.heads)
        self._encoder(spec.encoder)
        self._decoder(spec.decoder, vocabulary)
        return spec

    def _encoder(self, encoder: Any) -> None:
        width = self._size.width
        encoder.conv1.weight, encoder.conv1.bias = self._draw(width, MELS, 3), _zeros(width)
        encoder.conv2.weight, encoder.conv2.bias = self._draw(width, width, 3), _zeros(width)
        encoder.position_encodings.encodings = self._draw(POSITIONS, width)
        self._norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._attention(layer.self_attention, (3, 1))
            self._feed_forward(layer.ffn)

    def _decoder(self, decoder: Any, vocabulary: int) -> None:
        width = self._size.width
        decoder.embeddings.weight = self._draw(vocabulary, width)
        decoder.position_encodings.encodings = self._draw(CONTEXT, width)
        decoder.projection.weight = self._draw(vocabulary, width)
        self._norm(decoder.layer_norm)
        for layer in decoder.layer:
            self._attention(layer.self_attention, (3, 1))
            self._attention(layer.attention, (1, 2, 1), gain=LISTENING)
            self._feed_forward(layer.ffn)

    def _attention(self, attention: Any, blocks: tuple[int, ...], gain: float = 1) -> None:
        """`blocks`: of how many widths each projection consists, as queries, keys and values are fused."""
        self._norm(attention.layer_norm)
        for linear, count in zip(attention.linear, blocks, strict=True):
            self._linear(linear, count * self._size.width, self._size.width)
            linear.weight *= np.float32(gain)

    def _feed_forward(self, ffn: Any) -> None:
        self._norm(ffn.layer_norm)
        self._linear(ffn.linear_0, 4 * self._size.width, self._size.width)
        self._linear(ffn.linear_1, self._size.width, 4 * self._size.width)

    def _linear(self, linear: Any, rows: int, columns: int) -> None:
        linear.weight, linear.bias = self._draw(rows, columns), _zeros(rows)

    def _norm(self, norm: Any) -> None:
        norm.gamma, norm.beta = np.ones(self._size.width, np.float32), _zeros(self._size.width)

    def _draw(self, *shape: int) -> NDArray[np.float32]:
        """Strong enough that what is heard outweighs where it stands: 1 / sqrt(inputs)."""
        inputs = int(np.prod(shape[1:]))
        return self._dice.standard_normal(shape, np.float32) / np.float32(np.sqrt(inputs))


def _zeros(size: int) -> NDArray[np.float32]:
    return np.zeros(size, np.float32)
