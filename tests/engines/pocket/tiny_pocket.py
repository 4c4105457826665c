"""A Pocket TTS model of the true architecture with random weights, made by its own code: half a megabyte."""

import json
from pathlib import Path
from typing import Any

SEANET = {
    "dimension": 16,
    "channels": 1,
    "n_filters": 4,
    "n_residual_layers": 1,
    "ratios": [6, 5, 4],
    "kernel_size": 7,
    "residual_kernel_size": 3,
    "last_kernel_size": 3,
    "dilation_base": 2,
    "pad_mode": "constant",
    "compress": 2,
}


def config(tokens: int, tokenizer: Path, eos_threshold: float) -> dict[str, Any]:
    """The layout of the package's own `english.yaml`, narrower."""
    return {
        "default_temperature": 0.3,
        "default_eos_threshold": eos_threshold,
        "flow_lm": {
            "insert_bos_before_voice": True,
            "dtype": "float32",
            "flow": {"depth": 1, "dim": 16},
            "transformer": {
                "d_model": 32,
                "hidden_scale": 2,
                "max_period": 10_000,
                "num_heads": 2,
                "num_layers": 1,
            },
            "lookup_table": {
                "dim": 32,
                "n_bins": tokens,
                "tokenizer": "tokenizers",
                "tokenizer_path": str(tokenizer),
            },
        },
        "mimi": {
            "dtype": "float32",
            "sample_rate": 24_000,
            "inner_dim": 8,
            "outer_dim": 16,
            "channels": 1,
            "frame_rate": 12.5,
            "seanet": SEANET,
            "transformer": {
                "d_model": 16,
                "num_heads": 2,
                "num_layers": 1,
                "layer_scale": 0.01,
                "context": 50,
                "dim_feedforward": 32,
                "input_dimension": 16,
                "output_dimensions": [16],
            },
            "quantizer": {"dimension": 8, "output_dimension": 16},
        },
    }


def make(
    folder: Path, voices: tuple[str, ...] = ("alba", "vera"), *, eos_threshold: float = -1e9
) -> Path:
    """Write weights, tokenizer, configuration and voices.

    Args:
        eos_threshold: of the logit that ends a part; a low one ends each after some frames, a high one lets it go on
    """
    import torch
    from pocket_tts import TTSModel, export_model_state
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: n for n, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    described = config(len(alphabet), folder / "tokenizer.json", eos_threshold)
    path = folder / "config.yaml"
    path.write_text(json.dumps(described))
    torch.manual_seed(7)
    model = TTSModel.load_model(config=path)
    with torch.no_grad():
        model.flow_lm.speaker_proj_weight.normal_()  # it is made of zeros, to be loaded into
        for buffer in (*model.parameters(), *model.buffers()):
            buffer.nan_to_num_()  # some are made of what lay in memory
    save_file(model.state_dict(), str(folder / "model.safetensors"))
    (folder / "embeddings").mkdir(exist_ok=True)
    for number, voice in enumerate(voices):
        heard = torch.sin(torch.arange(24_000) * (0.05 + 0.02 * number))[None] * 0.3
        state = model.get_state_for_audio_prompt(heard)
        export_model_state(state, folder / "embeddings" / f"{voice}.safetensors")
    return folder
