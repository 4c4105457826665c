"""Makes CSM checkpoints of the true architecture with random weights: backbone, depth decoder, Mimi, processor.

Mimi's strides are its own, so a frame is 80 ms at 24 kHz; widths, depths and vocabularies are shrunk. What it
says means nothing, but follows from the text and from what was said before.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CsmConfig,
    CsmForConditionalGeneration,
    CsmProcessor,
    EncodecFeatureExtractor,
    PreTrainedTokenizerFast,
)

CODES = 64
"""Of each codebook of Mimi."""

CODEBOOKS = 4

MARKS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>", "<|pad|>")

TEMPLATE = (
    "{% for message in messages %}{{ bos_token }}[{{ message['role'] }}]"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{{ eos_token }}"
    "{% else %}<|AUDIO|><|audio_eos|>{% endif %}"
    "{% endfor %}{% endfor %}"
)
"""A turn is the speaker, the text, and the sound where there is one."""


def make(
    folder: Path,
    *,
    unused: int = 0,
    says_nothing: bool = False,
    positions: int = 2048,
    seed: int = 0,
) -> Path:
    """Write a checkpoint, and return its folder.

    Args:
        unused: ids of the audio vocabulary that stand for no code, as the true model has three.
        says_nothing: every frame is the one that ends the speech.
        positions: of the backbone's context.
    """
    processor = make_processor()
    torch.manual_seed(seed)
    model = CsmForConditionalGeneration(_config(processor.tokenizer, unused, positions))
    _spread(model, says_nothing=says_nothing)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.9
    model.depth_decoder.generation_config.do_sample = True
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_processor() -> Any:
    """One token a byte, and CSM's special tokens."""
    marks = [AddedToken(mark, special=True) for mark in MARKS]
    pieces = {piece: n for n, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(pieces, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(marks)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{MARKS[0]} $A {MARKS[1]}",
        special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in MARKS[:2]],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=MARKS[0], eos_token=MARKS[1], pad_token=MARKS[4]
    )
    features = EncodecFeatureExtractor(feature_size=1, sampling_rate=24_000)
    return CsmProcessor(features, fast, chat_template=TEMPLATE)


def _config(tokenizer: Any, unused: int, positions: int) -> CsmConfig:
    vocabulary = CODES + unused
    return CsmConfig(
        num_codebooks=CODEBOOKS,
        vocab_size=vocabulary,
        text_vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        codebook_pad_token_id=vocabulary - 1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        audio_token_id=tokenizer.convert_tokens_to_ids(MARKS[2]),
        audio_eos_token_id=tokenizer.convert_tokens_to_ids(MARKS[3]),
        depth_decoder_config={
            "num_codebooks": CODEBOOKS,
            "backbone_hidden_size": 64,
            "vocab_size": vocabulary,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": CODEBOOKS + 1,
        },
        codec_config={
            "model_type": "mimi",
            "hidden_size": 32,
            "num_filters": 4,
            "codebook_size": CODES,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_quantizers": CODEBOOKS,
            "num_semantic_quantizers": 1,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 64,
            "upsample_groups": 32,
            "sliding_window": 10,  # 400 ms: sentences outgrow it
        },
    )


def _spread(model: Any, *, says_nothing: bool) -> None:
    """Weights so strong that what was said shows in what is said next, and sound that can be heard."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim >= 2:
                fan_in = weights[0].numel() if "codebooks_head" not in name else weights.shape[1]
                weights.normal_(0, 1.5 / fan_in**0.5)
            elif "bias" in name:
                weights.normal_(0, 0.05)
        model.depth_decoder.model.embed_tokens.weight.normal_()
        model.embed_text_tokens.weight.normal_()
        for name, buffer in model.codec_model.named_buffers():
            if name.endswith("embed_sum"):
                buffer.normal_()
        model.codec_model.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.02)
        if says_nothing:  # of equal scores, the first code is taken
            model.lm_head.weight.zero_()
            model.depth_decoder.codebooks_head.weight.zero_()
