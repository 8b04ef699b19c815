"""Text encoders by name: tokens in, a vector of each layer out; transformers' own classes.

encoder = text_encoder("bert_base", "google-bert/bert-base-uncased")   # a folder, or the hub
encoder(tokens)                                                         # (B, 12, 768)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class TextShape(NamedTuple):
    """Of a BERT with random weights."""

    width: int
    layers: int
    heads: int
    vocabulary: int = 30522
    longest: int = 512


SHAPES: Mapping[str, TextShape] = {
    "bert_base": TextShape(768, 12, 12),
    "minilm_l6": TextShape(384, 6, 12),
    "bert_toy": TextShape(16, 2, 2, vocabulary=64, longest=32),
}


class TextEncoder(nn.Module):
    """Tokens (B, N) int64 to the mean of each layer's states over what is no padding, (B, L, C).

    Args:
        model: transformers' encoder, such as ``BertModel``.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model
        self.width, self.layers = model.config.hidden_size, model.config.num_hidden_layers
        self.pad = model.config.pad_token_id or 0

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 2 or tokens.dtype != torch.int64:
            raise ValueError(f"want int64 tokens (B, N), got {tokens.dtype} {tuple(tokens.shape)}")
        mask = tokens != self.pad
        found = self.model(tokens, attention_mask=mask.long(), output_hidden_states=True)
        states = torch.stack(found.hidden_states[1:], 1)  # (B, L, N, C); the first: embeddings
        return mean_of(states, mask[:, None])


def mean_of(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of states (…, N, C) where mask (…, N) holds, (…, C)."""
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(-2) / weight.sum(-2).clamp(min=1)


def text_encoder(name: str, weights: Path | str | None = None) -> TextEncoder:
    """A BERT without its pooler.

    Args:
        name: Shape of one with random weights, see :data:`SHAPES`; with ``weights`` only a label.
        weights: A folder of transformers' files, or a name of the hub, of any encoder.

    Raises:
        ValueError: For an unknown name.
        OSError: If the weights cannot be had.
    """
    from transformers import AutoModel, BertConfig, BertModel

    if name not in SHAPES:
        raise ValueError(f"no text encoder {name!r}; there is {', '.join(SHAPES)}")
    if weights is not None:
        model = AutoModel.from_pretrained(str(weights), use_safetensors=True)
        model.pooler = None  # it is not asked, and would wait for a gradient in vain
        return TextEncoder(model)
    shape = SHAPES[name]
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.longest,
        pad_token_id=0,
    )
    return TextEncoder(BertModel(config, add_pooling_layer=False))
