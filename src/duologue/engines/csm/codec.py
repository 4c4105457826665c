"""Mimi's decoder, a few frames at a time, to the same sound as if it had them all at once.

All that it consists of looks only backwards: convolutions, transposed convolutions whose overhang is cut off, and
a transformer with a window. So each convolution keeps the last of its input, the transformer its keys and
values, and the pieces join without a seam. Transformers (5.23) streams Mimi's encoder, not its decoder.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from duologue.core.errors import EngineUnavailable

Samples = NDArray[np.float32]
"""Mono, about -1..1, at 24 kHz."""


class MimiStream:
    """The sound of one piece of speech. Belongs to the thread that runs the model.

    Args:
        codec: a `MimiModel`; see `check`.
    """

    def __init__(self, torch: Any, codec: Any) -> None:
        from transformers import DynamicCache

        self._torch = torch
        self._quantizer = codec.quantizer
        self._decoder = codec.decoder
        self._keys = DynamicCache(config=codec.decoder.config)  # bounded by the window
        self._tails: dict[int, Any] = {}  # by the convolution: the last of its input

    def decode(self, codes: Any) -> Samples:
        """The sound of the next frames.

        Args:
            codes: [1, codebooks, frames].

        Returns:
            1920 samples a frame.
        """
        hidden = self._quantizer.decode(codes)
        if self._decoder.upsample is not None:
            hidden = self._transposed(self._decoder.upsample, hidden)
        hidden = self._decoder.decoder_transformer(
            hidden.transpose(1, 2), past_key_values=self._keys, use_cache=True
        ).last_hidden_state.transpose(1, 2)
        for layer in self._decoder.decoder_seanet.layers:
            hidden = self._through(layer, hidden)
        sound: Samples = hidden[0, 0].float().cpu().numpy()
        return sound

    def _through(self, layer: Any, hidden: Any) -> Any:
        match type(layer).__name__:
            case "MimiConv1d":
                return self._convolved(layer, hidden)
            case "MimiConvTranspose1d":
                return self._transposed(layer, hidden)
            case "MimiResnetBlock":
                inner = hidden
                for part in layer.block:
                    inner = self._through(part, inner)
                return self._through(layer.shortcut, hidden) + inner
            case _:
                return layer(hidden)

    def _convolved(self, layer: Any, hidden: Any) -> Any:
        """Before the first sound there is silence, as if padded with zeros."""
        conv = layer.conv
        return conv(self._after_tail(layer, hidden, (conv.kernel_size[0] - 1) * conv.dilation[0]))

    def _transposed(self, layer: Any, hidden: Any) -> Any:
        """An input reaches over the outputs of the `tail` next ones: these are computed anew with each."""
        conv = layer.conv
        stride, steps = conv.stride[0], hidden.shape[-1]
        tail = -(-conv.kernel_size[0] // stride) - 1
        out = conv(self._after_tail(layer, hidden, tail))
        return out[..., tail * stride : (tail + steps) * stride]

    def _after_tail(self, layer: Any, hidden: Any, size: int) -> Any:
        if not size:
            return hidden
        tail = self._tails.get(id(layer))
        if tail is None:
            tail = hidden.new_zeros(*hidden.shape[:-1], size)
        joined = self._torch.cat((tail, hidden), -1)
        self._tails[id(layer)] = joined[..., -size:]
        return joined


def check(codec: Any) -> None:
    """See that a codec is one that can be decoded piece by piece.

    Raises:
        EngineUnavailable: it is not.
    """
    config = codec.config
    is_mimi = type(codec).__name__ == "MimiModel" and hasattr(codec, "quantizer")
    parts = getattr(codec, "decoder", None)
    if (
        not is_mimi
        or not hasattr(parts, "decoder_seanet")
        or not (config.use_causal_conv and config.trim_right_ratio == 1.0)
        or config.pad_mode != "constant"
    ):
        raise EngineUnavailable(
            "csm_codec_unknown",
            "The model's codec is not the Mimi that can be decoded piece by piece.",
            remedy="Use a CSM checkpoint in Transformers' format, and Transformers 5.23 or a later 5.",
        )
