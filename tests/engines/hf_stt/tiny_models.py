"""Makes checkpoints of Whisper and Voxtral of the true architecture with random weights, and real processors.

Widths, depths and vocabularies are shrunk; window, mel bands and special tokens are the models' own. What they
hear means nothing, but follows from the sound.
"""

import base64
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

LANGUAGES = ("en", "de", "fr", "yue", "zh")
LISTENING = 4.0
"""Gain of the decoder's attention to the sound: sharp enough that a second of it shows within 30 of padding."""


LETTERS = "abcdefghijklmnopqrstuvwxyz"
"""All that they ever write."""


def make_whisper(
    folder: Path, *, multilingual: bool = True, hears_nothing: bool = False, seed: int = 0
) -> Path:
    """Write a checkpoint of Whisper, and return its folder.

    Args:
        hears_nothing: it takes any sound for no speech.
    """
    tokenizer = _whisper_tokenizer()
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in tokenizer.all_special_tokens}
    written = tokenizer.convert_tokens_to_ids([*LETTERS, "<|endoftext|>"])
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    _spread(model)
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            layer.encoder_attn.q_proj.weight.mul_(LISTENING)
            layer.encoder_attn.k_proj.weight.mul_(LISTENING)
        model.model.decoder.embed_positions.weight.normal_(0, 0.3)
        if hears_nothing:  # one feature is always there, and means this one token
            weights = model.model.decoder.embed_tokens.weight
            weights[:, 0] = 0
            weights[ids["<|nospeech|>"], 0] = 10
            model.model.decoder.layer_norm.bias[0] = 10
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        max_length=448,
        is_multilingual=multilingual,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        suppress_tokens=[n for n in range(len(tokenizer)) if n not in written],
        return_timestamps=False,
    )
    if multilingual:
        config_of = model.generation_config
        config_of.lang_to_id = {f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES}
        config_of.task_to_id = {task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")}
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def _whisper_tokenizer() -> Any:
    """One token a byte, and Whisper's special tokens in Whisper's own order."""
    pieces = {piece: n for n, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(pieces, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe"]
    marks += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    tokenizer.add_special_tokens([AddedToken(f"<|{mark}|>", special=True) for mark in marks])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return WhisperTokenizer(
        tokenizer_object=fast.backend_tokenizer,
        unk_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        additional_special_tokens=[f"<|{mark}|>" for mark in marks],
    )


def make_voxtral(folder: Path, *, mel_bands: int = 128, seed: int = 0) -> Path:
    """Write a checkpoint of Voxtral, and return its folder."""
    torch.manual_seed(seed)
    config = VoxtralConfig(
        audio_token_id=24,
        audio_config={
            "model_type": "voxtral_encoder",
            "hidden_size": 32,
            "intermediate_size": 128,  # four frames of the encoder are one of the language model's
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_mel_bins": mel_bands,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": VOXTRAL_MARKS + 256,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 11,
        },
    )
    model = VoxtralForConditionalGeneration(config)
    _spread(model)
    with torch.no_grad():
        silent = [
            n for n in range(VOXTRAL_MARKS + 256) if n - VOXTRAL_MARKS not in map(ord, LETTERS)
        ]
        model.lm_head.weight[silent] = 0
        model.model.multi_modal_projector.linear_2.weight.mul_(8)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=11)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "VoxtralProcessor"})
    )
    (folder / "tekken.json").write_text(json.dumps(_tekken()))
    return folder


VOXTRAL_MARKS = 64
"""Ids of control tokens; the true model has 1000."""

_MARKS = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    32: "[ARGS]",
    33: "[CALL_ID]",
    34: "[TRANSCRIBE]",
}


def _tekken() -> dict[str, Any]:
    """mistral-common's file of a tokenizer: every byte is a token."""
    return {
        "config": {
            "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+",
            "num_vocab_tokens": 256,
            "default_vocab_size": VOXTRAL_MARKS + 256,
            "default_num_special_tokens": VOXTRAL_MARKS,
            "version": "v11",
        },
        "vocab": [
            {"rank": n, "token_bytes": base64.b64encode(bytes([n])).decode(), "token_str": None}
            for n in range(256)
        ],
        "special_tokens": [
            {"rank": n, "token_str": _MARKS.get(n, f"<SPECIAL_{n}>"), "is_control": True}
            for n in range(VOXTRAL_MARKS)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }


def _spread(model: Any) -> None:
    """Weights so strong that what is heard outweighs where it stands."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim >= 2 and "embed_positions" not in name:
                weights.normal_(0, 1 / weights[0].numel() ** 0.5)
