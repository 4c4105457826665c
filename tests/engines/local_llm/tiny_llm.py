"""Makes language models of true architectures with random weights, and tokenizers of true kinds.

So the real loading, template and decoding code runs, offline and within a second; what they say means nothing, but
follows from what they read.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""As TinyLlama's."""

STRICT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ message['role'] }}]{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
)
"""As strict as Gemma's."""

CORPUS = (
    "Hello, how are you today? I am fine, thank you. What is the weather like in Berlin?",
    "You are a helpful voice assistant. Answer in one or two short sentences.",
    "User: Assistant: The time is twelve o'clock, and the kettle is on.",
)


def make_tokenizer(template: str | None = None, *, end: str = "</s>") -> Any:
    """Byte-level pieces and some words, as GPT-2's and Llama 3's are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    fast.chat_template = template
    return fast


def make_llama(
    folder: Path,
    *,
    template: str | None = CHAT_TEMPLATE,
    window: int = 256,
    seed: int = 0,
    **config: Any,
) -> Path:
    """A checkpoint of Llama's architecture, as TinyLlama and Llama 3.2 have it. It talks as long as it may."""
    tokenizer = make_tokenizer(template)
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        **config,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=window,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            **sizes,
        )
    )
    return _saved(folder, model, tokenizer)


def make_gpt2(folder: Path, *, window: int = 128, seed: int = 0, is_dialogue: bool = False) -> Path:
    """A checkpoint of GPT-2's architecture, without a chat template: distilgpt2, or DialoGPT by its config."""
    tokenizer = make_tokenizer(end="<|endoftext|>")
    tasks = {"conversational": {"max_length": 1000}} if is_dialogue else {"text-generation": {}}
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=window,
            n_embd=64,
            n_layer=2,
            n_head=4,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    _saved(folder, model, tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "task_specific_params": tasks}))
    return folder


def _saved(folder: Path, model: Any, tokenizer: Any) -> Path:
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:  # strong enough that what is read decides what is said
                weights.mul_(0.5 / max(float(weights.std()), 1e-6) / weights.shape[-1] ** 0.5)
        _silence(model, tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _silence(model: Any, token: int) -> None:
    """The model never says this token."""
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone())
    head.weight[token] = 0
